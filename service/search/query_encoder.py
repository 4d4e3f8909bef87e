"""Query texts to vectors, remembering the latest ones."""

import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from qasir.errors import InvalidInput, QueryTooLong
from qasir.text import Tokenizer, Tokens
from qasir.types import Float32
from service.models.deployment import ModelVersion
from service.observability import metrics
from service.observability.telemetry import Stopwatch, Telemetry
from service.search.deadline import Deadline
from service.settings import Settings


class TextEncoder(Protocol):
    """The part of `qasir.triton.Triton` that texts need."""

    def encode_text(
        self, version: int, tokens: Tokens, *, deadline: float | None = None
    ) -> Float32:
        """Unit vectors float32 [Q, D] of Q tokenised texts."""


class Texts:
    """Encodes texts, safe to share by threads."""

    def __init__(self, triton: TextEncoder, telemetry: Telemetry, settings: Settings) -> None:
        self._triton = triton
        self._telemetry = telemetry
        self._settings = settings
        self._lock = threading.Lock()
        self._vectors: OrderedDict[tuple[int, str], Float32] = OrderedDict()
        self._tokenizers: dict[int, Tokenizer] = {}

    def clean(self, text: str) -> str:
        """The text as it is encoded: one form for what reads the same.

        Raises:
            InvalidInput: nothing is left of it.
            QueryTooLong: it has too many characters.
        """
        limit = self._settings.max_query_chars
        if len(text) > limit:
            raise QueryTooLong(f"query of {len(text)} characters: the limit is {limit}; shorten it")
        printable = "".join(c if c.isprintable() else " " for c in text)
        cleaned = " ".join(unicodedata.normalize("NFC", printable).split())
        if not cleaned:
            raise InvalidInput("the query is empty; describe in words what the video shows")
        return cleaned

    def vectors(
        self, texts: Sequence[str], model: ModelVersion, watch: Stopwatch, deadline: Deadline
    ) -> Float32:
        """Unit vectors float32 [Q, D] of cleaned texts, from memory where they are there."""
        keys = [(model.version, text) for text in texts]
        found = {key: vector for key in keys if (vector := self._recall(key)) is not None}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        self._telemetry.count(metrics.TEXT_CACHE, len(found), result="hit")
        self._telemetry.count(metrics.TEXT_CACHE, len(missing), result="miss")
        if missing:
            with watch.stage("tokenise"):
                tokens = self._tokenizer(model).encode([text for _, text in missing])
            with watch.stage("encode"):
                encoded = self._triton.encode_text(model.version, tokens, deadline=deadline.left())
            found.update(zip(missing, encoded, strict=True))
            self._remember(missing, encoded)
        return np.stack([found[key] for key in keys])

    def load(self, model: ModelVersion) -> None:
        """Read the model's tokenizer now, so that the first search need not."""
        self._tokenizer(model)

    def _recall(self, key: tuple[int, str]) -> Float32 | None:
        with self._lock:
            if key in self._vectors:
                self._vectors.move_to_end(key)
            return self._vectors.get(key)

    def _remember(self, keys: Sequence[tuple[int, str]], vectors: Float32) -> None:
        with self._lock:
            self._vectors.update(zip(keys, vectors, strict=True))
            while len(self._vectors) > self._settings.text_cache:
                self._vectors.popitem(last=False)

    def _tokenizer(self, model: ModelVersion) -> Tokenizer:
        if model.version not in self._tokenizers:
            loaded = Tokenizer.load(model.tokenizer, model.manifest.tokenizer)
            self._tokenizers[model.version] = loaded
        return self._tokenizers[model.version]

"""Words, a picture or a segment of an indexed video as one query vector."""

import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from qasir.contract.search import Example, GetAttentionRequest, SearchRequest
from qasir.errors import InvalidInput, QueryTooLong, UploadTooLarge
from qasir.examples import (
    normalised,
    picture_query,
    read_picture,
    segment_query,
    static_super_image,
    super_image_share,
)
from qasir.manifest import EmbeddingSpec
from qasir.text import Tokenizer, Tokens
from qasir.types import Bool, Float32, Uint8
from service.models.deployment import ModelVersion
from service.observability import metrics
from service.observability.telemetry import Stopwatch, Telemetry
from service.search.deadline import Deadline
from service.search.index_cache import IndexCache
from service.settings import SearchSettings

Query = SearchRequest | GetAttentionRequest


class QueryModels(Protocol):
    """The part of `qasir.triton.Triton` that encodes queries."""

    def encode_text(
        self, version: int, tokens: Tokens, *, deadline: float | None = None
    ) -> Float32:
        """Unit vectors float32 [Q, D] of Q tokenised texts."""

    def encode_video(
        self, version: int, pixels: Uint8, mask: Bool, *, deadline: float | None = None
    ) -> Float32:
        """Embeddings float32 [S, 1+P, D] of super images uint8 [S, R, R, 3], mask bool [S, P]."""


@dataclass(frozen=True)
class EncodedQuery:
    """A unit vector [D] in the space of a model; `text` where words alone made it."""

    vector: Float32
    text: str | None


class QueryEncoder:
    """Encodes queries and remembers the latest texts; safe to share by threads."""

    def __init__(
        self,
        triton: QueryModels,
        index: IndexCache,
        telemetry: Telemetry,
        settings: SearchSettings,
    ) -> None:
        self._triton = triton
        self._index = index
        self._telemetry = telemetry
        self._settings = settings
        self._lock = threading.Lock()
        self._vectors: OrderedDict[tuple[int, str], Float32] = OrderedDict()
        self._tokenizers: dict[int, Tokenizer] = {}

    def check(self, query: Query) -> None:
        """Refuse what no model could encode.

        Raises:
            InvalidInput: there is neither text nor example, or the text is empty.
            QueryTooLong: the text has too many characters.
        """
        if query.query is None and query.example is None:
            raise InvalidInput("nothing to look for; give a query, an example or both")
        if query.query is not None:
            self.clean(query.query)

    def encode(
        self,
        query: Query,
        model: ModelVersion,
        spec: EmbeddingSpec,
        deadline: Deadline,
        watch: Stopwatch,
    ) -> EncodedQuery:
        """Encode text, example or both; the two count alike.

        Raises:
            UploadTooLarge, UnsupportedMedia, InvalidInput: a picture is outside its limits.
            NotFound, InvalidInput: a segment has no frame, or its video is not indexed.
            ModelUnavailable, Overloaded: try again later.
        """
        text = None if query.query is None else self.clean(query.query)
        vectors: list[Float32] = []
        if text is not None:
            vectors.extend(self.encode_texts([text], model, deadline, watch))
        if query.example is None:
            return EncodedQuery(vectors[0], text)
        with watch.stage("encode"):
            vectors.append(self._encode_example(query.example, model, spec, deadline))
        return EncodedQuery(normalised(np.sum(vectors, axis=0)), None)

    def encode_texts(
        self, texts: Sequence[str], model: ModelVersion, deadline: Deadline, watch: Stopwatch
    ) -> Float32:
        """Encode cleaned texts as unit vectors float32 [Q, D], those that are cached from memory.

        Raises:
            ModelUnavailable, Overloaded: try again later.
        """
        keys = [(model.version, text) for text in texts]
        vectors = {key: vector for key in keys if (vector := self._cached(key)) is not None}
        missing = [key for key in dict.fromkeys(keys) if key not in vectors]
        self._telemetry.count(metrics.TEXT_CACHE, len(vectors), result="hit")
        self._telemetry.count(metrics.TEXT_CACHE, len(missing), result="miss")
        if missing:
            with watch.stage("tokenise"):
                tokens = self._tokenizer(model).encode([text for _, text in missing])
            with watch.stage("encode"):
                encoded = self._triton.encode_text(model.version, tokens, deadline=deadline.left())
            vectors.update(zip(missing, encoded, strict=True))
            self._cache(missing, encoded)
        return np.stack([vectors[key] for key in keys])

    def clean(self, text: str) -> str:
        """Return the text as it is encoded: one form for what reads the same.

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

    def load(self, model: ModelVersion) -> None:
        """Read the model's tokenizer now, so that the first search need not."""
        self._tokenizer(model)

    def _encode_example(
        self, example: Example, model: ModelVersion, spec: EmbeddingSpec, deadline: Deadline
    ) -> Float32:
        fusion = model.manifest.branches[spec.grid_size]
        share = super_image_share(fusion, model.manifest.profile.index_unit)
        match example.image, example.video_id, example.start, example.end:
            case bytes(image), _, _, _:
                return picture_query(self._encode_picture(image, model, spec, deadline), share)
            case _, str(video_id), float(start), float(end):
                if not 0 <= start < end:
                    raise InvalidInput(f"segment [{start:g}, {end:g}) s: need 0 <= start < end")
                video = self._index.get(model.manifest, spec, video_id)
                return segment_query(video, start, end, share)
        raise AssertionError("an example is a picture or a segment")

    def _encode_picture(
        self, image: bytes, model: ModelVersion, spec: EmbeddingSpec, deadline: Deadline
    ) -> Float32:
        limit = self._settings.max_picture_bytes
        if len(image) > limit:
            raise UploadTooLarge(
                f"picture of {len(image)} bytes: the limit is {limit}; send a smaller one"
            )
        pixels = read_picture(image, self._settings.max_picture_pixels)
        still = static_super_image(pixels, spec.grid_size, spec.resolution)
        embeddings = self._triton.encode_video(
            model.version, still.pixels, still.mask, deadline=deadline.left()
        )
        first: Float32 = embeddings[0]
        return first

    def _cached(self, key: tuple[int, str]) -> Float32 | None:
        with self._lock:
            if key in self._vectors:
                self._vectors.move_to_end(key)
            return self._vectors.get(key)

    def _cache(self, keys: Sequence[tuple[int, str]], vectors: Float32) -> None:
        with self._lock:
            self._vectors.update(zip(keys, vectors, strict=True))
            while len(self._vectors) > self._settings.text_cache:
                self._vectors.popitem(last=False)

    def _tokenizer(self, model: ModelVersion) -> Tokenizer:
        if model.version not in self._tokenizers:
            loaded = Tokenizer.load(model.tokenizer, model.manifest.tokenizer)
            self._tokenizers[model.version] = loaded
        return self._tokenizers[model.version]

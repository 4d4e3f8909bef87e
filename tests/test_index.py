"""The index against the per-video reference, through additions, replacements and removals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qasir.config import IndexUnit
from qasir.errors import FingerprintMismatch, NotFound
from qasir.index import Index
from qasir.types import Float32
from qasir.vectors import VideoVectors
from tests.support.reference_scores import score_direct
from tests.support.vectors import SPEC, random_video, unit_rows

DIM = 32
UNITS: tuple[IndexUnit, ...] = ("super-image", "cell")


def queries_of(rng: np.random.Generator, count: int) -> Float32:
    return unit_rows(rng, count, DIM)


@settings(deadline=None)
@given(
    unit=st.sampled_from(UNITS),
    steps=st.lists(
        st.tuples(st.sampled_from("pppd"), st.integers(0, 8), st.sampled_from([1, 2, 7, 30, 90])),
        max_size=40,
    ),
    seed=st.integers(0, 1000),
)
def test_scores_equal_the_reference(
    unit: IndexUnit, steps: list[tuple[str, int, int]], seed: int
) -> None:
    """More than D / 4 = 8 rows are scored in the direct form, fewer by Gram matrices."""
    rng = np.random.default_rng(seed)
    index, held = Index(SPEC, DIM, unit), dict[str, VideoVectors]()
    for kind, name, frames in steps:
        video_id = f"v{name}"
        if kind == "p":
            held[video_id] = random_video(rng, frames, DIM)
            index.put(video_id, held[video_id])
        else:
            held.pop(video_id, None)
            index.drop(video_id)
    queries = queries_of(rng, 3)
    ids, scores = index.scores(queries, 0.05)
    assert sorted(ids) == sorted(held)
    assert len(index) == len(held)
    frames = sum(int(v.mask.sum()) for v in held.values())
    images = sum(len(v.embeddings) for v in held.values())
    assert sum(len(index.get(video_id).rows(unit)) for video_id in index.ids) == (
        frames if unit == "cell" else images
    )
    for column, video_id in enumerate(ids):
        rows = held[video_id].rows(unit).astype(np.float32)
        expected = [score_direct(q, rows, 0.05) for q in queries]
        np.testing.assert_allclose(scores[:, column], expected, atol=1e-5)


@pytest.mark.parametrize("frames", [5, 81])
def test_padding_is_never_searched(frames: int) -> None:
    """What stands in padded cells changes no score, in either form."""
    rng = np.random.default_rng(0)
    video = random_video(rng, frames, DIM)
    embeddings = video.embeddings.copy()
    embeddings[:, 1:][~video.mask] = 9.0
    loud = VideoVectors(SPEC, embeddings, video.mask, video.times)
    query = queries_of(rng, 2)
    for unit in UNITS:
        found = []
        for held in (video, loud):
            index = Index(SPEC, DIM, unit)
            index.put("v", held)
            found.append(index.scores(query, 0.05)[1])
        np.testing.assert_array_equal(found[0], found[1])


def test_more_queries_than_one_batch() -> None:
    rng = np.random.default_rng(0)
    index = Index(SPEC, DIM, "super-image")
    for i in range(5):
        index.put(f"v{i}", random_video(rng, 12, DIM))
    queries = queries_of(rng, 150)
    _, together = index.scores(queries, 0.05)
    alone = np.concatenate([index.scores(q[None], 0.05)[1] for q in queries])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("unit", UNITS)
def test_empty_index(unit: IndexUnit) -> None:
    ids, scores = Index(SPEC, DIM, unit).scores(queries_of(np.random.default_rng(0), 2), 0.05)
    assert ids == []
    assert scores.shape == (2, 0)


@pytest.mark.parametrize(
    ("change", "shown", "own"),
    [
        ({"fingerprint": "0" * 16}, "0" * 16, "f" * 16),
        ({"resolution": 320}, "resolution=320", "resolution=64"),
        ({"fps": 2.0}, "fps=2.0", "fps=1.0"),
    ],
)
def test_another_spec_is_refused_and_both_are_shown(
    change: dict[str, object], shown: str, own: str
) -> None:
    video = random_video(np.random.default_rng(0), 2, DIM, SPEC.model_copy(update=change))
    with pytest.raises(FingerprintMismatch) as caught:
        Index(SPEC, DIM, "cell").put("a", video)
    assert shown in str(caught.value)
    assert own in str(caught.value)


def test_other_dimension_is_refused() -> None:
    with pytest.raises(FingerprintMismatch, match=r"D 16.*D 32"):
        Index(SPEC, DIM, "cell").put("a", random_video(np.random.default_rng(0), 2, 16))


def test_unknown_video() -> None:
    with pytest.raises(NotFound, match="'nope'"):
        Index(SPEC, DIM, "cell").get("nope")

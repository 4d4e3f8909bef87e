"""The index against the per-video reference, through additions, replacements and removals."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qasir.config import IndexUnit
from qasir.errors import FingerprintMismatch, NotFound
from qasir.index import MARGIN, Index
from qasir.scoring import SCORE_DECIMALS
from qasir.segments import SegmentVideo
from qasir.types import Float32
from qasir.vectors import VideoVectors
from tests.support.reference_scores import score_direct
from tests.support.vectors import SPEC, random_video, unit_rows

DIM = 32
UNITS: tuple[IndexUnit, ...] = ("super-image", "cell")


def queries_of(rng: np.random.Generator, count: int) -> Float32:
    return unit_rows(rng, count, DIM)


def video(video_id: str, vectors: VideoVectors) -> SegmentVideo:
    return SegmentVideo(video_id, vectors, source=f"{video_id}.npz", seconds=2.0)


Steps = list[tuple[str, int, int]]


def replayed(steps: Steps, unit: IndexUnit, seed: int) -> tuple[Index, dict[str, VideoVectors]]:
    """An index after additions, replacements and removals, and what it should hold."""
    rng = np.random.default_rng(seed)
    index, held = Index(SPEC, DIM, unit), dict[str, VideoVectors]()
    for kind, name, frames in steps:
        video_id = f"v{name}"
        if kind == "p":
            held[video_id] = random_video(rng, frames, DIM)
            index = index.with_videos([video(video_id, held[video_id])])
        else:
            held.pop(video_id, None)
            index = index.without([video_id])
    return index, held


def reference(
    query: Float32, videos: Iterable[VideoVectors], unit: IndexUnit, tau: float
) -> Float32:
    rows = [v.rows(unit).astype(np.float32) for v in videos]
    return np.array([score_direct(query, each, tau) for each in rows], np.float32)


def best(ids: list[str], scores: Float32, k: int) -> list[str]:
    """The best k by score and then by id; scores that differ by less than a rounding are equal."""
    rounded = dict(zip(ids, np.round(scores, SCORE_DECIMALS).tolist(), strict=True))
    return sorted(ids, key=lambda i: (-rounded[i], i))[:k]


changes = st.lists(
    st.tuples(st.sampled_from("pppd"), st.integers(0, 8), st.sampled_from([1, 2, 7, 30, 90])),
    max_size=40,
)


@settings(deadline=None)
@given(unit=st.sampled_from(UNITS), steps=changes, seed=st.integers(0, 1000))
def test_scores_equal_the_reference(unit: IndexUnit, steps: Steps, seed: int) -> None:
    index, held = replayed(steps, unit, seed)
    queries = queries_of(np.random.default_rng(seed + 1), 3)
    ids, scores = index.scores(queries, 0.05)
    assert sorted(ids) == sorted(held) == sorted(index.ids)
    assert len(index) == len(held)
    for video_id, vectors in held.items():
        assert video_id in index
        np.testing.assert_array_equal(index.get(video_id).embeddings, vectors.embeddings)
        np.testing.assert_array_equal(index.get(video_id).times, vectors.times)
        assert index.source(video_id) == f"{video_id}.npz"
    for query, row in zip(queries, scores, strict=True):
        expected = reference(query, [held[i] for i in ids], unit, 0.05)
        np.testing.assert_allclose(row, expected, atol=1e-5)


@settings(deadline=None)
@given(
    unit=st.sampled_from(UNITS),
    steps=changes,
    tau=st.sampled_from([0.01, 0.05, 0.2, 1.0]),
    k=st.sampled_from([1, 3, 100]),
    seed=st.integers(0, 1000),
    filtered=st.booleans(),
    copies=st.integers(0, 3),
)
def test_best_k_equal_the_reference(
    unit: IndexUnit, steps: Steps, tau: float, k: int, seed: int, filtered: bool, copies: int
) -> None:
    """With ties, which go by id, and with filters."""
    index, held = replayed(steps, unit, seed)
    for number, vectors in enumerate(list(held.values())[:copies]):
        held[f"copy{number}"] = vectors
        index = index.with_videos([video(f"copy{number}", vectors)])
    rng = np.random.default_rng(seed + 1)
    queries, ids = queries_of(rng, 2), index.ids
    masks = [rng.random(len(ids)) < 0.5 if filtered else None for _ in queries]
    for query, mask, found in zip(
        queries, masks, index.search(queries, tau, k, masks), strict=True
    ):
        searched = (
            ids if mask is None else [i for i, chosen in zip(ids, mask, strict=True) if chosen]
        )
        expected = dict(
            zip(searched, reference(query, [held[i] for i in searched], unit, tau), strict=True)
        )
        assert len(found.ids) == min(k, len(searched)) == len(set(found.ids))
        assert set(found.ids) <= set(searched)
        np.testing.assert_allclose(found.scores, [expected[i] for i in found.ids], atol=2e-6)
        # Scores that differ by a rounding error may swap.
        worst = min(found.scores, default=0)
        assert all(expected[i] <= worst + 2e-6 for i in set(searched) - set(found.ids))
        order = [
            (-score, video_id) for score, video_id in zip(found.scores, found.ids, strict=True)
        ]
        assert order == sorted(order)
        assert found.count == len(searched)
        assert found.seconds == 2.0 * len(searched)


def test_z_scores_are_of_all_that_was_searched() -> None:
    rng = np.random.default_rng(2)
    held = {f"v{i:03}": random_video(rng, 20, DIM) for i in range(200)}
    index, query = Index.of(held, "super-image"), queries_of(rng, 1)
    (found,) = index.search(query, 0.05, 5)
    expected = reference(query[0], held.values(), "super-image", 0.05)
    assert found.mean == pytest.approx(expected.mean(), abs=1e-4)
    assert found.deviation == pytest.approx(expected.std(), rel=1e-3)
    z = (found.scores - expected.mean()) / expected.std()
    np.testing.assert_allclose(found.z_scores, z, atol=0.01)
    nothing = Index(SPEC, DIM, "cell").search(query, 0.05, 5)[0]
    assert (nothing.ids, nothing.count, len(nothing.z_scores)) == ((), 0, 0)
    (alone,) = Index.of({"v": held["v000"]}, "cell").search(query, 0.05, 5)
    assert alone.z_scores.tolist() == [0]


def cone(rng: np.random.Generator, rows: int, dim: int) -> Float32:
    """Unit vectors as a vision-language model gives them: mean cosine .5, scenes of six."""
    scenes = np.repeat(rng.standard_normal((rows // 6 + 1, dim), np.float32), 6, axis=0)[:rows]
    vectors = 0.7 * scenes + 0.4 * rng.standard_normal((rows, dim), np.float32)
    vectors /= np.float32(np.sqrt(dim))
    vectors[:, 0] += 0.8
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def cone_index(rng: np.random.Generator, videos: int, size: int, dim: int) -> Index:
    rows = cone(rng, videos * size, dim).astype(np.float16)
    spec = SPEC.model_copy(update={"grid_size": 1})
    mask, times = np.ones((size, 1), np.bool_), np.zeros((size, 1, 2))
    both = np.stack([rows, rows], axis=1).reshape(videos, size, 2, dim)
    held = {f"v{i:08}": VideoVectors(spec, each, mask, times) for i, each in enumerate(both)}
    return Index.of(held, "super-image")


@pytest.mark.parametrize("size", [2, 9, 90])
@pytest.mark.parametrize("tau", [0.01, 0.05, 0.3])
def test_first_pass_loses_none_of_the_best(size: int, tau: float) -> None:
    """The error of each of 9,000 x 20 estimated scores is within the margin."""
    rng = np.random.default_rng(size)
    index = cone_index(rng, 9000 // size, size, 64)
    queries = cone(rng, 20, 64)
    _, exact = index.scores(queries, tau)
    selected = np.ones(exact.shape, np.bool_)
    estimates, deviations = index._scan(queries, tau, selected)
    assert (np.abs(estimates - exact) <= MARGIN * deviations).all()
    for query, row, found in zip(queries, exact, index.search(queries, tau, 20), strict=True):
        assert list(found.ids) == best(index.ids, row, 20), query


@pytest.mark.slow
def test_best_of_a_million_super_images() -> None:
    rng = np.random.default_rng(0)
    index = cone_index(rng, 100_000, 10, 64)
    queries = cone(rng, 8, 64)
    _, exact = index.scores(queries, 0.05)
    ids = np.array(index.ids)
    for row, found in zip(exact, index.search(queries, 0.05, 1100), strict=True):
        rounded = np.round(row, SCORE_DECIMALS)
        assert found.ids == tuple(ids[np.lexsort((ids, -rounded))[:1100]])


def test_a_margin_that_is_too_small_is_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qasir.index.MARGIN", 0.01)
    rng = np.random.default_rng(3)
    index, queries = cone_index(rng, 300, 9, 64), cone(rng, 20, 64)
    _, exact = index.scores(queries, 0.05)
    for row, found in zip(exact, index.search(queries, 0.05, 20), strict=True):
        assert list(found.ids) == best(index.ids, row, 20)


def test_a_snapshot_does_not_change() -> None:
    rng = np.random.default_rng(4)
    held = {f"v{i}": random_video(rng, 9, DIM) for i in range(4)}
    before = Index.of(held, "cell")
    queries = queries_of(rng, 1)
    found = before.search(queries, 0.05, 9)[0].ids
    after = before.without(["v1"]).with_videos([video("v2", held["v0"])])
    assert before.search(queries, 0.05, 9)[0].ids == found
    assert set(after.search(queries, 0.05, 9)[0].ids) == set(found) - {"v1"}


def test_additions_copy_little() -> None:
    """Segments are merged like the levels of a log-structured tree."""
    rng = np.random.default_rng(5)
    index, copied = Index(SPEC, DIM, "super-image"), 0
    one = random_video(rng, 4, DIM)
    for number in range(500):
        known = {id(part.segment) for part in index.parts}
        index = index.with_videos([video(f"v{number:03}", one)])
        copied += sum(p.segment.size for p in index.parts if id(p.segment) not in known)
    assert len(index.parts) <= 6
    assert copied <= 500 * 12
    assert len(index.ids) == 500


def test_deleted_videos_leave_the_segment() -> None:
    rng = np.random.default_rng(6)
    held = {f"v{i}": random_video(rng, 9, DIM) for i in range(10)}
    index = Index.of(held, "super-image").without(f"v{i}" for i in range(6))
    assert sum(len(part.segment) for part in index.parts) == 4
    assert Index.of(held, "cell").without(held).parts == ()


@pytest.mark.parametrize("frames", [5, 81])
def test_padding_is_never_searched(frames: int) -> None:
    """What stands in padded cells changes no score."""
    rng = np.random.default_rng(0)
    quiet = random_video(rng, frames, DIM)
    embeddings = quiet.embeddings.copy()
    embeddings[:, 1:][~quiet.mask] = 9.0
    loud = VideoVectors(SPEC, embeddings, quiet.mask, quiet.times)
    query = queries_of(rng, 2)
    for unit in UNITS:
        found = [Index.of({"v": each}, unit).scores(query, 0.05)[1] for each in (quiet, loud)]
        np.testing.assert_array_equal(found[0], found[1])


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
    other = random_video(np.random.default_rng(0), 2, DIM, SPEC.model_copy(update=change))
    with pytest.raises(FingerprintMismatch) as caught:
        Index(SPEC, DIM, "cell").with_videos([video("a", other)])
    assert shown in str(caught.value)
    assert own in str(caught.value)


def test_other_dimension_is_refused() -> None:
    with pytest.raises(FingerprintMismatch, match=r"D 16.*D 32"):
        Index(SPEC, DIM, "cell").with_videos(
            [video("a", random_video(np.random.default_rng(0), 2, 16))]
        )


def test_unknown_video() -> None:
    with pytest.raises(NotFound, match="'nope'"):
        Index(SPEC, DIM, "cell").get("nope")

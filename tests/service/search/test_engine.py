"""The engine over videos of known vectors: filters, pages, z-scores, examples, grid sizes."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from qasir.contract.search import (
    Example,
    GroupBy,
    Mode,
    SearchRequest,
    SearchResponse,
    SearchResult,
)
from qasir.errors import InvalidInput, NotFound, UnsupportedGrid, UploadTooLarge
from qasir.filters import Filter
from qasir.super_images import stack, tile
from qasir.types import Float32, Frame, Uint8
from qasir.vectors import VideoVectors
from service.observability.telemetry import Stopwatch
from service.search.deadline import Deadline
from tests.support.archive import Archive, opened_archive
from tests.support.reference_scores import score_direct
from tests.support.triton import RunningTriton

BLOCK = 10
COUNT = 34
SIDE = 64


@pytest.fixture(scope="module")
def archive(
    triton_server: RunningTriton, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archive]:
    """34 videos of 8 to 41 s, three and a half times what the scorer sees; none is changed."""
    folder = tmp_path_factory.mktemp("archive")
    with opened_archive(triton_server, folder, candidates=BLOCK) as opened:
        for n in range(COUNT):
            facts = {"title": f"Take {n}", "metadata": {"camera": "abc"[n % 3], "n": n}}
            opened.add(f"{n:02}", frames=8 + n, created_at=1000.0 + n, **facts)
        yield opened


@pytest.fixture
def fresh(triton_server: RunningTriton, tmp_path: Path) -> Iterator[Archive]:
    with opened_archive(triton_server, tmp_path) as opened:
        yield opened


def ids(answer: SearchResponse) -> list[str]:
    return [hit.video.id for hit in answer.results]


def chosen(asked: dict[str, Any]) -> Filter:
    return Filter.model_validate(asked)


def vector(archive: Archive, text: str = "a red ball") -> Float32:
    return np.array(archive.engine.embed([text]).vectors[0], np.float32)


def recall_scores(archive: Archive, query: Float32, names: list[str], size: int) -> Float32:
    """By the reference, over super images."""
    tau = archive.manifest.branches[size].super_image_tau
    index = archive.engine.index
    spec = archive.spec(size)
    rows = [index.get(archive.manifest, spec, name).super_images for name in names]
    scores = [score_direct(query, row.astype(np.float32), tau) for row in rows]
    return np.array(scores, np.float32)


@pytest.mark.parametrize("mode", ["fast", "accurate"])
def test_filter_restricts_before_it_ranks(archive: Archive, mode: Mode) -> None:
    """The page is filled from what matches, not what is left of the best of all."""
    whole = archive.search(top_k=COUNT, mode="fast")
    wanted = {f"v{n:02}" for n in range(COUNT) if n % 3 == 1 and n >= 10}
    found = archive.search(
        top_k=5, mode=mode, filter=chosen({"metadata": {"camera": "b", "n": {"gte": 10}}})
    )
    assert len(found.results) == 5
    assert set(ids(found)) < wanted
    assert found.searched.video_count == len(wanted) == 8
    assert found.searched.seconds == sum(8 + n for n in range(COUNT) if f"v{n:02}" in wanted)
    if mode == "fast":
        assert ids(found) == [name for name in ids(whole) if name in wanted][:5]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"duration": {"lt": 11}}, {0, 1, 2}),
        ({"title": {"contains": "TAKE 3"}}, {3, 30, 31, 32, 33}),
        ({"created_at": {"gt": "1970-01-01T00:17:10Z"}}, set(range(31, 34))),
        ({"metadata": {"n": {"in": [4, 9]}}}, {4, 9}),
        ({"metadata": {"nobody": "has this"}}, set()),
    ],
)
def test_filter_knows_the_facts_of_a_video(
    archive: Archive, asked: dict[str, Any], expected: set[int]
) -> None:
    found = archive.search(top_k=COUNT, filter=chosen(asked))
    assert set(ids(found)) == {f"v{n:02}" for n in expected}
    assert found.searched.video_count == len(expected)


@pytest.mark.parametrize("asked", [None, {"metadata": {"camera": "a"}}])
def test_z_is_about_every_video_that_was_searched(
    archive: Archive, asked: dict[str, Any] | None
) -> None:
    """Also of those that no page shows, and of none that the filter holds back."""
    by = None if asked is None else chosen(asked)
    names = [f"v{n:02}" for n in range(COUNT) if asked is None or n % 3 == 0]
    scores = recall_scores(archive, vector(archive), names, 2)
    z = dict(zip(names, (scores - scores.mean()) / scores.std(), strict=True))
    for hit in archive.search(top_k=3, filter=by).results:
        assert hit.score_z == pytest.approx(z[hit.video.id], abs=1e-3)


@pytest.mark.parametrize("mode", ["fast", "accurate"])
@pytest.mark.parametrize("group_by", ["video", "moment"])
def test_pages_together_are_the_whole(archive: Archive, mode: Mode, group_by: GroupBy) -> None:
    """Nothing comes twice or never, across the border of what the scorer sees and from any
    process."""
    asked: dict[str, Any] = {"mode": mode, "group_by": group_by, "context_seconds": 1.0}
    whole = archive.search(top_k=100, **asked).results
    archive.engine, first = archive.another_engine(), archive.engine
    pages = [archive.search(top_k=7, offset=n, **asked).results for n in range(0, len(whole), 7)]
    archive.engine = first
    assert [key(hit) for page in pages for hit in page] == [key(hit) for hit in whole]
    assert [hit.rank for page in pages for hit in page] == list(range(1, len(whole) + 1))
    assert len({key(hit) for hit in whole}) == len(whole)
    assert len({hit.video.id for hit in whole}) == COUNT
    assert group_by == "video" or len(whole) > COUNT


def key(hit: SearchResult) -> tuple[Any, ...]:
    return (hit.video.id, *((moment.start, moment.end) for moment in hit.moments))


def test_moments_are_best_first_among_the_videos_the_scorer_saw(archive: Archive) -> None:
    hits = archive.search(top_k=100, group_by="moment").results
    first = set(ids(archive.search(top_k=BLOCK)))
    split = [hit.video.id in first for hit in hits].index(False)
    assert {hit.video.id for hit in hits[:split]} == first
    scores = [hit.score for hit in hits[:split]]
    assert scores == sorted(scores, reverse=True)
    assert all(hit.score == hit.moments[0].score for hit in hits)


def test_snapshot_tells_that_the_answer_moved(fresh: Archive) -> None:
    names = [fresh.add(str(n)) for n in range(4)]
    first = fresh.search(top_k=2)
    assert fresh.search(top_k=2, offset=2).snapshot == first.snapshot
    fresh.catalogue.videos.delete(names[0])
    moved = fresh.search(top_k=2, offset=2)
    assert moved.snapshot != first.snapshot
    fresh.add("new")
    assert fresh.search(top_k=2).snapshot not in (first.snapshot, moved.snapshot)


def test_filter_follows_the_library(fresh: Archive) -> None:
    """What a filter lets through is remembered, until the library changes."""
    by = chosen({"metadata": {"camera": "a"}})
    first = fresh.add("first", metadata={"camera": "a"})
    fresh.add("other", metadata={"camera": "b"})
    assert ids(fresh.search(filter=by)) == [first]
    second = fresh.add("second", metadata={"camera": "a"})
    assert set(ids(fresh.search(filter=by))) == {first, second}
    fresh.catalogue.videos.delete(first)
    assert ids(fresh.search(filter=by)) == [second]


def test_context_pads_and_stays_inside_the_video(archive: Archive) -> None:
    bare = archive.search(top_k=COUNT).results
    padded = archive.search(top_k=COUNT, context_seconds=4.0).results
    assert ids(archive.search(top_k=COUNT)) == [hit.video.id for hit in padded]
    cut = 0
    for before, after in zip(bare, padded, strict=True):
        for one, wide in zip(before.moments, after.moments, strict=True):
            assert wide.start == max(0.0, one.start - 4)
            assert wide.end == min(before.video.duration, one.end + 4)
            assert (wide.cell, wide.score) == (one.cell, one.score)
            assert wide.thumbnail_url == one.thumbnail_url
            cut += (one.start < 4) + (one.end + 4 > before.video.duration)
    assert cut > 10


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("mode", ["fast", "accurate"])
def test_segment_finds_its_own_video_first(archive: Archive, mode: Mode, size: int) -> None:
    for n in range(COUNT):
        example = segment(f"v{n:02}", 2.5, 5.0)
        found = archive.search(None, top_k=2, mode=mode, grid_size=size, example=example)
        best, second = found.results
        assert best.video.id == example.video_id
        assert best.score > second.score


def test_segments_that_are_not_there(archive: Archive) -> None:
    for example, error, says in [
        (segment("vnone", 0, 1), NotFound, "vnone"),
        (segment("v00", 8, 9), NotFound, "give a part of 0 to 8 s"),
        (segment("v00", 3, 3), InvalidInput, "start < end"),
    ]:
        with pytest.raises(error, match=says):
            archive.search(None, example=example)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        segment("v00", -1, 3)


def segment(video_id: str, start: float, end: float) -> Example:
    return Example(video_id=video_id, start=start, end=end)


def test_words_and_an_example_count_alike(archive: Archive) -> None:
    example = segment("v05", 0, 4)
    alone = archive.engine._encoder.encode(
        SearchRequest(example=example), archive.model, archive.spec(2), Deadline(5), Stopwatch()
    )
    both = vector(archive) + alone.vector
    names = [f"v{n:02}" for n in range(COUNT)]
    expected = recall_scores(archive, both / np.linalg.norm(both), names, 2)
    found = archive.search(top_k=COUNT, mode="fast", example=example)
    by_name = dict(zip(names, expected, strict=True))
    for hit in found.results:
        assert hit.score == pytest.approx(by_name[hit.video.id], abs=1e-4)


def test_nothing_to_look_for(archive: Archive) -> None:
    with pytest.raises(InvalidInput, match="a query, an example or both"):
        archive.search(None)


def test_grid_sizes_side_by_side(archive: Archive) -> None:
    """Each has its own vectors, scores and moments; the profile's first is the default."""
    names = [f"v{n:02}" for n in range(COUNT)]
    for size in (1, 2):
        scores = recall_scores(archive, vector(archive), names, size)
        found = archive.search(top_k=COUNT, mode="fast", grid_size=size)
        assert found.grid_size == size
        assert ids(found) == [names[i] for i in np.argsort(-scores)]
        assert {m.cell for hit in found.results for m in hit.moments} == set(range(size**2))
    assert archive.search().grid_size == 2
    with pytest.raises(UnsupportedGrid, match=r"3 is not indexed.*\[2, 1\]"):
        archive.search(grid_size=3)


def scene(rng: np.random.Generator) -> list[Uint8]:
    """Eight frames of a coloured pattern that stands still."""
    pattern = rng.integers(0, 256, (6, 6, 3), np.uint8)
    return [np.kron(pattern, np.ones((16, 16, 1), np.uint8))] * 8


def encoded(archive: Archive, frames: list[Uint8], size: int) -> VideoVectors:
    """As an ingest encodes them."""
    timed = [Frame(pixels, float(n), n + 1.0) for n, pixels in enumerate(frames)]
    batch = stack(list(tile(timed, size, SIDE)))
    embeddings = archive.triton.encode_video(archive.model.version, batch.pixels, batch.mask)
    half = embeddings.astype(np.float16)
    return VideoVectors(archive.spec(size), half, batch.mask, batch.times)


def png(pixels: Uint8) -> Example:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Example(image=buffer.getvalue())


@pytest.mark.parametrize(
    ("variant", "server_name"), [("zero-shot", "triton_server"), ("fine-tuned", "tuned_server")]
)
def test_frame_of_a_still_video_is_its_super_image(
    variant: str, server_name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """By super images alone, which random weights tell apart. Fine-tuned, a window of eight frames
    has more context than a picture has."""
    server: RunningTriton = request.getfixturevalue(server_name)
    with opened_archive(server, tmp_path) as archive:
        assert archive.manifest.variant == variant
        archive.score_by_super_images()
        rng = np.random.default_rng(3)
        scenes = {str(n): scene(rng) for n in range(12)}
        for title, frames in scenes.items():
            archive.add_vectors(title, *(encoded(archive, frames, n) for n in (1, 2)))
        for size in (1, 2):
            for title, frames in scenes.items():
                found = archive.search(None, example=png(frames[4]), grid_size=size, mode="fast")
                best, second = found.results[:2]
                assert best.video.id == f"v{title}"
                assert best.score == pytest.approx(1, abs=1e-3 if variant == "zero-shot" else 0.05)
                assert second.score < best.score


def test_picture_of_too_many_bytes(archive: Archive) -> None:
    limit = archive.settings.max_picture_bytes
    with pytest.raises(UploadTooLarge, match=f"{limit + 1} bytes: the limit is {limit}"):
        archive.search(None, example=Example(image=b"\0" * (limit + 1)))

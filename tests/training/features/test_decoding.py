"""Decoding ahead: in order per video, bounded, and honest about what breaks."""

import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from qasir.errors import UnsupportedMedia
from qasir.super_images import stack, tile
from qasir.video import sample_frames
from tests.support.videos import PaintedVideo
from training.features import encode
from training.features.encode import AHEAD, DecodedBatch, Finished, Sampling, decode_ahead

SAMPLING = Sampling(fps=2.0, grid_size=2, resolution=64, batch_size=2)
FRAMES = Sampling(fps=2.0, grid_size=1, resolution=32, batch_size=3)
SAMPLINGS = [SAMPLING, FRAMES]


def test_parts_of_a_video_arrive_whole_and_in_order_at_every_grid_size(
    painted_video: PaintedVideo,
) -> None:
    files = {f"v{i}": painted_video(f"v{i}.mp4", seconds=3 + 2 * i) for i in range(4)}
    parts: dict[tuple[str, Sampling], list[DecodedBatch]] = {
        (video_id, sampling): [] for video_id in files for sampling in SAMPLINGS
    }
    finished = []
    for step in decode_ahead(files, dict.fromkeys(files, SAMPLINGS)):
        if isinstance(step, DecodedBatch):
            assert step.video_id not in finished
            assert len(step.batch) <= step.sampling.batch_size
            parts[step.video_id, step.sampling].append(step)
        else:
            assert step.error is None
            finished.append(step.video_id)
    assert sorted(finished) == sorted(files)
    for (video_id, s), steps in parts.items():
        alone = stack(list(tile(sample_frames(files[video_id], 2.0), s.grid_size, s.resolution)))
        pixels = np.concatenate([part.batch.pixels for part in steps])
        times = np.concatenate([part.batch.times for part in steps])
        assert np.array_equal(pixels, alone.pixels)
        assert np.array_equal(times, alone.times)
        # Every batch but the last is full.
        assert len(steps) == -(-len(alone) // s.batch_size)


def test_a_video_is_decoded_at_its_own_samplings(painted_video: PaintedVideo) -> None:
    files = {"a": painted_video("a.mp4"), "b": painted_video("b.mp4"), "c": painted_video("c.mp4")}
    steps = list(decode_ahead(files, {"a": [SAMPLING], "b": [FRAMES]}))
    batches = [step for step in steps if isinstance(step, DecodedBatch)]
    assert {(step.video_id, step.sampling) for step in batches} == {("a", SAMPLING), ("b", FRAMES)}
    assert {step.video_id for step in steps} == {"a", "b"}


def test_a_broken_video_does_not_stop_the_others(
    painted_video: PaintedVideo, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    files = {"broken": tmp_path / "broken.mp4", "good": painted_video("good.mp4")}
    steps = decode_ahead(files, dict.fromkeys(files, SAMPLINGS))
    errors = {step.video_id: step.error for step in steps if isinstance(step, Finished)}
    assert isinstance(errors.pop("broken"), UnsupportedMedia)
    assert errors == {"good": None}


def test_an_error_that_is_not_the_videos_reaches_the_consumer(
    painted_video: PaintedVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no memory")

    monkeypatch.setattr(encode, "stack", fail)
    with pytest.raises(ValueError, match="no memory"):
        list(decode_ahead({"a": painted_video()}, {"a": SAMPLINGS}))


def test_a_consumer_that_leaves_ends_the_threads(painted_video: PaintedVideo) -> None:
    before = threading.active_count()
    small = Sampling(fps=10.0, grid_size=1, resolution=32, batch_size=1)
    files = {f"v{i}": painted_video(f"v{i}.mp4") for i in range(AHEAD)}
    steps = decode_ahead(files, {video_id: [small] for video_id in files})
    assert len(list(islice(steps, 3))) == 3
    steps.close()  # type: ignore[attr-defined]  # a generator; the annotation says what callers need
    assert threading.active_count() == before

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
from training.features.decoding import (
    AHEAD,
    DecodedBatch,
    Finished,
    Sampling,
    Undecodable,
    decode_ahead,
)

SAMPLING = Sampling(fps=2.0, grid_size=2, resolution=64, batch_size=2)


def test_parts_of_a_video_arrive_whole_and_in_order(painted_video: PaintedVideo) -> None:
    files = {f"v{i}": painted_video(f"v{i}.mp4", seconds=3 + 2 * i) for i in range(4)}
    parts: dict[str, list[DecodedBatch]] = {video_id: [] for video_id in files}
    finished = []
    for step in decode_ahead(files, SAMPLING):
        if isinstance(step, DecodedBatch):
            assert step.video_id not in finished
            assert len(step.batch) <= SAMPLING.batch_size
            parts[step.video_id].append(step)
        elif isinstance(step, Finished):
            finished.append(step.video_id)
    assert sorted(finished) == sorted(files)
    for video_id, path in files.items():
        alone = stack(list(tile(sample_frames(path, 2.0), 2, 64)))
        pixels = np.concatenate([part.batch.pixels for part in parts[video_id]])
        times = np.concatenate([part.batch.times for part in parts[video_id]])
        assert np.array_equal(pixels, alone.pixels)
        assert np.array_equal(times, alone.times)


def test_a_broken_video_does_not_stop_the_others(
    painted_video: PaintedVideo, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    files = {"broken": tmp_path / "broken.mp4", "good": painted_video("good.mp4")}
    steps = list(decode_ahead(files, SAMPLING))
    broken = [step for step in steps if isinstance(step, Undecodable)]
    assert [step.video_id for step in broken] == ["broken"]
    assert isinstance(broken[0].error, UnsupportedMedia)
    assert Finished("good") in steps


def test_an_error_that_is_not_the_videos_reaches_the_consumer(painted_video: PaintedVideo) -> None:
    wrong = Sampling(fps=2.0, grid_size=2, resolution=64, batch_size=-1)
    with pytest.raises(ValueError, match="islice"):
        list(decode_ahead({"a": painted_video()}, wrong))


def test_a_consumer_that_leaves_ends_the_threads(painted_video: PaintedVideo) -> None:
    before = threading.active_count()
    small = Sampling(fps=10.0, grid_size=1, resolution=32, batch_size=1)
    steps = decode_ahead({f"v{i}": painted_video(f"v{i}.mp4") for i in range(AHEAD)}, small)
    assert len(list(islice(steps, 3))) == 3
    steps.close()  # type: ignore[attr-defined]  # a generator; the annotation says what callers need
    assert threading.active_count() == before

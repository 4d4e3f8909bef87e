"""The decode process: windows as the core makes them, death and silence as errors."""

import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest

from qasir.errors import (
    DecoderCrashed,
    NoVideoStream,
    QasirError,
    UnsupportedMedia,
    VideoTooLong,
)
from qasir.super_images import tile, windows
from qasir.types import VideoInfo
from qasir.video import Limits, sample_frames
from service.ingest.decode import (
    DecodedWindow,
    DecodePlan,
    Decoder,
    Finished,
    GridPlan,
    Message,
)
from tests.support.service import write_sound
from tests.support.videos import PaintedVideo, write_painted
from tests.support.waiting import wait_for

STALL_SECONDS = 20.0
RESOLUTION = 64


def plan(path: Path, *grid_sizes: int, window: int = 4, max_seconds: float = 900) -> DecodePlan:
    return DecodePlan(
        path=path,
        fps=1.0,
        grids=tuple(GridPlan(n, RESOLUTION, path.parent / f"sheets{n}") for n in grid_sizes),
        window=window,
        window_overlap=0,
        limits=Limits(max_seconds, 1 << 20),
        memory_bytes=8 << 30,
    )


def messages(given: DecodePlan) -> list[Message]:
    with Decoder(given, STALL_SECONDS) as decoder:
        return list(decoder.messages())


def refusal(path: Path, max_seconds: float = 900) -> QasirError:
    with pytest.raises(QasirError) as raised:
        messages(plan(path, 2, max_seconds=max_seconds))
    return raised.value


@pytest.mark.parametrize("grid_sizes", [(2,), (1, 2, 3)])
def test_windows_are_those_of_the_core(
    painted_video: PaintedVideo, grid_sizes: tuple[int, ...]
) -> None:
    path = painted_video(seconds=30)
    found = messages(plan(path, *grid_sizes))
    for n in grid_sizes:
        mine = [m for m in found if isinstance(m, DecodedWindow) and m.grid_size == n]
        expected = list(windows(tile(sample_frames(path, 1.0), n, RESOLUTION), 4))
        assert len(mine) == len(expected)
        for window, reference in zip(mine, expected, strict=True):
            np.testing.assert_array_equal(window.batch.pixels, reference.batch.pixels)
            np.testing.assert_array_equal(window.batch.mask, reference.batch.mask)
            np.testing.assert_array_equal(window.batch.times, reference.batch.times)
            assert window.keep == reference.keep


def test_story_of_a_video(painted_video: PaintedVideo) -> None:
    path = painted_video(seconds=10)
    first, *middle, last = messages(plan(path, 2))
    assert isinstance(first, VideoInfo)
    assert (first.codec, first.width) == ("h264", 64)
    assert {type(message) for message in middle} <= {int, DecodedWindow}
    assert isinstance(last, Finished)
    assert (last.frames, last.info) == (10, first)
    assert last.decode_seconds > 0 < last.tile_seconds[2]
    assert len(list((path.parent / "sheets2").iterdir())) == 3


def test_text_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "original"
    path.write_text("a dog runs")
    error = refusal(path)
    assert isinstance(error, UnsupportedMedia)
    assert "the upload" in str(error)
    assert str(tmp_path) not in str(error)


def test_sound_is_no_video(tmp_path: Path) -> None:
    assert isinstance(refusal(write_sound(tmp_path / "sound.mp4")), NoVideoStream)


def test_limit_of_duration_holds(painted_video: PaintedVideo) -> None:
    assert isinstance(refusal(painted_video(seconds=5), max_seconds=2), VideoTooLong)


def test_killed_process_is_an_error(painted_video: PaintedVideo) -> None:
    with Decoder(plan(painted_video(seconds=60), 1, window=2), STALL_SECONDS) as decoder:
        assert decoder.pid is not None
        found = decoder.messages()
        next(found)
        os.kill(decoder.pid, signal.SIGKILL)
        with pytest.raises(DecoderCrashed, match="exit code -9"):
            list(found)


def test_silent_process_is_an_error_and_is_killed(painted_video: PaintedVideo) -> None:
    with Decoder(plan(painted_video(seconds=60), 1, window=2), stall_seconds=0.2) as decoder:
        pid = decoder.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(DecoderCrashed, match="no progress"):
            list(decoder.messages())
    assert not psutil.pid_exists(pid)


def test_leaving_early_ends_the_process(painted_video: PaintedVideo) -> None:
    with Decoder(plan(painted_video(seconds=60), 1, window=2), STALL_SECONDS) as decoder:
        next(decoder.messages())
        pid = decoder.pid
        assert pid is not None
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """While nobody takes windows, the process stops decoding instead of piling them up."""
    path = write_painted(tmp_path / "long.mp4", seconds=3600, fps=1)
    with Decoder(plan(path, 1, window=64, max_seconds=4000), STALL_SECONDS) as decoder:
        found = decoder.messages()
        next(m for m in found if isinstance(m, DecodedWindow))
        process = psutil.Process(decoder.pid)
        used = [process.cpu_times().user]

        def rests() -> bool:
            """Whether it has done nothing since it was last looked at."""
            used.append(process.cpu_times().user)
            return used[-1] == used[-2]

        wait_for(rests, pause=0.2)
        early = process.memory_info().rss
        taken = sum(isinstance(m, DecodedWindow) for m in [next(found) for _ in range(30)])
        assert taken >= 15
        late = process.memory_info().rss
    # 15 windows are 12 MB of pixels; an hour of them would be 44.
    assert late - early < 8 << 20

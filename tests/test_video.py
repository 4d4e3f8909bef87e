"""Sampling: which picture stands for which second, and what broken files give."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qasir.errors import (
    InvalidInput,
    NoFrames,
    NoVideoStream,
    QasirError,
    UnsupportedMedia,
    VideoTooLarge,
    VideoTooLong,
)
from qasir.video import Limits, probe, sample_frames
from tests.support.videos import PaintedVideo, painted_number, write_painted


def numbers(path: Path, fps: float = 1.0) -> list[int]:
    return [painted_number(frame.pixels) for frame in sample_frames(path, fps)]


def shown_at(times: list[float], moment: float) -> int:
    """The slow reference: the last frame whose time is not after `moment`."""
    return max(i for i, time in enumerate(times) if time <= moment + 1e-9)


def test_each_second_shows_the_picture_of_its_middle(painted_video: PaintedVideo) -> None:
    frames = list(sample_frames(painted_video(seconds=4, fps=10), 1.0))
    assert [painted_number(f.pixels) for f in frames] == [4, 14, 24, 34] or [
        painted_number(f.pixels) for f in frames
    ] == [5, 15, 25, 35]
    assert [(f.start, f.end) for f in frames] == [(0, 1), (1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize("fps", [0.5, 1.0, 3.0])
def test_sampling_rate(painted_video: PaintedVideo, fps: float) -> None:
    frames = list(sample_frames(painted_video(seconds=6), fps))
    assert len(frames) == 6 * fps


@settings(max_examples=15, deadline=None)
@given(gaps=st.lists(st.sampled_from([0.04, 0.1, 0.3, 0.9, 2.1]), min_size=3, max_size=25))
def test_variable_frame_rate(gaps: list[float], tmp_path_factory: pytest.TempPathFactory) -> None:
    times = [float(t) for t in np.cumsum([0.0, *gaps])]
    path = write_painted(tmp_path_factory.mktemp("vfr") / "vfr.mkv", times=times)
    found = numbers(path)
    inside = [k for k in range(len(found)) if k + 0.5 < times[-1] - 0.01]
    assert [found[k] for k in inside] == [shown_at(times, k + 0.5) for k in inside]
    assert len(inside) >= int(times[-1] - 0.5)


def test_short_video_gives_one_frame(painted_video: PaintedVideo) -> None:
    frames = list(sample_frames(painted_video(seconds=0.3), 1.0))
    assert len(frames) == 1
    assert frames[0].start == 0
    assert frames[0].end == pytest.approx(0.3, abs=0.05)


def test_stream_that_starts_late_counts_from_its_first_frame(painted_video: PaintedVideo) -> None:
    path = painted_video("late.mkv", times=[5 + i / 10 for i in range(30)])
    frames = list(sample_frames(path, 1.0))
    assert [f.start for f in frames] == [0, 1, 2]


@pytest.mark.parametrize(("turn", "shape"), [(90, (64, 48)), (180, (48, 64)), (270, (64, 48))])
def test_rotation_metadata(painted_video: PaintedVideo, turn: int, shape: tuple[int, int]) -> None:
    path = painted_video(seconds=2)
    data = bytearray(path.read_bytes())
    # The display matrix of the track header: a, b, c, d in 16.16 fixed point.
    place = data.index(b"tkhd") + 4 + 40
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[turn]
    for offset, value in zip((0, 4, 12, 16), matrix, strict=True):
        data[place + offset : place + offset + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    info = probe(path)
    frame = next(iter(sample_frames(path, 1.0)))
    assert info.rotation == turn
    assert frame.pixels.shape == (*shape, 3)
    assert (info.height, info.width) == shape
    upright = np.rot90(frame.pixels, turn // 90)
    assert painted_number(np.ascontiguousarray(upright)) in (4, 5)


def test_odd_sizes(painted_video: PaintedVideo) -> None:
    path = painted_video("odd.avi", seconds=2, size=(67, 43), codec="ffv1")
    assert next(iter(sample_frames(path, 1.0))).pixels.shape == (43, 67, 3)


def test_probe(painted_video: PaintedVideo) -> None:
    info = probe(painted_video(seconds=4, fps=10))
    assert (info.width, info.height, info.codec, info.rotation) == (64, 48, "h264", 0)
    assert info.duration == pytest.approx(4.0, abs=0.15)


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for i in range(20):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = 16000, i * 1024, Fraction(1, 16000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_audio_only(tmp_path: Path) -> None:
    with pytest.raises(NoVideoStream, match="none of them video"):
        probe(write_sound(tmp_path / "sound.mp4"))


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100, bytes(5000)])
def test_no_video_at_all(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.mp4"
    path.write_bytes(content)
    with pytest.raises(UnsupportedMedia, match=r"text\.mp4") as caught:
        probe(path)
    assert str(tmp_path) not in str(caught.value)


def test_not_one_frame_decodes(painted_video: PaintedVideo) -> None:
    """Intact headers, and zeros where the pictures were."""
    path = painted_video("blank.mp4", seconds=1)
    data = path.read_bytes()
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    path.write_bytes(data[:begin] + bytes(end - begin) + data[end:])
    with pytest.raises(NoFrames, match=r"blank\.mp4"):
        probe(path)
    with pytest.raises(NoFrames):
        list(sample_frames(path, 1.0))


def test_playlist_is_refused(tmp_path: Path, painted_video: PaintedVideo) -> None:
    """A playlist could make the server read any file it can reach."""
    inner = painted_video("inner.ts", seconds=2)
    path = tmp_path / "list.m3u8"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{inner}\n#EXT-X-ENDLIST\n")
    with pytest.raises(UnsupportedMedia):
        probe(path)


def test_truncated_file_gives_what_decodes(painted_video: PaintedVideo) -> None:
    path = painted_video("cut.mkv", seconds=20)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    found = numbers(path)
    assert 5 <= len(found) < 20
    assert found == sorted(found)


def outcome(path: Path) -> str:
    try:
        return "decodes" if numbers(path) else "nothing"
    except QasirError as error:
        return error.code


def test_every_cut_of_a_file_is_typed_or_decodes(painted_video: PaintedVideo) -> None:
    path = painted_video(seconds=3)
    data = path.read_bytes()
    outcomes = {outcome(path)}
    for share in range(1, 20):
        path.write_bytes(data[: len(data) * share // 20])
        outcomes.add(outcome(path))
    assert "decodes" in outcomes
    assert outcomes <= {"decodes", "unsupported_media", "no_frames", "no_video_stream"}


def test_limits(painted_video: PaintedVideo) -> None:
    path = painted_video(seconds=4)
    with pytest.raises(VideoTooLong, match="limit is 2 s"):
        list(sample_frames(path, 1.0, Limits(max_seconds=2.0)))
    with pytest.raises(VideoTooLarge, match="limit is 100"):
        probe(path, Limits(max_pixels=100))


def test_leap_in_timestamps_is_bounded(painted_video: PaintedVideo) -> None:
    path = painted_video("leap.mkv", times=[0.0, 0.1, 0.2, 90_000.0])
    with pytest.raises(VideoTooLong):
        list(sample_frames(path, 1.0))


def test_fps_must_be_positive(painted_video: PaintedVideo) -> None:
    with pytest.raises(InvalidInput, match="fps 0"):
        next(iter(sample_frames(painted_video(), 0.0)))


MEMORY = """
import resource, sys
from pathlib import Path
from qasir.super_images import tile, windows
from qasir.video import sample_frames
path, seconds = Path(sys.argv[1]), float(sys.argv[2])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
count = 0
early = None
for window in windows(tile(sample_frames(path, 1.0), 2, 256), 64):
    count += len(window.batch)
    early = early or peak()
assert count == seconds // 4, count
print(peak() - early)
"""


@pytest.mark.slow
def test_three_hours_in_constant_memory(tmp_path: Path) -> None:
    """One frame a second for three hours: memory after 43 windows is that after the first."""
    path = write_painted(tmp_path / "long.mp4", times=range(3 * 3600), numbers=[7] * 3 * 3600)
    run = [sys.executable, "-c", MEMORY, str(path), str(3 * 3600)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 60


def test_real_clips(clips_folder: Path) -> None:
    import json

    for clip in json.loads((clips_folder / "manifest.json").read_text())["clips"]:
        info = probe(clips_folder / clip["file"])
        frames = list(sample_frames(clips_folder / clip["file"], 1.0))
        assert (info.codec, info.width, info.height) == (
            clip["codec"],
            clip["width"],
            clip["height"],
        )
        assert info.duration == pytest.approx(clip["duration_s"], abs=0.1)
        assert abs(len(frames) - clip["duration_s"]) <= 1
        assert frames[-1].end <= clip["duration_s"] + 0.1

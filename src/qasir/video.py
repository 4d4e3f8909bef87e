"""Sample frames from video files, in one pass and constant memory.

The k-th sampled frame stands for media time [k/fps, (k+1)/fps) and is the picture on screen
at the middle of that interval. A shorter last interval counts if the video reaches its
middle; a video too short for that still gives one frame. Times are presentation timestamps
minus the first one, so variable frame rates and late starts need no special case.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from qasir.errors import (
    InvalidInput,
    MissingExtra,
    NoFrames,
    NoVideoStream,
    UnsupportedMedia,
    VideoTooLarge,
    VideoTooLong,
)
from qasir.types import Frame, Uint8, VideoInfo

try:
    import av
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
except ModuleNotFoundError as error:
    raise MissingExtra(
        "qasir.video needs the package av; run: pip install 'qasir[video]'"
    ) from error

# Containers that hold still pictures or make the reader open other files.
REFUSED_FORMATS = frozenset({"hls", "concat", "image2", "png_pipe", "jpeg_pipe", "gif_pipe", "tty"})


@dataclass(frozen=True)
class Limits:
    """The longest duration in seconds and the largest frame in pixels that are accepted."""

    max_seconds: float = 6 * 3600.0
    max_pixels: int = 8192 * 4320


DEFAULT_LIMITS = Limits()


def probe(path: Path, limits: Limits = DEFAULT_LIMITS) -> VideoInfo:
    """Read the container's header and decode one frame, which holds the rotation.

    Raises:
        UnsupportedMedia: the file is not a video container.
        NoVideoStream: the file holds only sound or data.
        NoFrames: no frame decodes.
        VideoTooLong, VideoTooLarge: the video exceeds `limits`.
    """
    with _open(path, limits) as (container, stream, duration):
        first = next(_decode(container, stream, path))[1]
        rotation = -first.rotation % 360
        upright = rotation % 180 == 0
        return VideoInfo(
            duration=duration,
            width=first.width if upright else first.height,
            height=first.height if upright else first.width,
            fps=float(stream.average_rate or 0),
            codec=stream.codec_context.name,
            container=container.format.name,
            rotation=rotation,
        )


def sample_frames(path: Path, fps: float, limits: Limits = DEFAULT_LIMITS) -> Iterator[Frame]:
    """Yield upright RGB frames, `fps` per second of video, in order of time.

    A truncated or damaged file yields the frames that decode.

    Raises:
        InvalidInput: fps is not positive.
        UnsupportedMedia, NoVideoStream, NoFrames, VideoTooLong, VideoTooLarge: see `probe`.
    """
    if not fps > 0:
        raise InvalidInput(f"fps {fps} must be greater than 0, for example 1.0")
    with _open(path, limits) as (container, stream, duration):
        # No interval ends after the video, if its duration is known.
        total = duration or float("inf")
        number = 0
        shown: VideoFrame | None = None
        pixels: Uint8 | None = None
        end = 0.0
        for time, frame in chain(_decode(container, stream, path), [(None, None)]):
            # The previous frame is on screen at every interval middle before this frame.
            until = end if time is None else time
            while shown is not None and (number + 0.5) / fps < until:
                _check(number / fps, shown.width * shown.height, limits)
                pixels = _upright(shown) if pixels is None else pixels
                middle, after = (number + 0.5) / fps, (number + 1) / fps
                yield Frame(pixels, number / fps, min(after, max(middle, total)))
                number += 1
            if time is not None and frame is not None:
                shown, pixels = frame, None
                end = time + _frame_seconds(frame, stream)
        if number == 0 and shown is not None:
            yield Frame(_upright(shown), 0.0, end)


@contextmanager
def _open(path: Path, limits: Limits) -> Iterator[tuple[InputContainer, VideoStream, float]]:
    """Open a container within the limits, with its first video stream and declared seconds."""
    try:
        # No other protocol: a playlist must not make us read other files or the network.
        container = av.open(str(path), options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, ValueError) as error:
        # Not str(error), which would show our path to whoever sent the file.
        reason = getattr(error, "strerror", None) or "unreadable"
        raise UnsupportedMedia(
            f"{path.name} is not a video file that this build can read ({reason}); "
            "convert it to mp4, mkv, webm or avi"
        ) from error
    with container:
        if container.format.name in REFUSED_FORMATS:
            raise UnsupportedMedia(
                f"{path.name} has type {container.format.name}, which is not accepted; "
                "upload mp4, mkv, webm or avi"
            )
        # Album art is a video stream of one picture.
        art = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & art]
        if not streams:
            raise NoVideoStream(
                f"{path.name} has {len(container.streams)} stream(s), none of them video; "
                "upload a file with a video stream"
            )
        if streams[0].codec_context is None:
            raise UnsupportedMedia(
                f"{path.name} is truncated or uses a video codec that this build cannot decode; "
                "convert it to h264, vp9 or av1"
            )
        stream = streams[0]
        stream.thread_type = "AUTO"
        duration = (container.duration or 0) / float(av.time_base)
        if stream.duration is not None and stream.time_base is not None:
            duration = float(stream.duration) * float(stream.time_base)
        _check(duration, stream.width * stream.height, limits)
        yield container, stream, duration


def _check(seconds: float, pixels: int, limits: Limits) -> None:
    if seconds > limits.max_seconds:
        raise VideoTooLong(
            f"the video has {seconds:.0f} s or more, the limit is {limits.max_seconds:.0f} s; "
            "split it or raise QASIR_MAX_VIDEO_SECONDS"
        )
    if pixels > limits.max_pixels:
        raise VideoTooLarge(
            f"a frame has {pixels} pixels, the limit is {limits.max_pixels}; "
            "scale the video down or raise QASIR_MAX_FRAME_PIXELS"
        )


def _decode(
    container: InputContainer, stream: VideoStream, path: Path
) -> Iterator[tuple[float, VideoFrame]]:
    """Yield frames with their seconds since the first one, skipping packets that do not decode."""
    first: float | None = None
    latest = -1.0
    for count, frame in enumerate(_decodable(container, stream)):
        # Old AVI files have no timestamps: count frames instead.
        time = frame.time if frame.time is not None else count / float(stream.average_rate or 25)
        first = time if first is None else first
        if time - first > latest:
            latest = time - first
            yield latest, frame
    if first is None:
        raise NoFrames(
            f"no frame of the video stream in {path.name} decodes; repair or re-encode it"
        )


def _decodable(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
            frames = packet.decode()
        except StopIteration:
            return
        except av.error.InvalidDataError:
            continue
        except av.error.FFmpegError:
            # The container is truncated here: use what was decoded before.
            return
        yield from frames


def _frame_seconds(frame: VideoFrame, stream: VideoStream) -> float:
    if frame.duration and frame.time_base:
        return float(frame.duration) * float(frame.time_base)
    return 1 / float(stream.average_rate or 25)


def _upright(frame: VideoFrame) -> Uint8:
    pixels = frame.to_ndarray(format="rgb24")
    # PyAV's angle and np.rot90 are both counter-clockwise.
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))

"""Which files of a folder are worth looking at as videos."""

import mimetypes
from pathlib import Path

NO_VIDEO = ("text/", "image/", "application/json")
# To the table of types, .ts is a translation; to a camera, an MPEG transport stream.
TRANSPORT_STREAM = ".ts"


def may_be_video(path: Path) -> bool:
    """By name alone, so subtitles, pictures and notes beside videos are passed over.

    Unknown types pass: what a file really holds is decided when it is decoded.

    >>> [may_be_video(Path(name)) for name in ("a.mp4", "a.srt", "a.json", "a", "a.ts")]
    [True, False, False, True, True]
    """
    if path.suffix.lower() == TRANSPORT_STREAM:
        return True
    kind, _ = mimetypes.guess_type(path.name)
    return kind is None or not kind.startswith(NO_VIDEO)

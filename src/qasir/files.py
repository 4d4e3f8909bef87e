"""Pick the files of a folder that may be videos."""

import mimetypes
from pathlib import Path

NO_VIDEO = ("text/", "image/", "application/json")
# `mimetypes` takes .ts for a Qt translation; cameras write MPEG transport streams.
TRANSPORT_STREAM = ".ts"


def may_be_video(path: Path) -> bool:
    """Return whether a file's name allows a video, to skip subtitles, pictures and notes.

    Unknown types pass, because only decoding can tell.

    >>> [may_be_video(Path(name)) for name in ("a.mp4", "a.srt", "a.json", "a", "a.ts")]
    [True, False, False, True, True]
    """
    if path.suffix.lower() == TRANSPORT_STREAM:
        return True
    kind, _ = mimetypes.guess_type(path.name)
    return kind is None or not kind.startswith(NO_VIDEO)

"""The one error tree: every way a request, a file or an artifact can be wrong.

A message names the value received, the limit and the next step. Transports map
classes to their own status in one table (`service/http/status.py`); nothing here
knows of HTTP or gRPC.
"""

import re
from typing import ClassVar

# Up to the last @ of a word, because a password may contain one.
CREDENTIALS = re.compile(r"(?<=://)\S*@")


def redact(text: str) -> str:
    """Replace user and password in every URL of a text.

    >>> redact("no answer from https://ada:secret@host:3000; start it")
    'no answer from https://***@host:3000; start it'
    """
    return CREDENTIALS.sub("***@", text)


class QasirError(Exception):
    """Base of every error that qasir raises on purpose; its message shows no password of a URL.

    `code` is stable and bounded, fit for problem+json and a metric label;
    `retryable` says whether the same request may succeed later.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        super().__init__(redact(detail))


class InvalidInput(QasirError):
    """The caller sent a value outside its documented limits."""

    code = "invalid_input"


class UnsupportedMedia(InvalidInput):
    """The bytes are no video container that this build can read."""

    code = "unsupported_media"


class NoVideoStream(InvalidInput):
    """The file is readable and holds sound or data only."""

    code = "no_video_stream"


class NoFrames(InvalidInput):
    """The file has a video stream, and not one frame of it decodes."""

    code = "no_frames"


class VideoTooLong(InvalidInput):
    """The video is longer than the configured limit."""

    code = "video_too_long"


class VideoTooLarge(InvalidInput):
    """The frames have more pixels than the configured limit."""

    code = "video_too_large"


class UploadTooLarge(InvalidInput):
    """The upload has more bytes than the configured limit."""

    code = "upload_too_large"


class UnsupportedProtocol(InvalidInput):
    """The client speaks another version of the upload protocol."""

    code = "unsupported_protocol"


class QueryTooLong(InvalidInput):
    """The query has more characters than the configured limit."""

    code = "query_too_long"


class UnsupportedGrid(InvalidInput):
    """The model or index does not serve this grid size, resolution or fps."""

    code = "unsupported_grid"


class UnsupportedProfile(InvalidInput):
    """No model set that answers searches has this name."""

    code = "unsupported_profile"


class RequestStalled(InvalidInput):
    """The rest of a request did not come in time."""

    code = "request_timeout"


class NotFound(QasirError):
    """No video, job, picture or model has this id."""

    code = "not_found"


class Conflict(QasirError):
    """The request is well formed and the present state forbids it."""

    code = "conflict"


class FingerprintMismatch(QasirError):
    """An artifact was made by another model than the one that reads it."""

    code = "fingerprint_mismatch"


class CorruptArtifact(QasirError):
    """A file of ours does not match its own spec."""

    code = "corrupt_artifact"


class InvalidConfig(QasirError):
    """A params file, manifest or environment variable has a wrong key or value."""

    code = "invalid_config"


class InvalidAnnotations(QasirError):
    """A benchmark's annotation file does not have the shape its reader expects."""

    code = "invalid_annotations"


class MissingExtra(QasirError):
    """An optional dependency is not installed; the message holds the command that adds it."""

    code = "missing_extra"


class DecoderCrashed(QasirError):
    """The decode process died or ran past its deadline on this file."""

    code = "decoder_crashed"


class Overloaded(QasirError):
    """A bounded queue is full."""

    code = "overloaded"
    retryable = True


class ModelUnavailable(QasirError):
    """Triton is not there, not ready or past its deadline."""

    code = "model_unavailable"
    retryable = True


class WorkerUnavailable(QasirError):
    """The ingest worker does not answer."""

    code = "worker_unavailable"
    retryable = True


class StorageFull(QasirError):
    """Too little disk is left to accept the bytes."""

    code = "storage_full"
    retryable = True


def error_from_code(code: str, detail: str) -> QasirError:
    """The error that a service told of by its code; a code of a newer service is the base.

    >>> error_from_code("not_found", "no video 'v0'")
    NotFound("no video 'v0'")
    """
    tree = [value for value in globals().values() if isinstance(value, type)]
    classes = {kind.code: kind for kind in tree if issubclass(kind, QasirError)}
    return classes.get(code, QasirError)(detail)

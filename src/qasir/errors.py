"""The one error tree of qasir.

A message names the value received, the limit and the next step. One table maps the classes to
HTTP and gRPC statuses (`service/http/problems.py`); this module knows neither.
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
    """Base class of every error that qasir raises on purpose; its message shows no password.

    code: stable, for problem+json and metric labels; retryable: the same request may succeed
    later.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        super().__init__(redact(detail))


class InvalidInput(QasirError):
    """A value is outside its documented limits."""

    code = "invalid_input"


class UnsupportedMedia(InvalidInput):
    """The file is not a video that this build can read."""

    code = "unsupported_media"


class NoVideoStream(InvalidInput):
    """The file holds only sound or data."""

    code = "no_video_stream"


class NoFrames(InvalidInput):
    """No frame of the video stream decodes."""

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
    """The client uses another version of the upload protocol."""

    code = "unsupported_protocol"


class QueryTooLong(InvalidInput):
    """The query has more characters than the configured limit."""

    code = "query_too_long"


class UnsupportedGrid(InvalidInput):
    """The model or index does not serve this grid size, resolution or fps."""

    code = "unsupported_grid"


class UnsupportedModel(InvalidInput):
    """No model that answers searches has this name and version."""

    code = "unsupported_model"


class RequestStalled(InvalidInput):
    """The rest of a request did not arrive in time."""

    code = "request_timeout"


class NotFound(QasirError):
    """No video, job, picture or model has this id."""

    code = "not_found"


class Conflict(QasirError):
    """The request is valid but does not fit the current state."""

    code = "conflict"


class FingerprintMismatch(QasirError):
    """The model that reads an artifact is not the one that made it."""

    code = "fingerprint_mismatch"


class CorruptArtifact(QasirError):
    """A file that qasir wrote is damaged or does not match its manifest."""

    code = "corrupt_artifact"


class InvalidConfig(QasirError):
    """A params file, manifest or environment variable has a wrong key or value."""

    code = "invalid_config"


class InvalidAnnotations(QasirError):
    """A benchmark's annotation file does not have the format that its reader expects."""

    code = "invalid_annotations"


class MissingExtra(QasirError):
    """An optional dependency is not installed; the message names the command that installs it."""

    code = "missing_extra"


class DecoderCrashed(QasirError):
    """The decode process died or exceeded its deadline on this file."""

    code = "decoder_crashed"


class Overloaded(QasirError):
    """A bounded queue is full."""

    code = "overloaded"
    retryable = True


class ModelUnavailable(QasirError):
    """Triton is not running, not ready or did not answer in time."""

    code = "model_unavailable"
    retryable = True


class WorkerUnavailable(QasirError):
    """The ingest worker does not answer."""

    code = "worker_unavailable"
    retryable = True


class StorageFull(QasirError):
    """Too little disk space is left to accept the bytes."""

    code = "storage_full"
    retryable = True


def error_from_code(code: str, detail: str) -> QasirError:
    """Return the error for a service's error code; an unknown code gives the base class.

    >>> error_from_code("not_found", "no video 'v0'")
    NotFound("no video 'v0'")
    """
    tree = [value for value in globals().values() if isinstance(value, type)]
    classes = {kind.code: kind for kind in tree if issubclass(kind, QasirError)}
    return classes.get(code, QasirError)(detail)

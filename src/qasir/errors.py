"""The one error tree of qasir.

A message names the value received, the limit and the next step. One table maps the classes to
HTTP and gRPC statuses (`service/http/problems.py`); this module knows neither.
"""

import re
from typing import ClassVar

# Up to the last @ of a word, because a password may contain one.
CREDENTIALS = re.compile(r"(?<=://)\S*@")
# By code; every class enters itself.
CLASSES: dict[str, type["QasirError"]] = {}


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

    def __init_subclass__(cls, code: str, retryable: bool = False) -> None:
        cls.code, cls.retryable = code, retryable
        CLASSES[code] = cls

    def __init__(self, detail: str = "") -> None:
        super().__init__(redact(detail))


class InvalidInput(QasirError, code="invalid_input"):
    """A value is outside its documented limits."""


class UnsupportedMedia(InvalidInput, code="unsupported_media"):
    """The file is not a video that this build can read."""


class NoVideoStream(InvalidInput, code="no_video_stream"):
    """The file holds only sound or data."""


class NoFrames(InvalidInput, code="no_frames"):
    """No frame of the video stream decodes."""


class VideoTooLong(InvalidInput, code="video_too_long"):
    """The video is longer than the configured limit."""


class VideoTooLarge(InvalidInput, code="video_too_large"):
    """The frames have more pixels than the configured limit."""


class UploadTooLarge(InvalidInput, code="upload_too_large"):
    """The upload has more bytes than the configured limit."""


class UnsupportedProtocol(InvalidInput, code="unsupported_protocol"):
    """The client uses another version of the upload protocol."""


class QueryTooLong(InvalidInput, code="query_too_long"):
    """The query has more characters than the configured limit."""


class UnsupportedGrid(InvalidInput, code="unsupported_grid"):
    """The model or index does not serve this grid size, resolution or fps."""


class UnsupportedModel(InvalidInput, code="unsupported_model"):
    """No model that answers searches has this name and version."""


class RequestStalled(InvalidInput, code="request_timeout"):
    """The rest of a request did not arrive in time."""


class NotFound(QasirError, code="not_found"):
    """No video, job, picture or model has this id."""


class Conflict(QasirError, code="conflict"):
    """The request is valid but does not fit the current state."""


class FingerprintMismatch(QasirError, code="fingerprint_mismatch"):
    """The model that reads an artifact is not the one that made it."""


class CorruptArtifact(QasirError, code="corrupt_artifact"):
    """A file that qasir wrote is damaged or does not match its manifest."""


class InvalidConfig(QasirError, code="invalid_config"):
    """A params file, manifest or environment variable has a wrong key or value."""


class InvalidAnnotations(QasirError, code="invalid_annotations"):
    """A benchmark's annotation file does not have the format that its reader expects."""


class MissingExtra(QasirError, code="missing_extra"):
    """An optional dependency is not installed; the message names the command that installs it."""


class DecoderCrashed(QasirError, code="decoder_crashed"):
    """The decode process died or exceeded its deadline on this file."""


class Overloaded(QasirError, code="overloaded", retryable=True):
    """A bounded queue is full."""


class ModelUnavailable(QasirError, code="model_unavailable", retryable=True):
    """Triton is not running, not ready or did not answer in time."""


class WorkerUnavailable(QasirError, code="worker_unavailable", retryable=True):
    """The ingest worker does not answer."""


class StorageFull(QasirError, code="storage_full", retryable=True):
    """Too little disk space is left to accept the bytes."""


def error_from_code(code: str, detail: str) -> QasirError:
    """Return the error for a service's error code; an unknown code gives the base class.

    >>> error_from_code("not_found", "no video 'v0'")
    NotFound("no video 'v0'")
    """
    return CLASSES.get(code, QasirError)(detail)

"""The calls of the service, listed once for both transports, and what a transport does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from qasir.contract.base import Answer, Request
from qasir.contract.jobs import Job, JobPage, ListJobsRequest
from qasir.contract.models import ActivateModelRequest, BuildModelRequest, Model, ModelList
from qasir.contract.search import (
    Attention,
    EmbedRequest,
    EmbedResponse,
    GetAttentionRequest,
    SearchRequest,
    SearchResponse,
)
from qasir.contract.videos import ListVideosRequest, Upload, UploadHeader, VideoDetail, VideoPage
from qasir.errors import InvalidInput, ModelUnavailable, QasirError

T = TypeVar("T", bound=Answer)
R = TypeVar("R", bound=Request)
OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class Operation(Generic[T]):
    """One call: its gRPC method, its HTTP method and path, and the types of answer and request.

    `repeatable`: sending it twice does no harm, so a transport may try again.
    """

    name: str
    method: str
    path: str
    answer: type[T]
    request: type[Request] | None = None
    repeatable: bool = False


LIST_VIDEOS = Operation(
    "ListVideos", "GET", "/v1/videos", VideoPage, ListVideosRequest, repeatable=True
)
GET_VIDEO = Operation("GetVideo", "GET", "/v1/videos/{video_id}", VideoDetail, repeatable=True)
DELETE_VIDEO = Operation("DeleteVideo", "DELETE", "/v1/videos/{video_id}", Answer, repeatable=True)
LIST_JOBS = Operation("ListJobs", "GET", "/v1/jobs", JobPage, ListJobsRequest, repeatable=True)
GET_JOB = Operation("GetJob", "GET", "/v1/jobs/{job_id}", Job, repeatable=True)
CANCEL_JOB = Operation("CancelJob", "POST", "/v1/jobs/{job_id}/cancel", Job, repeatable=True)
RETRY_JOB = Operation("RetryJob", "POST", "/v1/jobs/{job_id}/retry", Job)
SEARCH = Operation("Search", "POST", "/v1/search", SearchResponse, SearchRequest, repeatable=True)
ATTENTION = "/v1/videos/{video_id}/attention"
GET_ATTENTION = Operation(
    "GetAttention", "POST", ATTENTION, Attention, GetAttentionRequest, repeatable=True
)
EMBED = Operation("Embed", "POST", "/v1/embed", EmbedResponse, EmbedRequest, repeatable=True)
LIST_MODELS = Operation("ListModels", "GET", "/v1/models", ModelList, repeatable=True)
GET_MODEL = Operation("GetModel", "GET", "/v1/models/{version}", Model, repeatable=True)
BUILD_MODEL = Operation(
    "BuildModel", "POST", "/v1/models/{version}/build", Model, BuildModelRequest
)
ACTIVATE = "/v1/models/{version}/activate"
ACTIVATE_MODEL = Operation(
    "ActivateModel", "POST", ACTIVATE, Model, ActivateModelRequest, repeatable=True
)
RETIRE_MODEL = Operation("RetireModel", "POST", "/v1/models/{version}/retire", Model)

OPERATIONS: tuple[Operation[Answer], ...] = tuple(
    value for value in globals().values() if isinstance(value, Operation)
)


class Transport(Protocol):
    """Sends requests and returns contract types; safe to share between threads.

    Every method raises the QasirError that has the code of the service's answer, and
    ModelUnavailable where no service answers.
    """

    url: str

    def call(self, operation: Operation[T], request: Request | None = None, **path: str | int) -> T:
        """Send one call; `path` holds what HTTP has in its path."""

    def upload(self, path: Path, header: UploadHeader, on_bytes: OnBytes) -> Upload:
        """Send a file; `on_bytes` gets the size of each piece that was sent."""

    def watch(self, job_id: str, seconds: float | None) -> Iterator[Job]:
        """Yield a job as it is now, then each time it changes, until it ends.

        Raises:
            ModelUnavailable: no change came within `seconds`.
        """

    def close(self) -> None:
        """Close the connections."""


def build_request(kind: type[R], **fields: Any) -> R:
    """Build a request of the fields that are not None.

    Raises:
        InvalidInput: a field is unknown, or its value breaks a rule.
    """
    try:
        return kind(**{name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'])) or 'request'}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise InvalidInput(f"{'; '.join(faults)}; see {kind.__name__}") from error


def unreachable(url: str, reason: object) -> ModelUnavailable:
    """Return the error of a service that does not answer."""
    return ModelUnavailable(
        f"no answer from a qasir service at {url} ({reason}); start one with `qasir up`, "
        f"or give another address with --url"
    )


def unreadable(url: str, reason: object) -> QasirError:
    """Return the error of an answer that breaks the contract."""
    return QasirError(
        f"{url} gave an answer that this client cannot read: {reason}; "
        f"use the same version of qasir on both sides"
    )

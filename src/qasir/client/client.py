"""The client of a qasir service.

>>> with Client("http://127.0.0.1:3000") as client:  # doctest: +SKIP
...     upload = client.upload(Path("dog.mp4"))
...     client.wait(upload.job_id)
...     print(client.search("a dog runs").results[0].video.title)
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx

from qasir.client import operations as ops
from qasir.client.http import HttpTransport
from qasir.client.operations import OnBytes, Operation, Transport, build_request
from qasir.contract.base import Answer
from qasir.contract.jobs import Job, JobPage
from qasir.contract.models import Model, Reranker
from qasir.contract.search import Attention, EmbedResponse, SearchResponse
from qasir.contract.videos import Upload, UploadHeader, VideoDetail, VideoPage
from qasir.errors import InvalidInput, ModelUnavailable, NotFound, QasirError, error_from_code

DEFAULT_URL = "http://127.0.0.1:3000"
GRPC_PORT = 50051
FINAL = ("ready", "failed", "cancelled")
# The longest that one stream of a job is read before a new one begins. Less than the keep-alive
# of 10 s, so that a quiet stream cannot hold `wait` past its deadline.
STREAM_SECONDS = 7.5
# Between two streams, and how long the service may stay away.
PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 60.0

PATH_FIELD = re.compile(r"{(\w+)}")

OnJob = Callable[[Job], None]
T = TypeVar("T", bound=Answer)


class Client:
    """A service by its URL: `http://host:port`, `https://…` or `grpc://host:port`.

    Safe to share between threads. `timeout` in seconds is for one answer. `memory` is a folder
    that remembers unfinished uploads of large files over HTTP, so that another run resumes them.

    Raises, from every call:
        QasirError: the class that has the answer's `code`, with the service's own message.
        ModelUnavailable: no service answers at this URL.
        InvalidInput: an argument breaks a rule of the request; nothing was sent.
    """

    def __init__(
        self, url: str = DEFAULT_URL, timeout: float = 30.0, memory: Path | None = None
    ) -> None:
        self._transport = _open_transport(url, timeout, memory)

    @property
    def url(self) -> str:
        """Where the service is, without user and password."""
        return self._transport.url

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def upload(
        self,
        path: Path,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_bytes: OnBytes = lambda _: None,
    ) -> Upload:
        """Send a file; `on_bytes` gets the size of each piece that was sent.

        Over HTTP a large file resumes after a broken connection or a restart of the service;
        `on_bytes` then gets a negative number where sending has to go back.
        """
        if not path.is_file():
            raise NotFound(f"no file at {path}; give the path of a video")
        fields = {"title": title, "metadata": metadata, "expected_bytes": path.stat().st_size}
        header = build_request(UploadHeader, filename=path.name, **fields)
        return self._transport.upload(path, header, on_bytes)

    def wait(self, job_id: str, on_job: OnJob = lambda _: None, timeout: float = 3600.0) -> Job:
        """Block until a job has ended; a failed one raises its error.

        Raises:
            ModelUnavailable: it has not ended after `timeout` seconds.
        """
        return wait_for_end(
            job_id, lambda left: self.watch(job_id, min(left, STREAM_SECONDS)), on_job, timeout
        )

    def watch(self, job_id: str, timeout: float | None = None) -> Iterator[Job]:
        """Yield a job as it is now, then each time it changes, until it ends.

        Raises:
            ModelUnavailable: nothing came for `timeout` seconds.
        """
        return self._transport.watch(job_id, timeout)

    def job(self, job_id: str) -> Job:
        """Get one job as it is now."""
        return self._call(ops.GET_JOB, job_id=job_id)

    def jobs(
        self, limit: int = 50, page_token: str | None = None, state: str | None = None
    ) -> JobPage:
        """List jobs, newest first; of one state, or of all."""
        return self._call(ops.LIST_JOBS, limit=limit, page_token=page_token, state=state)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended."""
        return self._call(ops.CANCEL_JOB, job_id=job_id)

    def retry(self, job_id: str) -> Job:
        """Queue a new job for the video of a failed or cancelled one."""
        return self._call(ops.RETRY_JOB, job_id=job_id)

    def videos(self, limit: int = 50, page_token: str | None = None) -> VideoPage:
        """List videos, newest first."""
        return self._call(ops.LIST_VIDEOS, limit=limit, page_token=page_token)

    def video(self, video_id: str) -> VideoDetail:
        """Get one video with its newest job."""
        return self._call(ops.GET_VIDEO, video_id=video_id)

    def delete(self, video_id: str) -> None:
        """Delete a video with everything made of it; no later search finds it."""
        self._call(ops.DELETE_VIDEO, video_id=video_id)

    def search(self, query: str | None = None, top_k: int = 10, **options: Any) -> SearchResponse:
        """Find videos, and moments in them, by a text, an example, or both.

        `options` are further fields of `qasir.contract.search.SearchRequest`, such as `mode`,
        `filter` or `example`: {"image": bytes of a picture} or {"video_id", "start", "end"}.
        """
        return self._call(ops.SEARCH, query=query, top_k=top_k, **options)

    def attention(
        self,
        video_id: str,
        query: str | None = None,
        *,
        example: Mapping[str, Any] | None = None,
        grid_size: int | None = None,
    ) -> Attention:
        """Explain a result: how the attention of a query lies over the frames of a video."""
        fields = {"query": query, "example": example, "grid_size": grid_size}
        return self._call(ops.GET_ATTENTION, video_id=video_id, **fields)

    def embed(self, texts: list[str]) -> EmbedResponse:
        """Embed texts as unit vectors in the space in which videos are searched."""
        return self._call(ops.EMBED, texts=texts)

    def models(self) -> list[Model]:
        """List every model version, oldest first, and how much of the library each covers."""
        return self._call(ops.LIST_MODELS).models

    def model(self, version: int) -> Model:
        """Get one model version."""
        return self._call(ops.GET_MODEL, version=version)

    def build(self, version: int, *, activate: bool = False) -> Model:
        """Encode every video with a model version; `activate` it once no video is missing."""
        return self._call(ops.BUILD_MODEL, version=version, activate=activate)

    def activate(
        self,
        version: int,
        *,
        max_missing: int = 0,
        reranker: Reranker | Mapping[str, int] | None = None,
    ) -> Model:
        """Answer every later search with a model version.

        `max_missing`: although up to this many videos have no embeddings yet. `reranker` scores
        again in mode hybrid: {"version", "grid_size", "k"}.
        """
        fields = {"max_missing": max_missing, "reranker": reranker}
        return self._call(ops.ACTIVATE_MODEL, version=version, **fields)

    def retire(self, version: int) -> Model:
        """Remove the embeddings of a model version; the model stays in the store."""
        return self._call(ops.RETIRE_MODEL, version=version)

    def _call(self, operation: Operation[T], **fields: Any) -> T:
        """Send one call; `fields` are those of its path and of its request."""
        path = {name: fields.pop(name) for name in PATH_FIELD.findall(operation.path)}
        request = build_request(operation.request, **fields) if operation.request else None
        return self._transport.call(operation, request, **path)


def wait_for_end(
    job_id: str, watch: Callable[[float], Iterator[Job]], on_job: OnJob, timeout: float
) -> Job:
    """Follow a job to its end; `on_job` gets each change once.

    `watch` yields the job at each change, until nothing came for the given seconds.

    Raises:
        QasirError: the error of a job that failed, or of a watch that cannot go on.
        ModelUnavailable: the job has not ended after `timeout` seconds.
    """
    job = _last_state(watch, on_job, time.monotonic() + timeout)
    if job is None or job.state not in FINAL:
        state = "unknown" if job is None else job.state
        raise ModelUnavailable(
            f"job {job_id} is {state} after {timeout:g} s; wait longer, and check "
            f"that the worker runs: `qasir doctor`"
        )
    if job.error is not None:
        raise error_from_code(job.error.code, job.error.detail)
    return job


def _last_state(
    watch: Callable[[float], Iterator[Job]], on_job: OnJob, deadline: float
) -> Job | None:
    """Return the job at its end, or as it was at the deadline."""
    job: Job | None = None
    last_news = time.monotonic()
    while (left := deadline - time.monotonic()) > 0:
        try:
            for now in watch(left):
                last_news = time.monotonic()
                if now != job:
                    on_job(now)
                job = now
                if job.state in FINAL or last_news >= deadline:
                    return job
        except QasirError as error:
            # A quiet job, or a service that restarts; the job goes on meanwhile.
            if not error.retryable or time.monotonic() - last_news > PATIENCE_SECONDS:
                raise
        time.sleep(min(PAUSE_SECONDS, max(0.0, deadline - time.monotonic())))
    return job


def _open_transport(url: str, timeout: float, memory: Path | None) -> Transport:
    """Open the transport that the URL's scheme names.

    Raises:
        InvalidInput: this is no URL of a service.
        MissingExtra: the gRPC transport is not installed.
    """
    with suppress(httpx.InvalidURL):
        parsed = httpx.URL(url)
        if parsed.scheme in ("http", "https") and parsed.host:
            return HttpTransport(parsed, timeout, memory)
        if parsed.scheme == "grpc" and parsed.host and not parsed.userinfo:
            from qasir.client.grpc import GrpcTransport

            port = "" if parsed.port else f":{GRPC_PORT}"
            return GrpcTransport(f"{parsed.netloc.decode()}{port}", timeout)
    # Without a scheme, too, what stands before an @ may be a password.
    shown = url if "://" in url or "@" not in url else f"***@{url.rpartition('@')[2]}"
    raise InvalidInput(
        f"'{shown}' is not the URL of a service; write it as http://host:port or grpc://host:port"
    )

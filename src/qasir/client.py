"""A client of qasir's HTTP service: typed results, and the errors of `qasir.errors`.

>>> with Client("http://127.0.0.1:3000") as client:  # doctest: +SKIP
...     upload = client.upload(Path("dog.mp4"))
...     client.wait(upload.job_id)
...     print(client.search("a dog runs").results[0].video.title)
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from qasir.errors import ModelUnavailable, NotFound, QasirError, error_of
from qasir.results import Job, SearchResults, Upload, VideoDetail, Videos

DEFAULT_URL = "http://127.0.0.1:3000"
POLL_SECONDS = 0.25
FINAL = ("ready", "failed", "cancelled")

T = TypeVar("T")


class Client:
    """A service by its URL; safe to share between threads.

    Raises, from every call:
        QasirError: the class that has the answer's `code`, with the service's own message.
        ModelUnavailable: no service answers at this URL.
    """

    def __init__(self, url: str = DEFAULT_URL, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=timeout)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the connections."""
        self._http.close()

    def upload(
        self,
        path: Path,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> Upload:
        """Send a file; `on_bytes` hears of every piece that goes out."""
        fields = {} if title is None else {"title": title}
        if metadata is not None:
            fields["metadata"] = json.dumps(metadata)
        try:
            with path.open("rb") as file:
                video = (path.name, _Counted(file, on_bytes), "application/octet-stream")
                return self._call(
                    Upload, "POST", "/v1/videos", data=fields, files={"video": video}, timeout=None
                )
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NotFound(f"no file at {path}; give the path of a video") from error

    def wait(
        self,
        job_id: str,
        on_job: Callable[[Job], None] = lambda _: None,
        timeout: float = 3600.0,
    ) -> Job:
        """Block until a job has ended; a failed one raises its error.

        Raises:
            ModelUnavailable: it has not ended after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while (job := self.job(job_id)).state not in FINAL:
            on_job(job)
            if time.monotonic() > deadline:
                raise ModelUnavailable(
                    f"job {job_id} is {job.state} after {timeout:g} s; wait longer, and see "
                    f"that the worker runs: `qasir doctor`"
                )
            time.sleep(POLL_SECONDS)
        on_job(job)
        if job.error is not None:
            raise error_of(job.error.code, job.error.detail)
        return job

    def job(self, job_id: str) -> Job:
        """One job as it is now."""
        return self._call(Job, "GET", f"/v1/jobs/{job_id}")

    def jobs(self, offset: int = 0, limit: int = 50) -> list[Job]:
        """Jobs, newest first."""
        return self._call(_Jobs, "GET", "/v1/jobs", params={"offset": offset, "limit": limit}).jobs

    def videos(self, offset: int = 0, limit: int = 50) -> Videos:
        """A page of the library."""
        return self._call(Videos, "GET", "/v1/videos", params={"offset": offset, "limit": limit})

    def video(self, video_id: str) -> VideoDetail:
        """One video with its newest job."""
        return self._call(VideoDetail, "GET", f"/v1/videos/{video_id}")

    def delete(self, video_id: str) -> None:
        """Remove a video with everything made of it; the next search does not find it."""
        self._send("DELETE", f"/v1/videos/{video_id}")

    def search(self, query: str, top_k: int = 10, **options: Any) -> SearchResults:
        """Videos that answer a text; `options` as in the service's `POST /v1/search`."""
        body = {"query": query, "top_k": top_k, **options}
        return self._call(SearchResults, "POST", "/v1/search", json=body)

    def _call(self, kind: type[T], method: str, path: str, **request: Any) -> T:
        answer = self._send(method, path, **request)
        try:
            return TypeAdapter(kind).validate_json(answer.content)
        except ValidationError as error:
            raise QasirError(
                f"{method} {self.url}{path} answered what this client does not read: {error}; "
                f"use the same version of qasir on both sides"
            ) from error

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        with self._reachable():
            answer = self._http.request(method, path, **request)
        if answer.is_error:
            raise _problem(answer)
        return answer

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise ModelUnavailable(
                f"no answer from a qasir service at {self.url} ({error}); start one with "
                f"`qasir up`, or name another with --url"
            ) from error


@dataclass(frozen=True)
class _Jobs:
    jobs: list[Job]


class _Counted:
    """A file that tells how much of it has been read."""

    def __init__(self, file: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self._file = file
        self._on_bytes = on_bytes

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._on_bytes(len(piece))
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _problem(answer: httpx.Response) -> QasirError:
    try:
        problem = answer.json()
        return error_of(problem["code"], problem["detail"])
    except (ValueError, KeyError, TypeError):
        words = answer.text.strip()[:200] or answer.reason_phrase
        return QasirError(f"{answer.request.url} answered {answer.status_code}: {words}")

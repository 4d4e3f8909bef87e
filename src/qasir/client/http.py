"""The HTTP transport."""

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

import httpx
import httpx_sse
from pydantic import ValidationError

from qasir.client.operations import GET_VIDEO, OnBytes, Operation, unreachable, unreadable
from qasir.client.resumable import JOB_ID, VIDEO_ID, memory_file, send_file
from qasir.contract.base import Answer, Problem, Request
from qasir.contract.jobs import Job
from qasir.contract.videos import Upload, UploadHeader
from qasir.errors import QasirError, error_from_code

# Status codes of a busy service: a repeatable request is sent again.
BUSY = (429, 503)
TRIES = 4
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
# From this size on a file is sent by tus, so that a broken connection costs little.
RESUMABLE_BYTES = 32 << 20
# A stream of events has a keep-alive every 10 s.
SILENCE_SECONDS = 30.0

T = TypeVar("T", bound=Answer)


class HttpTransport:
    """Calls a service over HTTP, large uploads by tus.

    `memory` is a folder that remembers unfinished uploads, so that another run resumes them.
    """

    def __init__(self, url: httpx.URL, timeout: float, memory: Path | None) -> None:
        auth = (url.username, url.password) if url.userinfo else None
        # Without user and password, so that no log line and no traceback shows them.
        self.url = str(url.copy_with(userinfo=b"")).rstrip("/")
        # Reading the certificates takes 30 ms, and plain HTTP needs none.
        self._http = httpx.Client(
            base_url=self.url, timeout=timeout, auth=auth, verify=url.scheme == "https"
        )
        self._memory = memory

    def close(self) -> None:
        self._http.close()

    def call(self, operation: Operation[T], request: Request | None = None, **path: str | int) -> T:
        """Send one call; a repeatable one again while the service is busy."""
        place = operation.path.format_map({name: _quoted(value) for name, value in path.items()})
        options: dict[str, Any] = {}
        if request is not None:
            options["params" if operation.method == "GET" else "json"] = request.body()
        tries = TRIES if operation.repeatable else 1
        answer = self.send(operation.method, place, tries=tries, **options)
        return self._read(operation.answer, answer.content or b"{}")

    def upload(self, path: Path, header: UploadHeader, on_bytes: OnBytes) -> Upload:
        """Send a file: a small one in one request, a large one by tus."""
        fields = {} if header.title is None else {"title": header.title}
        if header.metadata is not None:
            fields["metadata"] = json.dumps(header.metadata)
        if path.stat().st_size >= RESUMABLE_BYTES:
            memory = self._memory and memory_file(self._memory, self.url, path)
            fields = {"filename": header.filename, **fields}
            return self._uploaded(send_file(self.send, path, fields, on_bytes, memory).headers)
        with path.open("rb") as file:
            video = (header.filename, _CountedFile(file, on_bytes), "application/octet-stream")
            answer = self.send(
                "POST", "/v1/videos", data=fields, files={"video": video}, timeout=None
            )
        return self._read(Upload, answer.content)

    def watch(self, job_id: str, seconds: float | None) -> Iterator[Job]:
        """Yield a job at each change, from the service's stream of events."""
        timeout = SILENCE_SECONDS if seconds is None else seconds
        path = f"/v1/jobs/{_quoted(job_id)}/events"
        with self._reachable(), self._http.stream("GET", path, timeout=timeout) as answer:
            if answer.is_error:
                answer.read()
                raise _error(answer)
            for event in httpx_sse.EventSource(answer).iter_sse():
                # The last event's id is sticky in httpx-sse: each keep-alive comment after it
                # arrives as an event without data.
                if event.data:
                    yield self._read(Job, event.data)

    def send(self, method: str, path: str, *, tries: int = 1, **options: Any) -> httpx.Response:
        """Send a request, at most `tries` times; options as those of httpx."""
        for attempt in range(1, tries + 1):
            with self._reachable():
                answer = self._http.request(method, path, **options)
            if answer.status_code not in BUSY or attempt == tries:
                break
            time.sleep(_pause(attempt, answer.headers))
        if answer.is_error:
            raise _error(answer)
        return answer

    def _uploaded(self, headers: httpx.Headers) -> Upload:
        video = self.call(GET_VIDEO, video_id=headers[VIDEO_ID])
        return Upload(
            video_id=video.id,
            job_id=headers[JOB_ID],
            state=video.state,
            existing=headers.get("Qasir-Existing") == "true",
            updated=headers.get("Qasir-Updated") == "true",
        )

    def _read(self, kind: type[T], content: bytes | str) -> T:
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            raise unreadable(self.url, error) from error

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error


class _CountedFile:
    """A file that reports how much of it has been read."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes) -> None:
        self._file = file
        self._on_bytes = on_bytes

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._on_bytes(len(piece))
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _error(answer: httpx.Response) -> QasirError:
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:
        words = answer.text.strip()[:200] or answer.reason_phrase
        return QasirError(
            f"{answer.request.url} answered {answer.status_code}: {words}; check that the URL is "
            f"that of a qasir service"
        )
    return error_from_code(problem.code, problem.detail)


def _quoted(value: str | int) -> str:
    return quote(str(value), safe="")


def _pause(attempt: int, headers: Mapping[str, str]) -> float:
    """Return the service's Retry-After, else a longer pause each time; jitter spreads clients."""
    retry_after = headers.get("retry-after", "")
    wait = float(retry_after) if retry_after.isdecimal() else FIRST_PAUSE_SECONDS * 2**attempt
    return min(LONGEST_PAUSE_SECONDS, wait) * random.uniform(1.0, 1.2)

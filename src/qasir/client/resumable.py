"""Upload a large file by tus 1.0.0: what has arrived is not sent again.

A small file remembers the URL of an unfinished upload, so that another run of the program
resumes it, too.
"""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx

from qasir.client.operations import OnBytes
from qasir.errors import Conflict, ModelUnavailable, NotFound, QasirError

TUS_VERSION = {"Tus-Resumable": "1.0.0"}
BODY_TYPE = "application/offset+octet-stream"
PIECE_BYTES = 1 << 20
# Attempts in a row that bring no new byte before the upload fails.
TRIES = 6
LONGEST_PAUSE_SECONDS = 10.0
# After the last byte the service reads the file once before it answers.
ANSWER_SECONDS = 600.0
# Headers of the answer to the last byte.
VIDEO_ID, JOB_ID = "qasir-video-id", "qasir-job-id"

# Sends an HTTP request (method, path, options of httpx) and raises the error of its answer.
Send = Callable[..., httpx.Response]


def memory_file(folder: Path, service: str, path: Path) -> Path:
    """Return the file that remembers the URL of a file's unfinished upload to a service."""
    stat = path.stat()
    name = json.dumps([service, str(path.absolute()), stat.st_size, stat.st_mtime_ns])
    return folder / hashlib.sha256(name.encode()).hexdigest()[:32]


def send_file(
    send: Send, path: Path, fields: Mapping[str, str], on_bytes: OnBytes, memory: Path | None
) -> httpx.Response:
    """Send a file, resuming after interruptions; return the answer to its last byte.

    `on_bytes` gets the size of each piece, and a negative number where it has to go back.

    Raises:
        QasirError: the service refuses it, or several attempts in a row brought no new byte.
    """
    upload = _Upload(send, path, on_bytes, memory)
    failures = 0
    while True:
        before, error = upload.offset, None
        try:
            if (answer := upload.resume(fields)) is not None:
                return answer
        except QasirError as caught:
            # NotFound: expired, or of another state folder. Conflict: another request has it.
            if not (caught.retryable or isinstance(caught, NotFound | Conflict)):
                raise
            error = caught
        failures = 0 if upload.offset > before else failures + 1
        if failures == TRIES:
            raise error or ModelUnavailable(f"the upload of {path} makes no progress")
        if error is not None:
            time.sleep(min(LONGEST_PAUSE_SECONDS, 0.25 * 2**failures))


class _Upload:
    """One file on its way; `offset` is how many of its bytes have arrived."""

    def __init__(self, send: Send, path: Path, on_bytes: OnBytes, memory: Path | None) -> None:
        self._send = send
        self._path = path
        self._size = path.stat().st_size
        self._on_bytes = on_bytes
        self._memory = memory
        self._url = memory.read_text() if memory is not None and memory.is_file() else None
        self._reported = 0
        self.offset = 0

    def resume(self, fields: Mapping[str, str]) -> httpx.Response | None:
        """Send what has not arrived; return the last answer once all has."""
        self._url = self._url or self._create(fields)
        try:
            answer = self._continue(self._url)
        except NotFound:
            self._forget()
            raise
        if answer is not None:
            self._forget()
        return answer

    def _forget(self) -> None:
        self._url = None
        if self._memory is not None:
            self._memory.unlink(missing_ok=True)

    def _create(self, fields: Mapping[str, str]) -> str:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in fields.items()}
        headers = {
            **TUS_VERSION,
            "Upload-Length": str(self._size),
            "Upload-Metadata": ",".join(f"{key} {value}" for key, value in encoded.items()),
        }
        answer = self._send("POST", "/v1/uploads", headers=headers)
        url = str(answer.headers["location"])
        if self._memory is not None:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            self._memory.write_text(url)
        return url

    def _continue(self, url: str) -> httpx.Response | None:
        head = self._send("HEAD", url, headers=TUS_VERSION, timeout=ANSWER_SECONDS)
        self._report(int(head.headers["upload-offset"]))
        if VIDEO_ID in head.headers:
            return head
        headers = {
            **TUS_VERSION,
            "Upload-Offset": str(self.offset),
            "Content-Type": BODY_TYPE,
            "Content-Length": str(self._size - self.offset),
        }
        timeout = httpx.Timeout(30.0, read=ANSWER_SECONDS)
        answer = self._send("PATCH", url, content=self._pieces(), headers=headers, timeout=timeout)
        self._report(int(answer.headers["upload-offset"]))
        return answer if VIDEO_ID in answer.headers else None

    def _pieces(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(self.offset)
            while piece := file.read(PIECE_BYTES):
                yield piece
                self._reported += len(piece)
                self._on_bytes(len(piece))

    def _report(self, offset: int) -> None:
        self.offset = offset
        if offset != self._reported:
            self._on_bytes(offset - self._reported)
            self._reported = offset

"""Uploads a large file by tus 1.0.0: what has arrived is not sent again.

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


class UploadMemory:
    """Remembers the URL of a file's unfinished upload to a service; without a folder, nothing."""

    def __init__(self, folder: Path | None, service: str, path: Path) -> None:
        stat = path.stat()
        name = json.dumps([service, str(path.absolute()), stat.st_size, stat.st_mtime_ns])
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        self._file = None if folder is None else folder / digest

    def load(self) -> str | None:
        """Return the upload's URL, if there is one."""
        if self._file is None or not self._file.is_file():
            return None
        return self._file.read_text()

    def store(self, url: str) -> None:
        """Remember the upload's URL."""
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(url)

    def delete(self) -> None:
        """Forget an upload that is finished, or that the service no longer knows."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def send_file(
    send: Send, path: Path, fields: Mapping[str, str], on_bytes: OnBytes, memory: UploadMemory
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
                memory.delete()
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

    def __init__(self, send: Send, path: Path, on_bytes: OnBytes, memory: UploadMemory) -> None:
        self._send = send
        self._path = path
        self._size = path.stat().st_size
        self._on_bytes = on_bytes
        self._memory = memory
        self._url = memory.load()
        self._reported = 0
        self.offset = 0

    def resume(self, fields: Mapping[str, str]) -> httpx.Response | None:
        """Send what has not arrived; return the last answer once all has."""
        self._url = self._url or self._create(fields)
        try:
            return self._continue(self._url)
        except NotFound:
            self._memory.delete()
            self._url = None
            raise

    def _create(self, fields: Mapping[str, str]) -> str:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in fields.items()}
        headers = {
            **TUS_VERSION,
            "Upload-Length": str(self._size),
            "Upload-Metadata": ",".join(f"{key} {value}" for key, value in encoded.items()),
        }
        answer = self._send("POST", "/v1/uploads", headers=headers)
        url = str(answer.headers["location"])
        self._memory.store(url)
        return url

    def _continue(self, url: str) -> httpx.Response | None:
        head = self._send("HEAD", url, headers=TUS_VERSION, timeout=ANSWER_SECONDS)
        self._report(int(head.headers["upload-offset"]))
        if _is_complete(head):
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
        return answer if _is_complete(answer) else None

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


def _is_complete(answer: httpx.Response) -> bool:
    return VIDEO_ID in answer.headers

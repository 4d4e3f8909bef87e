"""Sending a large file by tus 1.0.0: what has arrived is not sent again.

Where an unfinished upload lies is remembered in a small file, so that another run of the
program goes on with it too.
"""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx

from qasir.client.http import Transport
from qasir.errors import Conflict, ModelUnavailable, NotFound, QasirError

SPEAK = {"Tus-Resumable": "1.0.0"}
BODY_TYPE = "application/offset+octet-stream"
PIECE_BYTES = 1 << 20
# Tries in a row that bring nothing further, before it is given up.
TRIES = 6
LONGEST_PAUSE_SECONDS = 10.0
# With the last byte the service reads the whole file once before it answers.
ANSWER_SECONDS = 600.0


class Memory:
    """Where unfinished uploads lie, by service and file; without a folder, nothing is kept."""

    def __init__(self, folder: Path | None, service: str, path: Path) -> None:
        stat = path.stat()
        name = json.dumps([service, str(path.absolute()), stat.st_size, stat.st_mtime_ns])
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        self._file = None if folder is None else folder / digest

    def recall(self) -> str | None:
        """The upload's place, if there is one."""
        if self._file is None or not self._file.is_file():
            return None
        return self._file.read_text()

    def keep(self, place: str) -> None:
        """Remember it."""
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(place)

    def forget(self) -> None:
        """It is finished, or gone."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def send_file(
    transport: Transport,
    path: Path,
    fields: Mapping[str, str],
    on_bytes: Callable[[int], None],
    memory: Memory,
) -> tuple[str, str]:
    """Send a file, going on where it was interrupted; the ids of its video and job.

    `on_bytes` hears of every piece; of a negative number where it has to go back.

    Raises:
        QasirError: the service refuses it, or tries in a row brought nothing further.
    """
    upload = _Upload(transport, path, on_bytes, memory)
    failures = 0
    while True:
        before, error = upload.arrived, None
        try:
            if (ids := upload.go_on(fields)) is not None:
                memory.forget()
                return ids
        except QasirError as caught:
            # NotFound: expired, or of another state folder. Conflict: another request has it.
            if not (caught.retryable or isinstance(caught, NotFound | Conflict)):
                raise
            error = caught
        failures = 0 if upload.arrived > before else failures + 1
        if failures == TRIES:
            raise error or ModelUnavailable(f"the upload of {path} makes no progress")
        if error is not None:
            time.sleep(min(LONGEST_PAUSE_SECONDS, 0.25 * 2**failures))


class _Upload:
    def __init__(
        self,
        transport: Transport,
        path: Path,
        on_bytes: Callable[[int], None],
        memory: Memory,
    ) -> None:
        self._transport = transport
        self._path = path
        self._size = path.stat().st_size
        self._on_bytes = on_bytes
        self._memory = memory
        self._place = memory.recall()
        self._told = 0
        self.arrived = 0

    def go_on(self, fields: Mapping[str, str]) -> tuple[str, str] | None:
        """Send what has not arrived; the ids once all has."""
        self._place = self._place or self._begin(fields)
        try:
            return self._send(self._place)
        except NotFound:
            self._memory.forget()
            self._place = None
            raise

    def _begin(self, fields: Mapping[str, str]) -> str:
        said = {key: base64.b64encode(value.encode()).decode() for key, value in fields.items()}
        headers = {
            **SPEAK,
            "Upload-Length": str(self._size),
            "Upload-Metadata": ",".join(f"{key} {value}" for key, value in said.items()),
        }
        answer = self._transport.send("POST", "/v1/uploads", headers=headers)
        place = str(answer.headers["location"])
        self._memory.keep(place)
        return place

    def _send(self, place: str) -> tuple[str, str] | None:
        head = self._transport.send("HEAD", place, headers=SPEAK, timeout=ANSWER_SECONDS)
        self._tell(int(head.headers["upload-offset"]))
        if (ids := _ids(head)) is not None:
            return ids
        headers = {
            **SPEAK,
            "Upload-Offset": str(self.arrived),
            "Content-Type": BODY_TYPE,
            "Content-Length": str(self._size - self.arrived),
        }
        timeout = httpx.Timeout(30.0, read=ANSWER_SECONDS)
        answer = self._transport.send(
            "PATCH", place, content=self._pieces(), headers=headers, timeout=timeout
        )
        self._tell(int(answer.headers["upload-offset"]))
        return _ids(answer)

    def _pieces(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(self.arrived)
            while piece := file.read(PIECE_BYTES):
                yield piece
                self._told += len(piece)
                self._on_bytes(len(piece))

    def _tell(self, arrived: int) -> None:
        self.arrived = arrived
        if arrived != self._told:
            self._on_bytes(arrived - self._told)
            self._told = arrived


def _ids(answer: httpx.Response) -> tuple[str, str] | None:
    headers = answer.headers
    if "qasir-video-id" not in headers:
        return None
    return headers["qasir-video-id"], headers["qasir-job-id"]

"""A client of qasir's HTTP service: typed results, and the errors of `qasir.errors`.

>>> with Client("http://127.0.0.1:3000") as client:  # doctest: +SKIP
...     upload = client.upload(Path("dog.mp4"))
...     client.wait(upload.job_id)
...     print(client.search("a dog runs").results[0].video.title)
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import httpx_sse

from qasir.client.http import Transport
from qasir.client.results import (
    Attention,
    Embeddings,
    Generation,
    Job,
    SearchResults,
    Upload,
    VideoDetail,
    Videos,
)
from qasir.client.resumable import Memory, send_file
from qasir.client.waiting import wait_for_end
from qasir.errors import NotFound

DEFAULT_URL = "http://127.0.0.1:3000"
# From this size on a file is sent by tus, so that a broken connection costs little.
RESUMABLE_BYTES = 32 << 20
# Events have a heartbeat of 10 s.
SILENCE_SECONDS = 30.0


class Client:
    """A service by its URL; safe to share between threads.

    `timeout` in seconds is for one answer. `memory` is a folder in which unfinished uploads of
    large files are remembered, so that another run goes on with them. What may be sent twice
    is sent again where the service answers "later".

    Raises, from every call:
        QasirError: the class that has the answer's `code`, with the service's own message.
        ModelUnavailable: no service answers at this URL.
    """

    def __init__(
        self, url: str = DEFAULT_URL, timeout: float = 30.0, memory: Path | None = None
    ) -> None:
        self._transport = Transport(url, timeout)
        self._memory = memory
        self.url = self._transport.url

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
        self._transport.close()

    def upload(
        self,
        path: Path,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> Upload:
        """Send a file; `on_bytes` hears of every piece that goes out.

        A large one goes by tus: after a broken connection, or a service that started again, it
        goes on with what has not arrived; `on_bytes` then hears a negative number first.
        """
        fields = {} if title is None else {"title": title}
        if metadata is not None:
            fields["metadata"] = json.dumps(metadata)
        if not path.is_file():
            raise NotFound(f"no file at {path}; give the path of a video")
        if path.stat().st_size < RESUMABLE_BYTES:
            return self._upload_whole(path, fields, on_bytes)
        memory = Memory(self._memory, self.url, path)
        said = {"filename": path.name, **fields}
        video_id, job_id = send_file(self._transport, path, said, on_bytes, memory)
        return Upload(video_id, job_id, self.video(video_id).state)

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
        # Less than the heartbeat: so long at most may a quiet stream keep us past the deadline.
        silence = SILENCE_SECONDS / 4
        return wait_for_end(
            job_id, lambda left: self.watch(job_id, min(left, silence)), on_job, timeout
        )

    def watch(self, job_id: str, timeout: float | None = None) -> Iterator[Job]:
        """The job as it is now, then each time that it changed, up to its end.

        Raises:
            ModelUnavailable: nothing was heard for `timeout` seconds.
        """
        path = f"/v1/jobs/{job_id}/events"
        silence = SILENCE_SECONDS if timeout is None else timeout
        with self._transport.stream("GET", path, timeout=silence) as answer:
            for event in httpx_sse.EventSource(answer).iter_sse():
                # The last event's id is sticky in httpx-sse: each keep-alive comment after it
                # arrives as an event without data.
                if event.data:
                    yield self._transport.read(Job, event.data)

    def job(self, job_id: str) -> Job:
        """One job as it is now."""
        return self._transport.call(Job, "GET", f"/v1/jobs/{job_id}")

    def jobs(self, offset: int = 0, limit: int = 50, state: str | None = None) -> list[Job]:
        """Jobs, newest first; of one state, or of all."""
        asked = _given(offset=offset, limit=limit, state=state)
        return self._transport.call(_Jobs, "GET", "/v1/jobs", params=asked).jobs

    def cancel(self, job_id: str) -> Job:
        """End a job that has not ended."""
        return self._transport.call(Job, "POST", f"/v1/jobs/{job_id}/cancel", again=True)

    def retry(self, job_id: str) -> Job:
        """Queue a new job for the video of one that failed or was cancelled."""
        return self._transport.call(Job, "POST", f"/v1/jobs/{job_id}/retry")

    def videos(self, offset: int = 0, limit: int = 50) -> Videos:
        """A page of the library."""
        asked = {"offset": offset, "limit": limit}
        return self._transport.call(Videos, "GET", "/v1/videos", params=asked)

    def video(self, video_id: str) -> VideoDetail:
        """One video with its newest job."""
        return self._transport.call(VideoDetail, "GET", f"/v1/videos/{video_id}")

    def delete(self, video_id: str) -> None:
        """Remove a video with everything made of it; the next search does not find it."""
        self._transport.send("DELETE", f"/v1/videos/{video_id}")

    def search(
        self,
        query: str | None = None,
        top_k: int = 10,
        *,
        mode: str | None = None,
        profile: str | None = None,
        grid_size: int | None = None,
        group_by: str | None = None,
        offset: int | None = None,
        filter: Mapping[str, Any] | None = None,
        example: Mapping[str, Any] | None = None,
        context_seconds: float | None = None,
    ) -> SearchResults:
        """Videos that answer a text, an example, or both; see the service's `POST /v1/search`.

        `example` is {"image": the bytes of a picture} or {"video_id", "start", "end"}.
        """
        asked = _given(
            query=query,
            top_k=top_k,
            mode=mode,
            profile=profile,
            grid_size=grid_size,
            group_by=group_by,
            offset=offset,
            filter=filter,
            example=None if example is None else _plain(example),
            context_seconds=context_seconds,
        )
        return self._transport.call(SearchResults, "POST", "/v1/search", json=asked, again=True)

    def attention(
        self,
        video_id: str,
        query: str | None = None,
        *,
        example: Mapping[str, Any] | None = None,
        grid_size: int | None = None,
    ) -> Attention:
        """How the attention of a text, or of an example, lies over one video; as in a search."""
        plain = None if example is None else _plain(example)
        asked = _given(query=query, example=plain, grid_size=grid_size)
        path = f"/v1/videos/{video_id}/attention"
        return self._transport.call(Attention, "POST", path, json=asked, again=True)

    def embed(self, texts: list[str]) -> Embeddings:
        """Unit vectors of texts, in the space in which videos are searched."""
        asked = {"texts": texts}
        return self._transport.call(Embeddings, "POST", "/v1/embed", json=asked, again=True)

    def generations(self) -> list[Generation]:
        """Every model set of the store, and how much of the library each holds."""
        return self._transport.call(_Generations, "GET", "/v1/generations").generations

    def build(self, generation_id: int, *, activate: bool = False) -> Generation:
        """Encode every video with a model set; `activate`: as soon as it holds them all."""
        asked = {"id": generation_id, "activate": activate}
        return self._transport.call(Generation, "POST", "/v1/generations", json=asked)

    def activate(self, generation_id: int, **options: Any) -> Generation:
        """Answer every search from now on with a generation; `options` as in the route's body."""
        path = f"/v1/generations/{generation_id}/activate"
        return self._transport.call(Generation, "POST", path, json=options, again=True)

    def retire(self, generation_id: int) -> None:
        """Remove a generation's vectors; its model set stays in the store."""
        self._transport.send("DELETE", f"/v1/generations/{generation_id}")

    def _upload_whole(
        self, path: Path, fields: Mapping[str, str], on_bytes: Callable[[int], None]
    ) -> Upload:
        with path.open("rb") as file:
            video = (path.name, _Counted(file, on_bytes), "application/octet-stream")
            return self._transport.call(
                Upload, "POST", "/v1/videos", data=fields, files={"video": video}, timeout=None
            )


@dataclass(frozen=True)
class _Jobs:
    jobs: list[Job]


@dataclass(frozen=True)
class _Generations:
    generations: list[Generation]


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


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _plain(example: Mapping[str, Any]) -> dict[str, Any]:
    image = example.get("image")
    return {**example, "image": base64.b64encode(image).decode()} if image else dict(example)

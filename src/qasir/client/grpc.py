"""A client of qasir's gRPC service: the methods and results of `qasir.client.Client`.

>>> with GrpcClient("127.0.0.1:50051") as client:  # doctest: +SKIP
...     upload = client.upload(Path("dog.mp4"))
...     client.wait(upload.job_id)
...     print(client.search("a dog runs").results[0].video.title)
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from qasir.client.grpc_channel import errors_of, open_channel
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
from qasir.client.waiting import wait_for_end
from qasir.errors import InvalidInput, NotFound, QasirError
from qasir.proto.plain import plain
from qasir.proto.v1 import retrieval_pb2 as pb
from qasir.proto.v1.retrieval_pb2_grpc import RetrievalStub

if TYPE_CHECKING:
    from google.protobuf.message import Message

DEFAULT_TARGET = "127.0.0.1:50051"
CHUNK_BYTES = 1 << 20
# The longest that one stream of a job is listened to; then a new one begins.
WATCH_SECONDS = 45.0

T = TypeVar("T")
M = TypeVar("M", bound="Message")


class GrpcClient:
    """A service by its host and port; safe to share between threads.

    `timeout` is the deadline of a call in seconds, retries included; the service passes it on.

    Raises, from every call:
        QasirError: the class that has the answer's code, with the service's own message.
        ModelUnavailable: no service answers there, or not in time.
    """

    def __init__(self, target: str = DEFAULT_TARGET, timeout: float = 30.0) -> None:
        self.target = target
        self._timeout = timeout
        self._channel = open_channel(target)
        self._stub: Any = RetrievalStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    def __enter__(self) -> "GrpcClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the connection."""
        self._channel.close()

    def upload(
        self,
        path: Path,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> Upload:
        """Send a file; `on_bytes` hears of every piece that goes out."""
        if not path.is_file():
            raise NotFound(f"no file at {path}; give the path of a video")
        header = _message(
            pb.UploadHeader,
            filename=path.name,
            title=title,
            metadata=None if metadata is None else dict(metadata),
            expected_bytes=path.stat().st_size,
        )
        pieces = _pieces(path, header, on_bytes)
        return self._call(Upload, self._stub.UploadVideo, pieces, timeout=None)

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
        # A gRPC stream has one deadline for all of it; a quiet job is looked at again in time.
        return wait_for_end(
            job_id, lambda left: self.watch(job_id, min(left, WATCH_SECONDS)), on_job, timeout
        )

    def watch(self, job_id: str, timeout: float | None = None) -> Iterator[Job]:
        """The job as it is now, then each time that it changed, up to its end."""
        with errors_of(self.target):
            for message in self._stub.WatchJob(pb.WatchJobRequest(job_id=job_id), timeout=timeout):
                yield self._read(Job, message)

    def job(self, job_id: str) -> Job:
        """One job as it is now."""
        return self._call(Job, self._stub.GetJob, pb.GetJobRequest(job_id=job_id))

    def jobs(self, offset: int = 0, limit: int = 50, state: str | None = None) -> list[Job]:
        """Jobs, newest first; of one state, or of all."""
        asked = _message(pb.ListJobsRequest, offset=offset, limit=limit, state=state)
        return self._call(_Jobs, self._stub.ListJobs, asked).jobs

    def cancel(self, job_id: str) -> Job:
        """End a job that has not ended."""
        return self._call(Job, self._stub.CancelJob, pb.CancelJobRequest(job_id=job_id))

    def retry(self, job_id: str) -> Job:
        """Queue a new job for the video of one that failed or was cancelled."""
        return self._call(Job, self._stub.RetryJob, pb.RetryJobRequest(job_id=job_id))

    def videos(self, offset: int = 0, limit: int = 50) -> Videos:
        """A page of the library."""
        asked = _message(pb.ListVideosRequest, offset=offset, limit=limit)
        return self._call(Videos, self._stub.ListVideos, asked)

    def video(self, video_id: str) -> VideoDetail:
        """One video with its newest job."""
        return self._call(VideoDetail, self._stub.GetVideo, pb.GetVideoRequest(video_id=video_id))

    def delete(self, video_id: str) -> None:
        """Remove a video with everything made of it; the next search does not find it."""
        with errors_of(self.target):
            self._stub.DeleteVideo(pb.DeleteVideoRequest(video_id=video_id), timeout=self._timeout)

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
        """Videos that answer a text, an example, or both; see the service's `Search`.

        `example` is {"image": the bytes of a picture} or {"video_id", "start", "end"}.
        """
        asked = _message(
            pb.SearchRequest,
            query=query,
            top_k=top_k,
            mode=mode,
            profile=profile,
            grid_size=grid_size,
            group_by=group_by,
            offset=offset,
            filter=None if filter is None else dict(filter),
            example=None if example is None else dict(example),
            context_seconds=context_seconds,
        )
        return self._call(SearchResults, self._stub.Search, asked)

    def attention(
        self,
        video_id: str,
        query: str | None = None,
        *,
        example: Mapping[str, Any] | None = None,
        grid_size: int | None = None,
    ) -> Attention:
        """How the attention of a text, or of an example, lies over one video; as in a search."""
        asked = _message(
            pb.AttentionRequest,
            video_id=video_id,
            query=query,
            example=None if example is None else dict(example),
            grid_size=grid_size,
        )
        return self._call(Attention, self._stub.GetAttention, asked)

    def embed(self, texts: list[str]) -> Embeddings:
        """Unit vectors of texts, in the space in which videos are searched."""
        with errors_of(self.target):
            found = self._stub.Embed(_message(pb.EmbedRequest, texts=texts), timeout=self._timeout)
        vectors = [list(vector.values) for vector in found.vectors]
        return Embeddings(vectors, found.dim, found.fingerprint)

    def generations(self) -> list[Generation]:
        """Every model set of the store, oldest first, and how much of the library each holds."""
        asked = pb.ListGenerationsRequest()
        return self._call(_Generations, self._stub.ListGenerations, asked).generations

    def build(self, generation_id: int, *, activate: bool = False) -> Generation:
        """Encode every video with a model set; `activate`: as soon as it holds them all."""
        asked = _message(pb.BuildGenerationRequest, id=generation_id, activate=activate)
        return self._call(Generation, self._stub.BuildGeneration, asked)

    def activate(self, generation_id: int, **options: Any) -> Generation:
        """Answer every search from now on with a generation; `options` as in the message."""
        asked = _message(pb.ActivateGenerationRequest, id=generation_id, **options)
        return self._call(Generation, self._stub.ActivateGeneration, asked)

    def retire(self, generation_id: int) -> None:
        """Remove a generation's vectors; its model set stays in the store."""
        asked = _message(pb.RetireGenerationRequest, id=generation_id)
        with errors_of(self.target):
            self._stub.RetireGeneration(asked, timeout=self._timeout)

    def _call(
        self, kind: type[T], call: "Callable[..., Message]", request: Any, **options: Any
    ) -> T:
        with errors_of(self.target):
            answer = call(request, **{"timeout": self._timeout, **options})
        return self._read(kind, answer)

    def _read(self, kind: type[T], message: "Message") -> T:
        try:
            return TypeAdapter(kind).validate_python(plain(message, whole=True))
        except ValidationError as error:
            raise QasirError(
                f"{self.target} answered what this client does not read: {error}; "
                f"use the same version of qasir on both sides"
            ) from error


@dataclass(frozen=True)
class _Jobs:
    jobs: list[Job]


@dataclass(frozen=True)
class _Generations:
    generations: list[Generation]


def _message(kind: type[M], **fields: Any) -> M:
    """A message of these fields; None is left out.

    Raises:
        InvalidInput: it has no such field, or not of this type.
    """
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{error}; retrieval.proto describes {kind.DESCRIPTOR.name}") from error


def _pieces(
    path: Path, header: pb.UploadHeader, on_bytes: Callable[[int], None]
) -> Iterator[pb.UploadVideoRequest]:
    yield pb.UploadVideoRequest(header=header)
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield pb.UploadVideoRequest(chunk=piece)
            on_bytes(len(piece))

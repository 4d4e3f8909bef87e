"""The calls of `qasir.v1.RetrievalService`: the operations of HTTP, between messages."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import anyio.to_thread
from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError

from qasir.contract.convert import from_message, to_message
from qasir.contract.jobs import ListJobsRequest
from qasir.contract.models import ActivateModelRequest, BuildModelRequest
from qasir.contract.search import EmbedRequest, GetAttentionRequest, SearchRequest
from qasir.contract.videos import ListVideosRequest, Upload, UploadHeader
from qasir.errors import InvalidInput, RequestStalled
from qasir.v1 import retrieval_pb2 as pb
from qasir.v1.retrieval_pb2_grpc import RetrievalServiceServicer
from service.grpc.interceptors import Call
from service.http import jobs, models, search, videos
from service.http.accept import accept, check_header, receive, too_slow, write_pieces
from service.http.context import Context
from service.http.problems import field_errors, refusal
from service.search.deadline import Deadline

T = TypeVar("T", bound=BaseModel)

Requests = AsyncIterator[pb.UploadVideoRequest]


class RetrievalService(RetrievalServiceServicer):
    """Errors are raised as everywhere; `ErrorMetricsInterceptor` turns them into statuses."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def UploadVideo(self, requests: Requests, _: Call) -> pb.UploadVideoResponse:
        upload = await _upload(requests, self._context)
        return to_message(pb.UploadVideoResponse, {"upload": upload})

    async def ListVideos(self, request: pb.ListVideosRequest, _: Call) -> pb.ListVideosResponse:
        page = await videos.list_videos(self._context, _read(ListVideosRequest, request))
        return to_message(pb.ListVideosResponse, page)

    async def GetVideo(self, request: pb.GetVideoRequest, _: Call) -> pb.GetVideoResponse:
        video = await videos.get_video(request.video_id, self._context)
        return to_message(pb.GetVideoResponse, {"video": video})

    async def DeleteVideo(self, request: pb.DeleteVideoRequest, _: Call) -> pb.DeleteVideoResponse:
        await videos.delete_video(request.video_id, self._context)
        return pb.DeleteVideoResponse()

    async def ListJobs(self, request: pb.ListJobsRequest, _: Call) -> pb.ListJobsResponse:
        page = await jobs.list_jobs(self._context, _read(ListJobsRequest, request))
        return to_message(pb.ListJobsResponse, page)

    async def GetJob(self, request: pb.GetJobRequest, _: Call) -> pb.GetJobResponse:
        job = await jobs.get_job(request.job_id, self._context)
        return to_message(pb.GetJobResponse, {"job": job})

    async def WatchJob(
        self, request: pb.WatchJobRequest, _: Call
    ) -> AsyncIterator[pb.WatchJobResponse]:
        with self._context.streams.acquire():
            async for job in jobs.watch(request.job_id, self._context):
                yield to_message(pb.WatchJobResponse, {"job": job})

    async def CancelJob(self, request: pb.CancelJobRequest, _: Call) -> pb.CancelJobResponse:
        job = await jobs.cancel_job(request.job_id, self._context)
        return to_message(pb.CancelJobResponse, {"job": job})

    async def RetryJob(self, request: pb.RetryJobRequest, _: Call) -> pb.RetryJobResponse:
        job = await jobs.retry_job(request.job_id, self._context)
        return to_message(pb.RetryJobResponse, {"job": job})

    async def Search(self, request: pb.SearchRequest, call: Call) -> pb.SearchResponse:
        query, deadline = _read(SearchRequest, request), self._deadline(call)
        answer = await search.search(query, self._context, deadline)
        return to_message(pb.SearchResponse, answer)

    async def GetAttention(
        self, request: pb.GetAttentionRequest, call: Call
    ) -> pb.GetAttentionResponse:
        query, deadline = _read(GetAttentionRequest, request, "video_id"), self._deadline(call)
        attention = await search.get_attention(request.video_id, query, self._context, deadline)
        return to_message(pb.GetAttentionResponse, {"attention": attention})

    async def Embed(self, request: pb.EmbedRequest, call: Call) -> pb.EmbedResponse:
        texts, deadline = _read(EmbedRequest, request), self._deadline(call)
        answer = await search.embed(texts, self._context, deadline)
        return to_message(pb.EmbedResponse, answer)

    async def ListModels(self, _: pb.ListModelsRequest, __: Call) -> pb.ListModelsResponse:
        return to_message(pb.ListModelsResponse, await models.list_models(self._context))

    async def GetModel(self, request: pb.GetModelRequest, _: Call) -> pb.GetModelResponse:
        model = await models.get_model(request.version, self._context)
        return to_message(pb.GetModelResponse, {"model": model})

    async def BuildModel(self, request: pb.BuildModelRequest, _: Call) -> pb.BuildModelResponse:
        build = _read(BuildModelRequest, request, "version")
        model = await models.build_model(request.version, self._context, build)
        return to_message(pb.BuildModelResponse, {"model": model})

    async def ActivateModel(
        self, request: pb.ActivateModelRequest, _: Call
    ) -> pb.ActivateModelResponse:
        activation = _read(ActivateModelRequest, request, "version")
        model = await models.activate_model(request.version, self._context, activation)
        return to_message(pb.ActivateModelResponse, {"model": model})

    async def RetireModel(self, request: pb.RetireModelRequest, _: Call) -> pb.RetireModelResponse:
        model = await models.retire_model(request.version, self._context)
        return to_message(pb.RetireModelResponse, {"model": model})

    def _deadline(self, call: Call) -> Deadline:
        """Return the caller's deadline, or the service's own where that is sooner."""
        own, remaining = self._context.core.settings.search_seconds, call.time_remaining()
        return Deadline(own if remaining is None else min(own, remaining))


async def _upload(requests: Requests, context: Context) -> Upload:
    """Receive a video straight to disk and acknowledge it.

    Raises:
        InvalidInput: no header first, a second one, no bytes, or a bad title or metadata.
        RequestStalled: no next message for too long, or not all of them in time.
        Overloaded, UploadTooLarge, StorageFull: there is no room for it.
    """
    core, limits = context.core, context.core.settings
    messages = _in_time(requests, limits.request_stall_seconds, limits.upload_seconds)
    first = await anext(messages, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidInput("the first message holds no header; send one, then the file in chunks")
    # What can be refused is refused before the bytes are sent.
    header = check_header(_read(UploadHeader, first.header), limits)
    async with receive(context, header.expected_bytes or 0) as writer:
        await write_pieces(_chunks(messages), writer.write)
        received = await anyio.to_thread.run_sync(writer.finish)
        return await context.read(lambda: accept(received, header, core))


async def _chunks(messages: Requests) -> AsyncIterator[bytes]:
    async for message in messages:
        if message.WhichOneof("part") != "chunk":
            raise InvalidInput("a message after the first holds no chunk; send one video per call")
        yield message.chunk


async def _in_time(requests: Requests, stall_seconds: float, seconds: float) -> Requests:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        until = min(end, loop.time() + stall_seconds)
        try:
            async with asyncio.timeout_at(until):
                message = await anext(requests, None)
        except TimeoutError as error:
            stalled = RequestStalled(f"nothing came for {stall_seconds:g} s; send the video again")
            raise (too_slow(seconds) if until == end else stalled) from error
        if message is None:
            return
        yield message


def _read(kind: type[T], request: Message, *in_path: str) -> T:
    """Convert a request, less the fields that HTTP has in the path.

    Raises:
        InvalidInput: it breaks a rule of the contract.
    """
    try:
        return from_message(kind, request, in_path)
    except ValidationError as error:
        raise refusal(field_errors(error.errors())) from error

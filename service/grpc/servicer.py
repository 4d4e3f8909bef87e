"""The calls of `qasir.v1.RetrievalService`: the operations of HTTP, between messages."""

from collections.abc import AsyncIterator

from qasir.contract.convert import to_message
from qasir.contract.jobs import ListJobsRequest
from qasir.contract.models import ActivateModelRequest, BuildModelRequest
from qasir.contract.search import EmbedRequest, GetAttentionRequest, SearchRequest
from qasir.contract.videos import ListVideosRequest
from qasir.v1 import retrieval_pb2 as pb
from qasir.v1.retrieval_pb2_grpc import RetrievalServiceServicer
from service.grpc.interceptors import Call
from service.grpc.messages import read
from service.grpc.upload import Requests, upload_video
from service.http import job_events, jobs, models, search, videos
from service.http.context import Context
from service.search.deadline import Deadline


class RetrievalService(RetrievalServiceServicer):
    """Errors are raised as everywhere; `ErrorMetricsInterceptor` turns them into statuses."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def UploadVideo(self, requests: Requests, _: Call) -> pb.UploadVideoResponse:
        upload = await upload_video(requests, self._context)
        return to_message(pb.UploadVideoResponse, {"upload": upload})

    async def ListVideos(self, request: pb.ListVideosRequest, _: Call) -> pb.ListVideosResponse:
        page = await videos.list_videos(self._context, read(ListVideosRequest, request))
        return to_message(pb.ListVideosResponse, page)

    async def GetVideo(self, request: pb.GetVideoRequest, _: Call) -> pb.GetVideoResponse:
        video = await videos.get_video(request.video_id, self._context)
        return to_message(pb.GetVideoResponse, {"video": video})

    async def DeleteVideo(self, request: pb.DeleteVideoRequest, _: Call) -> pb.DeleteVideoResponse:
        await videos.delete_video(request.video_id, self._context)
        return pb.DeleteVideoResponse()

    async def ListJobs(self, request: pb.ListJobsRequest, _: Call) -> pb.ListJobsResponse:
        page = await jobs.list_jobs(self._context, read(ListJobsRequest, request))
        return to_message(pb.ListJobsResponse, page)

    async def GetJob(self, request: pb.GetJobRequest, _: Call) -> pb.GetJobResponse:
        job = await jobs.get_job(request.job_id, self._context)
        return to_message(pb.GetJobResponse, {"job": job})

    async def WatchJob(
        self, request: pb.WatchJobRequest, _: Call
    ) -> AsyncIterator[pb.WatchJobResponse]:
        with self._context.streams.acquire():
            async for job in job_events.watch(request.job_id, self._context):
                yield to_message(pb.WatchJobResponse, {"job": job})

    async def CancelJob(self, request: pb.CancelJobRequest, _: Call) -> pb.CancelJobResponse:
        job = await jobs.cancel_job(request.job_id, self._context)
        return to_message(pb.CancelJobResponse, {"job": job})

    async def RetryJob(self, request: pb.RetryJobRequest, _: Call) -> pb.RetryJobResponse:
        job = await jobs.retry_job(request.job_id, self._context)
        return to_message(pb.RetryJobResponse, {"job": job})

    async def Search(self, request: pb.SearchRequest, call: Call) -> pb.SearchResponse:
        query, deadline = read(SearchRequest, request), self._deadline(call)
        answer = await search.answer_search(query, self._context, deadline)
        return to_message(pb.SearchResponse, answer)

    async def GetAttention(
        self, request: pb.GetAttentionRequest, call: Call
    ) -> pb.GetAttentionResponse:
        query, deadline = read(GetAttentionRequest, request, "video_id"), self._deadline(call)
        attention = await search.answer_attention(query, request.video_id, self._context, deadline)
        return to_message(pb.GetAttentionResponse, {"attention": attention})

    async def Embed(self, request: pb.EmbedRequest, call: Call) -> pb.EmbedResponse:
        texts, deadline = read(EmbedRequest, request), self._deadline(call)
        answer = await search.answer_embed(texts, self._context, deadline)
        return to_message(pb.EmbedResponse, answer)

    async def ListModels(self, _: pb.ListModelsRequest, __: Call) -> pb.ListModelsResponse:
        return to_message(pb.ListModelsResponse, await models.list_models(self._context))

    async def GetModel(self, request: pb.GetModelRequest, _: Call) -> pb.GetModelResponse:
        model = await models.get_model(request.version, self._context)
        return to_message(pb.GetModelResponse, {"model": model})

    async def BuildModel(self, request: pb.BuildModelRequest, _: Call) -> pb.BuildModelResponse:
        build = read(BuildModelRequest, request, "version")
        model = await models.build_model(request.version, self._context, build)
        return to_message(pb.BuildModelResponse, {"model": model})

    async def ActivateModel(
        self, request: pb.ActivateModelRequest, _: Call
    ) -> pb.ActivateModelResponse:
        activation = read(ActivateModelRequest, request, "version")
        model = await models.activate_model(request.version, self._context, activation)
        return to_message(pb.ActivateModelResponse, {"model": model})

    async def RetireModel(self, request: pb.RetireModelRequest, _: Call) -> pb.RetireModelResponse:
        model = await models.retire_model(request.version, self._context)
        return to_message(pb.RetireModelResponse, {"model": model})

    def _deadline(self, call: Call) -> Deadline:
        """The caller's, or the service's own where that is sooner."""
        own, remaining = self._context.core.settings.search_seconds, call.time_remaining()
        return Deadline(own if remaining is None else min(own, remaining))

"""The calls of `qasir.v1.Retrieval`: read the message, ask the HTTP twin, write the message."""

from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty

from qasir.proto.v1 import retrieval_pb2 as pb
from qasir.proto.v1.retrieval_pb2_grpc import RetrievalServicer
from service.grpc.interceptors import Call
from service.grpc.messages import answer, asked, embeddings
from service.grpc.upload import Requests, accept
from service.http import jobs, search, videos
from service.http import models as generations
from service.http.context import Context
from service.http.schemas.attention import AttentionIn
from service.http.schemas.jobs import JobOut, JobsIn
from service.http.schemas.models import ActivateIn, BuildIn
from service.http.schemas.search import EmbedIn, SearchIn
from service.http.schemas.shared import PageIn
from service.http.schemas.videos import Upload
from service.search.deadline import Deadline


class Retrieval(RetrievalServicer):
    """Errors are raised as everywhere; `Calls` makes statuses of them."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def UploadVideo(self, request_iterator: Requests, _: Call) -> pb.Upload:
        return answer(pb.Upload, Upload.of(await accept(request_iterator, self._context)))

    async def ListVideos(self, request: pb.ListVideosRequest, _: Call) -> pb.VideoPage:
        page = await videos.list_videos(self._context, asked(PageIn, request))
        return answer(pb.VideoPage, page)

    async def GetVideo(self, request: pb.GetVideoRequest, _: Call) -> pb.VideoDetail:
        return answer(pb.VideoDetail, await videos.get_video(request.video_id, self._context))

    async def DeleteVideo(self, request: pb.DeleteVideoRequest, _: Call) -> Empty:
        await videos.delete_video(request.video_id, self._context)
        return Empty()

    async def ListJobs(self, request: pb.ListJobsRequest, _: Call) -> pb.JobPage:
        page = await jobs.list_jobs(self._context, asked(JobsIn, request))
        return answer(pb.JobPage, page)

    async def GetJob(self, request: pb.GetJobRequest, _: Call) -> pb.Job:
        return answer(pb.Job, await jobs.get_job(request.job_id, self._context))

    async def WatchJob(self, request: pb.WatchJobRequest, _: Call) -> AsyncIterator[pb.Job]:
        with self._context.streams.place():
            async for job in self._context.core.jobs.watch(request.job_id):
                yield answer(pb.Job, JobOut.of(job))

    async def CancelJob(self, request: pb.CancelJobRequest, _: Call) -> pb.Job:
        return answer(pb.Job, await jobs.cancel_job(request.job_id, self._context))

    async def RetryJob(self, request: pb.RetryJobRequest, _: Call) -> pb.Job:
        return answer(pb.Job, await jobs.retry_job(request.job_id, self._context))

    async def Search(self, request: pb.SearchRequest, context: Call) -> pb.SearchResponse:
        query = asked(SearchIn, request)
        found = await search.answer_search(query, self._context, self._deadline(context))
        return answer(pb.SearchResponse, found)

    async def GetAttention(self, request: pb.AttentionRequest, context: Call) -> pb.Attention:
        query, limit = asked(AttentionIn, request, path={"video_id"}), self._deadline(context)
        return answer(
            pb.Attention,
            await search.answer_attention(query, request.video_id, self._context, limit),
        )

    async def Embed(self, request: pb.EmbedRequest, context: Call) -> pb.Embeddings:
        texts = asked(EmbedIn, request)
        return embeddings(await search.answer_embed(texts, self._context, self._deadline(context)))

    async def ListGenerations(self, _: pb.ListGenerationsRequest, __: Call) -> pb.Generations:
        return answer(pb.Generations, await generations.list_generations(self._context))

    async def BuildGeneration(self, request: pb.BuildGenerationRequest, _: Call) -> pb.Generation:
        made = await generations.build_generation(asked(BuildIn, request), self._context)
        return answer(pb.Generation, made)

    async def ActivateGeneration(
        self, request: pb.ActivateGenerationRequest, _: Call
    ) -> pb.Generation:
        how = asked(ActivateIn, request, path={"id"})
        made = await generations.activate_generation(request.id, self._context, how)
        return answer(pb.Generation, made)

    async def RetireGeneration(self, request: pb.RetireGenerationRequest, _: Call) -> Empty:
        await generations.retire_generation(request.id, self._context)
        return Empty()

    def _deadline(self, context: Call) -> Deadline:
        """The caller's, or the service's own where that is sooner."""
        own, remaining = self._context.core.settings.search_seconds, context.time_remaining()
        return Deadline(own if remaining is None else min(own, remaining))

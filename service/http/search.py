"""Routes of search."""

from fastapi import APIRouter

from qasir.contract.search import (
    Attention,
    EmbedRequest,
    EmbedResponse,
    GetAttentionRequest,
    SearchRequest,
    SearchResponse,
)
from qasir.errors import (
    NotFound,
    QueryTooLong,
    UnsupportedGrid,
    UnsupportedMedia,
    UnsupportedModel,
    UploadTooLarge,
)
from service.http.context import Context, ContextDep
from service.http.openapi import BODY, documented
from service.search.deadline import Deadline

router = APIRouter(prefix="/v1", tags=["search"], responses=BODY)

QUERY = (QueryTooLong, UnsupportedGrid, NotFound, UnsupportedMedia, UploadTooLarge)


async def answer_search(
    request: SearchRequest, context: Context, deadline: Deadline | None = None
) -> SearchResponse:
    """Search as soon as the limiter admits it, for every transport."""
    engine = context.core.engine
    return await context.searches.run(lambda queued: engine.search(request, queued, deadline))


async def answer_attention(
    request: GetAttentionRequest, video_id: str, context: Context, deadline: Deadline | None = None
) -> Attention:
    """Explain a result as soon as the limiter admits it, for every transport."""
    engine = context.core.engine
    return await context.searches.run(lambda _: engine.attention(request, video_id, deadline))


async def answer_embed(
    request: EmbedRequest, context: Context, deadline: Deadline | None = None
) -> EmbedResponse:
    """Embed texts as soon as the limiter admits it, for every transport."""
    engine = context.core.engine
    return await context.searches.run(lambda _: engine.embed(request.texts, deadline))


@router.post("/search", responses=documented(*QUERY, UnsupportedModel))
async def search(request: SearchRequest, context: ContextDep) -> SearchResponse:
    """Find videos, and the moments in them, by what they show."""
    return await answer_search(request, context)


@router.post("/videos/{video_id}/attention", responses=documented(*QUERY))
async def get_attention(
    video_id: str, request: GetAttentionRequest, context: ContextDep
) -> Attention:
    """Explain why a video was found: how the query's attention lies over its frames."""
    return await answer_attention(request, video_id, context)


@router.post("/embed", responses=documented(QueryTooLong))
async def embed(request: EmbedRequest, context: ContextDep) -> EmbedResponse:
    """Embed texts as unit vectors in the space in which videos are searched."""
    return await answer_embed(request, context)

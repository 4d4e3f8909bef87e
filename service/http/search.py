"""Routes of search."""

from typing import Annotated

from fastapi import APIRouter, Depends

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
from service.http.context import ContextDep
from service.http.openapi import BODY, documented
from service.search.deadline import Deadline

router = APIRouter(prefix="/v1", tags=["search"], responses=BODY)

QUERY = (QueryTooLong, UnsupportedGrid, NotFound, UnsupportedMedia, UploadTooLarge)


async def no_deadline() -> None:
    """Leave the deadline to the engine: HTTP has no header for a caller's, as gRPC has."""


DeadlineDep = Annotated[Deadline | None, Depends(no_deadline)]


@router.post("/search", responses=documented(*QUERY, UnsupportedModel))
async def search(
    request: SearchRequest, context: ContextDep, deadline: DeadlineDep = None
) -> SearchResponse:
    """Find videos, and the moments in them, by what they show."""
    engine = context.core.engine
    return await context.searches.run(lambda queued: engine.search(request, queued, deadline))


@router.post("/videos/{video_id}/attention", responses=documented(*QUERY))
async def get_attention(
    video_id: str,
    request: GetAttentionRequest,
    context: ContextDep,
    deadline: DeadlineDep = None,
) -> Attention:
    """Explain why a video was found: how the query's attention lies over its frames."""
    engine = context.core.engine
    return await context.searches.run(lambda _: engine.attention(request, video_id, deadline))


@router.post("/embed", responses=documented(QueryTooLong))
async def embed(
    request: EmbedRequest, context: ContextDep, deadline: DeadlineDep = None
) -> EmbedResponse:
    """Embed texts as unit vectors in the space in which videos are searched."""
    engine = context.core.engine
    return await context.searches.run(lambda _: engine.embed(request.texts, deadline))

"""Routes of search."""

from fastapi import APIRouter

from service.http.context import Context, ContextDep
from service.http.schemas.attention import AttentionIn, AttentionOut
from service.http.schemas.search import EmbedIn, EmbedOut, SearchIn, SearchOut
from service.search.deadline import Deadline

router = APIRouter(prefix="/v1", tags=["search"])


async def answer_search(
    asked: SearchIn, context: Context, deadline: Deadline | None = None
) -> SearchOut:
    """Answer a search in its turn, for every route to it."""
    request = asked.request()
    engine = context.core.engine
    return SearchOut.of(
        await context.searches.run(lambda queued: engine.search(request, queued, deadline))
    )


async def answer_attention(
    asked: AttentionIn, video_id: str, context: Context, deadline: Deadline | None = None
) -> AttentionOut:
    """Tell a query's attention over a video in its turn, for every route to it."""
    request, engine = asked.request(), context.core.engine
    found = await context.searches.run(lambda _: engine.attention(request, video_id, deadline))
    return AttentionOut.of(found, video_id)


async def answer_embed(
    asked: EmbedIn, context: Context, deadline: Deadline | None = None
) -> EmbedOut:
    """Embed texts in their turn, for every route to it."""
    engine = context.core.engine
    return EmbedOut.of(await context.searches.run(lambda _: engine.embed(asked.texts, deadline)))


@router.post("/search", response_model=SearchOut)
async def search(asked: SearchIn, context: ContextDep) -> SearchOut:
    """Find videos, and the moments in them, by what they show."""
    return await answer_search(asked, context)


@router.post("/videos/{video_id}/attention", response_model=AttentionOut)
async def attention(video_id: str, asked: AttentionIn, context: ContextDep) -> AttentionOut:
    """Why a video was found: how the query's attention lies over its frames."""
    return await answer_attention(asked, video_id, context)


@router.post("/embed", response_model=EmbedOut)
async def embed(asked: EmbedIn, context: ContextDep) -> EmbedOut:
    """Unit vectors of texts, in the space in which videos are searched."""
    return await answer_embed(asked, context)

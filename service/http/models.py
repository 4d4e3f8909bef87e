"""Routes of model versions: list, build, activate and roll back, retire."""

from http import HTTPStatus

from fastapi import APIRouter

from qasir.contract.models import ActivateModelRequest, BuildModelRequest, Model, ModelList
from qasir.errors import Conflict, NotFound
from service.http.context import ContextDep
from service.http.openapi import BODY, documented

router = APIRouter(prefix="/v1/models", tags=["models"], responses=documented())


@router.get("")
async def list_models(context: ContextDep) -> ModelList:
    """List every model version of the store, oldest first, and what it covers of the library."""
    return ModelList(models=list(await context.read(context.core.rollout.list)))


@router.get("/{version}", responses=documented(NotFound))
async def get_model(version: int, context: ContextDep) -> Model:
    """Get one model version, and what it covers of the library."""
    return await context.read(lambda: context.core.rollout.get(version))


@router.post(
    "/{version}/build",
    status_code=HTTPStatus.ACCEPTED,
    responses=BODY | documented(NotFound, Conflict),
)
async def build_model(
    version: int, context: ContextDep, request: BuildModelRequest | None = None
) -> Model:
    """Encode every video with a model version, beside the active one; retries what failed."""
    activate = request is not None and request.activate
    return await context.read(lambda: context.core.rollout.build(version, activate=activate))


@router.post("/{version}/activate", responses=BODY | documented(NotFound, Conflict))
async def activate_model(
    version: int, context: ContextDep, request: ActivateModelRequest | None = None
) -> Model:
    """Answer every later search with a model version; activate the previous one to roll back."""
    activation = request or ActivateModelRequest()
    return await context.read(lambda: context.core.rollout.activate(version, activation))


@router.post("/{version}/retire", responses=documented(NotFound, Conflict))
async def retire_model(version: int, context: ContextDep) -> Model:
    """Remove the embeddings of a model version; the model stays in the store."""
    rollout = context.core.rollout

    def retire() -> Model:
        rollout.retire(version)
        return rollout.get(version)

    return await context.read(retire)

"""Routes of generations: list, build, activate and roll back, retire."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path

from service.http.context import ContextDep
from service.http.schemas.models import ActivateIn, BuildIn, GenerationOut, GenerationsOut

router = APIRouter(prefix="/v1/generations", tags=["generations"])

Id = Annotated[int, Path(ge=1, le=2**31)]


@router.get("", response_model=GenerationsOut)
async def list_generations(context: ContextDep) -> GenerationsOut:
    """Every model set of the store, and how much of the library each holds."""
    found = await context.read(context.core.rollout.list)
    return GenerationsOut(generations=[GenerationOut.of(one) for one in found])


@router.post("", response_model=GenerationOut, status_code=HTTPStatus.ACCEPTED)
async def build_generation(asked: BuildIn, context: ContextDep) -> GenerationOut:
    """Encode every video with a model set, beside the active one; what failed, again."""
    rollout = context.core.rollout
    made = await context.read(lambda: rollout.build(asked.id, activate=asked.activate))
    return GenerationOut.of(made)


@router.post("/{id}/activate", response_model=GenerationOut)
async def activate_generation(
    id: Id, context: ContextDep, asked: ActivateIn | None = None
) -> GenerationOut:
    """Answer every search from now on with a generation; the previous one rolls back."""
    wanted = (asked or ActivateIn()).request()
    rollout = context.core.rollout
    return GenerationOut.of(await context.read(lambda: rollout.activate(id, wanted)))


@router.delete("/{id}", status_code=HTTPStatus.NO_CONTENT)
async def retire_generation(id: Id, context: ContextDep) -> None:
    """Remove a generation's vectors; its model set stays in the store."""
    await context.read(lambda: context.core.rollout.retire(id))

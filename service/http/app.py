"""The FastAPI app: /v1, the page, metrics and the OpenAPI document."""

import httpx
from fastapi import APIRouter, FastAPI, Response

from qasir.errors import WorkerUnavailable
from service.gauges import gauges
from service.http import jobs, media, models, page, problems, search, uploads, videos
from service.http.context import ContextDep
from service.http.openapi import DocumentedApp
from service.observability.telemetry import CONTENT_TYPE

WORKER_SECONDS = 2.0

router = APIRouter(prefix="/metrics", include_in_schema=False)


def create_app() -> FastAPI:
    """Create the app without its context, which each process sets once it has one."""
    app = DocumentedApp()
    for module in (search, videos, media, uploads, jobs, models, page):
        app.include_router(module.router)
    app.include_router(router)
    problems.install(app)
    return app


@router.get("", name="metrics")
async def metrics(context: ContextDep) -> Response:
    """Send the metrics of all service processes together, for Prometheus."""
    core = context.core
    text = await context.read(lambda: core.telemetry.page(gauges(core.settings, core.rollout)))
    return Response(text, media_type=CONTENT_TYPE)


@router.get("/worker", name="worker_metrics")
async def worker_metrics(context: ContextDep) -> Response:
    """Pass on the worker's metrics, because a browser reaches the service alone.

    Raises:
        WorkerUnavailable: it does not answer.
    """
    settings = context.core.settings
    url = f"http://{settings.worker_host}:{settings.worker_metrics_port}/metrics"
    try:
        # Plain HTTP: reading certificates would hold up the event loop for 30 ms.
        async with httpx.AsyncClient(timeout=WORKER_SECONDS, verify=False) as http:
            answer = (await http.get(url)).raise_for_status()
    except httpx.HTTPError as error:
        raise WorkerUnavailable(
            f"no worker answers at {url}; check its log, or set QASIR_WORKER_HOST"
        ) from error
    return Response(answer.content, media_type=CONTENT_TYPE)

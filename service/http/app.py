"""The FastAPI app: /v1, the page, metrics and the OpenAPI document."""

from fastapi import FastAPI, Response

from service.http import (
    docs,
    jobs,
    models,
    page,
    pictures,
    problems,
    search,
    uploads,
    videos,
    worker_metrics,
)
from service.http.context import ContextDep
from service.http.openapi import DocumentedApp
from service.observability.telemetry import CONTENT_TYPE


def create_app() -> FastAPI:
    """Create the app without its context, which each process sets once it has one."""
    app = DocumentedApp()
    for module in (search, videos, pictures, uploads, jobs, models, docs, page, worker_metrics):
        app.include_router(module.router)
    app.add_api_route("/metrics", metrics_page, name="metrics", include_in_schema=False)
    problems.install(app)
    return app


async def metrics_page(context: ContextDep) -> Response:
    """Send the metrics of all service processes together, for Prometheus."""
    core = context.core
    page = await context.read(lambda: core.telemetry.page(core.gauges))
    return Response(page, media_type=CONTENT_TYPE)

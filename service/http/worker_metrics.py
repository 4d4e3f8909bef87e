"""The worker's metrics at the service's address, because a browser reaches the service alone."""

import httpx
from fastapi import APIRouter, Response

from qasir.errors import WorkerUnavailable
from service.http.context import ContextDep
from service.observability.telemetry import CONTENT_TYPE

TIMEOUT_SECONDS = 2.0

router = APIRouter(include_in_schema=False)


@router.get("/metrics/worker", name="worker_metrics")
async def worker_metrics(context: ContextDep) -> Response:
    """Pass on the metrics of the worker.

    Raises:
        WorkerUnavailable: it does not answer.
    """
    settings = context.core.settings
    url = f"http://{settings.worker_host}:{settings.worker_metrics_port}/metrics"
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as http:
            answer = (await http.get(url)).raise_for_status()
    except httpx.HTTPError as error:
        raise WorkerUnavailable(
            f"no worker answers at {url}; check its log, or set QASIR_WORKER_HOST"
        ) from error
    return Response(answer.content, media_type=CONTENT_TYPE)

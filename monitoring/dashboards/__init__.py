"""The dashboards as code; `python -m monitoring.dashboards` writes their JSON."""

from monitoring.dashboards import host, ingestion, latency, library, overview, triton
from monitoring.dashboards.board import Board

BOARDS: tuple[Board, ...] = (
    overview.BOARD,
    latency.BOARD,
    ingestion.BOARD,
    triton.BOARD,
    host.BOARD,
    library.BOARD,
)

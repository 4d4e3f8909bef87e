"""Structured logs: one JSON object a line on standard error."""

import sys

import structlog
from structlog.typing import EventDict


def configure_logs(process: str) -> None:
    """Log as `process`, with the time in UTC."""

    def name_process(_logger: object, _method: str, event: EventDict) -> EventDict:
        # Not by context variables: those do not reach other threads.
        return {"process": process, **event}

    structlog.configure(
        processors=[
            name_process,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )

"""Structured logs: one JSON object per line on standard error, also for libraries.

A log holds ids, codes and numbers, and nothing that users write, send or name.
"""

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor

from service.observability.tracing import trace_id

# BentoML and its servers install handlers of their own, in another format.
OWN_HANDLERS = ("bentoml", "circus", "uvicorn", "uvicorn.error", "uvicorn.access")


def configure_logs(process: str) -> None:
    """Make this process and its libraries log as `process`, with times in UTC."""
    shared, render = _processors(process), structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, render],
        # A line and its end are written at once, so that no other logger's line comes between.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in OWN_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.captureWarnings(True)


def _processors(process: str) -> list[Processor]:
    def name_process(_logger: object, _method: str, event: EventDict) -> EventDict:
        # Context variables do not reach other threads.
        return {"process": process, **event}

    def name_trace(_logger: object, _method: str, event: EventDict) -> EventDict:
        trace = trace_id()
        return event if trace is None else {**event, "trace_id": trace}

    return [
        name_process,
        name_trace,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.dict_tracebacks,
    ]

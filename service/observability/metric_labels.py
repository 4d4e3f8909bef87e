"""Every value that a label of a metric can take, but for what belongs to one metric alone."""

from typing import get_args

from qasir import errors
from qasir.config import Variant
from qasir.errors import QasirError

GRID_SIZES = tuple(str(n) for n in range(1, 9))
MODES = ("fast", "accurate", "hybrid")
RECALL_KS = ("1", "5", "10", "100")
VARIANTS: tuple[Variant, ...] = get_args(Variant)
SEARCH_STAGES = ("queue", "tokenise", "encode", "recall", "score", "hydrate")
# One name for each route and its twin over gRPC.
OPERATIONS = (
    "add_video",
    "list_videos",
    "get_video",
    "delete_video",
    "video_media",
    "video_thumbnail",
    "video_super_image",
    "upload_options",
    "create_upload",
    "upload_offset",
    "continue_upload",
    "delete_upload",
    "list_jobs",
    "get_job",
    "job_events",
    "cancel_job",
    "retry_job",
    "list_generations",
    "build_generation",
    "activate_generation",
    "retire_generation",
    "search",
    "attention",
    "embed",
    "page",
    "asset",
    "study",
    "plot",
    "docs",
    "metrics",
    "worker_metrics",
)


def error_codes() -> tuple[str, ...]:
    """Every code of the error tree."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    return tuple(sorted({c.code for c in classes if issubclass(c, QasirError)}))


ERROR_CODES = error_codes()
REQUEST_CODES = ("ok", "method_not_allowed", "request_too_large", "cancelled", *ERROR_CODES)

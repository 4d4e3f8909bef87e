"""What an entry of the metrics list says: buckets by kind of quantity, label values, units.

Every value that a label can take is listed, except those that belong to one metric alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from qasir import errors
from qasir.config import MAX_GRID_SIZE, Variant
from qasir.contract.jobs import JobState, Stage
from qasir.contract.search import Mode
from qasir.errors import QasirError

Kind = Literal["counter", "histogram", "gauge"]
# Base units, as Prometheus recommends; plurals for what is only counted.
Unit = Literal[
    "seconds",
    "bytes",
    "ratio",
    "number",
    "info",
    "bool",
    "jobs",
    "videos",
    "windows",
    "super images",
    "requests",
]

OTHER = "other"

# A search takes milliseconds, up to its deadline; finest around its targets of 25 and 60 ms.
SEARCH_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.035),
    *(0.05, 0.06, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
# A stage of a search may take microseconds: a cached text, an empty queue.
STAGE_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
# An ingest takes from a tenth of a second for a clip to hours for a day of video.
INGEST_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600, 1800, 3600, 10800)
# Probing and committing take milliseconds.
INGEST_STAGE_BUCKETS = (0.001, 0.0025, 0.01, 0.025, *INGEST_BUCKETS)
# A queue may be empty, or a working day long.
WAIT_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)

GRID_SIZES = tuple(str(n) for n in range(1, MAX_GRID_SIZE + 1))
MODES: tuple[Mode, ...] = get_args(Mode)
RECALL_KS = ("1", "5", "10", "100")
VARIANTS: tuple[Variant, ...] = get_args(Variant)
JOB_STATES: tuple[JobState, ...] = get_args(JobState)
INGEST_STAGES: tuple[Stage, ...] = get_args(Stage)
SEARCH_STAGES = ("queue", "tokenise", "encode", "recall", "score", "hydrate")
# Every operation has one name, whichever transport it came by: those with a gRPC method, and
# those of HTTP alone, which are the names of its routes.
RPC_OPERATIONS = {
    "UploadVideo": "upload_video",
    "ListVideos": "list_videos",
    "GetVideo": "get_video",
    "DeleteVideo": "delete_video",
    "ListJobs": "list_jobs",
    "GetJob": "get_job",
    "WatchJob": "watch_job",
    "CancelJob": "cancel_job",
    "RetryJob": "retry_job",
    "Search": "search",
    "GetAttention": "get_attention",
    "Embed": "embed",
    "ListModels": "list_models",
    "GetModel": "get_model",
    "BuildModel": "build_model",
    "ActivateModel": "activate_model",
    "RetireModel": "retire_model",
}
OPERATIONS = (
    *RPC_OPERATIONS.values(),
    "get_media",
    "get_thumbnail",
    "get_super_image",
    "get_upload_options",
    "create_upload",
    "get_upload_offset",
    "continue_upload",
    "delete_upload",
    "page",
    "asset",
    "study",
    "plot",
    "docs",
    "metrics",
    "worker_metrics",
)


def error_codes() -> tuple[str, ...]:
    """List every code of the error tree."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    return tuple(sorted({c.code for c in classes if issubclass(c, QasirError)}))


ERROR_CODES = error_codes()
REQUEST_CODES = ("ok", "method_not_allowed", "request_too_large", "cancelled", *ERROR_CODES)


@dataclass(frozen=True)
class Metric:
    """One metric; `labels` lists every value of each label.

    from_zero: export 0 before the first event, so that a rate includes the first one.
    """

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    from_zero: bool = False
    unit: Unit = field(kw_only=True)

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the label values to export for `given` ones."""
        return {
            label: given[label] if given[label] in allowed else OTHER
            for label, allowed in self.labels.items()
        }

    @property
    def at_scrape(self) -> bool:
        """Whether it is read from the state folder at a scrape, so the same from every process."""
        return self.kind == "gauge"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its series on a page."""
        if self.kind != "histogram":
            return (self.name,)
        return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))

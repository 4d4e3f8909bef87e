"""The catalogue of every `qasir_` metric: name, help, labels with all their values, buckets.

A label value that is not listed here cannot be exported: whoever records one gets "other"
instead, so no id, path or query ever becomes a time series.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from qasir import __version__, errors
from qasir.errors import QasirError
from service.store.jobs import JOB_STATES, STAGES

Kind = Literal["counter", "histogram", "gauge"]
SearchStage = Literal["queue", "tokenise", "encode", "recall", "score", "hydrate"]

OTHER = "other"
GRID_SIZES = tuple(str(n) for n in range(1, 9))
MODES = ("fast", "accurate")
SEARCH_STAGES: tuple[SearchStage, ...] = get_args(SearchStage)
OPERATIONS = (
    "add_video",
    "list_videos",
    "get_video",
    "delete_video",
    "video_media",
    "video_thumbnail",
    "video_super_image",
    "list_jobs",
    "get_job",
    "job_events",
    "cancel_job",
    "retry_job",
    "search",
    "embed",
    "root",
    "docs",
    "metrics",
)

# A search is milliseconds, up to its deadline; finest around its bars of 25 and 60 ms.
SEARCH_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.015,
    0.02,
    0.025,
    0.035,
    0.05,
    0.06,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
)
# A stage of a search may be microseconds: a cached text, an empty queue.
STAGE_BUCKETS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.015,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
)
# Ingestion is from a tenth of a second for a clip to hours for a day of video.
INGEST_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600, 1800, 3600, 10800)


def error_codes() -> tuple[str, ...]:
    """Every code of the error tree."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    return tuple(sorted({c.code for c in classes if issubclass(c, QasirError)}))


@dataclass(frozen=True)
class Metric:
    """One metric; `labels` lists every value each label can take.

    `at_scrape`: read from the catalogue when asked, so it is the same from every process.
    """

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    at_scrape: bool = False

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """The label values to export for `given` ones."""
        return {
            label: given[label] if given[label] in allowed else OTHER
            for label, allowed in self.labels.items()
        }


SEARCH_SECONDS = Metric(
    "qasir_search_seconds",
    "histogram",
    "Seconds from a search's arrival to its answer, queueing included.",
    {"mode": MODES, "grid_size": GRID_SIZES},
    SEARCH_BUCKETS,
)
SEARCH_STAGE_SECONDS = Metric(
    "qasir_search_stage_seconds",
    "histogram",
    "Seconds of one stage of a search.",
    {"stage": SEARCH_STAGES, "grid_size": GRID_SIZES},
    STAGE_BUCKETS,
)
TEXT_CACHE = Metric(
    "qasir_text_cache_total",
    "counter",
    "Query texts whose vector was cached (hit) or had to be encoded (miss).",
    {"result": ("hit", "miss")},
)
REQUESTS = Metric(
    "qasir_requests_total",
    "counter",
    "Requests answered, by operation and by error code; ok where there was none.",
    {
        "operation": OPERATIONS,
        "code": (
            "ok",
            "method_not_allowed",
            "request_too_large",
            "request_timeout",
            *error_codes(),
        ),
    },
)
INGEST_SECONDS = Metric(
    "qasir_ingest_seconds",
    "histogram",
    "Seconds from a worker's claim of a video to its commit.",
    {"grid_size": GRID_SIZES},
    INGEST_BUCKETS,
)
INGEST_STAGE_SECONDS = Metric(
    "qasir_ingest_stage_seconds",
    "histogram",
    "Seconds spent in one stage of an ingest; stages overlap, so their sum exceeds the whole.",
    {"stage": STAGES, "grid_size": GRID_SIZES},
    INGEST_BUCKETS,
)
VIDEO_SECONDS_INDEXED = Metric(
    "qasir_video_seconds_indexed_total",
    "counter",
    "Seconds of video made searchable.",
    {"grid_size": GRID_SIZES},
)
SUPER_IMAGES = Metric(
    "qasir_super_images_total",
    "counter",
    "Super images encoded and committed.",
    {"grid_size": GRID_SIZES},
)
JOB_FAILURES = Metric(
    "qasir_job_failures_total",
    "counter",
    "Ingest jobs that failed, by error code.",
    {"code": error_codes()},
)
JOBS = Metric(
    "qasir_jobs", "gauge", "Ingest jobs, by state.", {"state": JOB_STATES}, at_scrape=True
)
INDEX_VIDEOS = Metric(
    "qasir_index_videos", "gauge", "Videos searchable with the active model.", at_scrape=True
)
INDEX_SUPER_IMAGES = Metric(
    "qasir_index_super_images",
    "gauge",
    "Super images searchable with the active model.",
    {"grid_size": GRID_SIZES},
    at_scrape=True,
)
BUILD_INFO = Metric(
    "qasir_build_info",
    "gauge",
    "Always 1; the label says which qasir is running.",
    {"version": (__version__,)},
    at_scrape=True,
)

SERVICE_METRICS = (
    SEARCH_SECONDS,
    SEARCH_STAGE_SECONDS,
    TEXT_CACHE,
    REQUESTS,
    JOBS,
    INDEX_VIDEOS,
    INDEX_SUPER_IMAGES,
    BUILD_INFO,
)
WORKER_METRICS = (
    INGEST_SECONDS,
    INGEST_STAGE_SECONDS,
    VIDEO_SECONDS_INDEXED,
    SUPER_IMAGES,
    JOB_FAILURES,
)
METRICS = (*SERVICE_METRICS, *WORKER_METRICS)

"""Every `qasir_` metric: name, help, labels with all their values, buckets.

A label value that is not listed is exported as "other", so no id, path or query ever becomes a time
series.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

from qasir import __version__, errors
from qasir.config import MAX_GRID_SIZE, Variant
from qasir.contract.jobs import JobState, Stage
from qasir.contract.search import Mode
from qasir.errors import QasirError

Kind = Literal["counter", "histogram", "gauge"]

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
# The names of the HTTP routes; the same for a gRPC method that does the same.
OPERATIONS = (
    *("search", "get_attention", "embed"),
    *("upload_video", "list_videos", "get_video", "delete_video"),
    *("get_media", "get_thumbnail", "get_super_image"),
    *("get_upload_options", "create_upload", "get_upload_offset"),
    *("continue_upload", "delete_upload"),
    *("list_jobs", "get_job", "watch_job", "cancel_job", "retry_job"),
    *("list_models", "get_model", "build_model", "activate_model", "retire_model"),
    *("page", "asset", "study", "plot", "docs", "metrics", "worker_metrics"),
)
ERROR_CODES = tuple(
    sorted(
        {
            value.code
            for value in vars(errors).values()
            if isinstance(value, type) and issubclass(value, QasirError)
        }
    )
)
REQUEST_CODES = ("ok", "method_not_allowed", "request_too_large", "cancelled", *ERROR_CODES)


@dataclass(frozen=True)
class Metric:
    """One metric; `labels` lists every value of each label.

    from_zero: export 0 before the first event, so that a rate includes the first one.
    """

    kind: Kind
    name: str
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    from_zero: bool = False

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the label values to export for `given` ones."""
        return {
            label: given[label] if given[label] in allowed else OTHER
            for label, allowed in self.labels.items()
        }


_counter = partial(Metric, "counter")
_gauge = partial(Metric, "gauge")
_histogram = partial(Metric, "histogram")

SEARCH_SECONDS = _histogram(
    "qasir_search_seconds",
    "Seconds from a search's arrival to its answer, queueing included.",
    {"mode": MODES, "grid_size": GRID_SIZES},
    SEARCH_BUCKETS,
)
SEARCH_STAGE_SECONDS = _histogram(
    "qasir_search_stage_seconds",
    "Seconds of one stage of a search.",
    {"stage": SEARCH_STAGES, "grid_size": GRID_SIZES},
    STAGE_BUCKETS,
)
TEXT_CACHE = _counter(
    "qasir_text_cache_total",
    "Query texts whose vector was cached (hit) or had to be encoded (miss).",
    {"result": ("hit", "miss")},
)
REQUESTS = _counter(
    "qasir_requests_total",
    "Requests answered, by operation and by error code; ok where there was none.",
    {"operation": OPERATIONS, "code": REQUEST_CODES},
)
HYBRID_VIDEOS = _counter(
    "qasir_hybrid_videos_total",
    "The best videos of hybrid searches, by whether they had reranker embeddings (scored).",
    {"result": ("scored", "missing")},
)
RERANKER_REQUESTS = _gauge(
    "qasir_reranker_requests",
    "Videos that hybrid searches have requested and the worker has still to encode.",
)
MODEL_VIDEOS = _gauge(
    "qasir_model_videos",
    "Videos of active and retained model versions: embedded, waiting to be, or failed.",
    {
        "state": ("active", "previous", "ready", "building"),
        "videos": ("embedded", "waiting", "failed"),
    },
)
JOBS = _gauge("qasir_jobs", "Ingest jobs, by state.", {"state": JOB_STATES})
INDEX_VIDEOS = _gauge("qasir_index_videos", "Videos searchable with the active model.")
UNREADABLE_FILES = _gauge(
    "qasir_unreadable_vector_files",
    "Vector files that were missing or damaged since the catalogue exists; each is encoded again.",
)
INDEX_SUPER_IMAGES = _gauge(
    "qasir_index_super_images",
    "Super images searchable with the active model.",
    {"grid_size": GRID_SIZES},
)
OLDEST_QUEUED_SECONDS = _gauge(
    "qasir_oldest_queued_job_seconds",
    "Age of the oldest job that waits for a worker; 0 where none does.",
)
CATALOGUE_CHANGES = _gauge(
    "qasir_catalogue_changes",
    "Number of the catalogue's newest change: every commit and delete raises it.",
)
MODEL_VERSION = _gauge(
    "qasir_model_version", "Triton version of the active model; 0 where none is active."
)
EVAL_RECALL = _gauge(
    "qasir_eval_recall",
    "Share of the test split's queries whose video is among the first k, as last evaluated.",
    {"k": RECALL_KS, "grid_size": GRID_SIZES, "variant": VARIANTS},
)
STATE_FREE_BYTES = _gauge("qasir_state_free_bytes", "Bytes free on the disk of the state folder.")
STATE_SIZE_BYTES = _gauge(
    "qasir_state_size_bytes", "Bytes of the disk of the state folder, free or not."
)
STATE_RESERVE_BYTES = _gauge(
    "qasir_state_reserve_bytes", "Bytes that uploads leave free: below it they are refused."
)
CANARY_SUCCESS = _gauge(
    "qasir_canary_success",
    "1 where the last canary of every service process passed this check, else 0.",
    {"check": ("text", "image", "index", "pair")},
)
CANARY_LAST_RUN = _gauge(
    "qasir_canary_last_run_timestamp_seconds", "When the newest canary ran, in seconds since 1970."
)
CANARY_SECONDS = _gauge("qasir_canary_seconds", "Seconds that the newest canary took.")
BUILD_INFO = _gauge(
    "qasir_build_info",
    "Always 1; the label says which qasir is running.",
    {"version": (__version__,)},
)

INGEST_SECONDS = _histogram(
    "qasir_ingest_seconds",
    "Seconds from a worker's claim of a video to its commit.",
    {"grid_size": GRID_SIZES},
    INGEST_BUCKETS,
)
INGEST_STAGE_SECONDS = _histogram(
    "qasir_ingest_stage_seconds",
    "Seconds spent in one stage of an ingest; stages overlap, so their sum exceeds the whole.",
    {"stage": INGEST_STAGES, "grid_size": GRID_SIZES},
    INGEST_STAGE_BUCKETS,
)
VIDEO_SECONDS_INDEXED = _counter(
    "qasir_video_seconds_indexed_total",
    "Seconds of video made searchable.",
    {"grid_size": GRID_SIZES},
)
SUPER_IMAGES = _counter(
    "qasir_super_images_total", "Super images encoded and committed.", {"grid_size": GRID_SIZES}
)
WINDOWS = _counter(
    "qasir_windows_encoded_total",
    "Windows of super images encoded, counted while an ingest runs: what shows that one moves.",
    {"grid_size": GRID_SIZES},
)
JOB_WAIT_SECONDS = _histogram(
    "qasir_job_wait_seconds",
    "Seconds from an upload to a worker's claim of its job, repeated attempts left out.",
    buckets=WAIT_BUCKETS,
)
JOB_FAILURES = _counter(
    "qasir_job_failures_total",
    "Ingest jobs that failed, by error code.",
    {"code": ERROR_CODES},
    from_zero=True,
)
BACKFILLS = _counter(
    "qasir_backfills_total",
    "Videos encoded for a model version that lacked them, by how it ended.",
    {"result": ("ready", "failed", "lost", "put off")},
    from_zero=True,
)

METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
WORKER_METRICS = (
    *(INGEST_SECONDS, INGEST_STAGE_SECONDS, VIDEO_SECONDS_INDEXED, SUPER_IMAGES, WINDOWS),
    *(JOB_WAIT_SECONDS, JOB_FAILURES, BACKFILLS),
)
SERVICE_METRICS = tuple(metric for metric in METRICS if metric not in WORKER_METRICS)

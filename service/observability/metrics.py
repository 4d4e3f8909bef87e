"""Every `qasir_` metric: name, help, unit, labels with all their values, buckets.

A label value that is not listed is exported as "other", so no id, path or query ever becomes a time
series.
"""

from qasir import __version__
from service.observability.metric_types import (
    ERROR_CODES,
    GRID_SIZES,
    INGEST_BUCKETS,
    INGEST_STAGE_BUCKETS,
    INGEST_STAGES,
    JOB_STATES,
    MODES,
    OPERATIONS,
    RECALL_KS,
    REQUEST_CODES,
    SEARCH_BUCKETS,
    SEARCH_STAGES,
    STAGE_BUCKETS,
    VARIANTS,
    WAIT_BUCKETS,
    Metric,
)

SEARCH_SECONDS = Metric(
    "qasir_search_seconds",
    "histogram",
    "Seconds from a search's arrival to its answer, queueing included.",
    {"mode": MODES, "grid_size": GRID_SIZES},
    SEARCH_BUCKETS,
    unit="seconds",
)
SEARCH_STAGE_SECONDS = Metric(
    "qasir_search_stage_seconds",
    "histogram",
    "Seconds of one stage of a search.",
    {"stage": SEARCH_STAGES, "grid_size": GRID_SIZES},
    STAGE_BUCKETS,
    unit="seconds",
)
TEXT_CACHE = Metric(
    "qasir_text_cache_total",
    "counter",
    "Query texts whose vector was cached (hit) or had to be encoded (miss).",
    {"result": ("hit", "miss")},
    unit="requests",
)
REQUESTS = Metric(
    "qasir_requests_total",
    "counter",
    "Requests answered, by operation and by error code; ok where there was none.",
    {"operation": OPERATIONS, "code": REQUEST_CODES},
    unit="requests",
)
INGEST_SECONDS = Metric(
    "qasir_ingest_seconds",
    "histogram",
    "Seconds from a worker's claim of a video to its commit.",
    {"grid_size": GRID_SIZES},
    INGEST_BUCKETS,
    unit="seconds",
)
INGEST_STAGE_SECONDS = Metric(
    "qasir_ingest_stage_seconds",
    "histogram",
    "Seconds spent in one stage of an ingest; stages overlap, so their sum exceeds the whole.",
    {"stage": INGEST_STAGES, "grid_size": GRID_SIZES},
    INGEST_STAGE_BUCKETS,
    unit="seconds",
)
VIDEO_SECONDS_INDEXED = Metric(
    "qasir_video_seconds_indexed_total",
    "counter",
    "Seconds of video made searchable.",
    {"grid_size": GRID_SIZES},
    unit="seconds",
)
SUPER_IMAGES = Metric(
    "qasir_super_images_total",
    "counter",
    "Super images encoded and committed.",
    {"grid_size": GRID_SIZES},
    unit="super images",
)
WINDOWS = Metric(
    "qasir_windows_encoded_total",
    "counter",
    "Windows of super images encoded, counted while an ingest runs: what shows that one moves.",
    {"grid_size": GRID_SIZES},
    unit="windows",
)
JOB_WAIT_SECONDS = Metric(
    "qasir_job_wait_seconds",
    "histogram",
    "Seconds from an upload to a worker's claim of its job, repeated attempts left out.",
    buckets=WAIT_BUCKETS,
    unit="seconds",
)
JOB_FAILURES = Metric(
    "qasir_job_failures_total",
    "counter",
    "Ingest jobs that failed, by error code.",
    {"code": ERROR_CODES},
    from_zero=True,
    unit="jobs",
)
BACKFILLS = Metric(
    "qasir_backfills_total",
    "counter",
    "Videos encoded for a model version that lacked them, by how it ended.",
    {"result": ("ready", "failed", "lost", "put off")},
    from_zero=True,
    unit="videos",
)
HYBRID_VIDEOS = Metric(
    "qasir_hybrid_videos_total",
    "counter",
    "The best videos of hybrid searches, by whether they had reranker embeddings (scored).",
    {"result": ("scored", "missing")},
    unit="videos",
)
RERANKER_REQUESTS = Metric(
    "qasir_reranker_requests",
    "gauge",
    "Videos that hybrid searches have requested and the worker has still to encode.",
    unit="videos",
)
MODEL_VIDEOS = Metric(
    "qasir_model_videos",
    "gauge",
    "Videos of active and retained model versions: embedded, waiting to be, or failed.",
    {
        "state": ("active", "previous", "ready", "building"),
        "videos": ("embedded", "waiting", "failed"),
    },
    unit="videos",
)
JOBS = Metric(
    "qasir_jobs",
    "gauge",
    "Ingest jobs, by state.",
    {"state": JOB_STATES},
    unit="jobs",
)
INDEX_VIDEOS = Metric(
    "qasir_index_videos",
    "gauge",
    "Videos searchable with the active model.",
    unit="videos",
)
UNREADABLE_FILES = Metric(
    "qasir_unreadable_vector_files",
    "gauge",
    "Vector files that were missing or damaged since the catalogue exists; each is encoded again.",
    unit="number",
)
INDEX_SUPER_IMAGES = Metric(
    "qasir_index_super_images",
    "gauge",
    "Super images searchable with the active model.",
    {"grid_size": GRID_SIZES},
    unit="super images",
)
OLDEST_QUEUED_SECONDS = Metric(
    "qasir_oldest_queued_job_seconds",
    "gauge",
    "Age of the oldest job that waits for a worker; 0 where none does.",
    unit="seconds",
)
CATALOGUE_CHANGES = Metric(
    "qasir_catalogue_changes",
    "gauge",
    "Number of the catalogue's newest change: every commit and delete raises it.",
    unit="number",
)
MODEL_VERSION = Metric(
    "qasir_model_version",
    "gauge",
    "Triton version of the active model; 0 where none is active.",
    unit="number",
)
EVAL_RECALL = Metric(
    "qasir_eval_recall",
    "gauge",
    "Share of the test split's queries whose video is among the first k, as last evaluated.",
    {"k": RECALL_KS, "grid_size": GRID_SIZES, "variant": VARIANTS},
    unit="ratio",
)
STATE_FREE_BYTES = Metric(
    "qasir_state_free_bytes",
    "gauge",
    "Bytes free on the disk of the state folder.",
    unit="bytes",
)
STATE_SIZE_BYTES = Metric(
    "qasir_state_size_bytes",
    "gauge",
    "Bytes of the disk of the state folder, free or not.",
    unit="bytes",
)
STATE_RESERVE_BYTES = Metric(
    "qasir_state_reserve_bytes",
    "gauge",
    "Bytes that uploads leave free: below it they are refused.",
    unit="bytes",
)
CANARY_SUCCESS = Metric(
    "qasir_canary_success",
    "gauge",
    "1 where the last canary of every service process passed this check, else 0.",
    {"check": ("text", "image", "index", "pair")},
    unit="bool",
)
CANARY_LAST_RUN = Metric(
    "qasir_canary_last_run_timestamp_seconds",
    "gauge",
    "When the newest canary ran, in seconds since 1970.",
    unit="seconds",
)
CANARY_SECONDS = Metric(
    "qasir_canary_seconds",
    "gauge",
    "Seconds that the newest canary took.",
    unit="seconds",
)
BUILD_INFO = Metric(
    "qasir_build_info",
    "gauge",
    "Always 1; the label says which qasir is running.",
    {"version": (__version__,)},
    unit="info",
)

SERVICE_METRICS = (
    SEARCH_SECONDS,
    SEARCH_STAGE_SECONDS,
    TEXT_CACHE,
    REQUESTS,
    JOBS,
    OLDEST_QUEUED_SECONDS,
    INDEX_VIDEOS,
    UNREADABLE_FILES,
    INDEX_SUPER_IMAGES,
    CATALOGUE_CHANGES,
    MODEL_VERSION,
    EVAL_RECALL,
    STATE_FREE_BYTES,
    STATE_SIZE_BYTES,
    STATE_RESERVE_BYTES,
    MODEL_VIDEOS,
    CANARY_SUCCESS,
    CANARY_LAST_RUN,
    CANARY_SECONDS,
    HYBRID_VIDEOS,
    RERANKER_REQUESTS,
    BUILD_INFO,
)
WORKER_METRICS = (
    INGEST_SECONDS,
    INGEST_STAGE_SECONDS,
    VIDEO_SECONDS_INDEXED,
    SUPER_IMAGES,
    WINDOWS,
    JOB_WAIT_SECONDS,
    JOB_FAILURES,
    BACKFILLS,
)

METRICS = (*SERVICE_METRICS, *WORKER_METRICS)

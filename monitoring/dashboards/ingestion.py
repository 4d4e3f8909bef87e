"""How fast videos become searchable: pace, stages, queue, failures."""

from monitoring.dashboards.board import (
    COUNT,
    GRID_SIZE,
    PER_SECOND,
    RATIO,
    SECONDS,
    TIMES,
    Board,
    Panel,
    Query,
    Row,
    Variable,
    quantiles,
    ratio,
)

INSTANCE = Variable("instance", "Instance", "qasir_ingest_seconds_count")
WHERE = 'instance=~"$instance"'
GRID = f'{WHERE}, grid_size=~"$grid_size"'
RATE = "[$__rate_interval]"

PACE = Row(
    "Pace",
    (
        Panel(
            "Real-time factor",
            "Seconds of video indexed per second of work, at each N. An ingest at several grid "
            "sizes counts for each of them.",
            TIMES,
            (
                Query(
                    ratio(
                        "sum by (grid_size) "
                        f"(rate(qasir_video_seconds_indexed_total{{{GRID}}}{RATE}))",
                        f"sum by (grid_size) (rate(qasir_ingest_seconds_sum{{{GRID}}}{RATE}))",
                    ),
                    "N {{grid_size}}",
                ),
            ),
        ),
        Panel(
            "Shares of the stages",
            "Where ingests spend their time. Stages overlap: a window is decoded while the one "
            "before is encoded.",
            RATIO,
            (
                Query(
                    f"sum by (stage) (rate(qasir_ingest_stage_seconds_sum{{{GRID}}}{RATE})) "
                    "/ on () group_left () "
                    f"(sum(rate(qasir_ingest_stage_seconds_sum{{{GRID}}}{RATE})) > 0)",
                    "{{stage}}",
                ),
            ),
            "shares",
        ),
        Panel(
            "A whole ingest",
            "Seconds from a worker's claim of a video to its commit, at each N.",
            SECONDS,
            quantiles("qasir_ingest_seconds", "grid_size", (0.5, 0.95), GRID),
        ),
        Panel(
            "Stages of an ingest, p95",
            "Seconds of each stage of an ingest over 15 minutes, at each N.",
            SECONDS,
            (
                Query(
                    "grid_size_stage:qasir_ingest_stage_seconds:quantile15m"
                    '{grid_size=~"$grid_size", quantile="0.95"}',
                    "N {{grid_size}} {{stage}}",
                ),
            ),
        ),
        Panel(
            "Windows",
            "Windows of super images encoded per second, at each N: 0 while jobs wait means that "
            "the worker is stuck.",
            PER_SECOND,
            (
                Query(
                    f"sum by (grid_size) (rate(qasir_windows_encoded_total{{{GRID}}}{RATE}))",
                    "N {{grid_size}}",
                ),
            ),
        ),
        Panel(
            "Super images",
            "Super images encoded and committed per second, at each N.",
            PER_SECOND,
            (
                Query(
                    f"sum by (grid_size) (rate(qasir_super_images_total{{{GRID}}}{RATE}))",
                    "N {{grid_size}}",
                ),
            ),
        ),
    ),
)
QUEUE = Row(
    "Queue",
    (
        Panel(
            "Jobs",
            "Ingest jobs by state.",
            COUNT,
            (Query("max by (state) (qasir_jobs)", "{{state}}"),),
        ),
        Panel(
            "Age of the queue",
            "How long the oldest queued job has waited; 0 if none waits.",
            SECONDS,
            (Query("max(qasir_oldest_queued_job_seconds)", "oldest"),),
        ),
        Panel(
            "Wait for a worker",
            "Seconds from an upload to a worker's claim of its job.",
            SECONDS,
            quantiles("qasir_job_wait_seconds", "", (0.5, 0.95), WHERE),
        ),
        Panel(
            "Failures",
            "Jobs that failed, by error code, over the time shown.",
            COUNT,
            (
                Query(
                    f"sum by (code) (increase(qasir_job_failures_total{{{WHERE}}}[$__range])) > 0",
                    "{{code}}",
                ),
            ),
            "bars",
        ),
    ),
)
BOARD = Board(
    "qasir-ingestion",
    "qasir: ingestion",
    "How fast videos become searchable, where the time goes, what waits and what fails.",
    (INSTANCE, GRID_SIZE),
    (PACE, QUEUE),
)

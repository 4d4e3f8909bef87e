"""Rate, errors and duration of requests, and how fast the error budget is consumed."""

from monitoring.dashboards.board import (
    COUNT,
    GRID_SIZE,
    INSTANCE,
    MODE,
    PER_SECOND,
    RATIO,
    SECONDS,
    TIMES,
    Board,
    Panel,
    Query,
    Row,
    quantiles,
    ratio,
)

WHERE = 'instance=~"$instance"'
SEARCHES = f'{WHERE}, mode=~"$mode", grid_size=~"$grid_size"'
RATE = "[$__rate_interval]"

HEALTH = Row(
    "Health",
    (
        Panel(
            "Processes that answer",
            "1 for every process whose metrics Prometheus reads, 0 for one that does not answer.",
            COUNT,
            (Query('min by (job) (up{job=~"service|worker|triton"})', "{{job}}"),),
            "number",
            6,
        ),
        Panel(
            "Firing alerts",
            "Alerts that fire now; monitoring/README.md says what to do about each.",
            COUNT,
            (Query('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts"),),
            "number",
            4,
        ),
        Panel(
            "Canary",
            "1 where the last check of texts, stored super images, the index or golden queries "
            "passed in every process; 0 says that answers may be wrong.",
            COUNT,
            (Query(f"min by (check) (qasir_canary_success{{{WHERE}}})", "{{check}}"),),
            "number",
            6,
        ),
        Panel(
            "Error budget",
            "The pace at which failed searches use up the 0.5 % that may fail within 30 days: "
            "at 1 it lasts 30 days, at 14.4 fifty hours. Nothing is shown while nobody searches.",
            TIMES,
            tuple(
                Query(f"qasir:search_errors:ratio_rate{window} / 0.005", window)
                for window in ("5m", "1h", "6h")
            ),
            width=8,
        ),
    ),
)
TRAFFIC = Row(
    "Rate and errors",
    (
        Panel(
            "Requests",
            "Requests answered per second, by operation.",
            PER_SECOND,
            (
                Query(
                    f"sum by (operation) (rate(qasir_requests_total{{{WHERE}}}{RATE}))",
                    "{{operation}}",
                ),
            ),
        ),
        Panel(
            "Errors",
            "Requests answered with an error per second, by error code; docs/architecture.md "
            "says where the codes are defined.",
            PER_SECOND,
            (
                Query(
                    f'sum by (code) (rate(qasir_requests_total{{{WHERE}, code!="ok"}}{RATE}))',
                    "{{code}}",
                ),
            ),
        ),
        Panel(
            "Searches",
            "Searches answered per second, by mode and grid size.",
            PER_SECOND,
            (
                Query(
                    "sum by (mode, grid_size) "
                    f"(rate(qasir_search_seconds_count{{{SEARCHES}}}{RATE}))",
                    "{{mode}}, N {{grid_size}}",
                ),
            ),
        ),
        Panel(
            "Text cache hits",
            "Share of query texts whose vector was cached, so that Triton was not called.",
            RATIO,
            (
                Query(
                    ratio(
                        f'sum(rate(qasir_text_cache_total{{{WHERE}, result="hit"}}{RATE}))',
                        f"sum(rate(qasir_text_cache_total{{{WHERE}}}{RATE}))",
                    ),
                    "hits",
                ),
            ),
        ),
    ),
)
DURATION = Row(
    "Duration",
    (
        Panel(
            "Search",
            "Seconds from a search's arrival to its answer, including time in the queue.",
            SECONDS,
            quantiles("qasir_search_seconds", "", (0.5, 0.95, 0.99), SEARCHES),
        ),
        Panel(
            "Stages of a search, p95",
            "Seconds of each stage of a search: queue, tokenise, encode, recall, score, hydrate.",
            SECONDS,
            quantiles(
                "qasir_search_stage_seconds",
                "stage",
                (0.95,),
                f'{WHERE}, grid_size=~"$grid_size"',
            ),
        ),
    ),
)
HYBRID = Row(
    "Mode hybrid",
    (
        Panel(
            "Reranked videos",
            "Share of the candidates of hybrid searches that had reranker embeddings; while some "
            "lack them, an answer is provisional.",
            RATIO,
            (
                Query(
                    ratio(
                        f'sum(rate(qasir_hybrid_videos_total{{{WHERE}, result="scored"}}{RATE}))',
                        f"sum(rate(qasir_hybrid_videos_total{{{WHERE}}}{RATE}))",
                    ),
                    "scored",
                ),
            ),
        ),
        Panel(
            "Waiting for the reranker",
            "Videos that hybrid searches have requested and the worker has still to encode.",
            COUNT,
            (Query(f"max(qasir_reranker_requests{{{WHERE}}})", "videos"),),
        ),
    ),
)
GRID_SIZES = Row(
    "By grid size",
    (
        Panel(
            "Search by grid size",
            "Seconds of searches within the last five minutes: median, p95 and p99 at each N.",
            SECONDS,
            (
                Query(
                    "grid_size_mode:qasir_search_seconds:quantile5m"
                    '{grid_size=~"$grid_size", mode=~"$mode"}',
                    "N {{grid_size}} {{mode}} p{{quantile}}",
                ),
            ),
        ),
        Panel(
            "Real-time factor",
            "Seconds of video indexed per second of work, over 15 minutes, at each N.",
            TIMES,
            (
                Query(
                    'grid_size:qasir_ingest_speed:rate15m{grid_size=~"$grid_size"}',
                    "N {{grid_size}}",
                ),
            ),
        ),
    ),
)
BOARD = Board(
    "qasir-overview",
    "qasir: overview",
    "Rate, errors and duration of searches, and the error budget.",
    (INSTANCE, MODE, GRID_SIZE),
    (HEALTH, TRAFFIC, DURATION, GRID_SIZES, HYBRID),
)

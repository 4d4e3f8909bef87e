"""What a larger grid saves and what it costs: latency by N, with recall beside it."""

from monitoring.dashboards.board import (
    COUNT,
    GRID_SIZE,
    INSTANCE,
    MODE,
    RATIO,
    SECONDS,
    Board,
    Panel,
    Query,
    Row,
    quantiles,
)

WHERE = 'instance=~"$instance", grid_size=~"$grid_size"'
SEARCHES = f'{WHERE}, mode=~"$mode"'
# The worker is another instance than the service.
INGESTS = 'grid_size=~"$grid_size"'
BOTH = (0.5, 0.95)


def _stage(name: str) -> str:
    return f'{WHERE}, stage="{name}"'


def _over_time(title: str, description: str, histogram: str, selector: str) -> Panel:
    return Panel(title, description, SECONDS, quantiles(histogram, "grid_size", BOTH, selector))


COMPARED = Row(
    "Grid sizes compared, over the time shown",
    (
        Panel(
            "Search by grid size",
            "Seconds of searches within the time shown: median and p95 at each N.",
            SECONDS,
            quantiles("qasir_search_seconds", "grid_size", BOTH, SEARCHES, "$__range"),
            "bars",
            8,
        ),
        Panel(
            "Recall by grid size",
            "Share of the test split's queries whose video is among the first k, as last "
            "evaluated. It describes the model, not this library.",
            RATIO,
            (
                Query(
                    'max by (variant, k, grid_size) (qasir_eval_recall{grid_size=~"$grid_size"})',
                    "N {{grid_size}} {{variant}} R@{{k}}",
                ),
            ),
            "bars",
            8,
        ),
        Panel(
            "Super images of a video",
            "Mean number of super images per video of this library, at each N: encodings and "
            "vectors shrink by N squared.",
            COUNT,
            (
                Query(
                    f"max by (grid_size) (qasir_index_super_images{{{INGESTS}}}) "
                    "/ on () group_left () (max(qasir_index_videos) > 0)",
                    "N {{grid_size}}",
                ),
            ),
            "bars",
            8,
        ),
    ),
)
SEARCHING = Row(
    "Searching",
    (
        _over_time(
            "Search",
            "Seconds of a whole search, at each N.",
            "qasir_search_seconds",
            SEARCHES,
        ),
        Panel(
            "Searches by duration",
            "Number of searches by duration, as a heat map of the histogram's buckets.",
            SECONDS,
            (
                Query(
                    f"sum by (le) (rate(qasir_search_seconds_bucket{{{SEARCHES}}}"
                    "[$__rate_interval]))",
                    "{{le}}",
                ),
            ),
            "heatmap",
        ),
        _over_time(
            "Encoding the query",
            "Seconds to encode a query's text, cached ones included; the same work at every N.",
            "qasir_search_stage_seconds",
            _stage("encode"),
        ),
        _over_time(
            "Recall",
            "Seconds of the pass over the whole index: it falls with N squared where super "
            "images are recalled.",
            "qasir_search_stage_seconds",
            _stage("recall"),
        ),
        _over_time(
            "Score",
            "Seconds of Triton's scorer over the candidates.",
            "qasir_search_stage_seconds",
            _stage("score"),
        ),
        Panel(
            "Stages by grid size",
            "Seconds of each stage within the last five minutes: median and p95 at each N.",
            SECONDS,
            (
                Query(
                    "grid_size_stage:qasir_search_stage_seconds:quantile5m"
                    '{grid_size=~"$grid_size"}',
                    "N {{grid_size}} {{stage}} p{{quantile}}",
                ),
            ),
            "bars",
        ),
    ),
)
ENCODING = Row(
    "Encoding videos",
    (
        _over_time(
            "Encoding a video",
            "Seconds to encode the super images of one video, at each N.",
            "qasir_ingest_stage_seconds",
            f'{INGESTS}, stage="encode"',
        ),
        Panel(
            "Encoding a super image",
            "Mean seconds to encode one super image, over 15 minutes: about the same at each N "
            "if the resolution is the same.",
            SECONDS,
            (
                Query(
                    f"grid_size:qasir_encode_seconds_per_super_image:rate15m{{{INGESTS}}}",
                    "N {{grid_size}}",
                ),
            ),
        ),
    ),
)
BOARD = Board(
    "qasir-latency",
    "qasir: latency vs grid size",
    "Seconds of encoding, recall, scoring and whole searches by grid size, with recall beside it.",
    (INSTANCE, MODE, GRID_SIZE),
    (COMPARED, SEARCHING, ENCODING),
)

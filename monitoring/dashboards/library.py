"""What is searched: the index, its changes, and the model version that made it."""

from monitoring.dashboards.board import (
    COUNT,
    INDEXED_GRID_SIZE,
    INSTANCE,
    PER_SECOND,
    SECONDS,
    Board,
    Panel,
    Query,
    Row,
)

WHERE = 'instance=~"$instance"'
GRID = f'{WHERE}, grid_size=~"$grid_size"'

INDEX = Row(
    "Index",
    (
        Panel(
            "Videos",
            "Videos that a search with the active model finds.",
            COUNT,
            (Query(f"max(qasir_index_videos{{{WHERE}}})", "videos"),),
        ),
        Panel(
            "Super images",
            "Super images that a search with the active model compares, at each N.",
            COUNT,
            (Query(f"max by (grid_size) (qasir_index_super_images{{{GRID}}})", "N {{grid_size}}"),),
        ),
        Panel(
            "Changes",
            "Commits and deletes in a minute: each makes every process bring its index up to date.",
            "cpm",
            (Query(f"max(rate(qasir_catalogue_changes{{{WHERE}}}[$__rate_interval])) * 60", ""),),
        ),
        Panel(
            "Super images of a video",
            "Super images of a video of this library, on average, at each N.",
            COUNT,
            (
                Query(
                    f"max by (grid_size) (qasir_index_super_images{{{GRID}}}) "
                    f"/ on () group_left () (max(qasir_index_videos{{{WHERE}}}) > 0)",
                    "N {{grid_size}}",
                ),
            ),
        ),
    ),
)
MODELS = Row(
    "Models",
    (
        Panel(
            "Active model",
            "Triton's version of the active model; a step is an activation or a way back.",
            "none",
            (Query(f"max(qasir_model_version{{{WHERE}}})", "version"),),
        ),
        Panel(
            "Videos of a model version",
            "Videos of the active and the retained model versions: embedded, waiting to be, or "
            "failed. A version that is being built is complete when nothing waits.",
            COUNT,
            (
                Query(
                    f"max by (state, videos) (qasir_model_videos{{{WHERE}}})",
                    "{{state}} {{videos}}",
                ),
            ),
        ),
        Panel(
            "Backfill",
            "Videos per second that are encoded for a model version that lacked them, by result.",
            PER_SECOND,
            (
                Query(
                    "sum by (result) (rate(qasir_backfills_total[$__rate_interval]))", "{{result}}"
                ),
            ),
        ),
        Panel(
            "Canary",
            "Seconds that the newest canary took, and seconds since it ran.",
            SECONDS,
            (
                Query(f"max(qasir_canary_seconds{{{WHERE}}})", "took"),
                Query(f"time() - max(qasir_canary_last_run_timestamp_seconds{{{WHERE}}})", "since"),
            ),
        ),
        Panel(
            "Build",
            "Service processes by the qasir they run; two versions for longer than a roll-out "
            "are a roll-out that stopped.",
            COUNT,
            (Query(f"count by (version) (qasir_build_info{{{WHERE}}})", "{{version}}"),),
            "number",
        ),
    ),
)
BOARD = Board(
    "qasir-library",
    "qasir: index and models",
    "Videos and vectors that are searched, how they change, and which model made them.",
    (INSTANCE, INDEXED_GRID_SIZE),
    (INDEX, MODELS),
)

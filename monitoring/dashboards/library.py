"""What is searched: the index, its changes, and the generation of the model that made it."""

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
GENERATIONS = Row(
    "Generations",
    (
        Panel(
            "Active model",
            "Triton's version of the active model; a step is an activation or a way back.",
            "none",
            (Query(f"max(qasir_model_version{{{WHERE}}})", "version"),),
        ),
        Panel(
            "Videos of a generation",
            "Videos that each kept generation has vectors of, lacks as yet, or could not take: "
            "one that is built beside the active one is complete when nothing waits.",
            COUNT,
            (
                Query(
                    f"max by (generation, videos) (qasir_generation_videos{{{WHERE}}})",
                    "{{generation}} {{videos}}",
                ),
            ),
        ),
        Panel(
            "Building",
            "Videos encoded beside ingestion in a second, for a generation that lacked them, by "
            "how it ended.",
            PER_SECOND,
            (Query("sum by (result) (rate(qasir_builds_total[$__rate_interval]))", "{{result}}"),),
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
    "qasir: index and generations",
    "Videos and vectors that are searched, how they change, and which model made them.",
    (INSTANCE, INDEXED_GRID_SIZE),
    (INDEX, GENERATIONS),
)

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
            "Videos that a search with the active model finds; vector files that were missing or "
            "damaged so far, whose videos are encoded again.",
            COUNT,
            (
                Query(f"max(qasir_index_videos{{{WHERE}}})", "videos"),
                Query(f"max(qasir_unreadable_vector_files{{{WHERE}}})", "unreadable files"),
            ),
        ),
        Panel(
            "Super images",
            "Super images that a search with the active model scans, at each N.",
            COUNT,
            (Query(f"max by (grid_size) (qasir_index_super_images{{{GRID}}})", "N {{grid_size}}"),),
        ),
        Panel(
            "Changes",
            "Commits and deletes per minute: after each, every process updates its index.",
            "cpm",
            (Query(f"max(rate(qasir_catalogue_changes{{{WHERE}}}[$__rate_interval])) * 60", ""),),
        ),
        Panel(
            "Super images of a video",
            "Mean number of super images per video of this library, at each N.",
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
            "Version of the active model; a step is an activation or a rollback.",
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
            "Seconds that the latest canary took, and seconds since it ran.",
            SECONDS,
            (
                Query(f"max(qasir_canary_seconds{{{WHERE}}})", "took"),
                Query(f"time() - max(qasir_canary_last_run_timestamp_seconds{{{WHERE}}})", "since"),
            ),
        ),
        Panel(
            "Build",
            "Service processes by qasir version; two versions for longer than a rollout takes mean "
            "that the rollout stopped.",
            COUNT,
            (Query(f"count by (version) (qasir_build_info{{{WHERE}}})", "{{version}}"),),
            "number",
        ),
    ),
)
BOARD = Board(
    "qasir-library",
    "qasir: index and models",
    "Videos and vectors that are searched, how they change, and the model that made them.",
    (INSTANCE, INDEXED_GRID_SIZE),
    (INDEX, MODELS),
)

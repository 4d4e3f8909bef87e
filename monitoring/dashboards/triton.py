"""Triton's own metrics: requests, waiting, batches and failures of every model."""

from monitoring.dashboards.board import (
    COUNT,
    PER_SECOND,
    RATIO,
    SECONDS,
    Board,
    Panel,
    Query,
    Row,
    Variable,
    ratio,
)

WHERE = 'instance=~"$instance", model=~"$model"'
RATE = "[$__rate_interval]"


def _rate(metric: str, by: str = "model") -> str:
    return f"sum by ({by}) (rate({metric}{{{WHERE}}}{RATE}))"


def _recorded(what: str, legend: str = "") -> Query:
    return Query(
        f"instance_model:triton_{what}:mean5m{{{WHERE}}}", f"{{{{model}}}} {legend}".strip()
    )


def _share(parts: tuple[str, ...], legend: str) -> Query:
    above = " + ".join(_rate(f"nv_inference_{part}_duration_us") for part in parts)
    return Query(
        ratio(f"({above})", _rate("nv_inference_request_duration_us")), f"{{{{model}}}} {legend}"
    )


REQUESTS = Row(
    "Requests",
    (
        Panel(
            "Requests",
            "Requests that succeeded per second, by model; those of an ensemble also count for the "
            "models it is composed of.",
            PER_SECOND,
            (Query(f"instance_model:triton_requests:rate5m{{{WHERE}}}", "{{model}}"),),
        ),
        Panel(
            "Failures",
            "Requests that failed per second, by model and reason. A failure inside an ensemble "
            "counts for the model that failed.",
            PER_SECOND,
            (
                Query(
                    _rate("nv_inference_request_failure", "model, reason"), "{{model}} {{reason}}"
                ),
            ),
        ),
        Panel(
            "Pending",
            "Requests in a model's queue.",
            COUNT,
            (
                Query(
                    f"max by (model) (nv_inference_pending_request_count{{{WHERE}}})", "{{model}}"
                ),
            ),
        ),
        Panel(
            "Mean batch",
            "Inferences per execution: inference_count / exec_count. 1 means that nothing was "
            "batched; a window counts each of its super images.",
            COUNT,
            (_recorded("batch"),),
        ),
    ),
)
TIME = Row(
    "Time of a request",
    (
        Panel(
            "A request",
            "Mean seconds of a request, by model.",
            SECONDS,
            (_recorded("request_seconds"),),
        ),
        Panel(
            "Waiting and computing",
            "Mean seconds of a request in the queue, and of a request in the model itself; an "
            "ensemble computes nothing of its own.",
            SECONDS,
            (_recorded("queue_seconds", "queue"), _recorded("compute_seconds", "compute")),
        ),
        Panel(
            "Share of waiting",
            "Share of a request's time in the queue, by model: above a half, more instances "
            "help more than faster ones.",
            RATIO,
            (_share(("queue",), "queue"),),
        ),
        Panel(
            "Share of computing",
            "Share of a request's time in the model itself; an ensemble has none of its own.",
            RATIO,
            (_share(("compute_input", "compute_infer", "compute_output"), "compute"),),
        ),
    ),
)
BOARD = Board(
    "qasir-triton",
    "qasir: Triton",
    "Requests, waiting, computing, batches and failures of every model.",
    (
        Variable("instance", "Instance", "nv_inference_count"),
        Variable("model", "Model", "nv_inference_count"),
    ),
    (REQUESTS, TIME),
)

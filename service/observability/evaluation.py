"""The recall of the last evaluation, which dashboards show beside the latency."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from qasir.config import Variant

log = structlog.get_logger()

# What the stage `evaluate` writes: variant -> N -> measure in percent.
MEASURES: TypeAdapter[dict[Variant, dict[int, dict[str, float]]]] = TypeAdapter(
    dict[Variant, dict[int, dict[str, float]]]
)


@dataclass(frozen=True)
class EvaluatedRecall:
    """The share of queries, in 0..1, whose video is among the first k."""

    variant: Variant
    grid_size: int
    k: int
    ratio: float


def read_recall(path: Path) -> Iterator[EvaluatedRecall]:
    """Read every R@k of a `metrics.json`; none where the file is absent or has another shape.

    It is read at each scrape, so that a new evaluation shows without a restart.
    """
    try:
        measures = MEASURES.validate_json(path.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, ValidationError) as error:
        log.warning("evaluation unreadable", path=str(path), detail=str(error))
        return
    for variant, by_grid in measures.items():
        for grid_size, values in by_grid.items():
            for name, percent in values.items():
                if name.removeprefix("r").isdigit():
                    yield EvaluatedRecall(variant, grid_size, int(name[1:]), percent / 100)

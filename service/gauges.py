"""The gauges of the metrics page, read from the state folder and the evaluation at each scrape.

So a new evaluation shows without a restart.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from qasir import __version__
from qasir.config import Variant
from qasir.errors import QasirError
from service.canary.scheduler import canary_gauges
from service.catalogue.catalogue import Totals
from service.models.deployment import ModelVersion
from service.models.rollout import Rollout
from service.models.store import ModelStore
from service.observability import metrics
from service.observability.telemetry import GaugeSample
from service.settings import Settings

# What the stage `evaluate` writes: variant -> N -> measure in percent.
MEASURES: TypeAdapter[dict[Variant, dict[int, dict[str, float]]]] = TypeAdapter(
    dict[Variant, dict[int, dict[str, float]]]
)

log = structlog.get_logger()


def gauges(settings: Settings, rollout: Rollout) -> Iterator[GaugeSample]:
    """Read every gauge of `SERVICE_METRICS`."""
    catalogue, model = rollout.catalogue, _active(rollout.store)
    yield GaugeSample(metrics.BUILD_INFO, 1, {"version": __version__})
    yield GaugeSample(metrics.MODEL_VERSION, model.version if model else 0)
    yield from _library(catalogue.totals(model.manifest.specs if model else ()))
    yield from _models(rollout)
    reranker = model.reranker if model else None
    waiting = catalogue.backfills.requested(reranker.spec) if reranker else 0
    yield GaugeSample(metrics.RERANKER_REQUESTS, waiting)
    yield from _disk(settings)
    yield from recall_gauges(settings.evaluation)
    yield from canary_gauges(settings.folders.run)


def _active(store: ModelStore) -> ModelVersion | None:
    try:
        return store.find_active()
    except QasirError:
        return None


def _library(totals: Totals) -> Iterator[GaugeSample]:
    yield GaugeSample(metrics.CATALOGUE_CHANGES, totals.change_number)
    yield GaugeSample(metrics.OLDEST_QUEUED_SECONDS, totals.oldest_queued_seconds)
    yield GaugeSample(metrics.INDEX_VIDEOS, totals.searchable_videos)
    yield GaugeSample(metrics.UNREADABLE_FILES, totals.unreadable_files)
    for state, count in totals.jobs.items():
        yield GaugeSample(metrics.JOBS, count, {"state": state})
    for grid_size, count in totals.super_images.items():
        yield GaugeSample(metrics.INDEX_SUPER_IMAGES, count, {"grid_size": str(grid_size)})


def _models(rollout: Rollout) -> Iterator[GaugeSample]:
    counts: Counter[tuple[str, ...]] = Counter()
    for state, coverage in rollout.counts():
        counts[state, "embedded"] += coverage.done
        counts[state, "waiting"] += coverage.waiting
        counts[state, "failed"] += coverage.failed
    for key in product(*metrics.MODEL_VIDEOS.labels.values()):
        labels = dict(zip(metrics.MODEL_VIDEOS.labels, key, strict=True))
        yield GaugeSample(metrics.MODEL_VIDEOS, counts[key], labels)


def _disk(settings: Settings) -> Iterator[GaugeSample]:
    usage = shutil.disk_usage(settings.folders.root)
    yield GaugeSample(metrics.STATE_FREE_BYTES, usage.free)
    yield GaugeSample(metrics.STATE_SIZE_BYTES, usage.total)
    yield GaugeSample(metrics.STATE_RESERVE_BYTES, settings.disk_reserve_bytes)


def recall_gauges(path: Path) -> Iterator[GaugeSample]:
    """Yield every R@k of a `metrics.json`; none where the file is absent or has another shape."""
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
                if (k := name.removeprefix("r")).isdigit():
                    labels = {"k": k, "grid_size": str(grid_size), "variant": variant}
                    yield GaugeSample(metrics.EVAL_RECALL, percent / 100, labels)

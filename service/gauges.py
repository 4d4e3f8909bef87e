"""The gauges of the metrics page, read from the state folder and the evaluation at each scrape."""

import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import product

from qasir import __version__
from qasir.errors import QasirError
from service.canary.scheduler import canary_gauges
from service.catalogue.catalogue import Catalogue, Totals
from service.models.deployment import FindActive, ModelVersion
from service.models.rollout import Rollout
from service.observability import metrics
from service.observability.evaluation import read_recall
from service.observability.telemetry import GaugeSample
from service.settings import Settings


def gauges(
    settings: Settings,
    catalogue: Catalogue,
    find_active: FindActive,
    rollout: Rollout,
) -> Iterator[GaugeSample]:
    """Read every gauge of `SERVICE_METRICS`."""
    model = _active(find_active)
    yield GaugeSample(metrics.BUILD_INFO, 1, {"version": __version__})
    yield GaugeSample(metrics.MODEL_VERSION, model.version if model else 0)
    yield from _library(catalogue.totals(model.manifest.specs if model else ()))
    yield from _models(rollout)
    reranker = model.reranker if model else None
    waiting = catalogue.backfills.requested(reranker.spec) if reranker else 0
    yield GaugeSample(metrics.RERANKER_REQUESTS, waiting)
    yield from _disk(settings)
    yield from _recall(settings)
    yield from canary_gauges(settings.folders.run)


def _active(find: FindActive) -> ModelVersion | None:
    try:
        return find()
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


def _recall(settings: Settings) -> Iterator[GaugeSample]:
    for recall in read_recall(settings.evaluation):
        labels = {"k": str(recall.k), "grid_size": str(recall.grid_size), "variant": recall.variant}
        yield GaugeSample(metrics.EVAL_RECALL, recall.ratio, labels)

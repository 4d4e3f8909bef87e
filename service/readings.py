"""The gauges of the metrics page, read from the state folder and the evaluation when asked."""

import shutil
from collections.abc import Iterator

from qasir import __version__
from qasir.errors import QasirError
from service import metrics
from service.engine.generations import Generations
from service.evaluation import read_recall
from service.settings import Settings
from service.store.active_model import ActiveModel, FindActiveModel
from service.store.catalogue import Catalogue, Totals
from service.telemetry import Reading
from service.turns import canary_readings


def readings(
    settings: Settings,
    catalogue: Catalogue,
    active_model: FindActiveModel,
    generations: Generations,
) -> Iterator[Reading]:
    """Every gauge of `SERVICE_METRICS`, as of now."""
    model = _active(active_model)
    yield Reading(metrics.BUILD_INFO, 1, {"version": __version__})
    yield Reading(metrics.MODEL_VERSION, model.version if model else 0)
    yield from _library(catalogue.totals(model.manifest.passports if model else ()))
    yield from _generations(generations)
    fine = model.fine if model else None
    waiting = catalogue.encodings.requested(fine.passport) if fine else 0
    yield Reading(metrics.FINE_REQUESTS, waiting)
    yield from _disk(settings)
    yield from _recall(settings)
    yield from canary_readings(settings.folders.run)


def _active(find: FindActiveModel) -> ActiveModel | None:
    try:
        return find()
    except QasirError:
        return None


def _library(totals: Totals) -> Iterator[Reading]:
    yield Reading(metrics.CATALOGUE_CHANGES, totals.change_number)
    yield Reading(metrics.OLDEST_QUEUED_SECONDS, totals.oldest_queued_seconds)
    yield Reading(metrics.INDEX_VIDEOS, totals.searchable_videos)
    for state, count in totals.jobs.items():
        yield Reading(metrics.JOBS, count, {"state": state})
    for grid_size, count in totals.super_images.items():
        yield Reading(metrics.INDEX_SUPER_IMAGES, count, {"grid_size": str(grid_size)})


def _generations(generations: Generations) -> Iterator[Reading]:
    for state, videos, count in generations.counts():
        labels = {"generation": state, "videos": videos}
        yield Reading(metrics.GENERATION_VIDEOS, count, labels)


def _disk(settings: Settings) -> Iterator[Reading]:
    usage = shutil.disk_usage(settings.folders.root)
    yield Reading(metrics.STATE_FREE_BYTES, usage.free)
    yield Reading(metrics.STATE_SIZE_BYTES, usage.total)
    yield Reading(metrics.STATE_RESERVE_BYTES, settings.disk_reserve_bytes)


def _recall(settings: Settings) -> Iterator[Reading]:
    for one in read_recall(settings.evaluation):
        labels = {"k": str(one.k), "grid_size": str(one.grid_size), "variant": one.variant}
        yield Reading(metrics.EVAL_RECALL, one.ratio, labels)

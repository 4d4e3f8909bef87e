"""The gauges of the metrics page: each one of the catalogue, as of now, model or none."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from qasir.triton import Triton
from service.catalogue.catalogue import Catalogue
from service.gauges import gauges, recall_gauges
from service.models.rollout import Rollout
from service.models.store import ModelStore
from service.observability import metrics
from service.observability.metrics import SERVICE_METRICS
from service.observability.telemetry import GaugeSample
from service.settings import ROOT, Settings
from service.storage.media import MediaStore


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue(tmp_path / "catalogue.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def rollout(catalogue: Catalogue, tmp_path: Path) -> Iterator[Rollout]:
    settings = Settings(state=tmp_path)
    media = MediaStore(settings.folders, 1, 0)
    with Triton("127.0.0.1:1") as triton:
        yield Rollout(settings, catalogue, media, ModelStore(tmp_path), triton)


def test_without_a_model_the_page_still_tells_the_rest(rollout: Rollout, tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, disk_reserve_bytes=5)
    found: list[GaugeSample] = list(gauges(settings, rollout))
    values = {reading.metric.name: reading.value for reading in found}
    assert values[metrics.MODEL_VERSION.name] == 0
    assert values[metrics.INDEX_VIDEOS.name] == 0
    assert values[metrics.STATE_RESERVE_BYTES.name] == 5
    free, size = (values[m.name] for m in (metrics.STATE_FREE_BYTES, metrics.STATE_SIZE_BYTES))
    assert 0 < free <= size
    states = {r.labels["state"] for r in found if r.metric is metrics.JOBS}
    assert states == set(metrics.JOBS.labels["state"])


def test_only_what_is_empty_has_no_reading(rollout: Rollout, tmp_path: Path) -> None:
    found = gauges(Settings(state=tmp_path), rollout)
    declared = {metric.name for metric in SERVICE_METRICS if metric.kind == "gauge"}
    empty = {metrics.INDEX_SUPER_IMAGES.name}
    canary = {metric.name for metric in SERVICE_METRICS if "_canary_" in metric.name}
    assert declared - {reading.metric.name for reading in found} == empty | canary


def test_recalls_are_shares(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"fine-tuned": {"2": {"r1": 25.0, "r10": 75.0, "sumr": 100.0}}}))
    labels = {"grid_size": "2", "variant": "fine-tuned"}
    assert list(recall_gauges(path)) == [
        GaugeSample(metrics.EVAL_RECALL, 0.25, {"k": "1", **labels}),
        GaugeSample(metrics.EVAL_RECALL, 0.75, {"k": "10", **labels}),
    ]


def test_what_is_no_evaluation_has_no_series(tmp_path: Path) -> None:
    assert list(recall_gauges(tmp_path / "absent.json")) == []
    for text in ("", "[]", '{"huge": {"2": {"r1": 1}}}', '{"fine-tuned": {"2": 3}}'):
        (tmp_path / "odd.json").write_text(text)
        assert list(recall_gauges(tmp_path / "odd.json")) == []


def test_the_committed_evaluation_has_recall_at_every_grid_size() -> None:
    samples = list(recall_gauges(ROOT / "results" / "metrics.json"))
    assert {sample.labels["grid_size"] for sample in samples} >= {"1", "2", "3", "4"}
    assert {sample.labels["variant"] for sample in samples} >= {"zero-shot", "fine-tuned"}
    assert all(0 <= sample.value <= 1 for sample in samples)
    best = max(samples, key=lambda sample: int(sample.labels["k"]))
    assert any(s.value < best.value for s in samples if s.labels["k"] == "1")

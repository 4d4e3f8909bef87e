"""Twenty real clips through the whole stack: uploaded over HTTP, ingested, found again.

The stack serves N = 2 and 1 side by side.
"""

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from qasir.client import Client
from qasir.contract.search import SearchResult
from qasir.manifest import read_manifest, write_manifest
from qasir.metrics import recall_at
from service.models.store import ModelStore
from service.stack.control import processes
from tests.support.triton import stack_settings

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def lite_service(lite_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a stack that serves `lite` on a state folder of its own."""
    folder = tmp_path_factory.mktemp("lite")
    settings = stack_settings(folder / "state")
    store = ModelStore(settings.state)
    store.activate(store.add(serving_both(lite_export, folder / "export")))
    stack = processes(settings)
    try:
        for process in stack:
            process.start()
        for process in stack:
            process.wait()
        with Client(f"http://{settings.host}:{settings.http_port}") as client:
            yield client
    finally:
        for process in reversed(stack):
            process.stop()


def serving_both(export: Path, folder: Path) -> Path:
    shutil.copytree(export, folder)
    manifest = read_manifest(folder)
    profile = manifest.profile.model_copy(update={"grid_sizes": (2, 1)})
    write_manifest(manifest.model_copy(update={"profile": profile}), folder)
    return folder


@pytest.fixture(scope="module")
def descriptions(clips_folder: Path, lite_service: Client) -> dict[str, str]:
    """Description of every clip by the id it got; all of them are searchable."""
    clips = json.loads((clips_folder / "manifest.json").read_text())["clips"]
    sent = [lite_service.upload(clips_folder / clip["file"]) for clip in clips]
    assert [lite_service.wait(one.job_id).state for one in sent] == ["ready"] * len(clips)
    return {one.video_id: clip["description"] for one, clip in zip(sent, clips, strict=True)}


def search(client: Client, text: str, mode: str) -> list[SearchResult]:
    return client.search(text, top_k=20, mode=mode).results


@pytest.mark.parametrize(("mode", "first", "in_five"), [("fast", 35, 80), ("accurate", 45, 90)])
def test_descriptions_find_their_clips(
    lite_service: Client, descriptions: dict[str, str], mode: str, first: float, in_five: float
) -> None:
    """By whole pictures, and better by them and their cells."""
    found = []
    for video_id, text in descriptions.items():
        ids = [result.video.id for result in search(lite_service, text, mode)]
        assert len(ids) == 20
        found.append(1 + ids.index(video_id))
    assert recall_at(np.array(found), 1) >= first
    assert recall_at(np.array(found), 5) >= in_five


def test_moments_lie_inside_their_videos(
    lite_service: Client, descriptions: dict[str, str]
) -> None:
    for text in list(descriptions.values())[:5]:
        for result in search(lite_service, text, "accurate"):
            assert result.moments
            for moment in result.moments:
                assert 0 <= moment.start < moment.end <= result.video.duration + 0.1
                assert moment.cell is not None
                frame = 4 * moment.super_image + moment.cell
                assert moment.start - 0.1 <= frame < moment.end


def answer(client: Client, **asked: Any) -> dict[str, Any]:
    response = httpx.post(f"{client.url}/v1/search", json=asked, timeout=30, verify=False)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.fixture(scope="module")
def examples(
    lite_service: Client, descriptions: dict[str, str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """For each clip a frame out of its middle as a JPEG, and the three seconds around it."""
    made: dict[str, dict[str, dict[str, Any]]] = {}
    for video_id in descriptions:
        middle = lite_service.video(video_id).duration / 2
        thumbnail = f"{lite_service.url}/v1/videos/{video_id}/thumbnail?t={middle}"
        image = base64.b64encode(httpx.get(thumbnail, verify=False).content).decode()
        segment = {"video_id": video_id, "start": max(0, middle - 1.5), "end": middle + 1.5}
        made[video_id] = {"picture": {"image": image}, "segment": segment}
    return made


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("mode", ["fast", "accurate"])
def test_examples_find_their_own_clip(
    lite_service: Client,
    descriptions: dict[str, str],
    examples: dict[str, dict[str, dict[str, Any]]],
    mode: str,
    size: int,
) -> None:
    first = {"picture": 0, "segment": 0}
    for video_id, kinds in examples.items():
        for kind, example in kinds.items():
            best = answer(lite_service, example=example, mode=mode, grid_size=size)["results"][0]
            first[kind] += best["video"]["id"] == video_id
    assert first["segment"] == len(descriptions)
    assert first["picture"] >= len(descriptions) - 1


def test_grid_sizes_are_searched_and_measured_apart(
    lite_service: Client, descriptions: dict[str, str]
) -> None:
    def samples(name: str) -> dict[str, float]:
        page = httpx.get(f"{lite_service.url}/metrics").text
        return {
            sample.labels["grid_size"]: sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and sample.labels.get("mode", "fast") == "fast"
        }

    before = samples("qasir_search_seconds_count")
    text = next(iter(descriptions.values()))
    answers = [answer(lite_service, query=text, mode="fast", grid_size=n) for n in (1, 2, 2)]
    assert [found["grid_size"] for found in answers] == [1, 2, 2]
    assert answers[0]["results"] != answers[1]["results"]
    after = samples("qasir_search_seconds_count")
    assert {n: after[n] - before.get(n, 0) for n in after} == {"1": 1, "2": 2}
    super_images = samples("qasir_index_super_images")
    assert 2 * super_images["2"] < super_images["1"] < 4 * super_images["2"]

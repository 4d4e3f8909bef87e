"""Twenty real clips through the whole stack: uploaded over HTTP, ingested, found again."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qasir.client import Client
from qasir.metrics import recall_at
from qasir.results import Result
from service.stack import processes
from service.store.models import ModelStore
from tests.fixtures.triton import stack_settings


@pytest.fixture(scope="module")
def lite_service(lite_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a stack that serves `lite` on a state folder of its own."""
    settings = stack_settings(tmp_path_factory.mktemp("lite") / "state")
    store = ModelStore(settings.state)
    store.activate(store.add(lite_export))
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


@pytest.fixture(scope="module")
def descriptions(clips_folder: Path, lite_service: Client) -> dict[str, str]:
    """Description of every clip by the id it got; all of them are searchable."""
    clips = json.loads((clips_folder / "manifest.json").read_text())["clips"]
    sent = [lite_service.upload(clips_folder / clip["file"]) for clip in clips]
    assert [lite_service.wait(one.job_id).state for one in sent] == ["ready"] * len(clips)
    return {one.video_id: clip["description"] for one, clip in zip(sent, clips, strict=True)}


def search(client: Client, text: str, mode: str) -> list[Result]:
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

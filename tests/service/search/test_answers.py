"""What a search answers over HTTP: scores of the formula, pages, moments and their pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from qasir.manifest import read_manifest
from qasir.vectors import read_vectors
from tests.support.reference_scores import score_direct
from tests.support.service import RunningService
from tests.support.videos import painted_number, write_painted

QUERY = "a green ball on the house"


@pytest.mark.parametrize("mode", ["fast", "accurate"])
def test_scores_are_those_of_the_reference(
    running_service: RunningService, tiny_export: Path, mode: str
) -> None:
    """By the formula, both branches over all units; recall alone is over super images."""
    video_id = running_service.ingested(seconds=150)
    texts = {"texts": [QUERY]}
    vector = np.array(
        running_service.http.post("/v1/embed", json=texts).json()["vectors"][0], np.float32
    )
    (path,) = (running_service.settings.folders.vectors / video_id).iterdir()
    vectors = read_vectors(path)
    assert (len(vectors.super_images), len(vectors.cells)) == (38, 150)
    branches = read_manifest(tiny_export).branches[2]
    whole = vectors.super_images.astype(np.float32), branches.super_image_tau
    parts = vectors.cells.astype(np.float32), branches.cell_tau
    weight = 1.0 if mode == "fast" else branches.super_image_weight
    assert 0.2 < branches.super_image_weight < 0.8
    expected = weight * score_direct(vector, *whole) + (1 - weight) * score_direct(vector, *parts)
    answer = running_service.search(QUERY, mode=mode)
    (hit,) = [r for r in answer["results"] if r["video"]["id"] == video_id]
    assert hit["score"] == pytest.approx(expected, abs=2e-3)
    scores = [result["score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert [result["rank"] for result in answer["results"]] == list(range(1, len(scores) + 1))
    stages = {"queue", "recall", "score", "hydrate", "total"}
    assert stages <= set(answer["timings_ms"]) <= stages | {"tokenise", "encode"}


def test_pages_continue_each_other(running_service: RunningService) -> None:
    for _ in range(2):
        running_service.ingested()
    whole = running_service.search(QUERY)
    pages = [running_service.search(QUERY, top_k=1, offset=n) for n in (0, 1)]
    ids = [page["results"][0]["video"]["id"] for page in pages]
    assert ids == [result["video"]["id"] for result in whole["results"][:2]]
    assert [page["results"][0]["rank"] for page in pages] == [1, 2]
    assert {page["snapshot"] for page in pages} == {whole["snapshot"]}


def test_moments_can_be_results_of_their_own(running_service: RunningService) -> None:
    running_service.ingested(seconds=60)
    results = running_service.search(QUERY, group_by="moment")["results"]
    assert all(len(result["moments"]) == 1 for result in results)
    assert len(results) >= len(running_service.search(QUERY)["results"])
    # Best first among the moments of the videos that are scored; those of the rest follow.
    block = running_service.settings.candidates
    scored = {r["video"]["id"] for r in running_service.search(QUERY)["results"][:block]}
    scores = [result["score"] for result in results if result["video"]["id"] in scored]
    assert scores == sorted(scores, reverse=True)


def test_moments_show_their_strongest_frame(running_service: RunningService) -> None:
    numbers = list(range(40, 80))
    path = running_service.folder / "forty.mp4"
    write_painted(path, 40, fps=1, size=(320, 240), numbers=numbers)
    accepted = running_service.upload(path).json()
    running_service.finished(accepted["job_id"])
    results = running_service.search(QUERY)["results"]
    (hit,) = [r for r in results if r["video"]["id"] == accepted["video_id"]]
    for moment in hit["moments"]:
        frame = 4 * moment["super_image"] + moment["cell"]
        assert moment["start"] <= frame < moment["end"] <= 40
        answer = running_service.http.get(moment["thumbnail_url"])
        picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert painted_number(np.asarray(picture, np.uint8)) == numbers[frame]

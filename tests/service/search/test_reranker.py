"""Mode hybrid on the real stack: the reranker's own scores in front, or the cheap order."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qasir.contract.search import SearchResponse
from qasir.super_images import tile
from qasir.text import Tokenizer
from qasir.triton import Triton
from qasir.video import sample_frames
from service.catalogue.backfills import Target
from service.catalogue.jobs import JobError
from service.catalogue.queue import Claim
from service.models.deployment import Deployment, RerankerModel
from service.models.store import ModelStore
from tests.support.archive import Archive, opened_archive
from tests.support.deployments import deploy
from tests.support.service import RunningService
from tests.support.triton import RunningTriton
from tests.support.vectors import random_video
from tests.support.waiting import wait_for

QUERY = "a red ball"
K = 5


def activate(service: RunningService, active: int, **reranker: int) -> None:
    request = {"reranker": reranker} if reranker else {}
    answer = service.http.post(f"/v1/models/{active}/activate", json=request)
    assert answer.status_code == 200, answer.text


@pytest.fixture
def hybrid(running_service: RunningService, triton_server: RunningTriton) -> Iterator[int]:
    """The active model at N = 1 is the reranker; afterwards there is none again."""
    version = triton_server.version
    activate(running_service, version, version=version, grid_size=1, k=K)
    yield version
    deploy(ModelStore(triton_server.state), Deployment(active=version))


@pytest.fixture
def archive(triton_server: RunningTriton, tmp_path: Path) -> Iterator[Archive]:
    """A library without a worker; the active model at N = 1 is the reranker."""
    with opened_archive(triton_server, tmp_path) as opened:
        model = opened.model
        opened.model = replace(model, reranker=RerankerModel(model, model.manifest.spec(1), K))
        yield opened


def claimed_request(archive: Archive) -> Claim:
    """What a worker would encode next for the reranker."""
    targets = [Target(1, (archive.spec(1),))]
    claim = archive.catalogue.queue.claim("worker", targets, backfill_first=True)
    assert claim is not None
    return claim


def scores_of(answer: SearchResponse) -> dict[str, float]:
    return {hit.video.id: hit.score for hit in answer.results}


def test_missing_embeddings_leave_the_cheap_order_at_once(archive: Archive) -> None:
    """The answer says how many are there; the others are requested, the best first."""
    for n in range(4):
        archive.add(f"scored {n}")
    for n in range(2):
        archive.add_vectors(f"missing {n}", random_video(archive.rng, 8, 32, archive.spec(2)))
    cheap, begin = archive.search(), time.perf_counter()
    found = archive.search(mode="hybrid")
    assert time.perf_counter() - begin < 1
    assert found.provisional
    assert scores_of(found) == scores_of(cheap)
    assert [hit.video.id for hit in found.results] == [hit.video.id for hit in cheap.results]
    best = [hit.video.id for hit in cheap.results][:K]
    missing = [video_id for video_id in best if "missing" in video_id]
    assert found.reranker is not None
    assert (found.reranker.scored_count, found.reranker.candidate_count) == (K - len(missing), K)
    backfills, spec = archive.catalogue.backfills, archive.spec(1)
    assert backfills.requested(spec) == len(missing) > 0
    assert claimed_request(archive).job.video_id == missing[0]
    # What was built meanwhile is not built again.
    backfills.request([i for i in best if i not in missing], spec, 100)
    assert backfills.requested(spec) == len(missing)


def test_failed_embeddings_are_not_waited_for(archive: Archive) -> None:
    """The others are in the reranker's order, in front."""
    for n in range(3):
        archive.add(f"scored {n}")
    failed = archive.add_vectors("failed", random_video(archive.rng, 8, 32, archive.spec(2)))
    assert archive.search(mode="hybrid").provisional
    claim = claimed_request(archive)
    assert claim.job.video_id == failed
    archive.catalogue.queue.fail(claim, JobError("corrupt", "no frames", retryable=False))
    found = archive.search(mode="hybrid")
    assert not found.provisional
    assert found.reranker is not None
    assert (found.reranker.scored_count, found.reranker.candidate_count) == (3, 4)
    assert found.results[-1].video.id == failed
    expected = scores_of(archive.search(grid_size=1))
    for hit in found.results[:-1]:
        assert hit.score == pytest.approx(expected[hit.video.id], abs=1e-3)


def test_a_damaged_file_is_built_again(archive: Archive) -> None:
    """Its row goes, so that the worker builds the embeddings that the search has requested."""
    for n in range(K):
        archive.add(f"scored {n}")
    assert not archive.search(mode="hybrid").provisional
    archive.engine = archive.another_engine()
    damaged = archive.media.vectors("vscored 0/1.npz")
    damaged.write_bytes(damaged.read_bytes()[:100])
    found = archive.search(mode="hybrid")
    assert found.provisional
    assert found.reranker is not None
    assert found.reranker.scored_count == K - 1
    assert archive.catalogue.videos.get("vscored 0").state == "ready"
    assert claimed_request(archive).job.video_id == "vscored 0"


class Corner:
    """Videos of one test, told from others in the library by their title."""

    def __init__(self, service: RunningService, title: str) -> None:
        self.service = service
        self.title = title

    def add(self, seconds: float = 4) -> str:
        """A video that is searchable; its id."""
        path = self.service.new_video(seconds)
        accepted = self.service.upload(path, title=self.title).json()
        assert self.service.finished(accepted["job_id"])["state"] == "ready"
        return str(accepted["video_id"])

    def search(self, mode: str = "hybrid") -> dict[str, Any]:
        """Search these videos alone."""
        return self.service.search(QUERY, mode=mode, filter={"title": {"contains": self.title}})

    def settled(self) -> dict[str, Any]:
        """The answer once the reranker has scored all that it was asked for."""

        def final() -> dict[str, Any] | None:
            answer = self.search()
            return None if answer["provisional"] else answer

        answer: dict[str, Any] = wait_for(final, 60)
        return answer


def matched(service: RunningService, triton: Triton, version: int, video_id: str) -> float:
    """The reranker's score by a way of its own: the uploaded file through `match`, at N = 1."""
    model = ModelStore(service.settings.state).get(version)
    original = service.settings.folders.media / video_id / "original"
    images = list(tile(sample_frames(original, 1.0), 1, model.manifest.grids[1]))
    tokens = Tokenizer.load(model.tokenizer, model.manifest.tokenizer).encode([QUERY])
    pixels = np.stack([image.pixels for image in images])
    return triton.match(version, pixels, np.stack([i.mask for i in images]), tokens).score


def ids(answer: dict[str, Any]) -> list[str]:
    return [result["video"]["id"] for result in answer["results"]]


def test_a_model_without_the_mode_says_so(running_service: RunningService) -> None:
    body = {"query": QUERY, "mode": "hybrid"}
    answer = running_service.http.post("/v1/search", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert "has no mode hybrid" in answer.json()["detail"]


def test_the_k_best_are_in_the_rerankers_order(
    running_service: RunningService, triton: Triton, hybrid: int
) -> None:
    corner = Corner(running_service, "reranked")
    for _ in range(K + 2):
        corner.add()
    cheap, found = corner.search("accurate"), corner.settled()
    assert found["reranker"]["scored_count"] == found["reranker"]["candidate_count"] == K
    assert found["reranker"]["grid_size"] == 1
    assert set(ids(found)[:K]) == set(ids(cheap)[:K])
    assert ids(found)[K:] == ids(cheap)[K:]
    scores = [result["score"] for result in found["results"][:K]]
    wanted = [matched(running_service, triton, hybrid, i) for i in ids(found)[:K]]
    assert scores == pytest.approx(wanted, abs=2e-3)
    assert scores == sorted(scores, reverse=True)
    # Made once: the worker keeps what was asked for.
    vectors = running_service.settings.folders.vectors
    wait_for(lambda: all(len(list((vectors / i).iterdir())) == 2 for i in ids(found)[:K]))


def test_a_video_that_cannot_be_encoded_again_stays_behind(
    running_service: RunningService, triton_server: RunningTriton, hybrid: int
) -> None:
    # Without a reranker at first: its embeddings follow each ingest unasked.
    deploy(ModelStore(triton_server.state), Deployment(active=hybrid))
    corner = Corner(running_service, "lost file")
    added = [corner.add() for _ in range(3)]
    original = running_service.settings.folders.media / added[0] / "original"
    original.write_bytes(b"no video any more")
    activate(running_service, hybrid, version=hybrid, grid_size=1, k=K)
    try:
        found = corner.settled()
        assert found["reranker"]["scored_count"] == 2
        assert found["reranker"]["candidate_count"] == 3
        assert ids(found)[-1] == added[0]
    finally:
        # No later model version of this library could be complete with it.
        running_service.http.delete(f"/v1/videos/{added[0]}").raise_for_status()


def test_another_model_may_be_the_reranker(
    running_service: RunningService,
    triton_server: RunningTriton,
    triton: Triton,
    tuned_export: Path,
    hybrid: int,
) -> None:
    store = ModelStore(triton_server.state)
    reranker = store.add(tuned_export)
    corner = Corner(running_service, "another model")
    added = {corner.add() for _ in range(2)}
    try:
        activate(running_service, hybrid, version=reranker, grid_size=1, k=K)
        # Whether or not Triton has loaded it by now, all videos are answered.
        assert set(ids(corner.search())) == added
        found = corner.settled()
        assert set(ids(found)) == added
        assert found["reranker"]["fingerprint"] == store.get(reranker).manifest.fingerprint
        assert found["snapshot"].startswith(store.get(hybrid).manifest.fingerprint)
        for result in found["results"]:
            wanted = matched(running_service, triton, reranker, result["video"]["id"])
            assert result["score"] == pytest.approx(wanted, abs=2e-3)
    finally:
        deploy(store, Deployment(active=hybrid))
        assert running_service.http.post(f"/v1/models/{reranker}/retire").status_code == 200
        wait_for(lambda: triton.versions("text_encoder") == [hybrid], 60)

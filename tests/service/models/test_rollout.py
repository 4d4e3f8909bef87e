"""A new model beside the old one, in a real stack of two service processes, under search."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from qasir.contract.models import ActivateModelRequest
from qasir.errors import Conflict
from qasir.manifest import read_manifest
from qasir.triton import Triton
from service.catalogue.catalogue import Catalogue
from service.lock import locked
from service.models.deployment import Deployment
from service.models.rollout import Rollout
from service.models.store import ModelStore
from service.settings import Settings
from service.storage.media import MediaStore
from tests.support.deployments import deploy, reconciled
from tests.support.service import RunningService, service_settings
from tests.support.triton import RunningTriton
from tests.support.waiting import wait_for

VIDEOS = 6


@dataclass
class Searches:
    """What threads saw that searched all the time."""

    failed: list[str] = field(default_factory=list)
    seen: Counter[tuple[str, tuple[tuple[str, float], ...]]] = field(default_factory=Counter)
    slowest: float = 0.0

    @property
    def fingerprints(self) -> set[str]:
        return {fingerprint for fingerprint, _ in self.seen}


@contextmanager
def searching(url: str, ids: set[str], threads: int = 3) -> Iterator[Searches]:
    """Search from so many threads, each request on a connection of its own, so that both
    processes are asked; what is seen of these videos alone is kept."""
    done, seen, lock = threading.Event(), Searches(), threading.Lock()

    def search() -> None:
        # The pause leaves the cores to what is searched and swapped.
        while not done.wait(0.02):
            begin = time.monotonic()
            answer = search_once(url)
            with lock:
                seen.slowest = max(seen.slowest, time.monotonic() - begin)
                if answer.status_code != 200:
                    seen.failed.append(answer.text)
                    continue
                seen.seen[told(answer.json(), ids)] += 1

    running = [threading.Thread(target=search) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in running:
            thread.join()


def search_once(url: str) -> httpx.Response:
    """Search on a connection of its own, with a client that reads no certificates."""
    asked = {"query": "a red ball", "top_k": 100}
    return httpx.post(f"{url}/v1/search", json=asked, timeout=30, verify=False)


def told(answer: dict[str, Any], ids: set[str]) -> tuple[str, tuple[tuple[str, float], ...]]:
    """The fingerprint of an answer, and its scores of some videos."""
    scores = [
        (result["video"]["id"], round(result["score"], 4))
        for result in answer["results"]
        if result["video"]["id"] in ids
    ]
    return answer["snapshot"].split(".")[0], tuple(sorted(scores))


@dataclass(frozen=True)
class Shelf:
    """The running service with two model versions in its store, the first one active."""

    service: RunningService
    old: int
    new: int

    @property
    def url(self) -> str:
        return str(self.service.http.base_url)

    def model(self, version: int) -> dict[str, Any]:
        (listed,) = [
            model
            for model in self.service.http.get("/v1/models").json()["models"]
            if model["version"] == version
        ]
        assert self.service.http.get(f"/v1/models/{version}").json().keys() == listed.keys()
        return dict(listed)

    def build(self, version: int, **options: Any) -> None:
        answer = self.service.http.post(f"/v1/models/{version}/build", json=options)
        assert answer.status_code == 202, answer.text

    def activate(self, version: int, **options: Any) -> httpx.Response:
        return self.service.http.post(f"/v1/models/{version}/activate", json=options, timeout=90)

    def complete(self, version: int) -> bool:
        """Whether a model version has all videos, or none because nobody has built it."""
        coverage = self.model(version)["coverage"]
        return coverage["embedded_count"] in (0, coverage["video_count"])

    def built(self, version: int) -> dict[str, Any]:
        """Wait until a model version lacks nothing and Triton serves it."""

        def ready() -> dict[str, Any] | None:
            one = self.model(version)
            return one if one["state"] in ("ready", "previous", "active") else None

        one: dict[str, Any] = wait_for(ready, 60, pause=0.2)
        return one


@pytest.fixture
def shelf(
    running_service: RunningService, triton_server: RunningTriton, tuned_export: Path
) -> Iterator[Shelf]:
    """Afterwards the service is as other tests know it."""
    store = ModelStore(triton_server.state)
    shelf = Shelf(running_service, triton_server.version, store.add(tuned_export))
    try:
        yield shelf
    finally:
        # A worker whose model goes while it encodes waits for it, and later jobs with it.
        wait_for(lambda: shelf.complete(shelf.new), 60, pause=0.2)
        deploy(store, Deployment(active=shelf.old))
        assert running_service.http.post(f"/v1/models/{shelf.new}/retire").status_code == 200
        with Triton(triton_server.url, triton_server.key) as triton:
            wait_for(lambda: triton.versions("text_encoder") == [shelf.old], 60)
            wait_for(lambda: triton.versions("rank") == [shelf.old], 60)


def fingerprint(settings: Settings, version: int) -> str:
    return ModelStore(settings.state).get(version).manifest.fingerprint


def test_a_model_swap_under_search_fails_nobody(shelf: Shelf) -> None:
    service = shelf.service
    ids = {service.ingested() for _ in range(VIDEOS)}
    old, new = (fingerprint(service.settings, v) for v in (shelf.old, shelf.new))
    assert old != new
    with searching(shelf.url, ids) as seen:
        assert shelf.model(shelf.new)["state"] == "stored"
        refused = shelf.activate(shelf.new)
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert "build it first" in refused.json()["detail"]
        shelf.build(shelf.new)
        one = shelf.built(shelf.new)
        assert one["coverage"]["embedded_count"] == one["coverage"]["video_count"] >= VIDEOS
        assert seen.fingerprints == {old}
        wait_for(lambda: shelf.activate(shelf.new).status_code == 200, 60)
        # From the answer on, both processes answer with the new one.
        assert {service_answer(shelf, ids)[0] for _ in range(8)} == {new}
        wait_for(lambda: new in seen.fingerprints)
        assert (shelf.model(shelf.new)["state"], shelf.model(shelf.old)["state"]) == (
            "active",
            "previous",
        )
        assert shelf.activate(shelf.old).status_code == 200
        assert {service_answer(shelf, ids)[0] for _ in range(8)} == {old}
        assert shelf.model(shelf.new)["state"] == "previous"
    assert seen.failed == []
    # An answer has one model's fingerprint and that model's scores, never a mixture.
    assert seen.fingerprints == {old, new}
    assert len(seen.seen) == 2
    assert len({scores for _, scores in seen.seen}) == 2
    assert all(len(scores) == VIDEOS for _, scores in seen.seen)
    assert seen.slowest < service.settings.search_seconds


def service_answer(shelf: Shelf, ids: set[str]) -> tuple[str, tuple[tuple[str, float], ...]]:
    """One search on a connection of its own."""
    return told(search_once(shelf.url).json(), ids)


def test_a_worker_that_is_killed_goes_on_with_the_build(shelf: Shelf) -> None:
    service = shelf.service
    for _ in range(VIDEOS):
        service.ingested(120)
    shelf.build(shelf.new)
    wait_for(lambda: shelf.model(shelf.new)["coverage"]["embedded_count"] > 0, 60)
    service.kill(service.worker)
    before = shelf.model(shelf.new)["coverage"]
    service.start(service.worker)
    after = shelf.built(shelf.new)["coverage"]
    assert before["embedded_count"] < after["embedded_count"] == after["video_count"]
    assert after["failed_count"] == 0


def test_videos_that_come_meanwhile_are_in_the_new_version(shelf: Shelf) -> None:
    """A new upload comes into the active version first, then into every other one."""
    service = shelf.service
    before = service.ingested()
    shelf.build(shelf.new, activate=True)
    arriving = service.ingested()
    assert arriving in service.found()
    wait_for(lambda: shelf.model(shelf.new)["state"] == "active", 90)
    assert {before, arriving} <= service.found()
    # Uploaded under the new one, and there again after going back.
    later = service.ingested()
    shelf.built(shelf.old)
    assert shelf.activate(shelf.old).status_code == 200
    assert {before, arriving, later} <= service.found()


def test_a_deleted_video_leaves_every_version(shelf: Shelf) -> None:
    service = shelf.service
    video_id = service.ingested()
    shelf.build(shelf.new)
    shelf.built(shelf.new)
    folder = service.settings.folders.vectors / video_id
    assert len(list(folder.iterdir())) == 2
    total = shelf.model(shelf.new)["coverage"]["video_count"]
    assert service.http.delete(f"/v1/videos/{video_id}").status_code == 204
    assert not folder.exists()
    assert shelf.model(shelf.new)["coverage"]["video_count"] == total - 1


def test_what_cannot_be_activated_or_retired_says_why(shelf: Shelf) -> None:
    service = shelf.service
    assert shelf.activate(999).json()["code"] == "not_found"
    answer = service.http.post("/v1/models/999/build")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = service.http.post(f"/v1/models/{shelf.old}/retire")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "activate another one first" in answer.json()["detail"]
    manifest = read_manifest(service.settings.folders.models / "manifests" / str(shelf.old))
    one = shelf.model(shelf.old)
    assert one["fingerprint"] == manifest.fingerprint
    assert (one["name"], one["variant"], one["grid_sizes"]) == ("tiny", "zero-shot", [2])


def test_a_retired_version_is_refused_while_triton_still_answers_for_it(
    triton_server: RunningTriton, triton: Triton, tuned_export: Path, tmp_path: Path
) -> None:
    """Searches would get 503 from the moment that a service process unloads it."""
    store, settings = (
        ModelStore(triton_server.state),
        service_settings(triton_server, tmp_path / "s"),
    )
    old, new = triton_server.version, store.add(tuned_export)
    anything = ActivateModelRequest(max_missing=1000)
    catalogue, media = Catalogue(settings.folders.catalogue), MediaStore(settings.folders, 1, 0)
    rollout = Rollout(settings, catalogue, media, store, triton)
    try:
        rollout.build(new)
        reconciled(store, triton)
        rollout.retire(new)
        with pytest.raises(Conflict, match=f"version {new} is not retained; build it first"):
            rollout.activate(new, anything)
        assert store.deployment().active == old
        # Retained again, while a process may still unload it.
        rollout.build(new)
        reconciled(store, triton)
        with ThreadPoolExecutor(1) as pool:
            with locked(store.loading_lock):
                activation = pool.submit(rollout.activate, new, anything)
                with pytest.raises(TimeoutError):
                    activation.result(0.3)
                assert store.deployment().active == old
            assert activation.result(90).state == "active"
    finally:
        deploy(store, Deployment(active=old))
        reconciled(store, triton)
        catalogue.close()

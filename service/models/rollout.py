"""Generations: model sets with the vectors made by them, built beside the active one.

    add -> build -> (worker encodes every video) -> ready -> activate -> previous -> retire

A generation's number is its model's version. One file says which is active, see
`service.models.deployment`, and it is replaced while no video can be committed: so no video is lost
from search by an activation, and every process changes over at the same moment.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from qasir.errors import Conflict, NotFound
from qasir.manifest import EmbeddingSpec, Manifest
from qasir.triton import Triton
from service.catalogue.catalogue import Catalogue
from service.catalogue.encodings import Coverage
from service.lock import locked
from service.models.active_model import ActiveModel
from service.models.deployment import Reranker, Serving
from service.models.heartbeats import missing
from service.models.store import ModelStore
from service.settings import Settings
from service.storage.media import MediaStore

State = Literal["active", "previous", "ready", "building", "stored"]
KEPT: tuple[State, ...] = ("active", "previous", "ready", "building")

PAUSE_SECONDS = 0.05

log = structlog.get_logger()


@dataclass(frozen=True)
class Generation:
    """A model set and how much of the library it holds; `created` in seconds since 1970.

    error: why Triton does not serve it, or why one of its videos failed.
    """

    id: int
    manifest: Manifest
    state: State
    videos: Coverage
    created: float
    error: str | None


@dataclass(frozen=True)
class Activation:
    """What is to become active: a generation, although up to `max_missing` videos are not in it
    yet, with what scores in mode hybrid; `fine` None: as its own profile says."""

    id: int
    max_missing: int = 0
    fine: Reranker | None = None


class Generations:
    """The generations of one state folder; safe to share by threads and processes."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        media: MediaStore,
        store: ModelStore,
        triton: Triton,
    ) -> None:
        self._settings = settings
        self._encodings = catalogue.encodings
        self._media = media
        self._store = store
        self._triton = triton

    def list(self) -> Sequence[Generation]:
        """Every model set of the store, oldest first."""
        serving = self._serving()
        return [self._generation(model, serving) for model in self._store.list()]

    def counts(self) -> Iterator[tuple[State, str, int]]:
        """Videos by a kept generation's state and by done, waiting, failed; for metrics."""
        serving = self._serving()
        kept = [m for m in self._store.list() if serving and m.version in serving.kept]
        found = [self._generation(model, serving) for model in kept]
        for state in KEPT:
            held = [one.videos for one in found if one.state == state]
            yield state, "done", sum(coverage.done for coverage in held)
            yield state, "waiting", sum(coverage.waiting for coverage in held)
            yield state, "failed", sum(coverage.failed for coverage in held)

    def get(self, version: int) -> Generation:
        """One generation.

        Raises:
            NotFound: the store has no such model set.
        """
        return self._generation(self._store.get(version), self._serving())

    def build(self, version: int, *, activate: bool = False) -> Generation:
        """Keep a generation from now on: the worker encodes what it lacks, what failed again too.

        activate: make it active as soon as it holds every video. The very first is active at once.

        Raises:
            NotFound: the store has no such model set.
            Conflict: as many generations as may be are kept.
        """
        model = self._store.get(version)
        if self._serving() is None:
            self._store.activate(version)
        self._store.change(lambda serving: self._beside(serving, version, activate))
        self._encodings.retry(model.manifest.specs)
        if activate and not self._encodings.coverage(model.manifest.specs).missing:
            return self.activate(Activation(version))
        return self.get(version)

    def activate(self, wanted: Activation) -> Generation:
        """Answer every search that begins from now on with this generation.

        The one before stays complete, so that activating it again goes back. Processes read the
        new vectors first; one that needs longer than `switch_seconds` reads them in a search.

        Raises:
            NotFound: the store has no such model set, or `fine`'s.
            Conflict: it lacks videos, or Triton does not serve it yet.
        """
        model = self._store.get(wanted.id)
        self._check_fine(wanted)
        with locked(self._store.root / "activation.lock"):
            if self._serving() is None:
                self._store.activate(wanted.id)
            self._switch(wanted, model.manifest.specs)
        return self.get(wanted.id)

    def retire(self, version: int) -> None:
        """Keep a generation no longer and remove its vectors; its model set stays in the store.

        Raises:
            NotFound: the store has no such model set.
            Conflict: it is active.
        """
        model = self._store.get(version)
        serving = self._store.change(lambda serving: _without(serving, version))
        kept = [one.manifest for one in self._store.list() if one.version in serving.versions]
        alive = [spec for manifest in kept for spec in manifest.specs]
        alive += [manifest.reranker_spec for manifest in kept if manifest.reranker_spec]
        if serving.fine:
            fine = self._store.get(serving.fine.version).manifest
            alive.append(fine.spec(serving.fine.grid_size))
        for file in self._encodings.remove(model.manifest.fingerprint, alive):
            self._media.vectors(file.path).unlink(missing_ok=True)

    def _serving(self) -> Serving | None:
        try:
            return self._store.serving()
        except NotFound:
            return None

    def _generation(self, model: ActiveModel, serving: Serving | None) -> Generation:
        specs = model.manifest.specs
        coverage = self._encodings.coverage(specs)
        load_error = self._store.load_error(model.version)
        return Generation(
            id=model.version,
            manifest=model.manifest,
            state=_state(model.version, serving, coverage),
            videos=coverage,
            created=model.tokenizer.stat().st_mtime,
            error=load_error or (self._encodings.error(specs) if coverage.failed else None),
        )

    def _beside(self, serving: Serving, version: int, activate: bool) -> Serving:
        kept, most = {*serving.kept, version}, self._settings.max_generations
        if len(kept) > most:
            others = [one for one in serving.beside if one != version]
            raise Conflict(
                f"{len(serving.kept)} generations are kept, the limit is {most}; retire one of "
                f"{others} first, or raise QASIR_MAX_GENERATIONS"
            )
        update = {"beside": tuple(sorted(kept - {serving.active}))}
        return serving.model_copy(update=update | ({"then": version} if activate else {}))

    def _switch(self, wanted: Activation, specs: Sequence[EmbeddingSpec]) -> None:
        self._check(wanted, self._encodings.coverage(specs))
        self._check_served(wanted.id)
        self._announce(wanted.id)
        self._encodings.switch(specs, lambda now: self._flip(wanted, now))

    def _check(self, wanted: Activation, coverage: Coverage) -> None:
        serving = self._store.serving()
        if coverage.missing <= wanted.max_missing or wanted.id == serving.active:
            return
        step = _next_step(coverage, begun=wanted.id in serving.kept)
        raise Conflict(
            f"generation {wanted.id} holds {coverage.done} of {coverage.total} videos; {step}, or "
            f"activate it with max_missing {coverage.missing}: searches miss these until then"
        )

    def _check_fine(self, wanted: Activation) -> None:
        if wanted.fine is not None:
            self._store.get(wanted.fine.version).manifest.spec(wanted.fine.grid_size)

    def _check_served(self, version: int) -> None:
        if self._triton.ready() and not self._triton.ready(version):
            load_error = (
                self._store.load_error(version) or "a service process loads it; try again soon"
            )
            raise Conflict(f"Triton does not serve generation {version} yet; {load_error}")

    def _announce(self, version: int) -> None:
        self._store.change(lambda serving: serving.model_copy(update={"next": version}))
        folder, wait = self._settings.folders.searching, self._settings.switch_seconds
        if not _until(lambda: not missing(folder, version), wait):
            log.warning("index not in memory everywhere", version=version, waited=wait)

    def _flip(self, wanted: Activation, coverage: Coverage) -> None:
        # Asked again, because now nothing can be committed until the file is replaced.
        try:
            self._check(wanted, coverage)
        except Conflict:
            self._store.change(lambda serving: serving.model_copy(update={"next": None}))
            raise
        self._store.change(lambda serving: serving.activated(wanted.id, wanted.fine))


def _next_step(coverage: Coverage, *, begun: bool) -> str:
    if not begun:
        return "build it first"
    waiting = [f"wait for {coverage.waiting} that are being encoded"] if coverage.waiting else []
    failed = [f"build it again to retry {coverage.failed} that failed"] if coverage.failed else []
    return ", ".join([*waiting, *failed])


def _without(serving: Serving, version: int) -> Serving:
    if version == serving.active or (serving.fine and serving.fine.version == version):
        raise Conflict(f"generation {version} serves searches; activate another one first")
    return serving.without(version)


def _state(version: int, serving: Serving | None, coverage: Coverage) -> State:
    if serving is None or version not in serving.kept:
        return "stored"
    if version == serving.active:
        return "active"
    if coverage.waiting:
        return "building"
    return "previous" if version == serving.previous else "ready"


def _until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (done := true()) and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    return done

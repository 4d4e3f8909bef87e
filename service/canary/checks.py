"""Whether models and index still give what they are known to give.

text   the manifest's five sentences -> text_encoder -> within 1e-3 of the manifest's vectors
image  stored windows -> encode_video -> ten super images, each finds itself first in the index
pair   an operator's queries -> a search -> the known video is among the first
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from qasir.errors import CorruptArtifact, Overloaded, QasirError
from qasir.manifest import EmbeddingSpec
from qasir.text import Tokenizer
from qasir.triton import Triton
from qasir.types import Float32
from qasir.vectors import VideoVectors, to_float32
from service.canary.golden_queries import GoldenQuery, read_known_pairs
from service.canary.windows import StoredWindow, WindowName, WindowStore
from service.catalogue.catalogue import Catalogue
from service.models.deployment import FindActive, ModelVersion
from service.search.answers import SearchRequest
from service.search.engine import SearchEngine
from service.search.index_cache import Library
from service.settings import Settings

Check = Literal["text", "image", "pair"]
CHECKS: tuple[Check, ...] = get_args(Check)

# Largest difference of one of a vector's numbers, as parity of torch and ONNX is measured.
TEXT_TOLERANCE = 1e-3
SUPER_IMAGES = 10
# Cosine of a super image encoded again with what is stored: halves round to 5e-4.
SAME = 0.99
# What looks alike to the last bit may well come first; nobody is wrong then.
TIE = 1e-3


@dataclass(frozen=True)
class Finding:
    """How one kind of check ended; `detail` says what was wrong, or how much was right."""

    check: Check
    passed: bool
    detail: str


@dataclass(frozen=True)
class Probe:
    """A super image encoded again: `units` float32 [1+P, D], number `number` of its video."""

    video_id: str
    spec: EmbeddingSpec
    number: int
    embeddings: Float32


class Canary:
    """Checks the active model in Triton and the index of this process."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        windows: WindowStore,
        library: Library,
        engine: SearchEngine,
        triton: Triton,
        active_model: FindActive,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._windows = windows
        self._library = library
        self._engine = engine
        self._triton = triton
        self._active_model = active_model

    def run(self) -> list[Finding]:
        """What every check found; none where there is nothing yet to check by.

        Raises:
            Overloaded: there is too much else to do; nothing is known.
        """
        checks: dict[Check, Callable[[], str | None]] = {
            "text": self._texts,
            "image": self._images,
            "pair": self._pairs,
        }
        found = [_finding(check, look) for check, look in checks.items()]
        return [finding for finding in found if finding is not None]

    def _texts(self) -> str | None:
        model = self._active_model()
        known = model.manifest.known_texts
        if not known:
            return None
        tokenizer = Tokenizer.load(model.tokenizer, model.manifest.tokenizer)
        tokens = tokenizer.encode([text.text for text in known])
        seconds = self._settings.search_seconds
        vectors = self._triton.encode_text(model.version, tokens, deadline=seconds)
        wanted = np.array([text.vector for text in known], np.float32)
        off = np.abs(vectors - wanted).max()
        if not off <= TEXT_TOLERANCE:
            raise CorruptArtifact(
                f"known sentences are off by {off:.2g}, the limit is {TEXT_TOLERANCE:g}: Triton "
                f"serves another text encoder than the manifest of version {model.version} says; "
                f"export and add the model again"
            )
        return f"{len(known)} sentences within {off:.2g}"

    def _images(self) -> str | None:
        model = self._active_model()
        probes = list(self._probes(model))
        for spec in {probe.spec for probe in probes}:
            self._compare(model, spec, [p for p in probes if p.spec == spec])
        if not probes:
            return None
        videos = len({probe.video_id for probe in probes})
        return f"{len(probes)} super images of {videos} videos found themselves first"

    def _probes(self, model: ModelVersion) -> Iterator[Probe]:
        """Ten super images, spread over as many windows as one call's worth of encoding allows."""
        chosen = self._chosen(model)
        for place, (spec, name, window) in enumerate(chosen):
            # What is left of ten, shared by the windows that are left.
            share = SUPER_IMAGES // len(chosen) + (place < SUPER_IMAGES % len(chosen))
            embeddings = self._triton.encode_video(model.version, window.pixels, window.mask)
            kept = range(*window.keep.indices(len(embeddings)))
            for row in random.sample(kept, min(share, len(kept))):
                number = window.first + row - window.keep.start
                yield Probe(name.video_id, spec, number, embeddings[row])

    def _chosen(self, model: ModelVersion) -> list[tuple[EmbeddingSpec, WindowName, StoredWindow]]:
        manifest = model.manifest
        chosen: list[tuple[EmbeddingSpec, WindowName, StoredWindow]] = []
        budget = manifest.window
        for spec in manifest.specs:
            names = self._windows.names(manifest, spec)
            for name in random.sample(names, len(names)):
                if not self._indexed(name.video_id, spec):
                    continue
                if (window := self._windows.read(name)) is None:
                    continue
                if not chosen or len(window.pixels) <= budget:
                    chosen.append((spec, name, window))
                    budget -= len(window.pixels)
        return chosen[:SUPER_IMAGES]

    def _indexed(self, video_id: str, spec: EmbeddingSpec) -> bool:
        """Whether the catalogue promises this video's vectors: it may be deleted, or not yet be."""
        files = self._catalogue.vector_files.of_video(video_id)
        return spec in [file.spec for file in files]

    def _compare(self, model: ModelVersion, spec: EmbeddingSpec, probes: Sequence[Probe]) -> None:
        ids = [probe.video_id for probe in probes]
        queries = np.stack([_query(probe, model) for probe in probes])
        nearest = self._library.nearest(model.manifest, spec, queries, ids)
        for probe, row in zip(probes, nearest.similarities, strict=True):
            if not self._indexed(probe.video_id, spec):
                continue
            if probe.video_id not in nearest.vectors:
                raise CorruptArtifact(
                    f"video {probe.video_id} is committed and not in the index; see the log for "
                    f"'vectors unreadable', and ingest it again"
                )
            own = row[nearest.ids.index(probe.video_id)]
            if own < row.max() - TIE:
                raise CorruptArtifact(
                    f"super image {probe.number} of video {probe.video_id} finds "
                    f"{nearest.ids[int(row.argmax())]} first ({row.max():.3f}, itself {own:.3f}): "
                    f"vectors are mixed up or of another model; ingest both again"
                )
            _check_same(probe, nearest.vectors[probe.video_id])

    def _pairs(self) -> str | None:
        settings = self._settings
        named = settings.canary_file is not None
        pairs = read_known_pairs(settings.canary_path, must_exist=named)
        for pair in pairs:
            self._check_pair(pair)
        return f"{len(pairs)} pairs" if pairs else None

    def _check_pair(self, pair: GoldenQuery) -> None:
        answer = self._engine.search(SearchRequest(query=pair.query, top_k=pair.within))
        if pair.video not in [hit.video.id for hit in answer.hits]:
            raise CorruptArtifact(
                f"video {pair.video} is not among the first {pair.within} of its known query; see "
                f"entry '{pair.video}' of {self._settings.canary_path}"
            )


def _finding(check: Check, look: Callable[[], str | None]) -> Finding | None:
    try:
        detail = look()
    except Overloaded:
        raise
    except QasirError as error:
        return Finding(check, passed=False, detail=str(error))
    return None if detail is None else Finding(check, passed=True, detail=detail)


def _query(probe: Probe, model: ModelVersion) -> Float32:
    """What an index over this unit is asked: the whole picture, or its first cell: a real one."""
    row = 1 if model.manifest.profile.index_unit == "cell" else 0
    query: Float32 = probe.embeddings[row]
    return query


def _check_same(probe: Probe, stored: VideoVectors) -> None:
    there = probe.number < len(stored.embeddings)
    same = (
        float(to_float32(stored.super_images[probe.number]) @ probe.embeddings[0]) if there else 0.0
    )
    if same < SAME:
        raise CorruptArtifact(
            f"super image {probe.number} of video {probe.video_id} was stored as another vector "
            f"(cosine {same:.3f}, wanted {SAME}): Triton serves other models than it was ingested "
            f"with, or its file is another video's; ingest it again"
        )

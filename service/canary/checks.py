"""Whether models and index still answer as they did.

text   the manifest's five sentences -> text_encoder -> within 1e-3 of the manifest's vectors
image  stored windows -> encode_video -> ten super images, each finds itself first in the index
index  every video that has vector files of the active model is in the index
pair   an operator's golden queries -> a search -> the known video is among the first
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from qasir.contract.search import SearchRequest
from qasir.errors import CorruptArtifact, Overloaded, QasirError
from qasir.manifest import EmbeddingSpec
from qasir.text import Tokenizer
from qasir.triton import Triton
from qasir.types import Float32
from qasir.vectors import VideoVectors, to_float32
from service.canary.golden_queries import read_golden_queries
from service.canary.windows import StoredWindow, WindowName, WindowStore
from service.catalogue.catalogue import Catalogue
from service.models.deployment import FindActive, ModelVersion
from service.search.engine import SearchEngine
from service.search.index_cache import IndexCache
from service.settings import CanarySettings

CheckName = Literal["text", "image", "index", "pair"]
CHECKS: tuple[CheckName, ...] = get_args(CheckName)
# Runs a check of a model: says how much was right, or None where there is nothing to check by.
Check = Callable[[ModelVersion], str | None]

# The largest difference between two numbers of a vector, as for the parity of torch and ONNX.
TEXT_TOLERANCE = 1e-3
SUPER_IMAGES = 10
# The least cosine of a super image encoded again with the stored one: float16 rounds to 5e-4.
SAME = 0.99
# A video that looks the same to the last bit may well come first.
TIE = 1e-3
# Ids in a message.
NAMED = 5


@dataclass(frozen=True)
class Finding:
    """How a check ended; `detail` says what was wrong, or how much was right."""

    check: CheckName
    passed: bool
    detail: str


class Canary:
    """Runs checks on the active model in Triton and the index of this process."""

    def __init__(self, find_active: FindActive, checks: Mapping[CheckName, Check]) -> None:
        self._find_active = find_active
        self._checks = checks

    def run(self) -> list[Finding]:
        """Run every check; one that has nothing to check by yields no finding.

        Raises:
            Overloaded: there is too much else to do; nothing is known.
        """
        findings = [self._run(name, check) for name, check in self._checks.items()]
        return [finding for finding in findings if finding is not None]

    def _run(self, name: CheckName, check: Check) -> Finding | None:
        try:
            detail = check(self._find_active())
        except Overloaded:
            raise
        except QasirError as error:
            return Finding(name, passed=False, detail=str(error))
        return None if detail is None else Finding(name, passed=True, detail=detail)


class TextCheck:
    """Encodes the manifest's known sentences again."""

    def __init__(self, triton: Triton, deadline: float) -> None:
        self._triton = triton
        self._deadline = deadline

    def __call__(self, model: ModelVersion) -> str | None:
        """Compare Triton's text encoder with the manifest.

        Raises:
            CorruptArtifact: it gives other vectors.
        """
        known = model.manifest.known_texts
        if not known:
            return None
        tokenizer = Tokenizer.load(model.tokenizer, model.manifest.tokenizer)
        tokens = tokenizer.encode([text.text for text in known])
        vectors = self._triton.encode_text(model.version, tokens, deadline=self._deadline)
        expected = np.array([text.vector for text in known], np.float32)
        difference = np.abs(vectors - expected).max()
        if not difference <= TEXT_TOLERANCE:
            raise CorruptArtifact(
                f"known sentences are off by {difference:.2g}, the limit is {TEXT_TOLERANCE:g}: "
                f"Triton serves another text encoder than the manifest of version {model.version} "
                f"says; export and add the model again"
            )
        return f"{len(known)} sentences within {difference:.2g}"


class IndexCheck:
    """Looks for videos that are silently absent from every search."""

    def __init__(self, index: IndexCache) -> None:
        self._index = index

    def __call__(self, model: ModelVersion) -> str | None:
        """Compare the index with the catalogue.

        Raises:
            CorruptArtifact: the vector files of some videos are missing or damaged.
        """
        count, unreadable = 0, set[str]()
        for spec in model.manifest.specs:
            count = max(count, self._index.load(model.manifest, spec))
            unreadable |= self._index.unreadable(model.manifest, spec)
        if unreadable:
            named = ", ".join(sorted(unreadable)[:NAMED])
            raise CorruptArtifact(
                f"{len(unreadable)} ready videos are in no search, because their vector files are "
                f"missing or damaged: {named}; see the log for 'vectors unreadable'"
            )
        return f"{count} videos" if count else None


@dataclass(frozen=True)
class Probe:
    """A super image encoded again: `embeddings` float32 [1+P, D], number `number` of its video."""

    video_id: str
    spec: EmbeddingSpec
    number: int
    embeddings: Float32


class ImageCheck:
    """Encodes stored windows again and looks for their super images in the index."""

    def __init__(
        self, triton: Triton, catalogue: Catalogue, windows: WindowStore, index: IndexCache
    ) -> None:
        self._triton = triton
        self._catalogue = catalogue
        self._windows = windows
        self._index = index

    def __call__(self, model: ModelVersion) -> str | None:
        """Compare the index with what Triton's encoder gives now.

        Raises:
            CorruptArtifact: a super image does not find itself, or is stored as another vector.
        """
        probes = list(self._probes(model))
        for spec in {probe.spec for probe in probes}:
            self._compare(model, spec, [p for p in probes if p.spec == spec])
        if not probes:
            return None
        videos = len({probe.video_id for probe in probes})
        return f"{len(probes)} super images of {videos} videos found themselves first"

    def _probes(self, model: ModelVersion) -> Iterator[Probe]:
        """Ten super images, spread over as many windows as one call's worth of encoding allows."""
        windows = self._sample(model)
        for place, (spec, name, window) in enumerate(windows):
            # What is left of ten, shared by the windows that are left.
            share = SUPER_IMAGES // len(windows) + (place < SUPER_IMAGES % len(windows))
            embeddings = self._triton.encode_video(model.version, window.pixels, window.mask)
            rows = range(*window.keep.indices(len(embeddings)))
            for row in random.sample(rows, min(share, len(rows))):
                number = window.first + row - window.keep.start
                yield Probe(name.video_id, spec, number, embeddings[row])

    def _sample(self, model: ModelVersion) -> list[tuple[EmbeddingSpec, WindowName, StoredWindow]]:
        manifest, budget = model.manifest, model.manifest.window
        windows: list[tuple[EmbeddingSpec, WindowName, StoredWindow]] = []
        for spec in manifest.specs:
            names = self._windows.names(manifest, spec)
            for name in random.sample(names, len(names)):
                if not self._is_committed(name.video_id, spec):
                    continue
                if (window := self._windows.read(name)) is None:
                    continue
                if not windows or len(window.pixels) <= budget:
                    windows.append((spec, name, window))
                    budget -= len(window.pixels)
        return windows[:SUPER_IMAGES]

    def _is_committed(self, video_id: str, spec: EmbeddingSpec) -> bool:
        """Whether the catalogue names this video's vectors: it may be deleted, or not yet be."""
        return spec in [file.spec for file in self._catalogue.vector_files.of_video(video_id)]

    def _compare(self, model: ModelVersion, spec: EmbeddingSpec, probes: Sequence[Probe]) -> None:
        ids = [probe.video_id for probe in probes]
        queries = np.stack([_query(probe, model) for probe in probes])
        nearest = self._index.nearest(model.manifest, spec, queries, ids)
        for probe, row in zip(probes, nearest.similarities, strict=True):
            if not self._is_committed(probe.video_id, spec):
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


class GoldenQueryCheck:
    """Searches for an operator's golden queries."""

    def __init__(self, engine: SearchEngine, settings: CanarySettings) -> None:
        self._engine = engine
        self._path = settings.canary_path
        self._must_exist = settings.canary_file is not None

    def __call__(self, _: ModelVersion) -> str | None:
        """Search as a client does.

        Raises:
            CorruptArtifact: a video is not among the results of its query.
            InvalidConfig: the file of queries is wrong.
        """
        queries = read_golden_queries(self._path, must_exist=self._must_exist)
        for golden in queries:
            answer = self._engine.search(SearchRequest(query=golden.query, top_k=golden.within))
            if golden.video not in [result.video.id for result in answer.results]:
                raise CorruptArtifact(
                    f"video {golden.video} is not among the first {golden.within} of its known "
                    f"query; see entry '{golden.video}' of {self._path}"
                )
        return f"{len(queries)} pairs" if queries else None


def _query(probe: Probe, model: ModelVersion) -> Float32:
    """The embedding that the index is over: the super image's, or its first cell's, a real one."""
    row = 1 if model.manifest.profile.index_unit == "cell" else 0
    query: Float32 = probe.embeddings[row]
    return query


def _check_same(probe: Probe, stored: VideoVectors) -> None:
    if probe.number < len(stored.embeddings):
        same = float(to_float32(stored.super_images[probe.number]) @ probe.embeddings[0])
    else:
        same = 0.0
    if same < SAME:
        raise CorruptArtifact(
            f"super image {probe.number} of video {probe.video_id} was stored as another vector "
            f"(cosine {same:.3f}, wanted {SAME}): Triton serves other models than it was ingested "
            f"with, or its file is another video's; ingest it again"
        )

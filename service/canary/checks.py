"""Check whether models and index still answer as they did.

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

from qasir.errors import CorruptArtifact, NotFound, Overloaded, QasirError
from qasir.manifest import EmbeddingSpec
from qasir.text import Tokenizer
from qasir.triton import Triton
from qasir.types import Float16, Float32
from qasir.vectors import VideoVectors, to_float32
from service.canary.windows import StoredWindow, WindowStore
from service.catalogue.catalogue import Catalogue
from service.models.deployment import FindActive, ModelVersion
from service.search.index_cache import IndexCache

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


def run_checks(find_active: FindActive, checks: Mapping[CheckName, Check]) -> list[Finding]:
    """Run every check on the active model; one that has nothing to check by yields no finding.

    Raises:
        Overloaded: there is too much else to do; nothing is known.
    """
    findings: list[Finding] = []
    for name, check in checks.items():
        try:
            if (detail := check(find_active())) is not None:
                findings.append(Finding(name, passed=True, detail=detail))
        except Overloaded:
            raise
        except QasirError as error:
            findings.append(Finding(name, passed=False, detail=str(error)))
    return findings


def check_texts(triton: Triton, deadline: float, model: ModelVersion) -> str | None:
    """Encode the manifest's known sentences again and compare.

    Raises:
        CorruptArtifact: Triton's text encoder gives other vectors.
    """
    known = model.manifest.known_texts
    if not known:
        return None
    tokenizer = Tokenizer.load(model.tokenizer, model.manifest.tokenizer)
    tokens = tokenizer.encode([text.text for text in known])
    vectors = triton.encode_text(model.version, tokens, deadline=deadline)
    expected = np.array([text.vector for text in known], np.float32)
    difference = np.abs(vectors - expected).max()
    if not difference <= TEXT_TOLERANCE:
        raise CorruptArtifact(
            f"known sentences are off by {difference:.2g}, the limit is {TEXT_TOLERANCE:g}: "
            f"Triton serves another text encoder than the manifest of version {model.version} "
            f"says; export and add the model again"
        )
    return f"{len(known)} sentences within {difference:.2g}"


def check_index(index: IndexCache, model: ModelVersion) -> str | None:
    """Look for videos that are silently absent from every search.

    Raises:
        CorruptArtifact: the vector files of some videos are missing or damaged.
    """
    count, unreadable = 0, set[str]()
    for spec in model.manifest.specs:
        index.verify_next(model.manifest, spec)
        count = max(count, index.load(model.manifest, spec))
        unreadable |= index.unreadable(model.manifest, spec)
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


@dataclass(frozen=True)
class ImageCheck:
    """Encodes stored windows again and looks for their super images in the index."""

    triton: Triton
    catalogue: Catalogue
    windows: WindowStore
    index: IndexCache

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
        """Encode ten super images, from as many windows as one call's worth of encoding allows."""
        windows = self._sample(model)
        for place, (spec, video_id, window) in enumerate(windows):
            # Ten, shared out evenly; the first windows take the remainder.
            share = SUPER_IMAGES // len(windows) + (place < SUPER_IMAGES % len(windows))
            embeddings = self.triton.encode_video(model.version, window.pixels, window.mask)
            rows = range(*window.keep.indices(len(embeddings)))
            for row in random.sample(rows, min(share, len(rows))):
                number = window.first + row - window.keep.start
                yield Probe(video_id, spec, number, embeddings[row])

    def _sample(self, model: ModelVersion) -> list[tuple[EmbeddingSpec, str, StoredWindow]]:
        manifest, budget = model.manifest, model.manifest.window
        windows: list[tuple[EmbeddingSpec, str, StoredWindow]] = []
        for spec in manifest.specs:
            videos = self.windows.videos(manifest, spec)
            for video_id in random.sample(videos, len(videos)):
                if not self._is_committed(video_id, spec):
                    continue
                if (window := self.windows.read(video_id, manifest, spec)) is None:
                    continue
                if not windows or len(window.pixels) <= budget:
                    windows.append((spec, video_id, window))
                    budget -= len(window.pixels)
        return windows[:SUPER_IMAGES]

    def _is_committed(self, video_id: str, spec: EmbeddingSpec) -> bool:
        """Return whether the catalogue has this video's vectors; a deleted video has none."""
        return spec in [file.spec for file in self.catalogue.vector_files.of_video(video_id)]

    def _compare(self, model: ModelVersion, spec: EmbeddingSpec, probes: Sequence[Probe]) -> None:
        unit = model.manifest.profile.index_unit
        # The first cell is a real one.
        row = 1 if unit == "cell" else 0
        queries = np.stack([probe.embeddings[row] for probe in probes])
        nearest = self.index.nearest(model.manifest, spec, queries)
        for probe, query, found in zip(probes, queries, nearest, strict=True):
            if not self._is_committed(probe.video_id, spec):
                continue
            try:
                stored = self.index.get(model.manifest, spec, probe.video_id)
            except NotFound as error:
                raise CorruptArtifact(
                    f"video {probe.video_id} is committed and not in the index; see the log for "
                    f"'vectors unreadable', and ingest it again"
                ) from error
            own = _similarity(query, stored.rows(unit))
            if found is not None and own < found.similarity - TIE:
                raise CorruptArtifact(
                    f"super image {probe.number} of video {probe.video_id} finds "
                    f"{found.video_id} first ({found.similarity:.3f}, itself {own:.3f}): "
                    f"vectors are mixed up or of another model; ingest both again"
                )
            _check_same(probe, stored)


def _similarity(query: Float32, rows: Float16) -> float:
    """The cosine of a unit query [D] and the most similar of rows [K, D]."""
    vectors = to_float32(rows)
    return float((vectors @ query / np.linalg.norm(vectors, axis=-1)).max())


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

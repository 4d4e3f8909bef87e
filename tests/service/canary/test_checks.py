"""The canary's checks against real models in Triton and real files: sound, and broken each way."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qasir.config import IndexUnit
from qasir.manifest import EmbeddingSpec, Manifest, read_manifest
from qasir.modeling.backbones import Backbone
from qasir.modeling.export import known_texts
from qasir.modeling.retriever import zero_shot
from qasir.triton import Triton
from qasir.types import VideoInfo
from qasir.vectors import VideoVectors, write_vectors
from service.app import canary_checks, open_engine
from service.canary.checks import Finding, run_checks
from service.canary.windows import StoredWindow, WindowStore
from service.catalogue.catalogue import Catalogue
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Video
from service.models.deployment import ModelVersion
from service.observability.metrics import SERVICE_METRICS
from service.observability.telemetry import Telemetry
from service.settings import Settings
from service.storage.media import MediaStore
from tests.support.models import BRANCHES
from tests.support.triton import RunningTriton
from tests.support.windows import padded, pictures

COUNT = 3
INFO = VideoInfo(12.0, 64, 48, 1.0, "h264", "mov,mp4", 0)


class Aviary:
    """A state folder whose videos were encoded by the session's Triton, and a canary for it."""

    def __init__(
        self, state: Path, triton: Triton, version: int, manifest: Manifest, export: Path
    ) -> None:
        self.settings = Settings(state=state)
        self.folders = self.settings.folders
        self.triton = triton
        self.model = ModelVersion(version, manifest, export)
        self.media = MediaStore(self.folders, 1 << 30, 0)
        self.catalogue = Catalogue(self.folders.catalogue)
        self.windows = WindowStore(self.folders, 0)

    def ingest(self, name: str, seed: int) -> None:
        """Commit a video of three super images, the last padded, as a worker would."""
        path = f"{name}/{seed}.npz"
        video = Video(name, name, {}, name, 1, 0, 0, 0, "", "", "queued", 1.0)
        self.catalogue.videos.accept(video)
        mine = self.catalogue.queue.claim("me")
        assert mine is not None
        spec = self.model.manifest.spec(2)
        pixels, mask = pictures(COUNT, seed), padded(COUNT, 2)
        embeddings = self.triton.encode_video(self.model.version, pixels, mask)
        vectors = VideoVectors(spec, embeddings.astype(np.float16), mask, np.ones((COUNT, 4, 2)))
        write_vectors(vectors, self.media.vectors(path))
        file = VectorFile(name, **dict(spec), path=path, frames=9, super_images=COUNT, seconds=9.0)
        assert self.catalogue.queue.commit(mine, INFO, [file])
        (self.folders.media / name).mkdir()
        self.windows.store(
            name, self.model.manifest, spec, StoredWindow(pixels, mask, slice(0, COUNT), 0)
        )

    def look(self) -> dict[str, Finding]:
        """What a canary of a process that starts now finds, by check."""
        telemetry, find_active = Telemetry(SERVICE_METRICS), lambda: self.model
        engine = open_engine(
            self.settings, self.catalogue, self.media, self.triton, find_active, telemetry
        )
        checks = canary_checks(self.settings, self.catalogue, self.windows, engine, self.triton)
        return {finding.check: finding for finding in run_checks(find_active, checks)}


@pytest.fixture
def aviary(
    triton_server: RunningTriton, triton: Triton, tiny_export: Path, tmp_path: Path
) -> Iterator[Aviary]:
    manifest = read_manifest(tiny_export)
    opened = Aviary(tmp_path / "state", triton, triton_server.version, manifest, tiny_export)
    for seed, name in enumerate(("va", "vb", "vc")):
        opened.ingest(name, seed)
    yield opened
    opened.catalogue.close()


@pytest.mark.parametrize("unit", ["super-image", "cell"])
def test_all_is_well(aviary: Aviary, unit: IndexUnit) -> None:
    profile = aviary.model.manifest.profile.model_copy(update={"index_unit": unit})
    changed = aviary.model.manifest.model_copy(update={"profile": profile})
    aviary.model = replace(aviary.model, manifest=changed)
    found = aviary.look()
    assert {check: finding.passed for check, finding in found.items()} == {
        "text": True,
        "image": True,
        "index": True,
    }
    assert found["image"].detail == "9 super images of 3 videos found themselves first"


def test_an_empty_library_proves_nothing(aviary: Aviary) -> None:
    for name in ("va", "vb", "vc"):
        aviary.media.delete(name, lambda name=name: aviary.catalogue.videos.delete(name))  # type: ignore[misc]  # bound now
    assert list(aviary.look()) == ["text"]
    assert list(aviary.folders.canary.iterdir()) == []


class Fleeting(WindowStore):
    """Windows of which the first that is read has just gone, as a later ingest takes its place."""

    def read(self, video_id: str, manifest: Manifest, spec: EmbeddingSpec) -> StoredWindow | None:
        if len(list(self._folders.canary.iterdir())) == COUNT:
            shutil.rmtree(self._folders.canary / video_id)
        return super().read(video_id, manifest, spec)


def test_a_window_that_goes_meanwhile_is_no_failure(aviary: Aviary) -> None:
    aviary.windows = Fleeting(aviary.folders, 0)
    finding = aviary.look()["image"]
    assert finding.passed
    assert finding.detail.endswith("of 2 videos found themselves first")


def test_a_twin_may_come_first(aviary: Aviary) -> None:
    aviary.ingest("vtwin", 0)
    assert aviary.look()["image"].passed


def swap_files(aviary: Aviary) -> None:
    one, other = aviary.media.vectors("va/0.npz"), aviary.media.vectors("vb/1.npz")
    aside = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(aside)


def cut_a_file_short(aviary: Aviary) -> None:
    aviary.media.vectors("va/0.npz").write_bytes(b"PK")


def lose_a_file(aviary: Aviary) -> None:
    aviary.media.vectors("vc/2.npz").unlink()


def change_a_vector(aviary: Aviary) -> None:
    """As bits that rot: whatever it is now, it is not what the model says."""
    spec, mask = aviary.model.manifest.spec(2), padded(COUNT, 2)
    embeddings = aviary.triton.encode_video(aviary.model.version, pictures(COUNT, 77), mask)
    vectors = VideoVectors(spec, embeddings.astype(np.float16), mask, np.ones((COUNT, 4, 2)))
    write_vectors(vectors, aviary.media.vectors("va/0.npz"))


def encode_otherwise(aviary: Aviary) -> None:
    """What was seen at ingest is another picture than what is encoded now."""
    spec, mask = aviary.model.manifest.spec(2), padded(COUNT, 2)
    window = StoredWindow(pictures(COUNT, 99), mask, slice(0, COUNT), 0)
    aviary.windows.store("va", aviary.model.manifest, spec, window)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (swap_files, r"super image \d of video v[ab] finds v[ab] first"),
        (cut_a_file_short, "video va is committed and not in the index"),
        (lose_a_file, "video vc is committed and not in the index"),
        (change_a_vector, "super image . of video va"),
        (encode_otherwise, "super image . of video va"),
    ],
)
def test_a_broken_index_shows(aviary: Aviary, spoil: Callable[[Aviary], None], said: str) -> None:
    spoil(aviary)
    finding = aviary.look()["image"]
    assert not finding.passed
    assert re.search(said, finding.detail), finding.detail


@pytest.mark.parametrize("spoil", [cut_a_file_short, lose_a_file])
def test_a_ready_video_that_no_search_finds_shows(
    aviary: Aviary, spoil: Callable[[Aviary], None]
) -> None:
    """Also where no window of it is stored to encode again."""
    shutil.rmtree(aviary.folders.canary)
    assert aviary.look()["index"] == Finding("index", passed=True, detail="3 videos")
    spoil(aviary)
    finding = aviary.look()["index"]
    assert not finding.passed
    name = "va" if spoil is cut_a_file_short else "vc"
    assert "1 ready videos are in no search, because" in finding.detail
    assert f"missing or damaged: {name}; " in finding.detail


def test_another_text_encoder_than_the_manifests_shows(
    aviary: Aviary, tiny_siglip_backbone: Backbone, tmp_path: Path
) -> None:
    tiny_siglip_backbone.save_tokenizer(tmp_path)
    known = known_texts(tiny_siglip_backbone, zero_shot(tiny_siglip_backbone, BRANCHES), tmp_path)
    changed = aviary.model.manifest.model_copy(update={"known_texts": known})
    aviary.model = replace(aviary.model, manifest=changed)
    found = aviary.look()
    assert (found["text"].passed, found["image"].passed) == (False, True)
    assert "the limit is 0.001" in found["text"].detail


def test_an_export_of_an_earlier_version_has_no_sentences(aviary: Aviary) -> None:
    changed = aviary.model.manifest.model_copy(update={"known_texts": ()})
    aviary.model = replace(aviary.model, manifest=changed)
    assert list(aviary.look()) == ["image", "index"]


def test_models_out_of_reach_show(aviary: Aviary) -> None:
    with Triton("127.0.0.1:9", deadline=1.0) as nobody:
        aviary.triton = nobody
        found = aviary.look()
    assert (found["text"].passed, found["image"].passed) == (False, False)
    assert "127.0.0.1:9" in found["text"].detail


def test_known_pairs_are_looked_for(aviary: Aviary) -> None:
    path = aviary.settings.canary_path
    path.write_text("pairs: [{query: a dog, video: va, within: 3}]")
    assert aviary.look()["pair"] == Finding("pair", passed=True, detail="1 pairs")
    path.write_text("pairs: [{query: a secret, video: vzzz, within: 3}]")
    finding = aviary.look()["pair"]
    assert not finding.passed
    assert "video vzzz is not among the first 3" in finding.detail
    assert "secret" not in finding.detail


def test_a_wrong_file_of_pairs_shows(aviary: Aviary) -> None:
    aviary.settings.canary_path.write_text("pairs: [{query: a dog, vidoe: va}]")
    finding = aviary.look()["pair"]
    assert not finding.passed
    assert "pairs.0.vidoe" in finding.detail

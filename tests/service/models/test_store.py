"""The model store: verified, whole or absent, versions side by side, active in a live Triton."""

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from qasir.errors import CorruptArtifact, ModelUnavailable, NotFound
from qasir.manifest import MANIFEST_NAME, Profile, ScoreFusion, read_manifest
from qasir.modeling.backbones import Backbone
from qasir.modeling.export import export_model
from qasir.modeling.retriever import zero_shot
from qasir.text import Tokenizer
from qasir.triton import ENSEMBLES, MODELS, Triton
from service.models.deployment import DEPLOYMENT_NAME, Deployment
from service.models.store import ModelStore
from service.models.triton_config import CONFIG_NAME, WHEEL_NAME, read_config
from tests.support.deployments import deploy, reconciled
from tests.support.triton import RunningTriton
from tests.support.windows import padded, pictures


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "state")


@pytest.fixture(scope="module")
def other_export(tiny_backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model again with other temperatures, so that its scores tell it apart."""
    folder = tmp_path_factory.mktemp("other-export")
    flat = ScoreFusion(super_image_weight=0.5, super_image_tau=1.0, cell_tau=1.0)
    export_model(
        tiny_backbone,
        zero_shot(tiny_backbone, {2: flat}),
        folder,
        name="other",
        variant="zero-shot",
        grids={2: 64},
        fps=(1.0,),
        profile=Profile(grid_sizes=(2,), fps=1.0, index_unit="super-image"),
        window=64,
        window_overlap=0,
    )
    return folder


def test_an_added_export_is_all_there(store: ModelStore, tiny_export: Path) -> None:
    version = store.add(tiny_export)
    (model,) = store.list()
    assert (version, model.version) == (1, 1)
    assert model.manifest == read_manifest(tiny_export)
    Tokenizer.load(model.tokenizer, model.manifest.tokenizer)
    for name in MODELS:
        copied = store.root / name / "1" / "model.onnx"
        assert copied.read_bytes() == (tiny_export / f"{name}.onnx").read_bytes()


def test_adding_the_same_again_changes_nothing(store: ModelStore, tiny_export: Path) -> None:
    assert [store.add(tiny_export), store.add(tiny_export)] == [1, 1]
    assert len(store.list()) == 1


def test_adding_at_the_same_time_adds_once(store: ModelStore, tiny_export: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(store.add, [tiny_export] * 4)) == {1}


def test_another_export_is_the_next_version(
    store: ModelStore, tiny_export: Path, other_export: Path
) -> None:
    assert [store.add(tiny_export), store.add(other_export), store.add(tiny_export)] == [1, 2, 1]


def test_a_damaged_export_is_refused_and_leaves_nothing(
    store: ModelStore, tiny_export: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_export, damaged)
    with (damaged / "text_encoder.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CorruptArtifact, match=r"text_encoder\.onnx has SHA-256"):
        store.add(damaged)
    assert store.list() == []
    assert not any((store.root / name).exists() for name in MODELS)


def test_an_incomplete_export_is_refused(
    store: ModelStore, tiny_export: Path, tmp_path: Path
) -> None:
    incomplete = tmp_path / "incomplete"
    shutil.copytree(tiny_export, incomplete)
    (incomplete / "attention_scorer.onnx").unlink()
    with pytest.raises(CorruptArtifact, match=r"attention_scorer\.onnx is missing"):
        store.add(incomplete)
    with pytest.raises(CorruptArtifact, match="dvc repro export"):
        store.add(tmp_path / "nothing")
    assert store.list() == []


def test_what_a_crash_left_is_neither_seen_nor_in_the_way(
    store: ModelStore, tiny_export: Path
) -> None:
    # A crash between the graphs and the manifest leaves exactly this.
    left = store.root / "text_encoder" / "1"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half a graph")
    (store.root / ".staging").mkdir()
    assert store.list() == []
    assert store.add(tiny_export) == 1
    assert (left / "model.onnx").read_bytes() == (tiny_export / "text_encoder.onnx").read_bytes()


def test_nothing_is_active_until_it_is_said(store: ModelStore, tiny_export: Path) -> None:
    store.add(tiny_export)
    with pytest.raises(NotFound, match="qasir models activate"):
        store.active()
    store.activate(1)
    assert store.active().version == 1
    with pytest.raises(NotFound, match="no model version 7"):
        store.activate(7)
    assert store.active().version == 1


def test_a_set_of_another_program_is_left_out_and_keeps_its_number(
    store: ModelStore, tiny_export: Path
) -> None:
    """As after an upgrade: the manifest in the store is of an earlier format, and was active."""
    store.activate(store.add(tiny_export))
    old = store.root / "manifests" / "1" / MANIFEST_NAME
    old.write_text(old.read_text().replace('"branches"', '"tau"'))
    assert store.list() == []
    with pytest.raises(CorruptArtifact, match=r"(?s)manifests/1.*export the model again"):
        store.active()
    assert store.add(tiny_export) == 2
    store.activate(2)
    assert store.active().version == 2
    assert [model.version for model in store.list()] == [2]


def test_a_broken_pointer_is_named(store: ModelStore, tiny_export: Path) -> None:
    store.add(tiny_export)
    (store.root / DEPLOYMENT_NAME).write_text("{}")
    with pytest.raises(CorruptArtifact, match=DEPLOYMENT_NAME):
        store.active()


@pytest.mark.parametrize("variant", [CONFIG_NAME, WHEEL_NAME])
def test_configs_serve_the_versions_that_are_asked_for(
    store: ModelStore, tiny_export: Path, other_export: Path, variant: str
) -> None:
    store.add(tiny_export)
    store.add(other_export)
    deploy(store, Deployment(active=2, retained=(1,)))
    for name in MODELS:
        config = read_config(store.root / name / variant)
        assert list(config.version_policy.specific.versions) == [1, 2]
        sizes = [
            d for w in config.model_warmup for tensor in w.inputs.values() for d in tensor.dims
        ]
        assert all(size > 0 for size in sizes)
        assert bool(sizes) == (name != "temporal_encoder")
    for name, version in [(f"{e}_v{v}", v) for e in ENSEMBLES for v in (1, 2)]:
        steps = read_config(store.root / name / CONFIG_NAME).ensemble_scheduling.step
        assert {step.model_version for step in steps} == {version}
    for name in ENSEMBLES:
        steps = read_config(store.root / name / CONFIG_NAME).ensemble_scheduling.step
        assert {step.model_version for step in steps} == {2}


def test_versions_of_different_sizes_are_not_warmed_up(
    store: ModelStore, tiny_export: Path, other_export: Path, tmp_path: Path
) -> None:
    wider = tmp_path / "wider"
    shutil.copytree(other_export, wider)
    manifest = read_manifest(wider).model_copy(update={"dim": 64, "known_texts": ()})
    (wider / "manifest.json").write_text(manifest.model_dump_json())
    store.add(tiny_export)
    store.add(wider)
    deploy(store, Deployment(active=1, retained=(2,)))
    assert not read_config(store.root / "attention_scorer" / WHEEL_NAME).model_warmup
    deploy(store, Deployment(active=2))
    (sample,) = read_config(store.root / "attention_scorer" / WHEEL_NAME).model_warmup
    assert list(sample.inputs["query"].dims) == [64]


@pytest.fixture
def first_again(triton_server: RunningTriton, triton: Triton) -> Iterator[None]:
    """The session's Triton as other tests know it, whatever this one does to it."""
    yield
    deploy(ModelStore(triton_server.state), Deployment(active=triton_server.version))
    reconciled(ModelStore(triton_server.state), triton)


def test_an_activation_under_load_fails_nobody(
    triton_server: RunningTriton, triton: Triton, other_export: Path, first_again: None
) -> None:
    store = ModelStore(triton_server.state)
    old, new = triton_server.version, store.add(other_export)
    pixels, mask = pictures(4, seed=3), padded(4, grid_size=2)
    model = store.active()
    tokens = Tokenizer.load(model.tokenizer, model.manifest.tokenizer).encode(["a red ball"])
    before = triton.match(old, pixels, mask, tokens)
    with pytest.raises(ModelUnavailable):
        triton.match(new, pixels, mask, tokens)

    done, seen = threading.Event(), Counter[str]()

    def search() -> None:
        # The pause leaves the cores to Triton, which loads and unloads.
        while not done.wait(0.01):
            # As a service does: the active version, and one that was active a moment ago.
            for version in {old, store.active().version}:
                found = triton.match(version, pixels, mask, tokens)
                same = bool(np.allclose(found.attention, before.attention, atol=1e-3))
                seen[f"{'old' if version == old else 'new'} {same}"] += 1

    with ThreadPoolExecutor(2) as pool:
        searches = [pool.submit(search) for _ in range(2)]
        store.change(lambda before: before.model_copy(update={"retained": (new,)}))
        reconciled(store, triton)
        store.activate(new)
        reconciled(store, triton)
        for _ in range(20):
            triton.match(new, pixels, mask, tokens)
        done.set()
        for one in searches:
            one.result()
    assert seen.keys() >= {"old True"}
    assert not seen.keys() & {"old False", "new True"}
    assert store.active().version == new
    assert triton.versions("rank") == [new]
    assert triton.versions("text_encoder") == [old, new]
    # Back again, and the one that nobody wants any longer goes, under load as well.
    deploy(store, Deployment(active=old))
    reconciled(store, triton)
    assert triton.versions("text_encoder") == triton.versions("rank") == [old]
    assert not triton.ready(new)

"""Training through a backbone: the intended weights and no others, merged and saved."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from qasir.config import BackboneTraining, TuningParams
from qasir.errors import InvalidConfig
from qasir.modeling.backbones import Backbone, load_backbone, weights_digest
from qasir.super_images import SuperImageBatch
from tests.support.models import RESOLUTION
from tests.support.tuning import trained
from tests.support.videos import write_painted
from training.features.encode import Sampling
from training.features.towers import encode_texts, open_image_tower
from training.train.feature_provider import LiveFeatureProvider, PixelCache, pad
from training.train.tuned_backbone import TunedBackbone

pytestmark = pytest.mark.slow

TEXTS = ("a dog runs", "a red car", "the green house")
KINDS: tuple[BackboneTraining, ...] = ("lora", "last-blocks")
TuneTiny = Callable[..., TunedBackbone]


def tuning(**changes: object) -> TuningParams:
    values = {
        "blocks": 1,
        "rank": 4,
        "alpha": 8.0,
        "dropout": 0.0,
        "learning_rate": 1e-2,
        "videos": 3,
        "chunk": 2,
        "checkpointing": True,
        "cache_gb": 1.0,
    }
    return TuningParams.model_validate(values | changes)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Towers this small spend their time waiting for threads, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tuned(tiny_clip: Path) -> TuneTiny:
    """tuned("lora", rank=2): the tiny CLIP, loaded afresh because it is changed in place."""

    def make(training: BackboneTraining, **changes: object) -> TunedBackbone:
        torch.manual_seed(5)
        return TunedBackbone(load_backbone(f"hf:{tiny_clip}"), training, tuning(**changes))

    return make


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three videos of different lengths and pictures."""
    folder = tmp_path_factory.mktemp("tuning-videos")
    return {
        f"v{i}": write_painted(
            folder / f"v{i}.mp4", seconds=3 + 3 * i, numbers=[(37 * i + j) % 256 for j in range(99)]
        )
        for i in range(3)
    }


def live(
    tuned: TunedBackbone, files: dict[str, Path], tmp_path: Path, **changes: object
) -> LiveFeatureProvider:
    samplings = {n: Sampling(1.0, n, RESOLUTION, 2) for n in (1, 2)}
    pixels = PixelCache(tmp_path / "pixels", files, 10**9)
    return LiveFeatureProvider(tuned, pixels, samplings, tuning(**changes))


def loss_of(source: LiveFeatureProvider, grid_size: int = 2) -> Tensor:
    """InfoNCE of whole videos (the mean of their super images) and texts, one of each a video."""
    batch = source.videos(["v0", "v1", "v2"], grid_size)
    real = batch.mask.flatten(2).any(-1, keepdim=True)
    means = (batch.features[:, :, 0] * real).sum(1) / real.sum(1)
    logits = torch.nn.functional.normalize(means, dim=-1) @ source.queries(TEXTS).T / 0.1
    return torch.nn.functional.cross_entropy(logits, torch.arange(3))


def train(tuned: TunedBackbone, source: LiveFeatureProvider, steps: int) -> list[float]:
    parameters = [p for p in tuned.model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.02)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(source)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
        optimizer.step()
        losses.append(loss.item())
    return losses


def tower_output(backbone: Backbone) -> Tensor:
    pixels = torch.randint(0, 256, (3, RESOLUTION, RESOLUTION, 3), dtype=torch.uint8)
    pixels = pixels.flip(0)
    mask = torch.ones(3, 2, 2, dtype=torch.bool)
    mask[2, 1] = False
    with torch.inference_mode():
        image: Tensor = backbone.image_tower(pixels, mask)
        text: Tensor = backbone.text_tower(
            torch.tensor([[1, 8, 9, 2]]), torch.ones(1, 4, dtype=torch.int64)
        )
    return torch.cat([image.flatten(), text.flatten()])


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_and_only_what_is_named_changes(
    tuned: TuneTiny, files: dict[str, Path], tmp_path: Path, kind: BackboneTraining
) -> None:
    backbone = tuned(kind)
    before = {n: p.detach().clone() for n, p in backbone.model.named_parameters()}
    named = set(trained(backbone.model))
    losses = train(backbone, live(backbone, files, tmp_path), steps=40)
    assert losses[-1] < 0.7 * losses[0]
    changed = {n for n, p in backbone.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed <= named
    towers = {name.split(".")[0] for name in changed}
    assert {"text_model", "vision_model"} <= towers


def test_lora_is_on_the_attention_of_both_towers_and_nowhere_else(tuned: TuneTiny) -> None:
    names = {name.rpartition(".lora_")[0] for name in trained(tuned("lora", rank=4).model)}
    expected = {
        f"{tower}_model.encoder.layers.{layer}.self_attn.{part}_proj"
        for tower in ("text", "vision")
        for layer in (0, 1)
        for part in ("q", "k", "v", "out")
    }
    assert names == expected


@pytest.mark.parametrize(("blocks", "first"), [(1, 1), (2, 0)])
def test_last_blocks_are_counted_from_the_end(tuned: TuneTiny, blocks: int, first: int) -> None:
    names = list(trained(tuned("last-blocks", blocks=blocks).model))
    layers = {int(n.split(".layers.")[1].split(".")[0]) for n in names if ".layers." in n}
    assert layers == set(range(first, 2))
    after = {n for n in names if ".layers." not in n}
    assert after == {
        "text_model.final_layer_norm.weight",
        "text_model.final_layer_norm.bias",
        "vision_model.post_layernorm.weight",
        "vision_model.post_layernorm.bias",
        "visual_projection.weight",
        "text_projection.weight",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_siglip_is_tuned_alike(tiny_siglip: Path, kind: BackboneTraining) -> None:
    tuned = TunedBackbone(load_backbone(f"hf:{tiny_siglip}"), kind, tuning())
    names = list(trained(tuned.model))
    assert {name.split(".")[0] for name in names} == {"text_model", "vision_model"}
    assert any("vision_model.head." in name for name in names) == (kind == "last-blocks")
    assert not any("embeddings" in name or name.startswith("logit") for name in names)


def test_merged_lora_gives_what_its_adapters_gave(
    tuned: TuneTiny, files: dict[str, Path], tmp_path: Path
) -> None:
    backbone = tuned("lora")
    plain = tower_output(tuned("lora").backbone)
    train(backbone, live(backbone, files, tmp_path), steps=5)
    torch.manual_seed(0)
    adapted = tower_output(backbone.backbone)
    backbone.merge()
    torch.manual_seed(0)
    merged = tower_output(backbone.backbone)
    assert (adapted - merged).abs().max() < 1e-5
    assert (adapted - plain).abs().max() > 1e-2
    assert not trained(backbone.model)
    assert not any("lora" in name for name in backbone.model.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_backbone_loads_as_any_other(
    tuned: TuneTiny, files: dict[str, Path], tmp_path: Path, kind: BackboneTraining
) -> None:
    backbone = tuned(kind)
    untouched = weights_digest(backbone.backbone)
    train(backbone, live(backbone, files, tmp_path), steps=3)
    backbone.save(tmp_path / "backbone")
    loaded = load_backbone(f"hf:{tmp_path / 'backbone'}")
    torch.manual_seed(0)
    expected = tower_output(backbone.backbone)
    torch.manual_seed(0)
    assert torch.equal(tower_output(loaded), expected)
    assert np.array_equal(encode_texts(loaded, TEXTS), encode_texts(backbone.backbone, TEXTS))
    assert weights_digest(loaded) == weights_digest(backbone.backbone) != untouched


@pytest.mark.parametrize("grid_size", [1, 2])
def test_chunks_and_checkpoints_change_memory_and_nothing_else(
    tuned: TuneTiny, files: dict[str, Path], tmp_path: Path, grid_size: int
) -> None:
    gradients = []
    for chunk, checkpointing in ((1000, False), (2, False), (2, True)):
        backbone = tuned("last-blocks")
        source = live(backbone, files, tmp_path, chunk=chunk, checkpointing=checkpointing)
        loss_of(source, grid_size).backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
        found = [p.grad for p in backbone.model.parameters() if p.grad is not None]
        gradients.append(torch.cat([g.flatten() for g in found]))
    assert gradients[0].abs().max() > 1e-3
    for other in gradients[1:]:
        assert torch.allclose(other, gradients[0], atol=1e-6)


def test_features_are_those_of_the_frozen_path(
    tuned: TuneTiny, files: dict[str, Path], tmp_path: Path
) -> None:
    """Before the first step both paths give one answer, padding included."""
    backbone = tuned("lora")
    source = live(backbone, files, tmp_path)
    with torch.no_grad():
        found = source.videos(["v2", "v0"], 2)
        queries = source.queries(TEXTS)
    features = found.features
    assert features.shape == (2, 3, 5, 32)
    assert found.mask.sum().item() == 9 + 3
    assert found.zero_shot is None
    assert not features[1, 1:].any()
    tower = open_image_tower(load_backbone(backbone.backbone.name), RESOLUTION)
    for row, video_id in enumerate(("v2", "v0")):
        batch: SuperImageBatch = PixelCache(tmp_path, files, 0).load(
            [video_id], Sampling(1.0, 2, RESOLUTION, 2)
        )[0]
        expected = tower(batch.pixels, batch.mask)
        assert np.abs(features[row, : len(batch)].numpy() - expected).max() < 1e-4
    frozen = encode_texts(load_backbone(backbone.backbone.name), TEXTS)
    assert np.abs(queries.numpy() - frozen).max() < 1e-5


def test_padding_goes_after_each_video_s_own() -> None:
    rows = torch.arange(1, 7).float().view(3, 2)
    assert pad(rows, [1, 2]).tolist() == [[[1, 2], [0, 0]], [[3, 4], [5, 6]]]


@pytest.mark.parametrize("kind", KINDS)
def test_lite_is_refused_with_the_way_out(lite_backbone: Backbone, kind: BackboneTraining) -> None:
    message = rf"'{kind}' and the backbone 'lite', .*set finetune\.backbone to frozen"
    with pytest.raises(InvalidConfig, match=message):
        TunedBackbone(lite_backbone, kind, tuning())


def test_frozen_has_nothing_to_tune(tiny_backbone: Backbone) -> None:
    with pytest.raises(InvalidConfig, match=r"finetune\.backbone is 'frozen'"):
        TunedBackbone(tiny_backbone, "frozen", tuning())


def test_more_blocks_than_there_are_names_the_limit(tuned: TuneTiny) -> None:
    with pytest.raises(InvalidConfig, match="blocks is 3 and text_model has 2; use 2 or less"):
        tuned("last-blocks", blocks=3)

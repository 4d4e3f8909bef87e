"""Triton's configs in the store, made from `model_repository/` for the deployed versions.

One config serves all versions of a model, but the config of an ensemble names the version of each
step. So every deployed version has its own ensembles, such as `rank_v3`; plain `rank` is that of
the active version, for people who call Triton directly.
"""

from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from qasir.artifacts import atomic_write
from qasir.manifest import Manifest
from qasir.triton import ENSEMBLES, MODELS, ensemble_name
from service.models.deployment import ModelVersion

TEMPLATES = Path(__file__).resolve().parents[2] / "model_repository"
CONFIG_NAME = "config.pbtxt"
WHEEL_NAME = "configs/wheel.pbtxt"
# The wheel variant's program, beside each graph; the other variants ignore it.
PROGRAM = "onnx_model.py"


def write_configs(root: Path, active: int, models: Sequence[ModelVersion]) -> None:
    """Write everything that Triton reads, except the graphs, for these versions."""
    versions = [model.version for model in models]
    for name in MODELS:
        for variant in (CONFIG_NAME, WHEEL_NAME):
            config = read_config(TEMPLATES / name / variant)
            config.version_policy.specific.versions[:] = versions
            fill_warmup(config, [model.manifest for model in models])
            _write(root / name / variant, text_format.MessageToString(config))
        for version in versions:
            _write(root / name / str(version) / "model.py", (TEMPLATES / PROGRAM).read_text())
    for name in ENSEMBLES:
        _write_ensemble(root / name, name, active)
        for version in versions:
            _write_ensemble(root / ensemble_name(name, version), name, version)


def read_config(path: Path) -> ModelConfig:
    return text_format.Parse(path.read_text(), ModelConfig())


def fill_warmup(config: ModelConfig, manifests: Sequence[Manifest]) -> None:
    """Replace -1 in the warm-up's shapes by the sizes of the models.

    One config warms all versions. Where their sizes differ there is no common shape, and a failed
    warm-up would keep the model from loading, so the warm-up is removed.
    """
    sizes = {_sizes(manifest) for manifest in manifests}
    if len(sizes) > 1:
        del config.model_warmup[:]
        return
    (grid_size, resolution, dim, tokens) = sizes.pop()
    axis = {"mask": grid_size, "super_images": resolution}
    axis |= {"input_ids": tokens, "attention_mask": tokens}
    for sample in config.model_warmup:
        for name, tensor in sample.inputs.items():
            tensor.dims[:] = [axis.get(name, dim) if d == -1 else d for d in tensor.dims]


def _sizes(manifest: Manifest) -> tuple[int, int, int, int]:
    grid_size = manifest.profile.grid_sizes[0]
    return grid_size, manifest.grids[grid_size], manifest.dim, manifest.tokenizer.buckets[0]


def _write_ensemble(folder: Path, name: str, version: int) -> None:
    config = read_config(TEMPLATES / name / CONFIG_NAME)
    config.name = folder.name
    config.version_policy.specific.versions[:] = [version]
    for step in config.ensemble_scheduling.step:
        step.model_version = version
    _write(folder / CONFIG_NAME, text_format.MessageToString(config))
    # Triton requires a folder for the version, although that of an ensemble is empty.
    (folder / str(version)).mkdir(exist_ok=True)


def _write(path: Path, text: str) -> None:
    # An unchanged file stays: Triton reloads what is newer, and reloading costs seconds.
    if not path.is_file() or path.read_text() != text:
        with atomic_write(path) as file:
            file.write(text.encode())

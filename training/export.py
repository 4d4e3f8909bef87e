"""Stage `export`: the evaluated model as ONNX graphs with its manifest, checked against torch.

python -m training.export
"""

from pathlib import Path

from qasir.config import Params, load_params
from qasir.manifest import Manifest, Profile
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.export import export_model
from training.evaluate import TAU_FILE
from training.parity import compare
from training.progress import console
from training.results import RESULTS
from training.study import write_json
from training.tau import read_tau

EXPORT = Path("build/export")


def export(params: Params, backbone: Backbone, tau: float, folder: Path) -> Manifest:
    """Write the model that the parameters name.

    Raises:
        InvalidInput: the backbone does not read a resolution of `grids`.
    """
    encode, serve = params.encode, params.serve
    return export_model(
        backbone,
        folder,
        name=params.export.name,
        variant=params.export.variant,
        tau=tau,
        grids={n: grid.resolution for n, grid in params.grids.items()},
        fps=(encode.fps,),
        profile=Profile(grid_sizes=serve.grid_sizes, fps=encode.fps, index_unit=serve.index_unit),
        window=encode.window,
        window_overlap=encode.window_overlap,
    )


def main() -> None:
    params = load_params()
    backbone = load_backbone(params.encode.backbone)
    manifest = export(params, backbone, read_tau(TAU_FILE), EXPORT)
    differences = compare(backbone, manifest, EXPORT)
    write_json(differences, RESULTS / "parity.json")
    worst = max(difference.max_abs for difference in differences)
    console.print(
        f"exported {manifest.name} {manifest.fingerprint}: torch and ONNX within {worst:.1g}"
    )


if __name__ == "__main__":
    main()

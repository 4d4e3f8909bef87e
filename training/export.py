"""Stage `export`: the evaluated model as ONNX graphs with its manifest, checked against torch.

python -m training.export
"""

from pathlib import Path

from qasir.config import Params, load_params
from qasir.manifest import Manifest, Profile
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.export import export_model
from qasir.modeling.retriever import Retriever, load_retriever, zero_shot
from training.branches import read_branches
from training.evaluate import BRANCHES_FILE, FINETUNE
from training.parity import compare
from training.progress import console
from training.results import RESULTS
from training.rows import write_json
from training.tuned_backbone import finetuned_backbone

EXPORT = Path("build/export")


def read_retriever(params: Params, backbone: Backbone, finetune: Path, branches: Path) -> Retriever:
    """The variant that the parameters name, scored as the evaluation scored it.

    Raises:
        CorruptArtifact: `branches` lacks the variant, or `finetune` holds no checkpoint.
        FingerprintMismatch: the checkpoint is another backbone's.
    """
    chosen = read_branches(branches, params.export.variant)
    if params.export.variant == "zero-shot":
        return zero_shot(backbone, chosen)
    retriever = load_retriever(backbone, finetune)
    retriever.branches = chosen
    return retriever


def read_model(params: Params) -> tuple[Backbone, Retriever]:
    """What the stages `finetune` and `evaluate` left of the variant that the parameters name."""
    tuned = params.export.variant == "fine-tuned"
    backbone = (
        finetuned_backbone(params, FINETUNE) if tuned else load_backbone(params.encode.backbone)
    )
    return backbone, read_retriever(params, backbone, FINETUNE, BRANCHES_FILE)


def export(params: Params, backbone: Backbone, retriever: Retriever, folder: Path) -> Manifest:
    """Write the model that the parameters name.

    Raises:
        InvalidInput: the backbone does not read a resolution of `grids`, or the retriever has
            no branches for one of them.
    """
    encode, serve = params.encode, params.serve
    return export_model(
        backbone,
        retriever,
        folder,
        name=params.export.name,
        variant=params.export.variant,
        grids={n: grid.resolution for n, grid in params.grids.items()},
        fps=(encode.fps,),
        profile=Profile(fps=encode.fps, **dict(serve)),
        window=encode.window,
        window_overlap=encode.window_overlap,
    )


def main() -> None:
    params = load_params()
    backbone, retriever = read_model(params)
    manifest = export(params, backbone, retriever, EXPORT)
    differences = compare(backbone, retriever, manifest, EXPORT)
    write_json(differences, RESULTS / "parity.json")
    worst = max(difference.max_abs for difference in differences)
    console.print(
        f"exported {manifest.name} {manifest.fingerprint}: torch and ONNX within {worst:.1g}"
    )


if __name__ == "__main__":
    main()

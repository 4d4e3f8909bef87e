"""Stage `export`: writes the model as ONNX graphs with a manifest, and compares them with torch.

python -m training.export.export
"""

from pathlib import Path

from qasir.config import Params, load_params
from qasir.manifest import Manifest, Profile
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.export import export_model
from qasir.modeling.retriever import Retriever, load_retriever, zero_shot
from training.evaluate.fusion import read_branches
from training.evaluate.rows import write_json
from training.export.parity import compare
from training.outputs import BRANCHES_FILE, EXPORT, FINETUNED, PARITY_REPORT, finetuned_backbone
from training.progress import console


def read_model(params: Params) -> tuple[Backbone, Retriever]:
    """Loads the variant that `export.variant` names, as stage `finetune` or `evaluate` left it."""
    tuned = params.export.variant == "fine-tuned"
    backbone = (
        finetuned_backbone(params, FINETUNED) if tuned else load_backbone(params.encode.backbone)
    )
    return backbone, read_retriever(params, backbone, FINETUNED, BRANCHES_FILE)


def read_retriever(
    params: Params, backbone: Backbone, checkpoint: Path, branches: Path
) -> Retriever:
    """Reads the checkpoint, or for zero-shot the branches that were chosen on validation.

    Raises:
        CorruptArtifact: the one that the variant needs is missing or damaged.
        FingerprintMismatch: the checkpoint belongs to another backbone.
    """
    if params.export.variant == "zero-shot":
        return zero_shot(backbone, read_branches(branches))
    return load_retriever(backbone, checkpoint)


def export(params: Params, backbone: Backbone, retriever: Retriever, folder: Path) -> Manifest:
    """Writes the model that the parameters name.

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
    write_json(differences, PARITY_REPORT)
    worst = max(difference.max_abs for difference in differences)
    console.print(
        f"exported {manifest.name} {manifest.fingerprint}: torch and ONNX within {worst:.1g}"
    )


if __name__ == "__main__":
    main()

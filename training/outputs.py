"""Where each stage writes, as dvc.yaml declares it, and which backbone a checkpoint belongs to."""

from pathlib import Path

from qasir.config import Params
from qasir.modeling.backbones import Backbone, load_backbone

DATASET = Path("data/dataset")
# The demo renders its videos here; those of a benchmark stay where `prepare.videos` points.
DEMO_VIDEOS = DATASET / "videos"
FEATURES = Path("data/features")
# Export depends on build/<its variant>, so an export of one variant needs no stage of the other.
FINETUNED = Path("build/fine-tuned")
BRANCHES_FILE = Path("build/zero-shot/branches.json")
# A tuned backbone and its features, inside the folder of the retriever trained with them.
BACKBONE_NAME = "backbone"
FEATURES_NAME = "features"
TRAINING_LOG = Path("build/training")
EXPORT = Path("build/export")
# Rounding errors differ between processors, so this report is not a committed result.
PARITY_REPORT = Path("build/parity.json")
RESULTS = Path("results")


def videos_folder(params: Params) -> Path:
    """Returns the folder that holds the dataset's videos."""
    return params.prepare.videos or DEMO_VIDEOS


def finetuned_backbone(params: Params, folder: Path) -> Backbone:
    """Loads the backbone that the retriever in `folder` was trained with.

    Raises:
        InvalidConfig: there is no such backbone.
    """
    if params.finetune.backbone == "frozen":
        return load_backbone(params.encode.backbone)
    return load_backbone(f"hf:{folder / BACKBONE_NAME}")


def finetuned_features(params: Params, folder: Path) -> Path:
    """Returns the folder of that backbone's features, with one subfolder per N."""
    return FEATURES if params.finetune.backbone == "frozen" else folder / FEATURES_NAME

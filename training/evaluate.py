"""Stage `evaluate`: every number of the models that can be served, from cached features.

    python -m training.evaluate

Zero-shot always, fine-tuned where `build/finetune` holds a checkpoint. What zero-shot leaves
open, its branches, is chosen on validation; the test split is only ever measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qasir.config import Params, load_params
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.retriever import RETRIEVER_NAME, Retriever, load_retriever, zero_shot
from training.branches import BranchChoice, choose_branches, write_branches
from training.corpus import Corpus, read_feature_set, read_texts
from training.encode import FEATURES
from training.macs import gmacs_per_image
from training.measuring import Subject, measure_subject
from training.parts import part_of
from training.prepare import DATASET
from training.progress import progress_bar
from training.results import RESULTS, Evaluation, write_results
from training.rows import Variant
from training.tuned_backbone import finetuned_backbone, finetuned_features

FINETUNE = Path("build/finetune")
BRANCHES_FILE = Path("build/evaluate/branches.json")


@dataclass(frozen=True)
class Model:
    """One variant with what it is measured on."""

    backbone: Backbone
    retriever: Retriever
    corpus: Corpus


def read_corpus(params: Params, backbone: Backbone, features: Path) -> Corpus:
    """Queries and features of all grid sizes, and what an encoding costs at each."""
    texts = read_texts(DATASET, backbone)
    grids = sorted(params.grids)
    return Corpus(
        texts,
        {n: read_feature_set(features / str(n), n, texts.subsets) for n in grids},
        {n: gmacs_per_image(backbone, params.resolution(n), n) for n in grids},
    )


def zero_shot_choice(params: Params, backbone: Backbone, corpus: Corpus) -> BranchChoice:
    """Branches of the zero-shot variant, chosen on validation."""
    unscored = zero_shot(backbone, {})
    parts = [
        part_of(unscored, features, corpus.texts, params.encode, "val", filler=True)
        for features in corpus.features.values()
    ]
    return choose_branches(parts, params.evaluate)


def zero_shot_model(params: Params) -> tuple[Model, BranchChoice]:
    """The backbone as it is, with branches chosen on validation."""
    backbone = load_backbone(params.encode.backbone)
    corpus = read_corpus(params, backbone, FEATURES)
    choice = zero_shot_choice(params, backbone, corpus)
    return Model(backbone, zero_shot(backbone, choice.branches), corpus), choice


def fine_tuned_model(params: Params, folder: Path, plain: Model) -> Model | None:
    """What `finetune` left in a folder, None where it left nothing."""
    if not (folder / RETRIEVER_NAME).is_file():
        return None
    backbone, corpus = plain.backbone, plain.corpus
    if params.finetune.backbone != "frozen":
        backbone = finetuned_backbone(params, folder)
        corpus = read_corpus(params, backbone, finetuned_features(params, folder))
    return Model(backbone, load_retriever(backbone, folder), corpus)


def evaluate(params: Params, models: Mapping[Variant, Model]) -> Evaluation:
    """Measure the test split with every variant at every grid size."""
    result = Evaluation()
    steps = [(v, n) for v, model in models.items() for n in sorted(model.retriever.branches)]
    with progress_bar("evaluating", len(steps)) as advance:
        for variant, grid_size in steps:
            model = models[variant]
            subject = Subject(params, model.corpus, variant, model.retriever, grid_size)
            measure_subject(subject, result)
            advance()
    return result


def main() -> None:
    params = load_params()
    plain, choice = zero_shot_model(params)
    models: dict[Variant, Model] = {"zero-shot": plain}
    if tuned := fine_tuned_model(params, FINETUNE, plain):
        models["fine-tuned"] = tuned
    evaluation = evaluate(params, models)
    write_branches({v: model.retriever.branches for v, model in models.items()}, BRANCHES_FILE)
    write_results(evaluation, choice, plain.corpus.texts.subsets["test"].queries, RESULTS)


if __name__ == "__main__":
    main()

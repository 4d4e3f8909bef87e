"""Stage `evaluate`: measures the models that can be served, from cached features.

    python -m training.evaluate.evaluate

Zero-shot is always measured, fine-tuned if `build/fine-tuned` holds a checkpoint. The zero-shot
branches are chosen on validation; the test split is only measured.
"""

from collections.abc import Mapping
from pathlib import Path

from qasir.config import Params, load_params
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.retriever import RETRIEVER_NAME, load_retriever, zero_shot
from training.evaluate.corpus import Corpus, gmacs_per_image, read_feature_set, read_texts
from training.evaluate.fusion import BranchChoice, choose_branches, write_branches
from training.evaluate.results import publish_training, write_results
from training.evaluate.rows import Variant
from training.evaluate.split import encode_split
from training.evaluate.variant import Evaluation, Model, evaluate_variant
from training.outputs import (
    BRANCHES_FILE,
    DATASET,
    FEATURES,
    FINETUNED,
    RESULTS,
    TRAINING_LOG,
    finetuned_backbone,
    finetuned_features,
)
from training.progress import progress_bar


def read_corpus(params: Params, backbone: Backbone, features: Path) -> Corpus:
    """Reads queries and features, and counts the cost of an encoding, at all grid sizes."""
    texts = read_texts(DATASET, backbone)
    grids = sorted(params.grids)
    return Corpus(
        texts,
        {n: read_feature_set(features / str(n), n, texts.subsets) for n in grids},
        {n: gmacs_per_image(backbone, params.resolution(n), n) for n in grids},
    )


def zero_shot_model(params: Params) -> tuple[Model, BranchChoice]:
    """Loads the untrained backbone and chooses its branches on validation."""
    backbone = load_backbone(params.encode.backbone)
    corpus = read_corpus(params, backbone, FEATURES)
    retriever = zero_shot(backbone, {})
    splits = [
        encode_split(retriever, features, corpus.texts, params.encode, "val", filler=True)
        for features in corpus.features.values()
    ]
    choice = choose_branches(splits, params.evaluate)
    return Model(backbone, zero_shot(backbone, choice.branches), corpus), choice


def fine_tuned_model(params: Params, folder: Path, plain: Model) -> Model | None:
    """Loads the checkpoint of stage `finetune`, or returns None if there is none."""
    if not (folder / RETRIEVER_NAME).is_file():
        return None
    backbone, corpus = plain.backbone, plain.corpus
    if params.finetune.backbone != "frozen":
        backbone = finetuned_backbone(params, folder)
        corpus = read_corpus(params, backbone, finetuned_features(params, folder))
    return Model(backbone, load_retriever(backbone, folder), corpus)


def evaluate(params: Params, models: Mapping[Variant, Model]) -> Evaluation:
    """Measures every variant at every grid size on the test split."""
    result = Evaluation()
    steps = [(v, n) for v, model in models.items() for n in sorted(model.retriever.branches)]
    with progress_bar("evaluating", len(steps)) as advance:
        for variant, grid_size in steps:
            evaluate_variant(params, models[variant], variant, grid_size, result)
            advance()
    return result


def main() -> None:
    params = load_params()
    plain, choice = zero_shot_model(params)
    models: dict[Variant, Model] = {"zero-shot": plain}
    if tuned := fine_tuned_model(params, FINETUNED, plain):
        models["fine-tuned"] = tuned
    evaluation = evaluate(params, models)
    write_branches(choice.branches, BRANCHES_FILE)
    publish_training(TRAINING_LOG, RESULTS)
    queries = plain.corpus.texts.subsets["test"].queries
    write_results(evaluation, choice, queries, params.serve.grid_sizes[0], RESULTS)


if __name__ == "__main__":
    main()

"""Stage `evaluate`: measures the models that can be served, from cached features.

    python -m training.evaluate.evaluate

Zero-shot is always measured, fine-tuned if `build/fine-tuned` holds a checkpoint. The zero-shot
branches are chosen on validation; the test split is only measured.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from qasir.config import Params, load_params
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.retriever import RETRIEVER_NAME, load_retriever, zero_shot
from training.data.dataset import Query
from training.evaluate import figures
from training.evaluate.corpus import (
    Corpus,
    encode_split,
    gmacs_per_image,
    read_feature_set,
    read_texts,
)
from training.evaluate.fusion import BranchChoice, choose_branches, write_branches
from training.evaluate.rows import Variant, write_json, write_ranks
from training.evaluate.variant import Evaluation, Model, evaluate_variant, failure_rows
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
from training.progress import console, progress_bar


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


def write_results(
    evaluation: Evaluation,
    choice: BranchChoice,
    queries: Sequence[Query],
    served_grid_size: int,
    folder: Path,
) -> None:
    """Writes every file and prints the main table."""
    write_json(metrics(evaluation), folder / "metrics.json")
    write_json(evaluation.study, folder / "evaluation.json")
    for name in ("lengths", "groups", "localisation"):
        write_json(getattr(evaluation, name), folder / f"{name}.json")
    for variant, by_grid in evaluation.ranks.items():
        for grid_size, columns in by_grid.items():
            write_ranks(queries, columns, folder / "ranks" / variant / f"{grid_size}.csv")
    # Of the best variant there is.
    served = [{n: ranks["served"] for n, ranks in v.items()} for v in evaluation.ranks.values()]
    failures = failure_rows(queries, served[-1], served_grid_size) if served else []
    write_json(failures, folder / "failures.json")
    figures.plot_by_grid(evaluation.study, "unit", folder / "grids.svg")
    figures.plot_by_grid(evaluation.study, "pooling", folder / "poolings.svg")
    figures.plot_cost(evaluation.study, folder / "sampling.svg")
    figures.plot_lengths(evaluation.lengths, folder / "lengths.svg")
    figures.plot_groups(evaluation.groups, folder / "groups.svg")
    figures.plot_branches(choice, folder / "branches.svg")
    console.print(table(evaluation))


def publish_training(log: Path, folder: Path) -> None:
    """Copies the training curves to `results/training`.

    Stage `finetune` writes them to build/, so that a demo, which does not evaluate, changes no
    tracked file.
    """
    target = folder / "training"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(log, target)


def metrics(evaluation: Evaluation) -> dict[str, dict[int, dict[str, float]]]:
    """Returns variant -> N -> measure of what is served."""
    names = ("r1", "r5", "r10", "r100", "sumr")
    return {
        variant: {
            n: {name: v for name in names if (v := getattr(measures, name)) is not None}
            for n, measures in by_grid.items()
        }
        for variant, by_grid in evaluation.served.items()
    }


def table(evaluation: Evaluation) -> Table:
    """Returns the measures of what is served, as a table to print."""
    result = Table("variant", title="test split, as served")
    for name in ("N", "R@1", "R@5", "R@10", "sum", "mean IoU"):
        result.add_column(name, justify="right")
    overlaps = {(row.variant, row.grid_size): row.mean_iou for row in evaluation.localisation}
    for variant, by_grid in evaluation.served.items():
        for n, found in by_grid.items():
            numbers = (found.r1, found.r5, found.r10, found.sumr, overlaps[variant, n])
            result.add_row(variant, str(n), *(f"{number:.1f}" for number in numbers))
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

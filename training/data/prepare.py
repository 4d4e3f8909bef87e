"""Stage `prepare`: converts a dataset to `data/dataset` and splits validation off train by video.

python -m training.data.prepare
"""

from collections.abc import Mapping
from pathlib import Path
from random import Random

from rich.table import Table

from qasir.config import PrepareParams, load_params
from qasir.errors import InvalidConfig
from training.data.benchmarks import READERS, Annotations
from training.data.dataset import SPLITS, Split, Subset, write_dataset
from training.data.demo_corpus import annotate, plan_corpus, render_corpus
from training.outputs import DATASET, DEMO_VIDEOS
from training.progress import console


def prepare(params: PrepareParams, dataset: Path) -> None:
    """Writes the dataset that the parameters name.

    Raises:
        InvalidAnnotations: a benchmark's file is missing or malformed.
        InvalidConfig: a benchmark is named without a folder of annotations.
    """
    dataset.mkdir(parents=True, exist_ok=True)
    if params.dataset == "demo":
        corpus = plan_corpus(params.demo, params.seed)
        films = [film for split in SPLITS for film in corpus[split]]
        render_corpus(films, dataset / DEMO_VIDEOS.name, params.demo)
        subsets = {split: annotate(corpus[split], params.demo.fps) for split in SPLITS}
    else:
        subsets = _read_benchmark(params)
    write_dataset(dataset, subsets)
    console.print(summary(params.dataset, subsets))


def _read_benchmark(params: PrepareParams) -> dict[Split, Subset]:
    if params.annotations is None:
        raise InvalidConfig(
            f"prepare.dataset is {params.dataset} and prepare.annotations is null; set it to the "
            "folder that holds the benchmark's annotation files"
        )
    annotations = READERS[params.dataset](params.annotations)
    console.print(repair_table(annotations))
    if annotations.train is None:
        console.print("no train file: this dataset can only be evaluated")
        return {"test": annotations.test}
    train, val = split_off(annotations.train, params.validation_share, params.seed)
    return {"train": train, "val": val, "test": annotations.test}


def split_off(subset: Subset, share: float, seed: int) -> tuple[Subset, Subset]:
    """Splits by video, with all of a video's queries; each side gets at least one video."""
    ids = [video.video_id for video in subset.videos]
    count = min(len(ids) - 1, max(1, round(share * len(ids))))
    chosen = set(Random(f"validation {seed}").sample(sorted(ids), count))
    return _part(subset, set(ids) - chosen), _part(subset, chosen)


def _part(subset: Subset, ids: set[str]) -> Subset:
    return Subset(
        tuple(video for video in subset.videos if video.video_id in ids),
        tuple(query for query in subset.queries if query.video_id in ids),
    )


def repair_table(annotations: Annotations) -> Table:
    """Counts the repairs of a benchmark's files, by part."""
    table = Table("part", "repair", "sentences", title="annotation repairs")
    for part, repairs in annotations.repairs.items():
        for reason, count in sorted(repairs.items()):
            table.add_row(part, reason, str(count))
    return table


def summary(name: str, subsets: Mapping[Split, Subset]) -> Table:
    """Counts videos, queries and hours of every split."""
    table = Table("split", "videos", "queries", "hours", title=f"dataset {name}")
    for split, subset in subsets.items():
        hours = sum(video.duration for video in subset.videos) / 3600
        table.add_row(split, str(len(subset.videos)), str(len(subset.queries)), f"{hours:.2f}")
    return table


def main() -> None:
    prepare(load_params().prepare, DATASET)


if __name__ == "__main__":
    main()

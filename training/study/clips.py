"""Measures what fine-tuning forgot: ranks real clips by one sentence each, with both variants.

    python -m training.study.clips FOLDER

The folder holds videos and a manifest.json with "clips": [{"file", "description"}]. Clips are
never trained on, and no stage depends on them.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from qasir.config import Params, load_params
from qasir.errors import CorruptArtifact
from qasir.modeling.backbones import load_backbone
from qasir.modeling.retriever import Retriever, load_retriever, zero_shot
from qasir.types import Int64
from training.data.dataset import Query, Subset, Video, write_dataset
from training.evaluate.corpus import encode_split, read_feature_set, read_texts
from training.evaluate.fusion import read_branches
from training.evaluate.measures import Interval, difference, gains, measure
from training.evaluate.rows import Variant, write_json
from training.evaluate.scores import Setting
from training.features.encode import encode, sampling_of
from training.outputs import BRANCHES_FILE, FINETUNED, RESULTS
from training.progress import console

MANIFEST = "manifest.json"
# The share of zero-shot R@5 that fine-tuning has to keep.
KEPT_SHARE = 0.9


@dataclass(frozen=True)
class ClipsRow:
    """Recall of both variants at one N; `spare` is fine-tuned R@5 minus the share to keep."""

    grid_size: int
    clips: int
    zero_shot_r1: float
    zero_shot_r5: float
    fine_tuned_r1: float
    fine_tuned_r5: float
    spare: Interval
    holds: bool


def read_clips(folder: Path) -> Subset:
    """Reads clips and descriptions of a manifest as a test split.

    Raises:
        CorruptArtifact: there is no manifest, or it has another form.
    """
    path = folder / MANIFEST
    try:
        clips = json.loads(path.read_bytes())["clips"]
        named = [(Path(clip["file"]).stem, str(clip["description"])) for clip in clips]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifact(
            f'{path}: {error!r}; it has to hold "clips": [{{"file": ..., "description": ...}}]'
        ) from error
    videos = tuple(Video(name, 0.0) for name, _ in named)
    queries = (Query(f"{name}#enc#0", name, text, 0.0, 0.0, 1.0) for name, text in named)
    return Subset(videos, tuple(queries))


def clips_rows(params: Params, folder: Path, work: Path) -> Iterator[ClipsRow]:
    """Encodes the clips into `work` and ranks them with the checkpoint of `finetune`."""
    backbone = load_backbone(params.encode.backbone)
    models: Mapping[Variant, Retriever] = {
        "zero-shot": zero_shot(backbone, read_branches(BRANCHES_FILE)),
        "fine-tuned": load_retriever(backbone, FINETUNED),
    }
    write_dataset(work / "dataset", {"test": read_clips(folder)})
    texts = read_texts(work / "dataset", backbone)
    folders = {sampling_of(params, n): work / str(n) for n in sorted(params.grids)}
    encode(backbone, folders, work / "dataset", folder)
    for sampling, features_folder in folders.items():
        n = sampling.grid_size
        features = read_feature_set(features_folder, n, texts.subsets)
        ranks: dict[Variant, Int64] = {}
        for variant, model in models.items():
            split = encode_split(model, features, texts, params.encode, "test", filler=False)
            setting = Setting("both", "attention", model.branches[n])
            (ranks[variant],) = split.rank(split.natural, [setting])
        yield clips_row(n, ranks["zero-shot"], ranks["fine-tuned"])


def clips_row(grid_size: int, zero_shot_ranks: Int64, fine_tuned_ranks: Int64) -> ClipsRow:
    """Returns one row from the ranks [Q] of both variants."""
    before, after = (measure(r, len(r)) for r in (zero_shot_ranks, fine_tuned_ranks))
    spare = difference(gains(fine_tuned_ranks, (5,)), KEPT_SHARE * gains(zero_shot_ranks, (5,)))
    return ClipsRow(
        grid_size,
        len(zero_shot_ranks),
        before.r1,
        before.r5,
        after.r1,
        after.r5,
        spare,
        spare.value >= 0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Rank real clips, zero-shot and fine-tuned.")
    parser.add_argument("folder", type=Path, help="clips and their manifest.json")
    folder: Path = parser.parse_args().folder
    with TemporaryDirectory() as work:
        rows = list(clips_rows(load_params(), folder, Path(work)))
    write_json(rows, RESULTS / "clips.json")
    for row in rows:
        console.print(
            f"N = {row.grid_size}: R@1 / R@5 {row.zero_shot_r1:.0f} / {row.zero_shot_r5:.0f} "
            f"zero-shot, {row.fine_tuned_r1:.0f} / {row.fine_tuned_r5:.0f} fine-tuned"
        )


if __name__ == "__main__":
    main()

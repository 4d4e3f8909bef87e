"""Scores against `qasir.scoring`, one query and one video at a time, and against the index."""

from itertools import product

import numpy as np
import pytest

from qasir.index import Index
from qasir.manifest import ScoreFusion
from qasir.scoring import Pooling
from qasir.types import Float32
from tests.support.reference_scores import score_direct
from training.evaluate import scores
from training.evaluate.corpus import EvalSplit
from training.evaluate.scores import (
    Entry,
    Setting,
    Unit,
    lengthened,
    mixed,
    natural,
    score_pool,
)

BRANCHES = ScoreFusion(super_image_weight=0.3, super_image_tau=0.05, cell_tau=0.2)
POOLINGS: tuple[Pooling, ...] = ("attention", "mean", "max")
UNITS: tuple[Unit, ...] = ("super-image", "cell", "both")
SETTINGS = [Setting(unit, pooling, BRANCHES) for unit, pooling in product(UNITS, POOLINGS)]


def written_out(entry: Entry, unit: str) -> Float32:
    """The units of a video with its filler, copies and all."""
    videos = [entry.video]
    if entry.copies is not None:
        for block, copies in zip(entry.filler, entry.copies, strict=True):
            videos += [block] * int(copies)
    rows = [v.cells if unit == "cell" else v.super_images for v in videos]
    return np.concatenate(rows).astype(np.float32)


def slow_score(query: Float32, entry: Entry, setting: Setting) -> float:
    one = {
        unit: score_direct(query, written_out(entry, unit), tau, setting.pooling)
        for unit, tau in (("super-image", 0.05), ("cell", 0.2))
    }
    if setting.unit == "both":
        return 0.3 * one["super-image"] + 0.7 * one["cell"]
    return one[setting.unit]


@pytest.mark.parametrize("kind", ["natural", "lengthened", "mixed"])
@pytest.mark.parametrize(("queries", "videos"), [(5, 7), (128, 64)])
def test_scores_are_the_slow_ones_in_any_pool(
    part: EvalSplit, kind: str, queries: int, videos: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "QUERY_BATCH", queries)
    monkeypatch.setattr(scores, "VIDEO_BATCH", videos)
    assert part.filler is not None
    pool = {
        "natural": natural(part.videos),
        "lengthened": lengthened(part.videos, part.filler, 200, seed=1),
        "mixed": mixed(part.videos, part.filler, (30, 60), seed=1),
    }[kind]
    found = score_pool(part.query_vectors, pool, SETTINGS)
    for setting, table in zip(SETTINGS, found, strict=True):
        expected = [[slow_score(q, e, setting) for e in pool] for q in part.query_vectors]
        assert table == pytest.approx(np.array(expected), abs=2e-5)


@pytest.mark.parametrize("tau", [0.002, 0.05])
def test_one_branch_is_what_the_index_says(part: EvalSplit, tau: float) -> None:
    sharp = BRANCHES.model_copy(update={"super_image_tau": tau, "cell_tau": tau})
    for unit in ("super-image", "cell"):
        index = Index.of(part.videos, unit)
        ids, expected = index.scores(part.query_vectors, tau)
        (found,) = score_pool(part.query_vectors, part.natural, [Setting(unit, "attention", sharp)])
        order = [ids.index(entry.video_id) for entry in part.natural]
        assert found == pytest.approx(expected[:, order], abs=1e-5)


def test_no_weight_is_too_small_for_a_fast_product(part: EvalSplit) -> None:
    similarities = np.linspace(-1, 1, 50, dtype=np.float32)
    setting = scores.BranchSetting("cell", "attention", 0.01)
    weights = setting.weights(similarities, np.ones(1, np.float32))
    assert (weights >= np.finfo(np.float32).tiny).all()
    exact = np.exp((similarities.astype(np.float64) - 1) / 0.01)
    assert weights == pytest.approx(exact, abs=1e-6)

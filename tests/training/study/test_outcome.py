"""The whole plan with made-up ranks: every row, claim and figure against a count by hand."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qasir.config import load_params
from qasir.errors import CorruptArtifact, NotFound
from qasir.types import Int64
from training.data.dataset import Query, Subset, Video
from training.evaluate.corpus import Texts
from training.evaluate.measures import gains
from training.evaluate.rows import plain, write_json
from training.evaluate.scores import POOLINGS, UNITS
from training.study import outcome, report
from training.study.clips import clips_row, read_clips
from training.study.outcome import Outcome, claims, hybrid_rows
from training.study.plan import Images, Store, Stored, Trial, trials
from training.study.run import encodes_name, name_of, scores_name

PARAMS = load_params(Path(__file__).resolve().parents[3] / "params.yaml")
GRIDS = {n: grid.resolution for n, grid in PARAMS.grids.items()}
VIDEOS = [f"v{i:02d}" for i in range(60)]
QUERIES = tuple(Query(f"{v}#enc#0", v, "a dog", 0.0, 4.0, 36.0) for v in VIDEOS)
TEXTS = Texts({"test": Subset(tuple(Video(v, 36.0) for v in VIDEOS), QUERIES)}, {})


def made_up(trial: Trial, seed: int) -> dict[str, Stored]:
    """Ranks, scores and costs under every name that the study reads."""
    random = np.random.default_rng([seed, len(str(trial))])
    kept: dict[str, Stored] = {}
    for images in trial.measured:
        for unit in UNITS:
            for pooling in POOLINGS:
                kept[name_of(images, unit, pooling)] = random.integers(1, 61, 60)
        for ratio in trial.ratios:
            kept[name_of(images, "both", "attention", ratio)] = random.integers(1, 61, 60)
        if trial.measured[0].grid_size == 1 and images.grid_size > 1:
            kept[name_of(images, "sparse", "attention")] = random.integers(1, 61, 60)
        kept[encodes_name(images)] = np.array(36.0 / images.grid_size**2)
        kept[scores_name(images)] = random.standard_normal((60, 60)).astype(np.float32)
    return kept


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Every trial of the plan done, on sixty queries."""
    monkeypatch.setattr(outcome, "texts_of", lambda _: TEXTS)
    store, planned = Store(tmp_path, PARAMS), list(trials(GRIDS))
    for trial in planned:
        for seed in trial.seeds:
            store.put(trial, seed, made_up(trial, seed))
    context = SimpleNamespace(params=PARAMS, gmacs=lambda images: images.resolution / 100)
    return Outcome.of(planned, store, context)  # type: ignore[arg-type]  # what rows need of a context


def test_every_measured_configuration_has_one_row(made: Outcome) -> None:
    rows = [plain(row) for row in made.study_rows()]
    keys = ("recipe", "variant", "backbone", "sampling", "grid_size", "resolution", "unit")
    # Trials of other R train all N together and are told apart by the N they measure.
    named = [tuple(row[key] for key in (*keys, "pooling")) for row in rows]
    assert len(set(named)) == len(named)
    sparse = [row for row in rows if row["sampling"] == "sparse"]
    assert {(r["grid_size"], r["resolution"]) for r in sparse if r["backbone"] == "lite"} >= {
        (2, 224),
        (3, 224),
        (4, 224),
    }
    for row in rows:
        frames = row["sampling"] == "low-res"
        encodes = 36.0 if frames else 36.0 / row["grid_size"] ** 2
        assert row["encodes_per_video"] == pytest.approx(encodes)
        assert row["gmacs_per_video"] == pytest.approx(encodes * row["resolution"] / 100)
        assert row["seeds"] == (1 if row["variant"] == "zero-shot" else 3)


def test_measures_are_means_over_seeds(made: Outcome) -> None:
    trial = made.trials[0]
    images = trial.measured[1]
    by_hand = [made_up(trial, s)[name_of(images, "cell", "max")] for s in trial.seeds]
    (row,) = (
        r
        for r in map(plain, made.study_rows())
        if (r["recipe"], r["variant"], r["resolution"]) == ("", "fine-tuned", GRIDS[2])
        and (r["grid_size"], r["unit"], r["pooling"], r["backbone"]) == (2, "cell", "max", "lite")
    )
    assert row["r5"] == pytest.approx(np.mean([100 * (r <= 5).mean() for r in by_hand]), abs=1e-3)
    assert row["objective_low"] < row["objective"] < row["objective_high"]


def test_an_ablation_is_a_difference_to_the_served_model(made: Outcome) -> None:
    rows = list(made.ablation_rows())
    served = made.trials[0]
    parts = [t.recipe for t in made.trials if t.changes]
    assert len(rows) == len(served.measured) * (len(served.ratios) + len(parts))
    row = next(r for r in rows if (r.recipe, r.grid_size) == ("no temporal encoder", 3))
    trial = next(t for t in made.trials if t.recipe == "no temporal encoder")
    name = name_of(served.measured[2], "both", "attention")
    means = [np.mean([gains(made_up(t, s)[name]).mean() for s in t.seeds]) for t in (trial, served)]
    assert row.difference.value == pytest.approx(means[0] - means[1])


def slow_hybrid(cheap: Stored, fine: Stored, k: int) -> list[int]:
    """Rank of every query's own video: k by the fine scores, the rest as they were."""
    found = []
    for query in range(60):
        order = sorted(range(60), key=lambda video: -cheap[query][video])
        best = sorted(order[:k], key=lambda video: -fine[query][video])
        found.append(1 + (best + order[k:]).index(query))
    return found


@pytest.mark.parametrize("k", [5, 30, 60])
def test_a_hybrid_scores_only_the_best_k_again(made: Outcome, k: int) -> None:
    row = next(r for r in hybrid_rows(made) if r.k == k)
    cheap, fine = Images("lite", 4, GRIDS[4]), Images("lite2", 2, GRIDS[2])
    first, second = (made.served("fine-tuned", images) for images in (cheap, fine))
    ranks = [
        slow_hybrid(
            made_up(first, seed)[scores_name(cheap)], made_up(second, seed)[scores_name(fine)], k
        )
        for seed in range(3)
    ]
    assert row.measures.r10 == pytest.approx(100 * np.mean(np.array(ranks) <= 10))
    # The library once by the cheap model, k videos by the fine one, against all of them.
    assert row.encodings == pytest.approx(60 * 36 / 16 + k * 36 / 4)
    assert row.fine_encodings == pytest.approx(60 * 36 / 4)
    by_hand = 60 * 36 / 16 * GRIDS[4] / 100 + k * 36 / 4 * GRIDS[2] / 100
    assert row.gmacs == pytest.approx(by_hand)


def test_claims_hold_as_their_intervals_say(made: Outcome) -> None:
    found = list(claims(made))
    assert {
        claim.grid_size for claim in found if claim.claim == "fine-tuned over zero-shot"
    } == set(GRIDS)
    for claim in found:
        low, high = claim.difference.low, claim.difference.high
        assert claim.holds is (low > 0 if claim.wanted == "better" else high >= 0)
    claim = next(b for b in found if b.claim.startswith("super images over sparse"))
    served = made.trials[0]
    whole, few = (made.gains(served, served.measured[1], unit) for unit in ("both", "sparse"))
    assert claim.difference.value == pytest.approx(whole.mean() - few.mean())


def test_a_trial_that_is_not_done_is_named(made: Outcome, tmp_path: Path) -> None:
    store = Store(tmp_path / "empty", made.context.params)
    with pytest.raises(NotFound, match=r"as served on lite-n1-r224.*run `make study` again"):
        Outcome.of(made.trials, store, made.context)


@pytest.mark.slow
def test_pictures_are_drawn_from_rows_alone(
    made: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents: list[Mapping[str, bytes]] = []
    for name in ("first", "second"):
        folder = tmp_path / name
        monkeypatch.setattr(report, "PAGE", tmp_path / "page.md")
        write_json(list(made.study_rows()), folder / "study.json")
        write_json(list(made.ablation_rows()), folder / "ablation.json")
        write_json(list(hybrid_rows(made)), folder / "hybrid.json")
        report.write_page(folder)
        contents.append({path.name: path.read_bytes() for path in folder.glob("*.svg")})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 4


def test_served_rows_are_those_of_the_served_grids(made: Outcome) -> None:
    rows = report.as_served(list(made.study_rows()))
    assert {(c.grid_size, c.resolution) for c in rows if c.sampling != "sparse"} == set(
        GRIDS.items()
    )
    assert {(c.backbone, c.recipe) for c in rows} == {("lite", "")}


def test_a_manifest_of_clips_is_a_split(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"clips": [{"file": "a b.mp4", "description": "A dog."}], "count": 1}')
    clips = read_clips(tmp_path)
    assert [(v.video_id, q.text) for v, q in zip(clips.videos, clips.queries, strict=True)] == [
        ("a b", "A dog.")
    ]
    for broken in ("", "[]", '{"clips": [{"file": "a.mp4"}]}'):
        manifest.write_text(broken)
        with pytest.raises(CorruptArtifact, match=r'manifest\.json.*"clips"'):
            read_clips(tmp_path)


@pytest.mark.parametrize(("lost", "holds"), [(0, True), (1, True), (2, False)])
def test_ninety_percent_has_to_be_kept(lost: int, holds: bool) -> None:
    before: Int64 = np.ones(18, np.int64)
    after = np.where(np.arange(18) < lost, 9, 1)
    row = clips_row(2, before, after)
    assert (row.clips, row.zero_shot_r5, row.holds) == (18, 100.0, holds)
    assert row.fine_tuned_r5 == pytest.approx(100 * (18 - lost) / 18)
    assert {field.name for field in fields(row)} >= {"spare", "fine_tuned_r1"}

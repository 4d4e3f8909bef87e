"""Tuning on measured rows: the best that fits, the cheapest that suffices, and why not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qasir.cli.candidates import Candidate, read_candidates
from qasir.cli.tune import TuneGoal, choose, expected, how_to_serve, pareto, parse_budget, shortlist
from qasir.errors import CorruptArtifact, InvalidInput, NotFound
from tests.support.measured import BENCHMARKS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30 s per video-hour", 30.0),
        ("2min per video-hour", 120.0),
        (" 0.5 h / video-hour ", 1800.0),
        ("250 ms/video-hour", 0.25),
    ],
)
def test_a_budget_is_seconds_per_video_hour(text: str, seconds: float) -> None:
    assert parse_budget(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "30", "30 s", "s per video-hour", "-3 s per video-hour", "0 s per video-hour"]
)
def test_another_budget_is_named_with_the_form_expected(text: str) -> None:
    with pytest.raises(InvalidInput, match=f"budget '{text}' .* '30 s per video-hour'"):
        parse_budget(text)


def test_candidates_are_what_was_served_and_timed(results: Path) -> None:
    found = read_candidates(results)
    places = {(c.mode, c.index_unit, c.grid_size, c.variant, c.k) for c in found}
    assert places == {
        ("accurate", None, 1, "fine-tuned", None),
        ("accurate", None, 2, "fine-tuned", None),
        ("accurate", None, 2, "zero-shot", None),
        ("accurate", None, 4, "fine-tuned", None),
        ("fast", "cell", 2, "fine-tuned", None),
        ("fast", "super-image", 2, "fine-tuned", None),
        ("hybrid", None, 4, "hybrid", 10),
        ("hybrid", None, 4, "hybrid", 60),
    }
    assert {c.variant for c in read_candidates(results, "zero-shot")} == {"zero-shot"}


def test_a_hybrid_query_encodes_its_best_videos_again(results: Path) -> None:
    ten, sixty = (c for c in read_candidates(results) if c.mode == "hybrid")
    # Ten videos of 36 s are a tenth of an hour, which takes the expensive model 2 s.
    assert ten.query_seconds == pytest.approx(2.0)
    assert sixty.query_seconds == pytest.approx(12.0)
    assert (ten.ingest_seconds, ten.backbone, ten.resolution) == (8.0, "lite", 256)


@pytest.mark.parametrize(
    ("goal", "grid_size", "mode"),
    [
        (TuneGoal(budget=30.0), 1, "accurate"),
        (TuneGoal(budget=29.9), 2, "accurate"),
        (TuneGoal(budget=9.0), 4, "accurate"),
        (TuneGoal(budget=9.0, query_seconds=3.0), 4, "hybrid"),
        (TuneGoal(min_recall=55.0), 2, "accurate"),
        (TuneGoal(min_recall=56.0), 1, "accurate"),
        (TuneGoal(min_recall=30.0, at=1), 1, "accurate"),
        (TuneGoal(budget=15.0, min_recall=50.0), 2, "accurate"),
    ],
)
def test_the_best_within_the_budget_or_the_cheapest_that_suffices(
    results: Path, goal: TuneGoal, grid_size: int, mode: str
) -> None:
    chosen = choose(read_candidates(results), goal)
    assert (chosen.grid_size, chosen.mode) == (grid_size, mode)


def test_a_configuration_is_told_with_what_its_mode_needs(results: Path) -> None:
    words = {str(candidate) for candidate in read_candidates(results)}
    hybrid = "mode hybrid (best 10 again by lite2 at N = 2)"
    assert f"N = 4, R = 256, 1 fps, {hybrid}, hybrid lite" in words
    assert "N = 2, R = 256, 1 fps, mode fast over cells, fine-tuned lite" in words
    assert "N = 2, R = 256, 1 fps, mode accurate, zero-shot lite" in words


def test_what_is_expected_and_what_to_write_is_told() -> None:
    cells = replace(CANDIDATE, r1=10.0, r5=20.0, r10=30.0, ingest_seconds=12.34)
    assert expected(cells) == "R@1 10.0 %, R@5 20.0 %, R@10 30.0 %, for 12.3 s per video-hour"
    assert how_to_serve(cells) == (
        'in params.yaml: grids."2".resolution 256, encode.fps 1, serve.grid_sizes [2], '
        "serve.index_unit cell; then `dvc repro`"
    )
    again = replace(
        CANDIDATE, index_unit=None, k=20, reranker=("lite", 1, 224), query_seconds=0.512
    )
    assert again.mode_words == "fast (best 20 again by N = 1)"
    assert expected(again).endswith("and 0.51 s a cold query")
    assert "serve.hybrid {grid_size: 1, k: 20}" in how_to_serve(again)


def test_what_does_not_fit_says_what_comes_nearest(results: Path) -> None:
    candidates = read_candidates(results)
    with pytest.raises(NotFound, match=r"video-hour in 5 s; the cheapest needs 8 s: N = 4"):
        choose(candidates, TuneGoal(budget=5.0))
    with pytest.raises(NotFound, match=r"R@5 90; the nearest has 60\.0: N = 1, R = 224, 1 fps"):
        choose(candidates, TuneGoal(min_recall=90.0))
    with pytest.raises(NotFound, match=r"R@1 50 within 15 s .* nearest has 27\.5: N = 2"):
        choose(candidates, TuneGoal(budget=15.0, min_recall=50.0, at=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "--budget, --min-recall or both"),
        ({"min_recall": 130.0}, "--min-recall 130 must be between 0 and 100"),
        ({"budget": 3.0, "at": 7}, "--at 7: .* 1, 5, 10; choose one"),
        ({"budget": 3.0, "query_seconds": -1.0}, "--query-seconds -1 must not be negative"),
    ],
)
def test_a_goal_nobody_can_grant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        TuneGoal(**changes)


def test_missing_and_broken_files_name_the_next_step(results: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no .*nowhere/study.json; run `make study`"):
        read_candidates(tmp_path / "nowhere")
    (results / "benchmarks.json").write_text(json.dumps(BENCHMARKS[-1:]))
    with pytest.raises(NotFound, match="python -m benchmarks grids"):
        read_candidates(results)
    (results / "benchmarks.json").write_text("[")
    with pytest.raises(CorruptArtifact, match="make bench"):
        read_candidates(results)
    (results / "study.json").write_text('[{"sampling": "super-image"}]')
    (results / "benchmarks.json").write_text(json.dumps(BENCHMARKS))
    with pytest.raises(CorruptArtifact, match=r"lacks 'pooling'; run `make study`"):
        read_candidates(results)


CANDIDATE = Candidate("lite", "zero-shot", "fast", "cell", 2, 256, 1.0, 0.0, 0.0, 0.0, 0.0)


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1))
def test_nothing_on_the_front_is_beaten(points: list[tuple[int, int]]) -> None:
    candidates = [replace(CANDIDATE, ingest_seconds=float(c), r1=float(q)) for c, q in points]
    front = pareto(candidates)
    for candidate in candidates:
        beaten = any(
            other.ingest_seconds <= candidate.ingest_seconds and other.quality > candidate.quality
            for other in candidates
        )
        cheaper_equal = any(
            other.ingest_seconds < candidate.ingest_seconds and other.quality == candidate.quality
            for other in candidates
        )
        assert (candidate in front) == (not beaten and not cheaper_equal)


def test_the_chosen_one_is_always_listed() -> None:
    cheap = replace(CANDIDATE, ingest_seconds=1.0, r10=90.0)
    chosen = replace(CANDIDATE, ingest_seconds=2.0, r5=50.0)
    assert choose([cheap, chosen], TuneGoal(min_recall=40.0)) == chosen
    assert shortlist([cheap, chosen], chosen, TuneGoal(min_recall=40.0)) == [cheap, chosen]


def test_what_a_query_takes_too_long_for_is_not_compared() -> None:
    slow = replace(CANDIDATE, ingest_seconds=1.0, query_seconds=2.0, r5=90.0)
    chosen = replace(CANDIDATE, ingest_seconds=2.0, r5=50.0)
    assert shortlist([slow, chosen], chosen, TuneGoal(budget=9.0)) == [chosen]
    patient = TuneGoal(budget=9.0, query_seconds=2.0)
    assert shortlist([slow, chosen], chosen, patient) == [slow, chosen]

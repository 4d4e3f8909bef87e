"""The corpus on disk: real mp4 files that last as long as their annotations say."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from qasir.config import DemoParams
from qasir.video import probe, sample_frames
from training.data.demo_corpus import annotate, plan_corpus, render_corpus


def annotations(demo: DemoParams, seed: int) -> str:
    corpus = plan_corpus(demo, seed)
    return json.dumps({split: asdict(annotate(films, 10)) for split, films in corpus.items()})


def test_annotations_are_the_same_bytes_for_the_same_seed(demo: DemoParams) -> None:
    assert annotations(demo, seed=1) == annotations(demo, seed=1)
    assert annotations(demo, seed=1) != annotations(demo, seed=2)


def test_moments_cover_the_video_without_a_gap(demo: DemoParams) -> None:
    subset = annotate(plan_corpus(demo, 1)["train"], demo.fps)
    assert [len(subset.videos), len(subset.queries)] == [2, 6]
    for video in subset.videos:
        spans = [(q.start, q.end) for q in subset.queries if q.video_id == video.video_id]
        assert [0.0, *(end for _, end in spans)] == [*(s for s, _ in spans), video.duration]


def test_videos_are_real_files_with_their_attribution(demo: DemoParams, tmp_path: Path) -> None:
    films = plan_corpus(demo, 1)["train"]
    render_corpus(films, tmp_path, demo)
    for video in annotate(films, demo.fps).videos:
        info = probe(tmp_path / f"{video.video_id}.mp4")
        assert (info.codec, info.width, info.height) == ("h264", 96, 64)
        assert abs(info.duration - video.duration) < 1e-6
        assert len(list(sample_frames(tmp_path / f"{video.video_id}.mp4", 1.0))) >= 2
    text = (tmp_path / "ATTRIBUTION.md").read_text()
    assert "OpenMoji" in text
    assert "CC BY-SA 4.0" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "ATTRIBUTION.md",
        "train-0000.mp4",
        "train-0001.mp4",
    ]


@pytest.mark.slow
def test_videos_are_the_same_bytes_for_the_same_seed(demo: DemoParams, tmp_path: Path) -> None:
    films = plan_corpus(demo, 1)["train"] + plan_corpus(demo, 2)["train"]
    contents = set()
    for run in range(3):
        folder = tmp_path / str(run)
        render_corpus([replace(f, video_id=f"{i}") for i, f in enumerate(films)], folder, demo)
        contents.add(tuple(path.read_bytes() for path in sorted(folder.iterdir())))
    assert len(contents) == 1

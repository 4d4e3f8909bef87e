"""The on-disk form: what is written is read, and videos are found by id."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qasir.errors import CorruptArtifact
from training.data.dataset import Query, Subset, Video, find_videos, read_split, write_dataset

seconds = st.floats(0, 1e5)
videos = st.builds(Video, st.text(min_size=1), seconds)
kinds = st.none() | st.sampled_from(["v", "vt", "t"])
queries = st.builds(Query, st.text(), st.text(), st.text(), seconds, seconds, seconds, kinds)


# Every example is synced to disk, as slowly as the disk is.
@settings(deadline=None)
@given(st.lists(videos).map(tuple), st.lists(queries).map(tuple))
def test_what_is_written_is_read(some: tuple[Video, ...], asked: tuple[Query, ...]) -> None:
    with TemporaryDirectory() as folder:
        write_dataset(Path(folder), {"val": Subset(some, asked)})
        assert read_split(Path(folder), "val") == Subset(some, asked)
        assert read_split(Path(folder), "train") == Subset((), ())


@pytest.mark.parametrize("line", ['{"video_id": "a"}', '{"id": 1}', "[]", "not json"])
def test_a_row_of_another_shape_is_corrupt(tmp_path: Path, line: str) -> None:
    write_dataset(tmp_path, {})
    (tmp_path / "test" / "videos.jsonl").write_text(line + "\n")
    with pytest.raises(CorruptArtifact, match=r"videos\.jsonl.*dvc repro prepare"):
        read_split(tmp_path, "test")


def test_a_dataset_that_was_never_written_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifact, match="dvc repro prepare"):
        read_split(tmp_path, "test")


def test_videos_are_found_by_id_whatever_their_extension(tmp_path: Path) -> None:
    names = ["v_a.mp4", "v_b.mkv", "deep/v_c.webm", "v.d.avi", "v_e", "v_f.weird"]
    beside = ["v_a.txt", "v_a.json", "v_b.jpg", "v_b.vtt"]
    for name in [*names, *beside]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = {
        video_id: str(p.relative_to(tmp_path)) for video_id, p in find_videos(tmp_path).items()
    }
    assert found == {
        "v_a": "v_a.mp4",
        "v_b": "v_b.mkv",
        "v_c": "deep/v_c.webm",
        "v.d": "v.d.avi",
        "v_e": "v_e",
        "v_f": "v_f.weird",
    }

"""What an operator may write into canary.yaml, and what they read when it is wrong."""

from pathlib import Path

import pytest

from qasir.errors import InvalidConfig
from service.canary.golden_queries import MAX_BYTES, MAX_PAIRS, GoldenQuery, read_golden_queries


def test_no_file_is_no_pair(tmp_path: Path) -> None:
    assert read_golden_queries(tmp_path / "canary.yaml") == ()


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"cnary\.yaml: .*No such file"):
        read_golden_queries(tmp_path / "cnary.yaml", must_exist=True)
    with pytest.raises(InvalidConfig, match="directory"):
        read_golden_queries(tmp_path)


def test_pairs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "canary.yaml"
    path.write_text("pairs: [{query: a dog, video: v1}, {query: a cat, video: v2, within: 3}]")
    assert read_golden_queries(path) == (
        GoldenQuery(query="a dog", video="v1", within=1),
        GoldenQuery(query="a cat", video="v2", within=3),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pairs: [{query: a dog}]", "pairs.0.video: Field required"),
        ("pairs: [{query: a dog, video: v1, within: 0}]", "pairs.0.within"),
        ("paris: []", "paris: Extra inputs are not permitted"),
        ("", "the file: Input should be"),
        ("pairs: [", "while parsing"),
        (f"pairs: [{'{query: a, video: v}, ' * (MAX_PAIRS + 1)}]", f"at most {MAX_PAIRS}"),
        ("#" * (MAX_BYTES + 1), f"the limit is {MAX_BYTES}"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "canary.yaml"
    path.write_text(text)
    with pytest.raises(InvalidConfig) as caught:
        read_golden_queries(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)

"""Repairs: every trap of the real files in miniature, mended and counted."""

from pathlib import Path

import pytest

from qasir.errors import InvalidAnnotations
from training.data.benchmarks import Row, clean, read_lines


def row(text: str = "a dog", start: float = 1.0, end: float = 2.0, duration: float = 10.0) -> Row:
    return Row("video", text, start, end, duration)


def test_sentences_are_numbered_per_video_in_file_order() -> None:
    subset, _ = clean([row("one"), Row("other", "two", 0, 1, 5), row("three")])
    assert [q.query_id for q in subset.queries] == [
        "video#enc#0",
        "other#enc#0",
        "video#enc#1",
    ]
    assert [(v.video_id, v.duration) for v in subset.videos] == [("video", 10.0), ("other", 5)]


@pytest.mark.parametrize(
    ("broken", "text", "span", "reason"),
    [
        (row(" a  dog\n"), "a dog", (1, 2), "spaces trimmed"),
        (row(start=5, end=3), "a dog", (3, 5), "reversed span turned round"),
        (row(start=4, end=4), "a dog", (4, 4), "empty span, moment unknown"),
        (row(end=12.5), "a dog", (1, 10), "span clipped to the duration"),
    ],
)
def test_a_repair_is_made_and_counted(
    broken: Row, text: str, span: tuple[float, float], reason: str
) -> None:
    subset, repairs = clean([row("a cat"), broken])
    assert (subset.queries[1].text, subset.queries[1].start, subset.queries[1].end) == (text, *span)
    assert dict(repairs) == {reason: 1}


def test_rounding_beyond_the_duration_is_clipped_and_not_counted() -> None:
    subset, repairs = clean([row(end=10.0 + 1e-9)])
    assert subset.queries[0].end == 10.0
    assert not repairs


def test_repeated_sentences_stay_and_are_counted() -> None:
    subset, repairs = clean([row("a dog"), Row("other", " a dog", 0, 1, 5)])
    assert len(subset.queries) == 2
    assert repairs["repeated sentence kept"] == 1


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (row("  "), "video, sentence 0: the sentence is empty"),
        (row(duration=0), "span .* in 0 s; times must be positive"),
        (row(start=-1), r"span \[-1, 2.0\]"),
    ],
)
def test_what_cannot_be_repaired_says_where_it_is(broken: Row, message: str) -> None:
    with pytest.raises(InvalidAnnotations, match=message):
        clean([broken])


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one\u2028still one\n\ntwo\n", encoding="utf-8")
    assert list(read_lines(path)) == [(1, "one\u2028still one"), (3, "two")]


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidAnnotations, match=r"no absent\.txt .* prepare\.annotations"):
        list(read_lines(tmp_path / "absent.txt"))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidAnnotations, match=r"binary\.txt is not UTF-8"):
        list(read_lines(tmp_path / "binary.txt"))

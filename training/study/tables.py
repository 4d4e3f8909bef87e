"""Formats rows as Markdown: recalls, intervals, tables."""

from collections.abc import Iterable, Iterator, Sequence

from training.evaluate.measures import Interval, Measures


def recalls(measures: Measures) -> str:
    return f"{measures.r1:.1f} / {measures.r5:.1f} / {measures.r10:.1f}"


def span(interval: Interval) -> str:
    return f"{interval.low:+.1f} to {interval.high:+.1f}"


def signed(interval: Interval) -> str:
    return f"{interval.value:+.1f} ({span(interval)})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Formats a Markdown table.

    >>> print(table(("a", "b"), [(1, 2)]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    return "\n".join(_lines(head, rows))


def _lines(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"

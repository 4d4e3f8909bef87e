"""How rows become Markdown: recalls, intervals, tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]


def recalls(row: Row) -> str:
    return " / ".join(f"{row[name]:.1f}" for name in ("r1", "r5", "r10"))


def span(row: Row, name: str) -> str:
    return f"{row[f'{name}_low']:+.1f} to {row[f'{name}_high']:+.1f}"


def signed(row: Row, name: str) -> str:
    return f"{row[name]:+.1f} ({span(row, name)})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table.

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

"""Keyset pages: a page begins after a key, so inserts and deletes shift no later page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True)
class Page(Generic[T, K]):
    """Rows of a list, and the key after which the next page begins; None: there is no next."""

    rows: list[T]
    next_key: K | None


def cut(rows: Sequence[T], limit: int, key: Callable[[T], K]) -> Page[T, K]:
    """The first `limit` of up to `limit` + 1 rows; one row too many shows that a page follows."""
    page = list(rows[:limit])
    return Page(page, key(page[-1]) if len(rows) > limit else None)

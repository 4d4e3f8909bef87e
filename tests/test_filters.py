"""Filters against a reference that spells every comparison out."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qasir.filters import MAX_KEYS, MAX_VALUES, Filter


@dataclass(frozen=True)
class Fact:
    title: str = ""
    duration: float = 0.0
    created_at: float = 0.0
    metadata: dict[str, Any] = field(default_factory=dict)


def lets_through(asked: dict[str, Any], fact: Fact) -> bool:
    (found,) = Filter.model_validate(asked).matches([fact])
    return bool(found)


CASES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"camera": "a"}, {"camera": "a"}, True),
    ({"camera": "a"}, {"camera": "A"}, False),
    ({"camera": "a"}, {}, False),
    ({"camera": {"contains": "RONT"}}, {"camera": "front left"}, True),
    ({"camera": {"contains": "1"}}, {"camera": 1}, False),
    ({"camera": {"in": ["a", "b"]}}, {"camera": "b"}, True),
    ({"camera": {"in": []}}, {"camera": "b"}, False),
    ({"n": 1}, {"n": 1.0}, True),
    ({"n": 1}, {"n": True}, False),
    ({"n": True}, {"n": 1}, False),
    ({"n": {"in": [True]}}, {"n": 1}, False),
    ({"n": 2**60 + 1}, {"n": 2**60 + 1}, True),
    ({"n": {"gt": 1, "lte": 3}}, {"n": 3}, True),
    ({"n": {"gt": 1, "lte": 3}}, {"n": 1}, False),
    ({"n": {"gte": 1}}, {"n": "2"}, False),
    ({"n": {"gte": 0}}, {"n": True}, False),
    ({"day": {"gte": "2026-02-01", "lt": "2026-03-01"}}, {"day": "2026-02-11"}, True),
    ({"day": {"lt": "2026-03-01"}}, {"day": "2026-03-01"}, False),
    ({"n": {"lt": 3}}, {"n": None}, False),
    ({"tags": "dog"}, {"tags": ["cat", "dog"]}, True),
    ({"tags": {"gte": 2, "lt": 5}}, {"tags": [1, 7]}, False),
    ({"tags": {"gte": 2, "lt": 5}}, {"tags": [1, 4]}, True),
    ({"tags": "dog"}, {"tags": []}, False),
    ({"a": {"exists": True}}, {"a": None}, True),
    ({"a": {"exists": True}}, {"a": []}, True),
    ({"a": {"exists": False}}, {"a": None}, False),
    ({"a": {"exists": False}}, {}, True),
    ({"a": {"exists": True, "gt": 3}}, {"a": 4}, True),
    ({"a": {"exists": True, "gt": 3}}, {}, False),
    ({"a": 1, "b": 2}, {"a": 1, "b": 3}, False),
    ({"a": 1, "b": 2}, {"a": 1, "b": 2}, True),
]


@pytest.mark.parametrize(("asked", "metadata", "expected"), CASES)
def test_metadata(asked: dict[str, Any], metadata: dict[str, Any], *, expected: bool) -> None:
    assert lets_through({"metadata": asked}, Fact(metadata=metadata)) is expected


@given(
    facts=st.lists(st.builds(Fact, st.text("aBé", max_size=3), st.floats(0, 9), st.floats(0, 9))),
    least=st.none() | st.floats(0, 9),
    part=st.none() | st.text("AbÉ", max_size=2),
    since=st.none() | st.integers(0, 9),
)
def test_everything_said_must_hold(
    facts: list[Fact], least: float | None, part: str | None, since: int | None
) -> None:
    asked: dict[str, Any] = {}
    if least is not None:
        asked["duration"] = {"gte": least}
    if part is not None:
        asked["title"] = {"contains": part}
    if since is not None:
        asked["created_at"] = {"gt": datetime.fromtimestamp(since, UTC).isoformat()}
    expected = [
        (least is None or fact.duration >= least)
        and (part is None or part.lower() in fact.title.lower())
        and (since is None or fact.created_at > since)
        for fact in facts
    ]
    assert Filter.model_validate(asked).matches(facts).tolist() == expected


def test_times_are_of_any_zone() -> None:
    fact = Fact(created_at=datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp())
    assert lets_through({"created_at": {"gte": "2026-01-01T13:00:00+01:00"}}, fact)
    assert not lets_through({"created_at": {"gt": "2026-01-01T13:00:00+01:00"}}, fact)


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({"length": {"gte": 1}}, "length"),
        ({"duration": {"min": 1}}, "duration.min"),
        ({"duration": {}}, "duration"),
        ({"duration": {"gte": "60"}}, "duration.gte"),
        ({"duration": {"gte": float("inf")}}, "duration.gte"),
        ({"title": {"gte": "a"}}, "title.gte"),
        ({"title": {"contains": "x" * 301}}, "title.contains"),
        ({"created_at": {"gte": "2026-01-01T00:00:00"}}, "created_at.gte"),
        ({"metadata": {"a": {}}}, "metadata.a.conditions"),
        ({"metadata": {"a": {"b": 1}}}, "metadata.a.conditions.b"),
        ({"metadata": {"a": {"eq": {"b": 1}}}}, "metadata.a.conditions.eq"),
        ({"metadata": {"a": None}}, "metadata.a.value"),
        ({"metadata": {"a": {"in": list(range(MAX_VALUES + 1))}}}, "metadata.a.conditions.in"),
        ({"metadata": {str(n): 1 for n in range(MAX_KEYS + 1)}}, "metadata"),
    ],
)
def test_wrong_filter_names_the_field(asked: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Filter.model_validate(asked)
    assert {".".join(map(str, fault["loc"])) for fault in caught.value.errors()} == {where}

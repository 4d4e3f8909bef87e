"""Which videos a search may answer with: conditions on what is known beside their pictures.

{"duration": {"gte": 60}, "title": {"contains": "talk"},
 "created_at": {"gte": "2026-01-01T00:00:00Z"}, "metadata": {"camera": "a", "rating": {"gte": 3}}}

Everything that is said must hold.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol, cast

import numpy as np
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    with_config,
)
from typing_extensions import TypedDict

from qasir.config import Strict
from qasir.types import Bool

MAX_KEYS = 16
MAX_VALUES = 100
MAX_CHARS = 300
CONDITIONS = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})


class FilterableVideo(Protocol):
    """What a filter asks of a video: `duration` in seconds, `created_at` in seconds since 1970."""

    @property
    def title(self) -> str: ...
    @property
    def duration(self) -> float: ...
    @property
    def created_at(self) -> float: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...


Test = Callable[[Any], bool]
FactsTest = Callable[[FilterableVideo], bool]


def _plain(value: Any) -> Any:
    if not isinstance(value, (bool, int, float, str)):
        # Only a ValueError becomes an error of this field.
        raise ValueError("give a text, a number, true or false")  # noqa: TRY004
    return value


Finite = Annotated[FiniteFloat, Field(strict=True)]
Number = StrictInt | Finite
Text = Annotated[StrictStr, Field(max_length=MAX_CHARS)]
Ordered = Annotated[Number | Text, BeforeValidator(_plain)]
Scalar = Annotated[StrictBool | Number | Text, BeforeValidator(_plain)]


@with_config(CONDITIONS)
class Numbers(TypedDict, total=False):
    """Conditions on a number, at least one."""

    eq: Finite
    gt: Finite
    gte: Finite
    lt: Finite
    lte: Finite


@with_config(CONDITIONS)
class Times(TypedDict, total=False):
    """Conditions on a time, at least one; ISO 8601 with an offset from UTC, or Z."""

    gt: AwareDatetime
    gte: AwareDatetime
    lt: AwareDatetime
    lte: AwareDatetime


@with_config(CONDITIONS)
class Texts(TypedDict, total=False):
    """Conditions on a text, at least one; `contains` takes A for a."""

    eq: Text
    in_: Annotated[list[Text], Field(alias="in", max_length=MAX_VALUES)]
    contains: Text


@with_config(CONDITIONS)
class Values(TypedDict, total=False):
    """Conditions on a value of any kind, at least one; kinds never equal one another."""

    eq: Scalar
    in_: Annotated[list[Scalar], Field(alias="in", max_length=MAX_VALUES)]
    contains: Text
    gt: Ordered
    gte: Ordered
    lt: Ordered
    lte: Ordered
    exists: StrictBool


def _not_empty(conditions: Any) -> Any:
    if not conditions:
        raise ValueError('give at least one condition, for example {"eq": ...}')
    return conditions


Said = AfterValidator(_not_empty)
Wanted = Annotated[
    Annotated[Scalar, Tag("value")] | Annotated[Values, Said, Tag("conditions")],
    Discriminator(lambda value: "conditions" if isinstance(value, dict) else "value"),
]


class Filter(Strict):
    """Which videos to search: those of which all of this holds.

    duration: seconds; created_at: when it was uploaded; metadata: top-level keys of what the
    upload carried.
    A value stands for {"eq": value}; where a video has a list, one element must satisfy all.
    """

    duration: Annotated[Numbers, Said] | None = None
    title: Annotated[Texts, Said] | None = None
    created_at: Annotated[Times, Said] | None = None
    metadata: dict[Text, Wanted] = Field(default_factory=dict, max_length=MAX_KEYS)

    def matches(self, videos: Sequence[FilterableVideo]) -> Bool:
        """Which of V videos this filter lets through, bool [V].

        >>> from types import SimpleNamespace
        >>> facts = {"duration": 90.0, "created_at": 0.0, "metadata": {"n": [3]}}
        >>> talk = SimpleNamespace(title="A Talk", **facts)
        >>> asked = {"title": {"contains": "talk"}, "metadata": {"n": 3}}
        >>> Filter.model_validate(asked).matches([talk]).tolist()
        [True]
        """
        left: Sequence[int] = range(len(videos))
        for test in self._tests():
            left = [place for place in left if test(videos[place])]
        found = np.zeros(len(videos), np.bool_)
        found[left] = True
        return found

    def _tests(self) -> Iterator[FactsTest]:
        if self.duration:
            yield _fact_test(lambda video: video.duration, self.duration)
        if self.title:
            yield _fact_test(lambda video: video.title, self.title)
        if self.created_at:
            times = cast("dict[str, datetime]", self.created_at)
            seconds = {name: time.timestamp() for name, time in times.items()}
            yield _fact_test(lambda video: video.created_at, seconds)
        for key, wanted in self.metadata.items():
            conditions = wanted if isinstance(wanted, dict) else {"eq": wanted}
            yield _metadata_test(key, conditions)


def _fact_test(fact: Callable[[FilterableVideo], Any], conditions: Mapping[str, Any]) -> FactsTest:
    holds = _all_of(conditions)
    return lambda video: holds(fact(video))


def _metadata_test(key: str, wanted: Mapping[str, Any]) -> FactsTest:
    conditions = {name: value for name, value in wanted.items() if name != "exists"}
    holds, may_exist = _all_of(conditions), wanted.get("exists", True)

    def test(video: FilterableVideo) -> bool:
        if key not in video.metadata:
            return not may_exist
        value = video.metadata[key]
        if isinstance(value, list) and conditions:
            return may_exist and any(map(holds, value))
        return may_exist and holds(value)

    return test


def _all_of(conditions: Mapping[str, Any]) -> Test:
    tests = [COMPARISONS[name](wanted) for name, wanted in conditions.items()]
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(test(value) for test in tests)


def _equal(wanted: Any) -> Test:
    # True == 1 in Python, and not in JSON.
    wants_bool = isinstance(wanted, bool)
    return lambda value: value == wanted and isinstance(value, bool) == wants_bool


def _one_of(wanted: Sequence[Any]) -> Test:
    tests = [_equal(value) for value in wanted]
    return lambda value: any(test(value) for test in tests)


def _contains(wanted: str) -> Test:
    part = wanted.casefold()
    return lambda value: isinstance(value, str) and part in value.casefold()


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any], Test]:
    def against(wanted: Any) -> Test:
        kinds = str if isinstance(wanted, str) else (int, float)
        return lambda value: (
            isinstance(value, kinds) and not isinstance(value, bool) and compare(value, wanted)
        )

    return against


COMPARISONS: dict[str, Callable[[Any], Test]] = {
    "eq": _equal,
    "in_": _one_of,
    "contains": _contains,
    "gt": _ordered(operator.gt),
    "gte": _ordered(operator.ge),
    "lt": _ordered(operator.lt),
    "lte": _ordered(operator.le),
}

"""What every part of the HTTP contract uses: strict requests, problems, times."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictBool, StrictInt

# Of a body: JSON tells numbers from texts and truths, so 3 is one, and "3" or true is none.
Whole = StrictInt
Number = Annotated[FiniteFloat, Field(strict=True)]
Truth = StrictBool


class Strict(BaseModel):
    """A request that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageIn(Strict):
    """Which part of a list; how long a page may be, the service's settings say."""

    offset: int = Field(default=0, ge=0, lt=2**31)
    limit: int = Field(default=50, ge=1)


class FieldError(BaseModel):
    """One field that is wrong."""

    field: str
    message: str


class Problem(BaseModel):
    """An error; `code` is stable, `retryable` says whether the same request may succeed later.

    `trace_id` is there where the service sends traces.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool
    errors: list[FieldError]
    trace_id: str | None = None


def time_of(seconds: float | None) -> datetime | None:
    """A time in seconds since 1970 as ISO 8601 in UTC will say it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

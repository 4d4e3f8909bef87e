"""What all requests and answers share: strict requests, tolerant answers, and RFC 9457 errors."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictBool, StrictInt

# JSON distinguishes numbers from strings and booleans: 3 is an integer, "3" and true are not.
Integer = StrictInt
Number = Annotated[FiniteFloat, Field(strict=True)]
Boolean = StrictBool


class Request(BaseModel):
    """A request; it refuses fields that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def body(self) -> dict[str, Any]:
        """The JSON object of an HTTP request: the fields that were set."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Answer(BaseModel):
    """An answer; it ignores fields that a newer service adds."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, json_schema_serialization_defaults_required=True
    )

    @classmethod
    def of(cls, row: object) -> Self:
        """Read the fields from an object's attributes; a time may be seconds since 1970."""
        return cls.model_validate(row, from_attributes=True)


class PageRequest(Request):
    """Which page of a list; the service's settings bound `limit`.

    `page_token` is the `next_page_token` of the page before; left out: the first page.
    """

    limit: int = Field(default=50, ge=1)
    page_token: str | None = Field(default=None, min_length=1, max_length=200)


class FieldError(Answer):
    """One field that is wrong."""

    field: str
    message: str


class Problem(Answer):
    """An error; `code` is stable, `retryable` says whether the same request may succeed later.

    `trace_id` is present where the service sends traces.
    """

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool
    errors: list[FieldError]
    trace_id: str | None = None

"""Errors as RFC 9457 describes them."""

from pydantic import ConfigDict

from qasir.contract.base import Answer


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

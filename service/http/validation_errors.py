"""Pydantic's validation errors in the words that every transport answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from qasir.contract.problems import FieldError
from qasir.errors import InvalidInput

# Parts of an HTTP request; a field has the same name in all of them, and over gRPC.
PLACES = ("body", "query", "path", "header")
# Keeps the answer short for a request with thousands of wrong values.
MAX_FAULTS = 10


def field_errors(faults: Sequence[Mapping[str, Any] | ErrorDetails]) -> list[FieldError]:
    """List the wrong fields, each with the part of the request it is in."""
    return [
        FieldError(field=".".join(str(part) for part in fault["loc"]), message=fault["msg"])
        for fault in faults[:MAX_FAULTS]
    ]


def refusal(faults: Sequence[FieldError]) -> InvalidInput:
    """Make the error that names the wrong fields."""
    fields = "; ".join(f"{_name(fault.field)}: {fault.message}" for fault in faults)
    return InvalidInput(f"{fields}; /docs.json and retrieval.proto describe the request")


def _name(field: str) -> str:
    place, _, name = field.partition(".")
    return name if name and place in PLACES else field

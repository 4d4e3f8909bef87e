"""What pydantic found wrong with a request, in the words that every transport answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from qasir.contract.problems import FieldError
from qasir.errors import InvalidInput

# Where a field was found over HTTP; its name is the same everywhere.
PLACES = ("body", "query", "path", "header")
# A request of thousands of wrong values is answered in a few lines.
MAX_FAULTS = 10


def field_errors(faults: Sequence[Mapping[str, Any] | ErrorDetails]) -> list[FieldError]:
    """The wrong fields, each with the place it was found in."""
    return [
        FieldError(field=".".join(str(part) for part in fault["loc"]), message=fault["msg"])
        for fault in faults[:MAX_FAULTS]
    ]


def refusal(faults: Sequence[FieldError]) -> InvalidInput:
    """The error that names them."""
    said = "; ".join(f"{_name(fault.field)}: {fault.message}" for fault in faults)
    return InvalidInput(f"{said}; /docs.json and retrieval.proto describe the request")


def _name(field: str) -> str:
    place, _, name = field.partition(".")
    return name if name and place in PLACES else field

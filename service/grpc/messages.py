"""Requests as the contract reads them, and its refusals in the words of HTTP."""

from typing import TypeVar

from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError

from qasir.contract.convert import from_message
from service.http.validation_errors import field_errors, refusal

T = TypeVar("T", bound=BaseModel)


def read(kind: type[T], request: Message, *in_path: str) -> T:
    """Convert a request, less the fields that HTTP has in the path.

    Raises:
        InvalidInput: it breaks a rule of the contract.
    """
    try:
        return from_message(kind, request, in_path)
    except ValidationError as error:
        raise refusal(field_errors(error.errors())) from error

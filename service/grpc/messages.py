"""Between protobuf messages and the pydantic schemas of the HTTP contract.

A request goes through the schema of its HTTP twin and an answer comes from it, so limits,
defaults and words exist once; fields have the same names on both sides.
"""

from collections.abc import Set
from typing import TypeVar

from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError

from qasir.proto.plain import plain
from qasir.proto.v1 import retrieval_pb2 as pb
from service.http.schemas.search import EmbedOut
from service.http.validation_errors import field_errors, refusal

M = TypeVar("M", bound=Message)
S = TypeVar("S", bound=BaseModel)


def asked(schema: type[S], request: Message, path: Set[str] = frozenset()) -> S:
    """A request as the schema of its HTTP twin reads it, less what HTTP has in the `path`.

    Raises:
        InvalidInput: it breaks the schema's rules.
    """
    try:
        fields = {name: value for name, value in plain(request).items() if name not in path}
        return schema.model_validate(fields)
    except ValidationError as error:
        raise refusal(field_errors(error.errors())) from error


def answer(kind: type[M], found: BaseModel) -> M:
    """An answer of an HTTP route as a message."""
    return kind(**found.model_dump())


def embeddings(found: EmbedOut) -> pb.Embeddings:
    """Vectors, each a message of its own: protobuf has no list of lists."""
    vectors = [pb.Vector(values=vector) for vector in found.vectors]
    return pb.Embeddings(vectors=vectors, dim=found.dim, fingerprint=found.fingerprint)

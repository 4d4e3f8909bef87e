"""The one table: every error has a line, and retryable ones say when."""

import grpc
import pytest

from qasir import errors
from qasir.errors import QasirError
from service.http.problems import STATUSES, problem_response, status_of

KINDS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, QasirError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_every_error_is_a_problem(kind: type[QasirError]) -> None:
    status, answer = status_of(kind), problem_response(kind("why"))
    assert answer.status_code == status.http
    assert answer.media_type == "application/problem+json"
    assert ("retry-after" in answer.headers) == kind.retryable
    assert hasattr(grpc.StatusCode, status.grpc)


def test_caller_and_server_faults_are_told_apart() -> None:
    for kind in KINDS:
        assert (status_of(kind).http < 500) == issubclass(
            kind,
            (
                errors.InvalidInput,
                errors.NotFound,
                errors.Conflict,
                errors.Overloaded,
                errors.FingerprintMismatch,
            ),
        )


def test_subclasses_take_the_nearest_line() -> None:
    assert status_of(errors.NoFrames) is STATUSES[errors.InvalidInput]
    assert status_of(errors.UnsupportedMedia).http == 415

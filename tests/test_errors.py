"""Errors show no password of a URL, whoever raises them."""

import pytest

from qasir.errors import InvalidConfig, QasirError, error_from_code


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT='http://ada:pw@host:4318'",
            "OTEL_EXPORTER_OTLP_ENDPOINT='http://***@host:4318'",
        ),
        ("no answer at https://ada:p@w/x@host/a", "no answer at https://***@host/a"),
        ("http://host:3000 and v1@0:08-0:09", "http://host:3000 and v1@0:08-0:09"),
    ],
)
def test_an_error_shows_no_password(text: str, shown: str) -> None:
    for error in (QasirError(text), InvalidConfig(text), error_from_code("not_found", text)):
        assert str(error) == shown

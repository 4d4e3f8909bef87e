"""Fixtures of the command line's tests."""

import pytest

from qasir.cli.terminal import console
from tests.support.answers import answers
from tests.support.measured import results

__all__ = ["answers", "results"]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give tables enough columns."""
    monkeypatch.setattr(console, "width", 120)

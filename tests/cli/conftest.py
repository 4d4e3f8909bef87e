"""Fixtures of the command line's tests."""

import pytest

from qasir.cli.terminal import console
from tests.support.measured import results
from tests.support.scripted import server

__all__ = ["results", "server"]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give tables enough columns."""
    monkeypatch.setattr(console, "width", 120)

"""Fixtures of the clients' tests."""

from tests.support.scripted import server

__all__ = ["server"]

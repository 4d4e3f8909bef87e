"""Fixtures of the clients' tests."""

from tests.support.answers import answers

__all__ = ["answers"]

"""Clients of a qasir service."""

from qasir.client.client import DEFAULT_URL, Client

__all__ = ["DEFAULT_URL", "Client"]

"""Fixtures live in `tests/support/`, one module per thing they build."""

pytest_plugins = [
    "tests.support.videos",
    "tests.support.models",
    "tests.support.triton",
    "tests.support.service",
    "tests.support.monitoring",
    "tests.support.retrieval",
    "tests.support.browser",
]

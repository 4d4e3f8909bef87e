"""Fixtures live in `tests/fixtures/`, one module per thing they build."""

pytest_plugins = [
    "tests.fixtures.videos",
    "tests.fixtures.models",
    "tests.fixtures.triton",
    "tests.fixtures.service",
    "tests.fixtures.monitoring",
    "tests.fixtures.retrieval",
    "tests.fixtures.browser",
]

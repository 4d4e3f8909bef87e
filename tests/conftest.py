"""Fixtures live in `tests/support/`, one module for each thing they build."""

import pytest

# They import each other: each must be rewritten before the first of them is imported.
pytest.register_assert_rewrite("tests.support")

pytest_plugins = [
    "tests.support.browser",
    "tests.support.datasets",
    "tests.support.models",
    "tests.support.monitoring",
    "tests.support.processes",
    "tests.support.retrieval",
    "tests.support.service",
    "tests.support.site",
    "tests.support.triton",
    "tests.support.videos",
]

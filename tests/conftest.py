"""Fixtures live in `tests/support/`, one module for each thing they build."""

from collections.abc import Iterator

import pytest

from qasir.threads import use_one_thread

# Before numpy and torch are imported; workers run side by side, and the models of tests are tiny.
use_one_thread()
# They import each other: each must be rewritten before the first of them is imported.
pytest.register_assert_rewrite("tests.support")

FIXTURES = [
    "tests.support.browser",
    "tests.support.datasets",
    "tests.support.models",
    "tests.support.monitoring",
    "tests.support.processes",
    "tests.support.retrieval",
    "tests.support.service",
    "tests.support.shared",
    "tests.support.site",
    "tests.support.triton",
    "tests.support.videos",
]
# A test that uses one of these, directly or through another fixture, is marked `stack`.
SERVERS = {"triton_server", "tuned_server", "running_service", "watched", "browser"}
# The same for `slow`: real weights, videos and annotation files, the whole pipeline under dvc.
REAL = {"lite_backbone", "lite_export", "clips_folder", "annotations_folder", "project"}


def pytest_configure(config: pytest.Config) -> None:
    """Import the fixtures, but not where this process only hands out the tests to workers."""
    if hasattr(config, "workerinput") or config.getoption("dist", "no") == "no":
        for name in FIXTURES:
            config.pluginmanager.import_plugin(name)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark what `make test-fast` leaves out, and put it first, so that no worker ends with it."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        used = {*getattr(item, "fixturenames", ()), *map(str, parameters.values())}
        for marker, fixtures in (("stack", SERVERS), ("slow", REAL)):
            if used & fixtures:
                item.add_marker(marker)
    yield
    items.sort(key=_place)


def _place(item: pytest.Item) -> tuple[bool, int]:
    # `shelf` encodes every video that other tests have uploaded: before all, there are few.
    first = "shelf" in getattr(item, "fixturenames", ())
    return not first, -len({"slow", "stack"} & {marker.name for marker in item.iter_markers()})

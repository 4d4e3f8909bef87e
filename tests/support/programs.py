"""Programs of the system that some tests need: Chromium and Prometheus."""

import os
import shutil

import pytest


def needed(program: str) -> str:
    """Return the path of a program; where it is missing, skip visibly, or fail on CI."""
    path = shutil.which(program)
    if path is None:
        tell = pytest.fail if os.environ.get("TESTS_MAY_SKIP") == "0" else pytest.skip
        tell(f"{program} is not installed; .ci/run installs it where it is root")
    return path

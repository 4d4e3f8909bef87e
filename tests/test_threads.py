"""One thread for numpy's products, in every process of ours, unless the environment says more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qasir.threads import VARIABLES

ROOT = Path(__file__).resolve().parents[1]
COUNT = """
import os
{imports}
import numpy as np
product = np.ones((512, 512)) @ np.ones((512, 512))
print(len(os.listdir("/proc/self/task")))
"""


def threads_after(imports: str, **variables: str) -> int:
    """Threads of a process that multiplies two matrices after these imports."""
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES} | variables
    paths = os.pathsep.join(["src", "."])
    done = subprocess.run(
        [sys.executable, "-c", COUNT.format(imports=imports)],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.parametrize("package", ["training", "service", "benchmarks"])
def test_products_run_in_one_thread(package: str) -> None:
    assert threads_after(f"import {package}") == 1


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_the_environment_has_the_last_word() -> None:
    assert threads_after("import training", OPENBLAS_NUM_THREADS="2") == 2

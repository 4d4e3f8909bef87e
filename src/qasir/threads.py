"""Limits the threads of numpy's matrix products, for every stage, service and benchmark.

Our products are small. On busy cores OpenBLAS with two threads takes 18 times as long for them as
with one, because the threads wait for each other; torch's OpenMP threads behave alike.
"""

import os

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def use_one_thread() -> None:
    """Set the thread counts that the environment does not set.

    Has to run before numpy and torch are imported, so packages call it in `__init__.py`. ONNX
    Runtime has a thread pool of its own and still uses all cores.
    """
    for variable in VARIABLES:
        os.environ.setdefault(variable, "1")

"""Limits the threads of numpy's matrix products, for every stage, service and benchmark.

Our products are small. On busy cores OpenBLAS with two threads takes 18 times as long for them as
with one, because the threads wait for each other; torch's OpenMP threads behave alike.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Piece = TypeVar("Piece")
# Numbers to read below which starting threads takes longer than the work: about a millisecond's.
SMALL = 1 << 22

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def use_one_thread() -> None:
    """Set the thread counts that the environment does not set.

    Has to run before numpy and torch are imported, so packages call it in `__init__.py`. ONNX
    Runtime has a thread pool of its own and still uses all cores.
    """
    for variable in VARIABLES:
        os.environ.setdefault(variable, "1")


def run_all(run: Callable[[Piece], None], pieces: Sequence[Piece], size: int) -> None:
    """Run a function that releases Python's lock on all pieces, with a thread for each core.

    size: how many numbers it reads in all; a little is done in this thread.
    """
    if size < SMALL or len(pieces) == 1:
        for piece in pieces:
            run(piece)
    else:
        for _ in _pool().map(run, pieces):
            pass


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="numbers")

"""`make demo`'s part of the pipeline: `dvc repro export`, with dvc.lock left as it was found.

    python -m training.reproduce

The hashes in dvc.lock differ between processors, because encoders round differently. The
committed file records the machine of the committed results; this machine's own hashes go to
`build/dvc.lock`, so that the next run repeats nothing and the checkout stays clean.
`make repro` starts from them and writes dvc.lock itself.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = Path("dvc.lock")
OWN_LOCK = Path("build/dvc.lock")
FOUND_LOCK = Path("build/dvc.lock.found")


@contextmanager
def own_lock() -> Iterator[None]:
    """Swaps this machine's lock in, and the one that was found back at the end."""
    OWN_LOCK.parent.mkdir(exist_ok=True)
    if FOUND_LOCK.exists():  # an earlier run was killed
        FOUND_LOCK.replace(LOCK)
    if LOCK.exists():
        shutil.copy2(LOCK, FOUND_LOCK)
    if OWN_LOCK.exists():
        shutil.copy2(OWN_LOCK, LOCK)
    try:
        yield
    finally:
        if LOCK.exists():
            shutil.copy2(LOCK, OWN_LOCK)
        if FOUND_LOCK.exists():
            FOUND_LOCK.replace(LOCK)
        else:
            LOCK.unlink(missing_ok=True)


def main() -> None:
    """Reproduces the model, or ends with DVC's exit code; SIGTERM restores dvc.lock, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with own_lock():
        done = subprocess.run([sys.executable, "-m", "dvc", "repro", "export"], check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()

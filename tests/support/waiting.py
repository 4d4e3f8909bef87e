"""Waiting for what another process or thread does."""

import time
from typing import Any


def wait_for(ask: Any, seconds: float = 30.0, pause: float = 0.05) -> Any:
    """Ask until the answer is true."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(pause)
    return answer

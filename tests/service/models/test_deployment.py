"""Who searches, and with what in memory, whatever ended them."""

import subprocess
import sys
from pathlib import Path

from service.models.deployment import Heartbeats, missing
from tests.support.waiting import wait_for

HOLD = """
import sys, time, pathlib
from service.models.deployment import Heartbeats
presence = Heartbeats(pathlib.Path(sys.argv[1]))
presence.publish([1])
print("here", flush=True)
time.sleep(60)
"""


def test_who_lacks_a_version_is_counted(tmp_path: Path) -> None:
    assert missing(tmp_path, 1) == 0
    first, second = Heartbeats(tmp_path), Heartbeats(tmp_path)
    first.publish([1])
    assert (missing(tmp_path, 1), missing(tmp_path, 2)) == (1, 2)
    second.publish([1, 2])
    assert (missing(tmp_path, 1), missing(tmp_path, 2)) == (0, 1)
    first.publish([])
    assert missing(tmp_path, 1) == 1
    for presence in (first, second):
        presence.close()
    assert missing(tmp_path, 1) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_is_not_waited_for(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert (missing(tmp_path, 1), missing(tmp_path, 2)) == (0, 1)
        process.kill()
    assert wait_for(lambda: missing(tmp_path, 2) == 0)
    assert list(tmp_path.iterdir()) == []

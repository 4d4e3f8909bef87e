"""Who searches, and with what in memory, whatever ended them."""

import subprocess
import sys
from pathlib import Path

from service.store.presence import Presence, lacking
from tests.fixtures.service import wait_for

HOLD = """
import sys, time, pathlib
from service.store.presence import Presence
presence = Presence(pathlib.Path(sys.argv[1]))
presence.say([1])
print("here", flush=True)
time.sleep(60)
"""


def test_who_lacks_a_version_is_counted(tmp_path: Path) -> None:
    assert lacking(tmp_path, 1) == 0
    first, second = Presence(tmp_path), Presence(tmp_path)
    first.say([1])
    assert (lacking(tmp_path, 1), lacking(tmp_path, 2)) == (1, 2)
    second.say([1, 2])
    assert (lacking(tmp_path, 1), lacking(tmp_path, 2)) == (0, 1)
    first.say([])
    assert lacking(tmp_path, 1) == 1
    for presence in (first, second):
        presence.close()
    assert lacking(tmp_path, 1) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_is_not_waited_for(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert (lacking(tmp_path, 1), lacking(tmp_path, 2)) == (0, 1)
        process.kill()
    assert wait_for(lambda: lacking(tmp_path, 2) == 0)
    assert list(tmp_path.iterdir()) == []

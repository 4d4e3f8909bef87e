"""dvc.lock as `make demo` finds it, and this machine's own beside the build."""

from contextlib import chdir
from pathlib import Path

import pytest

from training.reproduce import FOUND_LOCK, LOCK, OWN_LOCK, own_lock


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> object:
    with chdir(tmp_path):
        yield


def write_half(name: str) -> None:
    LOCK.write_text("half")
    Path(name).read_text()


def run(expected: str | None, written: str) -> None:
    """One run that starts from `expected` and writes hashes."""
    with own_lock():
        assert (LOCK.read_text() if LOCK.exists() else None) == expected
        LOCK.write_text(written)


def test_the_lock_is_left_as_it_was_found_and_the_next_run_goes_on() -> None:
    LOCK.write_text("committed")
    run("committed", "own")
    assert (LOCK.read_text(), OWN_LOCK.read_text()) == ("committed", "own")
    run("own", "newer")
    assert (LOCK.read_text(), OWN_LOCK.read_text()) == ("committed", "newer")
    assert not FOUND_LOCK.exists()


def test_a_project_without_a_lock_gets_none() -> None:
    run(None, "own")
    assert not LOCK.exists()
    run("own", "own")


def test_an_error_restores_the_lock_too() -> None:
    LOCK.write_text("committed")
    with pytest.raises(FileNotFoundError), own_lock():
        write_half("no/such/file")
    assert (LOCK.read_text(), OWN_LOCK.read_text()) == ("committed", "half")


def test_a_run_that_was_killed_is_repaired_by_the_next() -> None:
    FOUND_LOCK.parent.mkdir()
    FOUND_LOCK.write_text("committed")
    LOCK.write_text("half")
    OWN_LOCK.write_text("own")
    run("own", "newer")
    assert LOCK.read_text() == "committed"

"""A file is whole or absent."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from qasir.artifacts import atomic_write, sha256_of


def write_and_fail(path: Path) -> None:
    with atomic_write(path) as file:
        file.write(b"new, but only ha")
        raise RuntimeError("power cut")


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with atomic_write(path) as file:
        file.write(b"old")
    with pytest.raises(RuntimeError, match="power cut"):
        write_and_fail(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_write_one_file_each_write_it_whole(tmp_path: Path) -> None:
    path, together = tmp_path / "a", Barrier(4)

    def write(number: int) -> None:
        with atomic_write(path) as file:
            file.write(bytes([number]) * 1000)
            together.wait(10)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    content = path.read_bytes()
    assert content in {bytes([number]) * 1000 for number in range(4)}
    assert list(tmp_path.iterdir()) == [path]


def test_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a").startswith("ba7816bf8f01cfea")

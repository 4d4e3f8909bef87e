"""A file is whole or absent."""

from pathlib import Path

import pytest

from qasir.artifacts import sha256_of, whole_file


def write_and_fail(path: Path) -> None:
    with whole_file(path) as file:
        file.write(b"new, but only ha")
        raise RuntimeError("power cut")


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with whole_file(path) as file:
        file.write(b"old")
    with pytest.raises(RuntimeError, match="power cut"):
        write_and_fail(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a").startswith("ba7816bf8f01cfea")

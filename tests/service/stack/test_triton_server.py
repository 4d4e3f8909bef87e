"""How Triton is started: the interpreter it hosts, its key, one for each state folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qasir.errors import Conflict
from service.processes import python
from service.settings import Settings
from service.stack.triton_server import (
    claim,
    command,
    environment,
    shared_memory_prefix,
    triton_key,
)
from tests.support.triton import ROOT, RunningTriton, stack_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return stack_settings(tmp_path / "state")


def test_the_stub_is_to_find_this_interpreter_first() -> None:
    given = {"PATH": "/elsewhere", "PYTHONHOME": "/wrong", "PYTHONPATH": "/wrong", "OTHER": "kept"}
    result = environment(given)
    assert result["PATH"] == f"{Path(sys.executable).parent}:/elsewhere"
    assert result["OTHER"] == "kept"
    assert not {"PYTHONHOME", "PYTHONPATH"} & result.keys()
    assert environment({})["PATH"] == str(Path(sys.executable).parent)


def test_everything_is_bound_where_the_settings_say(settings: Settings) -> None:
    arguments = command(settings, "secret", ["rank"])
    for protocol in ("http", "grpc", "metrics"):
        assert f"--{protocol}-address=127.0.0.1" in arguments
    assert "--model-control-mode=explicit" in arguments
    assert [word for word in arguments if word.startswith("--load-model")] == ["--load-model=rank"]


def test_the_key_is_made_once_and_is_its_owners(settings: Settings) -> None:
    key = triton_key(settings)
    assert len(key) >= 32
    assert triton_key(settings) == key
    path = settings.folders.run / "triton.key"
    assert path.read_text() == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert triton_key(settings.model_copy(update={"triton_key": "given"})) == "given"


def test_a_state_folder_has_one_triton(tmp_path: Path) -> None:
    holder = (
        "import os, sys, pathlib\n"
        "from service.stack.triton_server import claim\n"
        "claim(pathlib.Path(sys.argv[1]))\n"
        # As the real one does: the lock has to outlive this.
        "os.execv('/bin/sh', ['sh', '-c', 'echo held; read line'])"
    )
    lock = tmp_path / "run" / "triton.lock"
    arguments = python("-c", holder, str(lock))
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match="another Triton serves"):
            claim(lock)
        process.communicate(b"\n")
    claim(lock)


def test_shared_memory_of_a_killed_triton_is_removed(triton_server: RunningTriton) -> None:
    prefix = shared_memory_prefix(triton_server.settings)
    before = {path.name for path in Path("/dev/shm").glob(f"{prefix}*")}
    assert before
    triton_server.kill()
    triton_server.restart()
    after = {path.name for path in Path("/dev/shm").glob(f"{prefix}*")}
    assert after
    assert not before & after


def test_without_a_model_it_says_what_to_do(settings: Settings) -> None:
    variables = {"QASIR_STATE": str(settings.state), "QASIR_TRITON_HOME": str(settings.triton_home)}
    done = subprocess.run(
        python("-m", "service.stack.triton_server"),
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("triton: no active model")
    assert "dvc repro export" in done.stderr

"""The generated code is that of the .proto."""

import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src"
PROTO = "qasir/v1/retrieval.proto"


def test_generated_code_is_that_of_the_proto(tmp_path: Path) -> None:
    """`make proto` would change nothing."""
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(SRC), *outputs, PROTO]
    subprocess.run(command, check=True, cwd=SRC)
    made = {path.name: path.read_text() for path in (tmp_path / PROTO).parent.iterdir()}
    kept = {path.name: path.read_text() for path in (SRC / PROTO).parent.glob("*_pb2*")}
    assert len(made) == 3
    assert made == kept, "run `make proto` and commit what it writes"


def test_generated_code_runs_without_a_warning() -> None:
    code = "from qasir.v1 import retrieval_pb2, retrieval_pb2_grpc"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""

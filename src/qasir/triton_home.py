"""Run Triton from its wheel: where it is unpacked, and what it needs of the interpreter.

The wheel contains `tritonserver` and, for each Python version, a stub process that runs Python
models. `pip --target` unpacks them without execute permission and leaves the stub where Triton
does not look; `prepare` fixes both.
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
    """The folder into which `pip install --no-deps --target` unpacked `nvidia-pytriton`."""

    path: Path

    @property
    def root(self) -> Path:
        return self.path / "pytriton" / "tritonserver"

    @property
    def server(self) -> Path:
        return self.root / "bin" / "tritonserver"

    @property
    def backends(self) -> Path:
        return self.root / "backends"

    @property
    def stub(self) -> Path:
        """The path at which Triton looks for the stub."""
        return self.backends / "python" / STUB_NAME

    @property
    def wheel_stub(self) -> Path:
        """The path in the wheel of the stub for this interpreter's version."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.root / "python_backend_stubs" / version / STUB_NAME

    def prepare(self) -> None:
        """Make server and stub executable for this interpreter; idempotent.

        Raises:
            InvalidConfig: the folder lacks Triton, or the stub for this Python.
        """
        for path in (self.server, self.wheel_stub):
            if not path.is_file():
                raise InvalidConfig(
                    f"no {path}; run `make setup`, or set QASIR_TRITON_HOME to the folder of "
                    f"`pip install --no-deps --target <folder> nvidia-pytriton==0.7.0`"
                )
        if not self.stub.is_file() or self.stub.read_bytes() != self.wheel_stub.read_bytes():
            # Replaced, because the file of a running stub cannot be written to.
            with atomic_write(self.stub) as file:
                os.fchmod(file.fileno(), EXECUTABLE)
                file.write(self.wheel_stub.read_bytes())
        if not os.access(self.server, os.X_OK):
            self.server.chmod(EXECUTABLE)


def libpython_name() -> str:
    """Return the name of the shared library that the stub links to.

    >>> libpython_name().startswith("libpython3.")
    True
    """
    return f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"


def libpython_folder() -> Path | None:
    """Return the folder of the interpreter's shared library; None if the loader finds it itself.

    Raises:
        InvalidConfig: this Python was built without a shared library.
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
    """Return (major, minor) of glibc; () with another C library."""
    name, version = platform.libc_ver()
    return tuple(int(part) for part in version.split(".")[:2]) if name == "glibc" else ()

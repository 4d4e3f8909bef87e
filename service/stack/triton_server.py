"""Triton as a process: `python -m service.stack.triton_server` becomes the server.

Inference, health and metadata need no key, because only loopback reaches the port by default;
every API that changes or reveals more needs the key.
"""

import fcntl
import hashlib
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from qasir.artifacts import atomic_write
from qasir.errors import Conflict, QasirError
from qasir.triton import KEY_HEADER
from qasir.triton_home import TritonHome, libpython_folder
from service.models.store import ModelStore
from service.settings import Settings, load_settings

VARIANT = "wheel"
RESTRICTED = "shared-memory,model-config,model-repository,statistics,trace,logging"
# Grows in few steps to a window of 64 super images; /dev/shm is often too small to start there.
SHARED_MEMORY = {"shm-default-byte-size": 4 << 20, "shm-growth-byte-size": 8 << 20}
EXIT_SECONDS = 10


def command(settings: Settings, key: str, models: Sequence[str]) -> list[str]:
    """Return the server's command line for these settings and models."""
    home = TritonHome(settings.triton_home.absolute())
    ports = {
        "http": settings.triton_http_port,
        "grpc": settings.triton_grpc_port,
        "metrics": settings.triton_metrics_port,
    }
    return [
        str(home.server),
        f"--model-repository={settings.folders.models}",
        f"--backend-directory={home.backends}",
        f"--model-config-name={VARIANT}",
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models),
        # Every config is complete; auto-completion would start each model twice.
        "--disable-auto-complete-config",
        *(f"--backend-config=python,{name}={size}" for name, size in SHARED_MEMORY.items()),
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix(settings)}",
        *(f"--{name}-address={settings.triton_host}" for name in ports),
        *(f"--{name}-port={port}" for name, port in ports.items()),
        f"--http-restricted-api={RESTRICTED}:{KEY_HEADER}={key}",
        f"--grpc-restricted-protocol={RESTRICTED}:{KEY_HEADER}={key}",
        f"--exit-timeout-secs={EXIT_SECONDS}",
        *_tracing(settings.traces_url),
    ]


def _tracing(url: str | None) -> list[str]:
    """Return the options that make Triton send spans of every request to this URL."""
    if url is None:
        return []
    options = (
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        # Trace every request: over gRPC, Triton 2.51 reads the traceparent header past its end up
        # to the next zero byte, and takes the request for untraced where that is not right behind.
        "rate=1",
        f"opentelemetry,url={url}",
        "opentelemetry,resource=service.name=qasir-triton",
    )
    return [f"--trace-config={option}" for option in options]


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Change an environment so that Triton's stub runs this interpreter with its packages.

    Raises:
        InvalidConfig: the interpreter has no shared library.
    """
    # The stub finds Python on PATH, virtual environment included. It ignores PYTHONPATH, and
    # PYTHONHOME would hide the virtual environment.
    result = {k: v for k, v in given.items() if k not in {"PYTHONHOME", "PYTHONPATH"}}
    result["PATH"] = _prepend(str(Path(sys.executable).parent), given.get("PATH"))
    if folder := libpython_folder():
        result["LD_LIBRARY_PATH"] = _prepend(str(folder), given.get("LD_LIBRARY_PATH"))
    return result


def shared_memory_prefix(settings: Settings) -> str:
    """Return the prefix of this state folder's shared memory in /dev/shm."""
    return f"qasir_{hashlib.sha256(bytes(settings.folders.root)).hexdigest()[:12]}_"


def claim(path: Path) -> None:
    """Acquire a lock that this process holds until it ends, also after exec.

    Raises:
        Conflict: another Triton holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.set_inheritable(handle, True)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Conflict(
            f"another Triton serves {path.parent.parent}; stop it with `qasir down`, or set "
            f"QASIR_STATE to another folder"
        ) from error


def triton_key(settings: Settings) -> str:
    """Return the key of the restricted APIs: the setting, or one made once per state folder."""
    if settings.triton_key:
        return settings.triton_key
    path = settings.folders.run / "triton.key"
    if not path.is_file():
        with atomic_write(path) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(secrets.token_urlsafe(24).encode())
    return path.read_text()


def main() -> None:
    """Check that Triton can start, and become Triton."""
    try:
        settings = load_settings()
        claim(settings.folders.run / "triton.lock")
        # A Triton that was killed leaves its shared memory behind.
        for stale in Path("/dev/shm").glob(f"{shared_memory_prefix(settings)}*"):
            stale.unlink(missing_ok=True)
        TritonHome(settings.triton_home.absolute()).prepare()
        models = ModelStore(settings.state).startup()
        arguments = command(settings, triton_key(settings), models)
        variables = environment(os.environ)
    except QasirError as error:
        sys.exit(f"triton: {error}")
    os.execve(arguments[0], arguments, variables)


def _prepend(folder: str, path: str | None) -> str:
    return f"{folder}{os.pathsep}{path}" if path else folder


if __name__ == "__main__":
    main()

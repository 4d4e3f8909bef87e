"""Search long videos by text with super images (QASIR)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qasir.client import Client
    from qasir.client.grpc import GrpcClient

__all__ = ["Client", "GrpcClient", "__version__"]
__version__ = "0.1.0"

# Imported when first asked for: `import qasir` costs nothing.
_LATER = {"Client": "qasir.client", "GrpcClient": "qasir.client.grpc"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'qasir' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)

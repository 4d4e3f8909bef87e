"""Search long videos by text with super images (QASIR)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qasir.client import Client

__all__ = ["Client", "__version__"]
__version__ = "0.1.0"

# Imported on first use, so that `import qasir` costs nothing.
_LAZY = {"Client": "qasir.client"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'qasir' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)

"""Search long videos by text with super images (QASIR)."""

__version__ = "0.1.0"

"""The `qasir` command."""

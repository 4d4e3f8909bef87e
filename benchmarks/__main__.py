"""`python -m benchmarks [name ...]`: runs all or some benchmarks, prints and stores the rows."""

import importlib
import sys

from rich.console import Console
from rich.table import Table

from benchmarks.rows import Row, write_rows

# Benchmark (a function) -> its module.
BENCHMARKS = {
    "recall": "recall",
    "encoding": "ingestion",
    "ingestion": "ingestion",
    "grids": "ingestion",
    "search": "search",
}
# Run only when named: capacity needs Prometheus, which is no Python package, and parity writes a
# report of its own instead of speeds.
NAMED = {"capacity": "capacity", "growth": "growth", "parity": "parity"}


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all of `BENCHMARKS`."""
    modules = {**BENCHMARKS, **NAMED}
    if unknown := set(names) - set(modules):
        sys.exit(f"no benchmark {sorted(unknown)}; there are {', '.join(modules)}")
    table = Table("benchmark", "value", "baseline", "ratio")
    for name in names or BENCHMARKS:
        with Console(stderr=True).status(f"{name} ..."):
            module = importlib.import_module(f"benchmarks.{modules[name]}")
            rows: list[Row] = getattr(module, name)()
        write_rows(rows)
        for row in rows:
            value, baseline = f"{row.value:.4g} {row.unit}", f"{row.baseline:.4g} {row.unit}"
            table.add_row(row.name, value, baseline, f"{row.ratio:.2f}")
    if table.row_count:
        Console().print(table)


main(sys.argv[1:])

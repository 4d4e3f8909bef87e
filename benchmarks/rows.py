"""Writes `results/benchmarks.json`: seconds, each beside a baseline of the same run."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from qasir.artifacts import atomic_write

PATH = Path("results/benchmarks.json")


Config = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Row:
    """One measurement and its baseline; the name says which direction of `ratio` is better."""

    name: str
    value: float
    unit: str
    baseline: float
    ratio: float
    config: Config


def interleaved(repeats: int, *actions: Callable[[], object]) -> list[float]:
    """Run the actions in turn, so that other load hits all alike; returns median seconds."""
    seconds: list[list[float]] = [[] for _ in actions]
    for _ in range(repeats + 1):
        for action, taken in zip(actions, seconds, strict=True):
            begin = time.perf_counter()
            action()
            taken.append(time.perf_counter() - begin)
    return [statistics.median(taken[1:]) for taken in seconds]


def write_rows(rows: list[Row]) -> None:
    """Add the machine to rows and replaces those of the same name; the others stay."""
    stored = json.loads(PATH.read_text()) if PATH.exists() else []
    fresh = [{**asdict(row), "config": {**row.config, **machine()}} for row in rows]
    names = {row.name for row in rows}
    merged = sorted([r for r in stored if r["name"] not in names] + fresh, key=lambda r: r["name"])
    with atomic_write(PATH) as file:
        file.write(json.dumps(merged, indent=1).encode() + b"\n")


def machine() -> Config:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": next(names, platform.machine()),
        "python": platform.python_version(),
    }

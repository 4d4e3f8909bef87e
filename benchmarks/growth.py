"""Measures the index against the size of a library: latency, memory, disk, start, add, delete.

`python -m benchmarks growth`. Random vectors in a cone, in segments on disk as the service has
them; writes `results/growth.json`, `results/growth.svg` and the tables of docs/growth.md.
"""

import json
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console

from benchmarks.library import unit
from benchmarks.recall import BEST, DIM, LENGTHS, QUERIES, TAU, cone, filled
from benchmarks.rows import Row, machine
from qasir.artifacts import atomic_write
from qasir.index import Index
from qasir.segments import MERGED_VECTORS, Part, SegmentVideo, load, save
from training.evaluate.plots import COLORS, line, new_figure

SIZES = (1_000, 10_000, 100_000, 1_000_000)
REPEATS = 15
RESULTS, PLOT, PAGE = (
    Path("results/growth.json"),
    Path("results/growth.svg"),
    Path("docs/growth.md"),
)
LIMITS_MS = (10, 100)


@dataclass(frozen=True)
class GrowthRow:
    """One library: seconds of a search (median of several queries), of opening the index, of adding
    and deleting one video; bytes per super image that a scan maps, and on disk."""

    super_images: int
    length: int
    search: float
    start: float
    add: float
    delete: float
    scanned_bytes: float
    disk_bytes: float


def growth() -> list[Row]:
    """Write the results, the plot and the page; returns no rows of its own."""
    say = Console(stderr=True).print
    rows = []
    for size in SIZES:
        for length in LENGTHS:
            rows.append(measure(size, length))
            say(f"{size} super images, {length} a video: {rows[-1].search * 1000:.2f} ms")
    found = {"machine": machine(), "dim": DIM, "best": BEST, "rows": [asdict(row) for row in rows]}
    with atomic_write(RESULTS) as file:
        file.write(json.dumps(found, indent=1).encode() + b"\n")
    draw(rows, PLOT)
    PAGE.write_text(page(rows))
    return []


def measure(size: int, length: int) -> GrowthRow:
    """Build a library of `size` super images on disk, and measure it."""
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as name:
        folder = Path(name)
        index, scanned = _stored(rng, size, length, folder)
        queries = unit(
            cone(rng, QUERIES, DIM) + unit(rng.standard_normal((QUERIES, DIM), np.float32))
        )
        numbers = iter(range(REPEATS + 1))

        def search() -> None:
            number = next(numbers) % QUERIES
            index.search(queries[number : number + 1], TAU, BEST)

        def start() -> None:
            load_all = [replace(p, segment=load(_folder(p))) for p in index.parts]
            replace(index, parts=tuple(load_all)).search(queries[:1], TAU, BEST)

        one = filled(cone(rng, length, DIM).astype(np.float16), length)
        video = SegmentVideo("new", one.get(one.ids[0]))
        disk = sum(file.stat().st_size for file in folder.rglob("*.npy"))
        return GrowthRow(
            super_images=size,
            length=length,
            search=_median(search),
            start=_median(start, 3),
            add=_median(lambda: _saved(index.with_videos([video]), folder), 5),
            delete=_median(
                lambda: _saved(index.without([index.parts[0].segment.names[0]]), folder)
            ),
            scanned_bytes=scanned / size,
            disk_bytes=disk / size,
        )


def _stored(rng: np.random.Generator, size: int, length: int, folder: Path) -> tuple[Index, int]:
    """Write an index in segments of the size at which they are no longer merged."""
    parts, scanned, done = list[Part](), 0, 0
    while done < size:
        count = min(MERGED_VECTORS, size - done) // length * length or length
        rows = cone(rng, count, DIM).astype(np.float16)
        made = filled(rows, length, prefix=f"s{len(parts):03}-")
        (part,) = made.parts
        segment = save(part.segment, folder / f"{len(parts):03}")
        scanned += sum(array.nbytes for array in (segment.codes, segment.scales, segment.errors))
        parts.append(Part(segment, part.kept))
        done += count
        if size - done < length:
            break
    return replace(made, parts=tuple(parts)), scanned


def _saved(index: Index, folder: Path) -> None:
    """Write what a change has made, as the service does, and remove it again."""
    for number, part in enumerate(index.parts):
        if part.segment.folder is None:
            made = folder / f"change-{number}"
            save(part.segment, made)
            shutil.rmtree(made)


def _folder(part: Part) -> Path:
    assert part.segment.folder is not None
    return part.segment.folder


def _median(action: Callable[[], object], repeats: int = REPEATS) -> float:
    seconds = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def exponent(rows: Sequence[GrowthRow]) -> float:
    """Return the slope of log seconds over log size for the two largest libraries."""
    small, large = sorted(rows, key=lambda row: row.super_images)[-2:]
    ratio = np.log(large.search / small.search)
    return float(ratio / np.log(large.super_images / small.super_images))


def crossover(rows: Sequence[GrowthRow], seconds: float) -> float:
    """Return the number of super images at which a search takes this long, by interpolation."""
    ordered = sorted(rows, key=lambda row: row.super_images)
    sizes = np.log([row.super_images for row in ordered])
    times = np.log([row.search for row in ordered])
    if seconds > ordered[-1].search:
        return float(np.exp(sizes[-1] + (np.log(seconds) - times[-1])))
    return float(np.exp(np.interp(np.log(seconds), times, sizes)))


def draw(rows: Sequence[GrowthRow], path: Path) -> None:
    """Plot seconds of a search, a start, an addition and a deletion against the size."""
    panels = {
        "search": "search",
        "start": "start",
        "add": "add a video",
        "delete": "delete a video",
    }
    with new_figure(path, "Recall on one machine", (9, 6), 2, 2, sharex=True) as axes:
        for axis, (name, title) in zip(axes.flat, panels.items(), strict=True):
            for length, color in zip(LENGTHS, COLORS, strict=False):
                points = [
                    (row.super_images, 1000 * getattr(row, name))
                    for row in rows
                    if row.length == length
                ]
                line(axis, points, f"{length} a video", color)
            axis.set(xscale="log", yscale="log", title=title, ylabel="ms")
        for axis in axes[1]:
            axis.set_xlabel("super images")


def page(rows: Sequence[GrowthRow]) -> str:
    """Write docs/growth.md."""
    cpu = machine()
    lines = [
        "# How the index grows",
        "",
        f"`python -m benchmarks growth` on {cpu['cores']} cores of {cpu['cpu']}: D = {DIM}, random "
        f"vectors in a cone, the best {BEST} videos, medians. Made by that command; do not edit.",
        "",
        "![search, start, add and delete against the size of the library](../results/growth.svg)",
        "",
        "| super images | a video | search | start | add | delete | scanned, bytes | disk, bytes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = (row.search, row.start, row.add, row.delete)
        cells = [f"{row.super_images:,}", str(row.length), *[f"{1000 * t:.2f} ms" for t in times]]
        cells += [f"{row.scanned_bytes:.0f}", f"{row.disk_bytes:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "- **start** maps the index, checks what a scan reads and searches once.",
        "- **add** and **delete** change one video, with what that merges, and write it.",
        "- **scanned**, **disk**: per super image, at N = 1; on disk each further cell of a super "
        "image adds 2 x D bytes.",
        "",
        "| a video | exponent of search | " + " | ".join(f"{ms} ms at" for ms in LIMITS_MS) + " |",
        "|---|---|" + "---|" * len(LIMITS_MS),
    ]
    for length in LENGTHS:
        chosen = [row for row in rows if row.length == length]
        at = [f"{crossover(chosen, ms / 1000):,.0f} super images" for ms in LIMITS_MS]
        lines.append(f"| {length} | {exponent(chosen):.2f} | {' | '.join(at)} |")
    lines += [
        "",
        "The exponent is that of the two largest libraries. Where a limit lies beyond the largest "
        "one, the size is extrapolated in proportion. A super image at N = 2 and one frame a "
        "second is four seconds of video.",
        "",
    ]
    return "\n".join(lines)

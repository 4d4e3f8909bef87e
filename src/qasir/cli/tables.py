"""Tables and words that the commands print for people."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from qasir.cli.candidates import Candidate
from qasir.contract.jobs import Job
from qasir.contract.search import SearchResponse, SearchResult
from qasir.contract.videos import Video


def id_column(name: str) -> Column:
    """Return a column of ids, which people copy: never cut, never wrapped.

    A new one for each table, because a column holds the cells of its table.
    """
    return Column(name, no_wrap=True)


def results_table(results: Sequence[SearchResult]) -> Table:
    """Show rank, score, video and best moment of each result."""
    table = Table("rank", "score", id_column("video"), "moment", "title")
    for result in results:
        moment = result.moments[0] if result.moments else None
        when = f"{clock(moment.start)} to {clock(moment.end)}" if moment else ""
        row = (str(result.rank), f"{result.score:.3f}", result.video.id, when, result.video.title)
        table.add_row(*row)
    return table


def searched_words(answer: SearchResponse) -> str:
    """Say how much was searched, and how fast."""
    count, milliseconds = answer.searched.video_count, answer.timings_ms.get("total", 0.0)
    videos = f"{count} video{'' if count == 1 else 's'}"
    return f"searched {videos}, {clock(answer.searched.seconds)} in all, in {milliseconds:.0f} ms"


def videos_table(videos: Sequence[Video]) -> Table:
    """Show id, state, length, size and title of each video."""
    table = Table(id_column("video"), "state", "length", "size", "title")
    for video in videos:
        size = f"{video.width}x{video.height}" if video.width else ""
        table.add_row(video.id, video.state, length_of(video), size, video.title)
    return table


def jobs_table(jobs: Sequence[Job]) -> Table:
    """Show id, video, state, progress and error code of each job."""
    table = Table(id_column("job"), id_column("video"), "state", "done", "left", "error")
    for job in jobs:
        left = "" if job.eta_seconds is None else f"{job.eta_seconds:.0f} s"
        state = f"{job.state}, {job.stage}" if job.state == "running" and job.stage else job.state
        error = "" if job.error is None else job.error.code
        table.add_row(job.id, job.video_id, state, f"{job.progress:.0%}", left, error)
    return table


def length_of(video: Video) -> str:
    """Say how long a video is, and how much of a damaged one is searched."""
    if not video.duration:
        return ""
    readable = f" ({clock(video.indexed_seconds)} readable)" if is_damaged(video) else ""
    return clock(video.duration) + readable


def is_damaged(video: Video) -> bool:
    """Whether much of a video could not be decoded, so that it is not searched."""
    # Sampling may skip half an interval at the end, which is no damage.
    missing = video.duration - video.indexed_seconds > max(2.0, 0.1 * video.duration)
    return video.state == "ready" and missing


def clock(seconds: float) -> str:
    """Format a time for people.

    >>> clock(3725.25)
    '1:02:05.2'
    """
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def candidates_table(candidates: Sequence[Candidate], chosen: Candidate) -> Table:
    """Show measured configurations, the chosen one marked; readable in 80 columns."""
    right = [Column(name, justify="right") for name in ("N", "R", "fps")]
    costs = [Column(name, justify="right") for name in ("s per video-hour", "s per query")]
    recalls = Column("R@1 / R@5 / R@10", justify="right", no_wrap=True)
    table = Table(
        "", *right, "model and mode", recalls, *costs, box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for c in candidates:
        place = (str(c.grid_size), str(c.resolution), f"{c.fps:g}")
        # A hybrid's variant is its mode; the others differ in what the model has learned, too.
        model = c.backbone if c.variant == c.mode else f"{c.variant} {c.backbone}"
        recall = " / ".join(f"{value:.1f}" for value in (c.r1, c.r5, c.r10))
        cost = f"{c.ingest_seconds:.1f}", f"+{c.query_seconds:.2f}" if c.query_seconds else ""
        mark, style = (">", "bold") if c == chosen else ("", None)
        table.add_row(mark, *place, f"{model}, {c.mode_words}", recall, *cost, style=style)
    return table

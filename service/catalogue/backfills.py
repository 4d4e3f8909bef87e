"""Backfills: videos to encode into a model's space outside their ingest.

That a video lacks vectors of a retained model is stored nowhere: it follows from the vector files,
so work that a crash interrupts is found again by looking. A job of kind `backfill` exists for what
does not follow from them: a request by a search, an attempt under way, a failure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, select

from qasir.manifest import EmbeddingSpec
from service.catalogue import jobs, schema
from service.catalogue.db import Repository
from service.catalogue.schema import job_specs, of_specs, specs_where

JOB, VIDEO, VECTORS = schema.jobs.c, schema.videos.c, schema.vectors.c


@dataclass(frozen=True)
class Coverage:
    """The ready videos of the library as specs see them.

    done: have vectors for every spec; failed: lack some and could not be encoded.
    """

    total: int
    done: int
    failed: int

    @property
    def missing(self) -> int:
        """Count the videos that lack vectors, for whatever reason."""
        return self.total - self.done

    @property
    def waiting(self) -> int:
        """Count the videos that are still to be encoded."""
        return self.missing - self.failed


@dataclass(frozen=True)
class Target:
    """A model version, and the specs of it for which every video is to have vectors."""

    version: int
    specs: tuple[EmbeddingSpec, ...]


class Backfills(Repository):
    """Which videos lack vectors of which specs, and the jobs that encode them."""

    def coverage(self, specs: Sequence[EmbeddingSpec]) -> Coverage:
        """Count the videos of the library that have vectors for these specs."""
        with self.database.reading() as connection:
            return _coverage(connection, specs)

    def switch(self, specs: Sequence[EmbeddingSpec], decide: Callable[[Coverage], None]) -> None:
        """Run `decide` while nothing can be committed: what it sees stays true until it is done."""
        with self.database.writing() as connection:
            decide(_coverage(connection, specs))

    def request(self, video_ids: Sequence[str], spec: EmbeddingSpec, limit: int) -> None:
        """Ask for vectors that these videos lack, best first; at most `limit` may wait.

        A video that could not be encoded is not tried again.
        """
        with self.database.writing() as connection:
            room, now = limit - _requested(connection, spec), self.clock()
            lacking = _select_ids(connection, select(VIDEO.id).where(VIDEO.id.in_(video_ids)))
            # The worker may have encoded some since the caller looked.
            lacking -= _select_ids(connection, _complete([spec]))
            open_or_failed = _select_ids(connection, _jobs_for([spec]))
            for video_id in [i for i in video_ids if i in lacking][: max(0, room)]:
                if video_id not in open_or_failed:
                    _add(connection, video_id, [spec], now, requested_at=now)

    def requested(self, spec: EmbeddingSpec) -> int:
        """Count the videos that wait for vectors of this spec because a search requested them."""
        with self.database.reading() as connection:
            return _requested(connection, spec)

    def failed(self, video_ids: Sequence[str], spec: EmbeddingSpec) -> set[str]:
        """Return which of these videos could not be encoded."""
        with self.database.reading() as connection:
            return _select_ids(connection, _failed([spec]).where(JOB.video_id.in_(video_ids)))

    def error(self, specs: Sequence[EmbeddingSpec]) -> str | None:
        """Say why one of these backfills failed; None: none did."""
        query = _failed(specs).with_only_columns(JOB.video_id, JOB.error_code, JOB.error_detail)
        with self.database.reading() as connection:
            row = connection.execute(query.limit(1)).one_or_none()
        if row is None:
            return None
        return f"video {row.video_id}: {row.error_code}: {row.error_detail}"

    def retry(self, specs: Sequence[EmbeddingSpec]) -> None:
        """Remove failed backfills, so that the worker tries them again."""
        numbers = _failed(specs).with_only_columns(JOB.number)
        with self.database.writing() as connection:
            connection.execute(delete(schema.jobs).where(JOB.number.in_(numbers)))


def has_work(
    connection: Connection, target: Target, now: float, *, search_missing: bool = True
) -> bool:
    """Return whether a backfill is due; `search_missing`: also look for videos without a job."""
    if _due_job(connection, target.specs, now) is not None:
        return True
    return search_missing and _next_missing(connection, target.specs) is not None


def next_due(
    connection: Connection, targets: Sequence[Target], now: float
) -> tuple[int, Target] | None:
    """Find the job to run now: its number, and the target with the specs that it is for.

    What a search requested comes first, then the targets in order. A job is added for a video
    that lacks vectors.
    """
    specs = [spec for target in targets for spec in target.specs]
    requested = _due_job(connection, specs, now, JOB.requested_at.is_not(None))
    if requested is not None:
        return requested, _target_of(connection, requested, targets)
    for target in targets:
        number = _due_job(connection, target.specs, now)
        if number is None and (video_id := _next_missing(connection, target.specs)) is not None:
            present = specs_where(connection, schema.vectors, VECTORS.video_id == video_id)
            lacking = [spec for spec in target.specs if spec not in present]
            number = _add(connection, video_id, lacking, now)
        if number is not None:
            return number, _target_of(connection, number, [target])
    return None


def forget(connection: Connection, matches: ColumnElement[bool]) -> None:
    """Remove specs from backfill jobs, and jobs that have none left."""
    connection.execute(delete(job_specs).where(matches))
    rest = select(job_specs.c.number)
    connection.execute(delete(schema.jobs).where(JOB.kind == "backfill", JOB.number.not_in(rest)))


def forget_of_video(connection: Connection, video_id: str, specs: Sequence[EmbeddingSpec]) -> None:
    """Remove the backfills of one video for specs that it has vectors of now."""
    numbers = select(JOB.number).where(JOB.video_id == video_id, JOB.kind == "backfill")
    forget(connection, and_(job_specs.c.number.in_(numbers), of_specs(job_specs, specs)))


def _coverage(connection: Connection, specs: Sequence[EmbeddingSpec]) -> Coverage:
    complete, failed = _complete(specs), _failed(specs)

    def count(*conditions: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(schema.videos)
        return connection.execute(query.where(VIDEO.state == "ready", *conditions)).scalar_one()

    return Coverage(
        total=count(),
        done=count(VIDEO.id.in_(complete)),
        failed=count(VIDEO.id.not_in(complete), VIDEO.id.in_(failed)),
    )


def _complete(specs: Sequence[EmbeddingSpec]) -> Select[Any]:
    """Select the ids of the videos that have vectors for every spec."""
    of_these = select(VECTORS.video_id).where(of_specs(schema.vectors, specs))
    return of_these.group_by(VECTORS.video_id).having(func.count() == len(set(specs)))


def _jobs_for(specs: Sequence[EmbeddingSpec], *conditions: ColumnElement[bool]) -> Select[Any]:
    """Select the video ids of the backfill jobs for any of these specs."""
    both = schema.jobs.join(job_specs)
    query = select(JOB.video_id).select_from(both).where(JOB.kind == "backfill")
    return query.where(of_specs(job_specs, specs), *conditions)


def _failed(specs: Sequence[EmbeddingSpec]) -> Select[Any]:
    return _jobs_for(specs, JOB.state == "failed")


def _requested(connection: Connection, spec: EmbeddingSpec) -> int:
    waiting = and_(JOB.requested_at.is_not(None), JOB.state.in_(jobs.OPEN_STATES))
    query = _jobs_for([spec], waiting).with_only_columns(func.count())
    return connection.execute(query).scalar_one()


def _due_job(
    connection: Connection,
    specs: Sequence[EmbeddingSpec],
    now: float,
    *conditions: ColumnElement[bool],
) -> int | None:
    """Find the oldest queued job for any of these specs."""
    due = _jobs_for(specs, JOB.state == "queued", JOB.not_before <= now, *conditions)
    oldest = due.with_only_columns(JOB.number).order_by(JOB.requested_at, JOB.number).limit(1)
    number: int | None = connection.execute(oldest).scalar_one_or_none()
    return number


def _next_missing(connection: Connection, specs: Sequence[EmbeddingSpec]) -> str | None:
    """Find the oldest ready video that lacks vectors and has no backfill job for them."""
    query = select(VIDEO.id).where(
        VIDEO.state == "ready",
        VIDEO.id.not_in(_complete(specs)),
        VIDEO.id.not_in(_jobs_for(specs)),
    )
    oldest = query.order_by(VIDEO.created_at, VIDEO.id).limit(1)
    video_id: str | None = connection.execute(oldest).scalar_one_or_none()
    return video_id


def _target_of(connection: Connection, number: int, targets: Sequence[Target]) -> Target:
    """Find the first target that a job is for, with those of its specs that the job is for."""
    specs = specs_where(connection, job_specs, job_specs.c.number == number)
    target = next(target for target in targets if specs & {*target.specs})
    return Target(target.version, tuple(spec for spec in target.specs if spec in specs))


def _add(
    connection: Connection,
    video_id: str,
    specs: Sequence[EmbeddingSpec],
    now: float,
    requested_at: float | None = None,
) -> int:
    number = jobs.add(connection, video_id, now, kind="backfill", requested_at=requested_at)
    connection.execute(insert(job_specs), [{"number": number, **dict(spec)} for spec in specs])
    return number


def _select_ids(connection: Connection, query: Select[Any]) -> set[str]:
    return set(connection.execute(query).scalars())

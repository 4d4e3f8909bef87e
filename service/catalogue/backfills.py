"""Backfills: videos to encode into a model's space outside their ingest.

That a video lacks vectors of a retained model is stored nowhere: it follows from the vector files,
so work that a crash interrupts is found again by looking. A job of kind `backfill` exists for what
does not follow from them: a request by a search, an attempt under way, a failure.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from qasir.manifest import EmbeddingSpec
from service.catalogue import jobs, schema
from service.catalogue.db import Database
from service.catalogue.schema import job_specs, of_specs

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
        """Not done, for whatever reason."""
        return self.total - self.done

    @property
    def waiting(self) -> int:
        """Still to be encoded."""
        return self.missing - self.failed


@dataclass(frozen=True)
class Target:
    """A model version, and the specs of it for which every video is to have vectors."""

    version: int
    specs: tuple[EmbeddingSpec, ...]


@dataclass(frozen=True)
class DueBackfill:
    """The number of a job that may run now, and what it encodes: some specs of its target."""

    number: int
    target: Target


class Backfills:
    """What specs lack in one catalogue; safe to share by threads."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def coverage(self, specs: Sequence[EmbeddingSpec]) -> Coverage:
        """How much of the library has vectors for these specs."""
        with self._database.reading() as connection:
            return _coverage(connection, specs)

    def switch(self, specs: Sequence[EmbeddingSpec], decide: Callable[[Coverage], None]) -> None:
        """Run `decide` while nothing can be committed: what it sees stays true until it is done."""
        with self._database.writing() as connection:
            decide(_coverage(connection, specs))

    def request(self, video_ids: Sequence[str], spec: EmbeddingSpec, limit: int) -> None:
        """Ask for vectors that these videos lack, best first; at most `limit` may wait.

        A video that could not be encoded is not tried again.
        """
        with self._database.writing() as connection:
            room = limit - _requested(connection, spec)
            known = _select_ids(connection, select(VIDEO.id).where(VIDEO.id.in_(video_ids)))
            # The worker may have encoded some since the caller looked.
            known -= _select_ids(connection, _complete([spec]))
            open_or_failed = _select_ids(connection, _jobs_for([spec]))
            for video_id in [i for i in video_ids if i in known][: max(0, room)]:
                if video_id not in open_or_failed:
                    _add(connection, video_id, [spec], self._clock(), requested=True)

    def requested(self, spec: EmbeddingSpec) -> int:
        """How many videos wait for vectors of this spec because a search asked for them."""
        with self._database.reading() as connection:
            return _requested(connection, spec)

    def failed(self, video_ids: Sequence[str], spec: EmbeddingSpec) -> set[str]:
        """Those of these videos that could not be encoded."""
        query = _failed([spec]).where(JOB.video_id.in_(video_ids))
        with self._database.reading() as connection:
            return _select_ids(connection, query)

    def error(self, specs: Sequence[EmbeddingSpec]) -> str | None:
        """Why one of these backfills failed, if any did."""
        numbers = _jobs_for(specs, JOB.state == "failed").with_only_columns(JOB.number)
        query = select(schema.jobs).where(JOB.number.in_(numbers)).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return (
            None if row is None else f"video {row.video_id}: {row.error_code}: {row.error_detail}"
        )

    def retry(self, specs: Sequence[EmbeddingSpec]) -> None:
        """Forget failures and attempts, so that all is tried again."""
        numbers = _jobs_for(specs, JOB.state == "failed").with_only_columns(JOB.number)
        with self._database.writing() as connection:
            connection.execute(delete(schema.jobs).where(JOB.number.in_(numbers)))


def has_work(
    connection: Connection, target: Target, now: float, *, search_missing: bool = True
) -> bool:
    """Whether a backfill of this target is due; `search_missing`: look at every video, too."""
    if _due_job(connection, target.specs, now) is not None:
        return True
    return search_missing and _next_missing(connection, target.specs) is not None


def next_due(connection: Connection, targets: Sequence[Target], now: float) -> DueBackfill | None:
    """The backfill to run now: what a search requested first, then the targets in order.

    A job is added for a video that lacks vectors.
    """
    specs = [spec for target in targets for spec in target.specs]
    requested = _due_job(connection, specs, now, JOB.requested_at.is_not(None))
    if requested is not None:
        number, spec = requested
        target = next(target for target in targets if spec in target.specs)
        return _narrowed(connection, number, target)
    for target in targets:
        if (due := _due_job(connection, target.specs, now)) is not None:
            return _narrowed(connection, due[0], target)
        if (video_id := _next_missing(connection, target.specs)) is not None:
            number = _add(connection, video_id, _lacking(connection, video_id, target.specs), now)
            return _narrowed(connection, number, target)
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
    """Ids of the videos that have vectors for every spec."""
    of_these = select(VECTORS.video_id).where(of_specs(schema.vectors, specs))
    return of_these.group_by(VECTORS.video_id).having(func.count() == len(set(specs)))


def _jobs_for(specs: Sequence[EmbeddingSpec], *conditions: ColumnElement[bool]) -> Select[Any]:
    """Video ids of the backfill jobs for any of these specs."""
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
) -> tuple[int, EmbeddingSpec] | None:
    """The oldest queued job for any of these specs, and one of its specs."""
    due = _jobs_for(specs, JOB.state == "queued", JOB.not_before <= now, *conditions)
    columns = (job_specs.c[name] for name in EmbeddingSpec.model_fields)
    oldest = due.with_only_columns(JOB.number, *columns)
    row = connection.execute(oldest.order_by(JOB.requested_at, JOB.number).limit(1)).one_or_none()
    if row is None:
        return None
    number, *values = row
    return number, EmbeddingSpec(**dict(zip(EmbeddingSpec.model_fields, values, strict=True)))


def _next_missing(connection: Connection, specs: Sequence[EmbeddingSpec]) -> str | None:
    """The oldest ready video that lacks vectors and has no backfill job for them."""
    query = select(VIDEO.id).where(
        VIDEO.state == "ready",
        VIDEO.id.not_in(_complete(specs)),
        VIDEO.id.not_in(_jobs_for(specs)),
    )
    oldest = query.order_by(VIDEO.created_at, VIDEO.id).limit(1)
    video_id: str | None = connection.execute(oldest).scalar_one_or_none()
    return video_id


def _lacking(
    connection: Connection, video_id: str, specs: Sequence[EmbeddingSpec]
) -> list[EmbeddingSpec]:
    def exists(spec: EmbeddingSpec) -> bool:
        row = select(VECTORS.path).where(
            VECTORS.video_id == video_id, of_specs(schema.vectors, [spec])
        )
        return connection.execute(row).first() is not None

    return [spec for spec in specs if not exists(spec)]


def _narrowed(connection: Connection, number: int, target: Target) -> DueBackfill:
    """The job with those of the target's specs that it is for."""
    columns = [job_specs.c[name] for name in EmbeddingSpec.model_fields]
    rows = connection.execute(select(*columns).where(job_specs.c.number == number))
    specs = {EmbeddingSpec(**row._mapping) for row in rows}
    narrowed = tuple(spec for spec in target.specs if spec in specs)
    return DueBackfill(number, Target(target.version, narrowed))


def _add(
    connection: Connection,
    video_id: str,
    specs: Sequence[EmbeddingSpec],
    now: float,
    *,
    requested: bool = False,
) -> int:
    number = jobs.add(connection, video_id, now, kind="backfill")
    if requested:
        row = update(schema.jobs).where(JOB.number == number)
        connection.execute(row.values(requested_at=now))
    connection.execute(insert(job_specs), [{"number": number, **dict(spec)} for spec in specs])
    return number


def _select_ids(connection: Connection, query: Select[Any]) -> set[str]:
    return set(connection.execute(query).scalars())

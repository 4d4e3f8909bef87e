"""What is encoded outside an ingest: videos that a model set lacks, and what searches ask for.

That a generation lacks a video is nowhere written down: it follows from the vector files. So
work that a crash interrupts is found again by looking. Rows of `encodings` hold what does not
follow from them: how often it was tried, why it failed, and what was asked for.
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

from qasir.errors import DecoderCrashed
from qasir.manifest import EmbeddingSpec
from service.catalogue import schema, vector_files, videos
from service.catalogue.db import Database, record_change
from service.catalogue.jobs import JobError
from service.catalogue.schema import encodings, vectors
from service.catalogue.vector_files import VectorFile, of_specs


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


class Backfills:
    """Videos against specs in one catalogue; safe to share by threads."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def coverage(self, specs: Sequence[EmbeddingSpec]) -> Coverage:
        """How much of the library has vectors for these specs."""
        with self._database.reading() as connection:
            return coverage(connection, specs)

    def switch(self, specs: Sequence[EmbeddingSpec], decide: Callable[[Coverage], None]) -> None:
        """Run `decide` while nothing can be committed: what it sees stays true until it is done."""
        with self._database.writing() as connection:
            decide(coverage(connection, specs))

    def next_missing(self, specs: Sequence[EmbeddingSpec]) -> str | None:
        """The oldest ready video that lacks vectors and has not failed."""
        with self._database.reading() as connection:
            query = _ready().where(
                schema.videos.c.id.not_in(_complete(specs)),
                schema.videos.c.id.not_in(_failed(specs)),
            )
            oldest = query.order_by(schema.videos.c.created_at, schema.videos.c.id).limit(1)
            found: str | None = connection.execute(oldest).scalar_one_or_none()
            return found

    def request(self, video_ids: Sequence[str], spec: EmbeddingSpec, limit: int) -> None:
        """Ask for vectors that these videos lack, best first; at most `limit` may wait."""
        with self._database.writing() as connection:
            room = limit - _requests(connection, spec)
            known = videos.among(connection, video_ids).keys()
            # The worker may have built some since the caller looked.
            built = {file.video_id for file in vector_files.with_spec(connection, spec, video_ids)}
            for video_id in [i for i in video_ids if i in known - built][: max(0, room)]:
                _add(connection, video_id, spec, self._clock())

    def requested(self, spec: EmbeddingSpec) -> int:
        """How many videos wait for vectors of this spec because they were asked for."""
        with self._database.reading() as connection:
            return _requests(connection, spec)

    def next_requested(self, spec: EmbeddingSpec) -> str | None:
        """The video that was asked for first, and neither made nor failed since."""
        with self._database.reading() as connection:
            query = select(encodings.c.video_id).where(_open(spec))
            first = query.order_by(encodings.c.requested).limit(1)
            found: str | None = connection.execute(first).scalar_one_or_none()
            return found

    def failed(self, video_ids: Sequence[str], spec: EmbeddingSpec) -> set[str]:
        """Those that could not be encoded."""
        with self._database.reading() as connection:
            query = _failed([spec]).where(encodings.c.video_id.in_(video_ids))
            return set(connection.execute(query).scalars())

    def begin(self, video_id: str, specs: Sequence[EmbeddingSpec], attempts: int) -> bool:
        """Count an attempt before it is made, so that one that kills the worker is counted, too.

        False: the video is gone, or has had so many; the latter is a failure from now on.
        """
        with self._database.writing() as connection:
            if video_id not in videos.among(connection, [video_id]):
                return False
            for spec in specs:
                _add(connection, video_id, spec)
            mine = _mine(video_id, specs)
            tried = connection.execute(select(func.max(encodings.c.attempts)).where(mine))
            if tried.scalar_one() >= attempts:
                message = f"the worker died {attempts} times on this video; re-encode it"
                _fail(connection, mine, JobError(DecoderCrashed.code, message, retryable=False))
                return False
            more = encodings.c.attempts + 1
            connection.execute(update(encodings).where(mine).values(attempts=more))
            return True

    def put_off(self, video_id: str, specs: Sequence[EmbeddingSpec]) -> None:
        """The attempt was cut short by no fault of the video: it does not count."""
        with self._database.writing() as connection:
            less = encodings.c.attempts - 1
            connection.execute(
                update(encodings).where(_mine(video_id, specs)).values(attempts=less)
            )

    def fail(self, video_id: str, specs: Sequence[EmbeddingSpec], error: JobError) -> None:
        """Keep why it failed; it is not tried again until somebody asks."""
        with self._database.writing() as connection:
            _fail(connection, _mine(video_id, specs), error)

    def commit(self, video_id: str, files: Sequence[VectorFile]) -> bool:
        """Name the vector files; False: the video was deleted meanwhile, nothing is written."""
        with self._database.writing() as connection:
            if video_id not in videos.among(connection, [video_id]):
                return False
            for file in files:
                vector_files.add(connection, file)
            specs = [file.spec for file in files]
            connection.execute(delete(encodings).where(_mine(video_id, specs)))
            for spec in specs:
                record_change(connection, "built", video_id, spec)
            return True

    def error(self, specs: Sequence[EmbeddingSpec]) -> str | None:
        """Why one of these encodings failed, if any did."""
        with self._database.reading() as connection:
            query = select(encodings).where(of_specs(encodings, specs), _FAILED).limit(1)
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            return f"video {row.video_id}: {row.error_code}: {row.error_detail}"

    def retry(self, specs: Sequence[EmbeddingSpec]) -> None:
        """Forget failures and attempts, so that all is tried again."""
        with self._database.writing() as connection:
            connection.execute(delete(encodings).where(of_specs(encodings, specs), _FAILED))


def coverage(connection: Connection, specs: Sequence[EmbeddingSpec]) -> Coverage:
    """How much of the library has vectors for these specs."""
    complete, failed = _complete(specs), _failed(specs)

    def count(*conditions: ColumnElement[bool]) -> int:
        query = _ready().where(*conditions).subquery()
        return connection.execute(select(func.count()).select_from(query)).scalar_one()

    video = schema.videos.c.id
    return Coverage(
        total=count(),
        done=count(video.in_(complete)),
        failed=count(video.not_in(complete), video.in_(failed)),
    )


_FAILED = encodings.c.error_code.is_not(None)


def _ready() -> Select[Any]:
    return select(schema.videos.c.id).where(schema.videos.c.state == "ready")


def _complete(specs: Sequence[EmbeddingSpec]) -> Select[Any]:
    held = select(vectors.c.video_id).where(of_specs(vectors, specs))
    return held.group_by(vectors.c.video_id).having(func.count() == len(set(specs)))


def _failed(specs: Sequence[EmbeddingSpec]) -> Select[Any]:
    return select(encodings.c.video_id).where(of_specs(encodings, specs), _FAILED)


def _mine(video_id: str, specs: Sequence[EmbeddingSpec]) -> ColumnElement[bool]:
    return and_(encodings.c.video_id == video_id, of_specs(encodings, specs))


def _open(spec: EmbeddingSpec) -> ColumnElement[bool]:
    return and_(of_specs(encodings, [spec]), encodings.c.requested.is_not(None), ~_FAILED)


def _requests(connection: Connection, spec: EmbeddingSpec) -> int:
    query = select(func.count()).select_from(encodings).where(_open(spec))
    return connection.execute(query).scalar_one()


def _add(
    connection: Connection, video_id: str, spec: EmbeddingSpec, requested: float | None = None
) -> None:
    row = {"video_id": video_id, **dict(spec), "requested": requested}
    connection.execute(insert(encodings).prefix_with("OR IGNORE").values(**row))


def _fail(connection: Connection, mine: ColumnElement[bool], error: JobError) -> None:
    reason = {"error_code": error.code, "error_detail": error.detail}
    connection.execute(update(encodings).where(mine).values(**reason))

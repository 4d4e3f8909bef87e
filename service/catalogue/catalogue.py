"""The catalogue's transactions: what happens together or not at all.

Processes share nothing but this file, the media and the vectors. Whatever changes the
answer of a search also writes a change, in the same transaction; a searcher that has
seen the newest change number has seen everything.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qasir.errors import NotFound
from qasir.manifest import EmbeddingSpec
from qasir.types import VideoInfo
from service.catalogue import changes, jobs, sidecars, videos
from service.catalogue.changes import Changes
from service.catalogue.db import Database
from service.catalogue.encodings import Encodings
from service.catalogue.jobs import Claim, Job, JobError, JobState, Progress
from service.catalogue.page import Page
from service.catalogue.videos import Details, VectorFile, Video, VideoKey
from service.folders import StateFolders

UNCHANGED = Details()


@dataclass(frozen=True)
class Accepted:
    """An acknowledged upload.

    `is_new` is False where the same bytes were uploaded before; `is_updated`: this upload
    replaced the title or metadata of that video.
    """

    video: Video
    job: Job
    is_new: bool
    is_updated: bool = False


@dataclass(frozen=True)
class Totals:
    """Counts for the metrics page; `oldest_queued_seconds` is 0 where no job waits."""

    jobs: dict[JobState, int]
    oldest_queued_seconds: float
    change_number: int
    searchable_videos: int
    super_images: dict[int, int]


class Catalogue:
    """Videos, jobs, vector files and changes of one state folder; safe to share by threads."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._folders = StateFolders(path.parent)
        self._database = Database(path)
        self._clock = clock

    def close(self) -> None:
        """Release the file handles."""
        self._database.close()

    @property
    def encodings(self) -> Encodings:
        """What is encoded outside an ingest."""
        return Encodings(self._database, self._clock)

    def accept(self, video: Video, details: Details = UNCHANGED) -> Accepted:
        """Store a video and queue its ingest; bytes that are here already keep their id.

        `details` are what the uploader said explicitly: they replace those of an existing video.
        A video whose ingest failed gets a new job: sending it again means trying again.
        """
        accepted = self._accept(video, details)
        # Last, because it says that the video was acknowledged.
        sidecars.write(self._folders, accepted.video)
        return accepted

    def _accept(self, video: Video, details: Details) -> Accepted:
        with self._database.writing() as connection:
            known = videos.among(connection, [video.id]).get(video.id)
            updated = known is not None and videos.edit(connection, known, details)
            if updated:
                changes.add(connection, "edited", video.id)
            if known is None:
                videos.add(connection, video)
            elif known.state in ("failed", "cancelled"):
                videos.set_state(connection, known.id, "queued")
            else:
                job = jobs.newest_of(connection, known.id)
                return Accepted(videos.get(connection, known.id), job, False, updated)
            job = jobs.add(connection, video.id, self._clock())
            return Accepted(videos.get(connection, video.id), job, known is None, updated)

    def video(self, video_id: str) -> Video:
        """One video.

        Raises:
            NotFound: there is none with this id.
        """
        with self._database.reading() as connection:
            return videos.get(connection, video_id)

    def videos(self, offset: int, limit: int) -> tuple[list[Video], int]:
        """A page of videos, newest first, and how many there are."""
        with self._database.reading() as connection:
            return videos.page(connection, offset, limit), videos.count(connection)

    def list_videos(self, limit: int, after: VideoKey | None = None) -> Page[Video, VideoKey]:
        """A page of videos, newest first, from the one after a key."""
        with self._database.reading() as connection:
            return videos.list_page(connection, limit, after)

    def count_videos(self) -> int:
        """How many videos there are."""
        with self._database.reading() as connection:
            return videos.count(connection)

    def videos_among(self, ids: Sequence[str]) -> dict[str, Video]:
        """Those of `ids` that exist."""
        with self._database.reading() as connection:
            return videos.among(connection, ids)

    def video_ids(self) -> set[str]:
        """Every video id."""
        with self._database.reading() as connection:
            return videos.ids(connection)

    def write_sidecars(self) -> int:
        """Write the sidecars that a crash kept from being written; how many that were."""
        with self._database.reading() as connection:
            every = videos.every(connection)
        return sidecars.write_all(self._folders, every)

    def vector_files(self, video_id: str) -> list[VectorFile]:
        """Every vector file of one video."""
        with self._database.reading() as connection:
            return videos.vectors_of(connection, video_id)

    def all_vector_files(self) -> list[VectorFile]:
        """Every vector file that counts."""
        with self._database.reading() as connection:
            return videos.all_vectors(connection)

    def delete(self, video_id: str) -> None:
        """Forget a video, its jobs and its vectors: no search finds it from now on.

        Raises:
            NotFound: there is none with this id.
        """
        with self._database.writing() as connection:
            if not videos.remove(connection, video_id):
                raise NotFound(f"no video '{video_id[:60]}'; it may have been deleted already")
            changes.add(connection, "deleted", video_id)

    def job(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFound: there is none with this id.
        """
        with self._database.reading() as connection:
            return jobs.get(connection, job_id)

    def newest_job(self, video_id: str) -> Job:
        """The newest job of a video that exists."""
        with self._database.reading() as connection:
            return jobs.newest_of(connection, video_id)

    def jobs(self, offset: int, limit: int, state: JobState | None = None) -> list[Job]:
        """A page of jobs, newest first."""
        with self._database.reading() as connection:
            return jobs.page(connection, offset, limit, state)

    def list_jobs(
        self, limit: int, before: int | None = None, state: JobState | None = None
    ) -> Page[Job, int]:
        """A page of jobs, newest first, from the one before a number; of one state, or of all."""
        with self._database.reading() as connection:
            return jobs.list_page(connection, limit, before, state)

    def queued_jobs(self) -> int:
        """How many jobs wait."""
        with self._database.reading() as connection:
            return jobs.counts(connection)["queued"]

    def cancel(self, job_id: str) -> Job:
        """End a job that has not ended; its video stays, and a retry is possible.

        Raises:
            NotFound: there is none with this id.
            Conflict: it is ready or has failed.
        """
        with self._database.writing() as connection:
            job = jobs.cancel(connection, job_id, self._clock())
            if jobs.newest_of(connection, job.video_id).id == job.id:
                videos.set_state(connection, job.video_id, "cancelled")
            return job

    def retry(self, job_id: str) -> Job:
        """Queue a new job for the video of one that failed or was cancelled.

        Raises:
            NotFound: there is none with this id.
            Conflict: it is neither, or its video has a newer job.
        """
        with self._database.writing() as connection:
            job = jobs.retry(connection, job_id, self._clock())
            videos.set_state(connection, job.video_id, "queued")
            return job

    def claim(self, owner: str) -> Claim | None:
        """Take the oldest job that may run now."""
        with self._database.writing() as connection:
            mine = jobs.claim(connection, owner, self._clock())
            if mine is not None:
                videos.set_state(connection, mine.job.video_id, "running")
            return mine

    def requeue_abandoned(self, owner: str) -> list[str]:
        """Queue again what a dead worker left; only for the holder of the worker lock."""
        with self._database.writing() as connection:
            return jobs.requeue_abandoned(connection, owner)

    def heartbeat(self, mine: Claim, progress: Progress) -> bool:
        """Say how far the job is; False: it was deleted or taken away."""
        with self._database.writing() as connection:
            return jobs.heartbeat(connection, mine, self._clock(), progress)

    def release(self, mine: Claim, delay: float) -> bool:
        """Back into the queue for at least `delay` seconds; the attempt does not count."""
        with self._database.writing() as connection:
            released = jobs.release(connection, mine, self._clock() + delay)
            if released:
                videos.set_state(connection, mine.job.video_id, "queued")
            return released

    def fail(self, mine: Claim, error: JobError) -> bool:
        """End the job with a reason."""
        with self._database.writing() as connection:
            failed = jobs.finish(connection, mine, self._clock(), error)
            if failed:
                videos.set_state(connection, mine.job.video_id, "failed")
            return failed

    def commit(
        self,
        mine: Claim,
        info: VideoInfo,
        files: Sequence[VectorFile],
        is_current: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Make the video searchable: rows, job and change in one step.

        `is_current` is asked where no activation can come in between. False: what was encoded
        is of no use, or the video was deleted meanwhile; nothing is written.
        """
        with self._database.writing() as connection:
            if not is_current() or not jobs.finish(connection, mine, self._clock(), None):
                return False
            video_id = mine.job.video_id
            seconds = max(file.seconds for file in files)
            videos.set_info(connection, video_id, info, seconds)
            videos.set_state(connection, video_id, "ready")
            for file in files:
                videos.add_vectors(connection, file)
            changes.add(connection, "indexed", video_id)
            return True

    def change_number(self) -> int:
        """The number of the newest change; 0 where nothing ever happened."""
        with self._database.reading() as connection:
            return changes.newest(connection)

    def changes(self, spec: EmbeddingSpec, since: int | None) -> Changes:
        """What happened to the videos of one spec after change `since`; None: everything."""
        with self._database.reading() as connection:
            return changes.since(connection, spec, since)

    def totals(self, specs: Sequence[EmbeddingSpec]) -> Totals:
        """Counts of jobs, and of what is searchable under these specs."""
        with self._database.reading() as connection:
            created = jobs.oldest_queued(connection)
            held = [videos.super_images(connection, spec) for spec in specs]
            return Totals(
                jobs=jobs.counts(connection),
                oldest_queued_seconds=max(0.0, self._clock() - created) if created else 0.0,
                change_number=changes.newest(connection),
                searchable_videos=max((count for count, _ in held), default=0),
                super_images={
                    spec.grid_size: number
                    for spec, (_, number) in zip(specs, held, strict=True)
                    if number
                },
            )

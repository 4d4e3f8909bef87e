"""Resumable uploads, before any transport: announced, continued, finished, given up."""

from collections.abc import Mapping

from qasir.errors import InvalidInput
from service.library.jobs import Jobs
from service.library.videos import Videos
from service.storage.uploads import UploadInfo, UploadSession, UploadStore


class Uploads:
    """What the store of unfinished uploads lacks: the rules of the library."""

    def __init__(self, store: UploadStore, videos: Videos, jobs: Jobs) -> None:
        self._store = store
        self._videos = videos
        self._jobs = jobs

    def create(self, length: int, fields: Mapping[str, str], said: str) -> str:
        """Announce an upload of `length` bytes; its id. All that can be refused is refused now.

        `fields` may hold filename, title and metadata; `said` is how the client wrote them.

        Raises:
            InvalidInput: no bytes, or a field is wrong.
            UploadTooLarge, StorageFull, Overloaded: there is no room.
        """
        if length == 0:
            raise InvalidInput("an upload of 0 bytes is no video; send the whole file")
        self._jobs.check_room()
        title = self._videos.title(fields.get("title"), fields.get("filename"))
        metadata = fields.get("metadata", "")
        self._videos.metadata(metadata)
        return self._store.create(
            UploadInfo(length=length, said=said, title=title, metadata=metadata)
        )

    def hold(self, upload_id: str) -> UploadSession:
        """Take an upload in hand, as `UploadStore.hold`; complete bytes become a video."""
        upload = self._store.hold(upload_id)
        try:
            self.finish(upload)
        except BaseException:
            upload.close()
            raise
        return upload

    def finish(self, upload: UploadSession) -> None:
        """Make a video of complete bytes, which then no crash loses; else make them durable."""
        if upload.sync() < upload.about.length or upload.about.video_id:
            return
        about = upload.about
        metadata = self._videos.metadata(about.metadata)
        # No room in the queue is no reason here: it was promised when the upload began.
        upload.finish(lambda received: self._videos.keep(received, about.title, metadata))

    def remove(self, upload: UploadSession) -> None:
        """Give an upload up; the video of a finished one stays."""
        upload.remove()

    def expires(self, upload_id: str) -> float:
        """When it is given up unless it goes on, in seconds since 1970."""
        return self._store.expires(upload_id)

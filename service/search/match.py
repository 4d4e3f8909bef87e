"""A video scored on demand: one window decoded in a killable process, one call of `match`.

For videos that fit one window; a longer one needs the worker, which encodes window by window.
"""

from typing import Protocol

from qasir.errors import DecoderCrashed
from qasir.super_images import SuperImageBatch
from qasir.text import Tokens
from qasir.triton import VideoMatch
from qasir.types import Bool, Uint8
from qasir.video import Limits
from service.ingest.decode import DecodedWindow, DecodePlan, GridPlan
from service.ingest.decode_process import Decoder
from service.models.active_model import RerankerModel
from service.search.deadline import Deadline
from service.settings import Settings
from service.storage.media import MediaStore


class Matcher(Protocol):
    """The part of `qasir.triton.Triton` that scores a video at once."""

    def match(
        self,
        version: int,
        pixels: Uint8,
        mask: Bool,
        tokens: Tokens,
        *,
        deadline: float | None = None,
    ) -> VideoMatch:
        """One tokenised text against one window of super images."""


class Match:
    """Scores videos from their files; safe to share by threads."""

    def __init__(self, settings: Settings, media: MediaStore, triton: Matcher) -> None:
        self._settings = settings
        self._media = media
        self._triton = triton

    def fits(self, fine: RerankerModel, frames: int) -> bool:
        """Whether a video of so many sampled frames is one window."""
        window = fine.model.manifest.window
        return 0 < frames <= window * fine.spec.grid_size**2

    def score(
        self, fine: RerankerModel, video_id: str, tokens: Tokens, deadline: Deadline
    ) -> float:
        """The fine model's score of a video that fits.

        Raises:
            QasirError: the file is at fault, Triton is away, or the deadline has passed.
        """
        batch = self._window(fine, video_id, deadline)
        return self._triton.match(
            fine.model.version, batch.pixels, batch.mask, tokens, deadline=deadline.left()
        ).score

    def _window(self, fine: RerankerModel, video_id: str, deadline: Deadline) -> SuperImageBatch:
        plan = self._plan(fine, video_id)
        # Leaving the block kills the process, whatever it is at.
        with Decoder(plan, min(deadline.left(), self._settings.decode_stall_seconds)) as decoder:
            for message in decoder.messages():
                deadline.left()
                if isinstance(message, DecodedWindow):
                    return message.batch
        raise DecoderCrashed(f"video '{video_id}' gave no frames; upload it again")

    def _plan(self, fine: RerankerModel, video_id: str) -> DecodePlan:
        manifest, settings = fine.model.manifest, self._settings
        grid = GridPlan(fine.spec.grid_size, fine.spec.resolution, previews=None)
        return DecodePlan(
            path=self._media.original(video_id),
            fps=fine.spec.fps,
            grids=(grid,),
            window=manifest.window,
            window_overlap=manifest.window_overlap,
            limits=Limits(settings.max_video_seconds, settings.max_frame_pixels),
            memory_bytes=settings.decode_memory_bytes,
        )

"""A picture or a segment of an indexed video as a query vector."""

from typing import Protocol

from qasir.contract.search import Example
from qasir.errors import InvalidInput, UploadTooLarge
from qasir.examples import (
    picture_query,
    read_picture,
    segment_query,
    static_super_image,
    super_image_share,
)
from qasir.manifest import EmbeddingSpec
from qasir.types import Bool, Float32, Uint8
from service.models.deployment import ModelVersion
from service.search.deadline import Deadline
from service.search.index_cache import Library
from service.settings import Settings


class WindowEncoder(Protocol):
    """The part of `qasir.triton.Triton` that pictures need."""

    def encode_video(
        self, version: int, pixels: Uint8, mask: Bool, *, deadline: float | None = None
    ) -> Float32:
        """Units float32 [S, 1+P, D] of super images uint8 [S, R, R, 3], mask bool [S, P]."""


class Examples:
    """Turns examples into queries; safe to share by threads."""

    def __init__(self, triton: WindowEncoder, library: Library, settings: Settings) -> None:
        self._triton = triton
        self._library = library
        self._settings = settings

    def vector(
        self, example: Example, model: ModelVersion, spec: EmbeddingSpec, deadline: Deadline
    ) -> Float32:
        """A unit vector float32 [D] in the space of the model.

        Raises:
            UploadTooLarge, UnsupportedMedia, InvalidInput: a picture outside its limits.
            NotFound, InvalidInput: a segment of a video that is not indexed, or of no frame.
            ModelUnavailable, Overloaded: try again later.
        """
        match example.image, example.video_id, example.start, example.end:
            case bytes(image), _, _, _:
                return self._of_picture(image, model, spec, deadline)
            case _, str(video_id), float(start), float(end):
                return self._of_segment(video_id, start, end, model, spec)
        raise AssertionError("an example is a picture or a segment")

    def _of_picture(
        self, image: bytes, model: ModelVersion, spec: EmbeddingSpec, deadline: Deadline
    ) -> Float32:
        limit = self._settings.max_picture_bytes
        if len(image) > limit:
            raise UploadTooLarge(
                f"picture of {len(image)} bytes: the limit is {limit}; send a smaller one"
            )
        pixels = read_picture(image, self._settings.max_picture_pixels)
        shown = static_super_image(pixels, spec.grid_size, spec.resolution)
        embeddings = self._triton.encode_video(
            model.version, shown.pixels, shown.mask, deadline=deadline.left()
        )
        return picture_query(embeddings[0], _share(model, spec))

    def _of_segment(
        self, video_id: str, start: float, end: float, model: ModelVersion, spec: EmbeddingSpec
    ) -> Float32:
        if not 0 <= start < end:
            raise InvalidInput(f"segment [{start:g}, {end:g}) s: need 0 <= start < end")
        video = self._library.get(model.manifest, spec, video_id).vectors
        return segment_query(video, start, end, _share(model, spec))


def _share(model: ModelVersion, spec: EmbeddingSpec) -> float:
    branches = model.manifest.branches[spec.grid_size]
    return super_image_share(branches, model.manifest.profile.index_unit)

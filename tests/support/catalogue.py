"""Videos, jobs and vector files as a catalogue is given them."""

from qasir.manifest import EmbeddingSpec
from qasir.types import VideoInfo
from service.catalogue.catalogue import Catalogue
from service.catalogue.jobs import Claim
from service.catalogue.videos import VectorFile, Video

SPEC = EmbeddingSpec(fingerprint="f" * 16, grid_size=2, resolution=64, fps=1.0)
OTHER = SPEC.model_copy(update={"resolution": 96})
INFO = VideoInfo(12.5, 64, 48, 10.0, "h264", "mov,mp4", 0, has_audio=False)


def video(name: str = "a", created: float = 1.0) -> Video:
    return Video(f"v{name}", name, {"k": [1]}, name * 64, 9, 0.0, 0, 0, "", "", "queued", created)


def vectors(video_id: str = "va", path: str = "va/1.npz") -> VectorFile:
    return VectorFile(video_id, **dict(SPEC), path=path, frames=13, super_images=4, seconds=12.5)


def claimed(catalogue: Catalogue, name: str = "a", owner: str = "me") -> Claim:
    catalogue.accept(video(name))
    mine = catalogue.claim(owner)
    assert mine is not None
    return mine

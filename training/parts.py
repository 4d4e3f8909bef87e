"""One split at one grid size, ready to be ranked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qasir.errors import InvalidInput
from qasir.types import Float32, Int64
from qasir.vectors import VideoVectors
from training.dataset import Query, Subset
from training.measures import Setting, rank_queries
from training.pools import Pool, join
from training.vector_cache import read_cache


@dataclass(frozen=True)
class Part:
    """Queries and encoded videos of a split at one grid size.

    query_vectors: float32 [Q, D]; filler: all super images of train, which lengthen videos,
    None where the dataset has no train split.
    """

    grid_size: int
    queries: Sequence[Query]
    query_vectors: Float32
    videos: Mapping[str, VideoVectors]
    filler: VideoVectors | None

    def rank(self, pool: Pool, settings: Sequence[Setting]) -> list[Int64]:
        """Ranks [Q] of every setting in a pool."""
        return rank_queries(self.queries, self.query_vectors, pool, settings)

    @property
    def super_images_per_video(self) -> float:
        """The mean of S."""
        return float(np.mean([len(video.vectors) for video in self.videos.values()]))


def read_parts(
    folder: Path, grid_size: int, subsets: Sequence[tuple[Subset, Float32]], train: Subset
) -> list[Part]:
    """Parts of several splits (each with its query vectors) from one folder of vectors.

    Raises:
        InvalidInput: a split has queries and not one encoded video.
    """
    cache = read_cache(folder)
    fillers = [cache[v.video_id] for v in train.videos if v.video_id in cache]
    filler = join(fillers) if fillers else None
    parts = []
    for subset, vectors in subsets:
        videos = {v.video_id: cache[v.video_id] for v in subset.videos if v.video_id in cache}
        if subset.queries and not videos:
            raise InvalidInput(
                f"{folder} holds none of {len(subset.videos)} videos with queries; "
                f"see its report.json, then run `dvc repro encode@{grid_size}`"
            )
        parts.append(Part(grid_size, subset.queries, vectors, videos, filler))
    return parts

"""How well the first moment of the right video fits the annotated one."""

import numpy as np

from qasir.manifest import ScoreFusion
from qasir.moments import moments
from qasir.types import Float64
from training.dataset import Query
from training.parts import Part
from training.rows import LocalisationRow, Variant

THRESHOLDS = (0.3, 0.5, 0.7)


def localisation_row(variant: Variant, grid_size: int, overlaps: Float64) -> LocalisationRow:
    """Measures of the IoU [Q] of all queries."""
    reached = (float(100 * (overlaps >= threshold).mean()) for threshold in THRESHOLDS)
    return LocalisationRow(
        variant, grid_size, len(overlaps), float(100 * overlaps.mean()), *reached
    )


def overlaps_of(part: Part, branches: ScoreFusion) -> Float64:
    """IoU [Q] of every query's moment and the first one found in its video.

    A query whose video could not be encoded has an IoU of 0.
    """
    found = np.zeros(len(part.queries))
    for row, (query, vector) in enumerate(zip(part.queries, part.query_vectors, strict=True)):
        if video := part.videos.get(query.video_id):
            (first,) = moments(vector, video, branches, 1)
            found[row] = overlap(query, first.start, first.end)
    return found


def overlap(query: Query, start: float, end: float) -> float:
    """Temporal intersection over union with the annotated moment.

    >>> overlap(Query("a#enc#0", "a", "a dog", 2.0, 6.0, 40.0), 4.0, 8.0)
    0.3333333333333333
    """
    inside = min(query.end, end) - max(query.start, start)
    either = max(query.end, end) - min(query.start, start)
    return max(0.0, inside) / either if either > 0 else 0.0

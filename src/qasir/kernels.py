"""The inner loops of recall, compiled by numba: they read a library at the memory's rate.

Each loop goes video by video. The attention score needs two passes over a video's vectors, and
the second one finds them in the cache. The compiled code is kept in `__pycache__`.
"""

import numpy as np

from qasir.errors import MissingExtra
from qasir.types import Bool, Float32, Int8, Int16, Int64
from qasir.vectors import HALF_BITS, HALF_SCALE

try:
    from numba import boolean, float32, int8, int16, int64, njit, types, void
except ModuleNotFoundError as error:
    raise MissingExtra("qasir.index needs numba; run: pip install 'qasir[service]'") from error

# Sums may be reordered, so that they use vector instructions.
FAST = {"reassoc", "contract", "arcp", "nsz"}
# The part of a similarity's error that its attention weight adds; see `scan`.
NORM_SPREAD = np.float32(0.05)
TINY = np.float32(1e-12)


def _read(item: object, dimensions: int, layout: str = "C") -> object:
    """The type of an array that is only read; memory-mapped ones may be read-only."""
    return types.Array(item, dimensions, layout, readonly=True)


FLOATS, INTEGERS = _read(float32, 1), _read(int64, 1)
# Compiled when the module is imported, so that no search waits for it.
SCAN = void(
    _read(int8, 2),
    FLOATS,
    FLOATS,
    INTEGERS,
    _read(float32, 2),
    float32,
    _read(boolean, 2, "A"),
    int64,
    int64,
    float32[:, :],
    float32[:, :],
)
PRODUCTS = void(_read(int16, 2), FLOATS, float32[::1])
FOLD = float32(_read(int16, 2), INTEGERS, FLOATS, float32, int64[::1], float32[::1])
SCORE = void(_read(int16, 2), INTEGERS, INTEGERS, FLOATS, float32, INTEGERS, float32[::1])


@njit(nogil=True, fastmath=FAST, cache=True, inline="always")  # type: ignore[untyped-decorator]  # no types
def _value(half: np.int16) -> np.float32:
    """Return the float32 of the bits of a float16, as `qasir.vectors.to_float32`."""
    bits = np.int32((np.int32(half) << np.int32(13)) & HALF_BITS)
    return bits.view(np.float32) * HALF_SCALE


@njit(nogil=True, fastmath=FAST, cache=True, inline="always")  # type: ignore[untyped-decorator]  # no types
def _product(halves: Int16, query: Float32) -> np.float32:
    """Return the product of a float16 vector [D] and a query [D]."""
    product = np.float32(0)
    for d in range(len(query)):
        product += _value(halves[d]) * query[d]
    return product


@njit(SCAN, nogil=True, fastmath=FAST, cache=True)  # type: ignore[untyped-decorator]  # no types
def scan(
    codes: Int8,
    scales: Float32,
    errors: Float32,
    starts: Int64,
    queries: Float32,
    tau: np.float32,
    chosen: Bool,
    first: int,
    last: int,
    estimates: Float32,
    deviations: Float32,
) -> None:
    """Estimate the attention scores of the videos [first, last) from int8 codes [U, D].

    A vector is scales[u] * codes[u], with an error of expected size errors[u] in the direction of
    a query. starts: int64 [V + 1], where each video's vectors begin; queries: unit vectors
    [Q, D]; chosen: [Q, V].

    Writes to estimates and deviations [Q, V] the score and the standard deviation of its error,
    where `chosen`. To first order an error e of similarity s_i moves the score by
    e a_i (1 + (|s_i - mean| + spread) / tau) / |x(q)|, and the errors are independent.
    """
    longest = 0
    for video in range(first, last):
        longest = max(longest, starts[video + 1] - starts[video])
    similarities = np.empty(longest, np.float32)
    weights = np.empty(longest, np.float32)
    attended = np.empty(codes.shape[1], np.float32)
    for video in range(first, last):
        begin = starts[video]
        count = starts[video + 1] - begin
        for number in range(len(queries)):
            if not chosen[number, video]:
                continue
            query = queries[number]
            highest = np.float32(-np.inf)
            for i in range(count):
                row = codes[begin + i]
                product = np.float32(0)
                for d in range(len(query)):
                    product += np.float32(row[d]) * query[d]
                similarities[i] = product * scales[begin + i]
                highest = max(highest, similarities[i])
            total = np.float32(0)
            similarity = np.float32(0)
            attended[:] = 0
            for i in range(count):
                weight = np.exp((similarities[i] - highest) / tau)
                weights[i] = weight
                total += weight
                similarity += weight * similarities[i]
                row = codes[begin + i]
                factor = weight * scales[begin + i]
                for d in range(len(query)):
                    attended[d] += factor * np.float32(row[d])
            square = np.float32(0)
            for d in range(len(query)):
                square += attended[d] * attended[d]
            norm = np.sqrt(max(square, TINY))
            mean = similarity / total
            variance = np.float32(0)
            for i in range(count):
                spread = np.abs(similarities[i] - mean) + NORM_SPREAD
                error = weights[i] * errors[begin + i] * (np.float32(1) + spread / tau)
                variance += error * error
            estimates[number, video] = similarity / norm
            deviations[number, video] = np.sqrt(variance) / norm


@njit(SCORE, nogil=True, fastmath=FAST, cache=True)  # type: ignore[untyped-decorator]  # no types
def score(
    halves: Int16,
    rows: Int64,
    starts: Int64,
    query: Float32,
    tau: np.float32,
    videos: Int64,
    scores: Float32,
) -> None:
    """Compute exact attention scores of some videos [C] from float16 vectors.

    halves: the bits of the vectors [_, D]; rows: int64 [U], which of them are searched; starts:
    int64 [V + 1]; query: a unit vector [D]. Writes to scores [C].
    """
    longest = 0
    for video in videos:
        longest = max(longest, starts[video + 1] - starts[video])
    similarities = np.empty(longest, np.float32)
    attended = np.empty(len(query), np.float32)
    for number in range(len(videos)):
        begin = starts[videos[number]]
        count = starts[videos[number] + 1] - begin
        highest = np.float32(-np.inf)
        for i in range(count):
            similarities[i] = _product(halves[rows[begin + i]], query)
            highest = max(highest, similarities[i])
        similarity = np.float32(0)
        attended[:] = 0
        for i in range(count):
            weight = np.exp((similarities[i] - highest) / tau)
            similarity += weight * similarities[i]
            row = halves[rows[begin + i]]
            for d in range(len(query)):
                attended[d] += weight * _value(row[d])
        square = np.float32(0)
        for d in range(len(query)):
            square += attended[d] * attended[d]
        scores[number] = similarity / np.sqrt(max(square, TINY))


@njit(PRODUCTS, nogil=True, fastmath=FAST, cache=True)  # type: ignore[untyped-decorator]  # no types
def products(halves: Int16, query: Float32, similarities: Float32) -> None:
    """Write to similarities [U] the products of float16 vectors [U, D] and a query [D]."""
    for u in range(len(halves)):
        similarities[u] = _product(halves[u], query)


@njit(FOLD, nogil=True, fastmath=FAST, cache=True)  # type: ignore[untyped-decorator]  # no types
def fold(
    halves: Int16, rows: Int64, query: Float32, tau: np.float32, best: Int64, mean: Float32
) -> float:
    """Select the nearest of a video's vectors, and average the others.

    halves: the bits of float16 vectors [_, D]; rows: int64 [K], which of them are the video's.
    Writes to best [limit] the positions in `rows` of the vectors nearest to the query, and to
    mean [D] the attention-weighted mean of the others; returns the log of their total weight.
    """
    similarities = np.empty(len(rows), np.float32)
    for i in range(len(rows)):
        similarities[i] = _product(halves[rows[i]], query)
    for place in range(len(best)):
        best[place] = np.argmax(similarities)
        similarities[best[place]] = -np.inf
    highest = similarities.max()
    total = np.float32(0)
    mean[:] = 0
    for i in range(len(rows)):
        weight = np.exp((similarities[i] - highest) / tau)
        if weight > 0:
            total += weight
            row = halves[rows[i]]
            for d in range(len(query)):
                mean[d] += weight * _value(row[d])
    for d in range(len(query)):
        mean[d] /= total
    logit: float = highest / tau + np.log(total)
    return logit

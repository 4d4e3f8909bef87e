"""Client for the models in Triton: arrays in, arrays out, one deadline per call, typed errors.

Every call names a model version, so that vectors of two models never meet: a version that is
not loaded is an error, never another version's answer.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from qasir.errors import (
    InvalidConfig,
    InvalidInput,
    MissingExtra,
    ModelUnavailable,
    Overloaded,
    QasirError,
)
from qasir.search import ScorerInput
from qasir.text import Tokens
from qasir.types import Bool, Float32, Uint8

try:
    import tritonclient.grpc as protocol
    from tritonclient.utils import InferenceServerException, np_to_triton_dtype
except ModuleNotFoundError as missing:
    raise MissingExtra(
        "qasir.triton needs the package tritonclient; run: pip install 'qasir[triton]'"
    ) from missing

MODELS = ("super_image_encoder", "temporal_encoder", "text_encoder", "attention_scorer")
ENSEMBLES = ("encode_video", "rank", "match")
# The header that opens the restricted APIs; gRPC wants a prefix before it.
KEY_HEADER = "qasir-key"
SCORES = ("scores", "attention", "cell_attention")

# Takes a model's name and wraps each inference; yields the headers to send with it.
CallContext: TypeAlias = Callable[[str], AbstractContextManager[Mapping[str, str]]]
Inputs: TypeAlias = "dict[str, np.ndarray[Any, Any]]"

CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # gRPC's own reconnect delay grows to two minutes; Triton restarts within ten seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


def ensemble_name(ensemble: str, version: int) -> str:
    """Return Triton's name for the ensemble whose steps all have this version.

    >>> ensemble_name("rank", 3)
    'rank_v3'
    """
    return f"{ensemble}_v{version}"


@dataclass(frozen=True)
class VideoScores:
    """One query against C videos.

    scores: float32 [C]; attention: float32 [C, M] over super images; cell_attention: [C, K].
    """

    scores: Float32
    attention: Float32
    cell_attention: Float32


@dataclass(frozen=True)
class VideoMatch:
    """One query against one video.

    attention: float32 [S] over super images; cell_attention: [S, P], 0 where padded.
    """

    score: float
    attention: Float32
    cell_attention: Float32


class Triton:
    """A Triton server at a gRPC endpoint; safe to share between threads.

    >>> with Triton("127.0.0.1:8001") as triton:  # doctest: +SKIP
    ...     pixels, mask = np.zeros((4, 256, 256, 3), np.uint8), np.ones((4, 9), np.bool_)
    ...     embeddings = triton.encode_video(1, pixels, mask)

    Raises, from every call:
        ModelUnavailable: Triton does not answer in time, or does not serve this version.
        Overloaded: the model's queue is full, or the request waited there too long.
        InvalidInput: Triton rejects the shapes or values.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        deadline: float = 30.0,
        call_context: CallContext = lambda _model: nullcontext({}),
    ) -> None:
        self.url = url
        self.deadline = deadline
        self._call_context = call_context
        self._headers = {f"triton-grpc-protocol-{KEY_HEADER}": key} if key else None
        self._client = protocol.InferenceServerClient(url, channel_args=CHANNEL)

    def __enter__(self) -> "Triton":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def ready(self, version: int | None = None) -> bool:
        """Return whether the server answers and serves `version`, if one is given."""
        try:
            with self._errors("the server", 1.0):
                if version is None:
                    return bool(self._client.is_server_ready(client_timeout=1.0))
                names = [ensemble_name(ensemble, version) for ensemble in ENSEMBLES]
                return all(self._client.is_model_ready(name, client_timeout=1.0) for name in names)
        except ModelUnavailable:
            return False

    def encode_video(
        self, version: int, pixels: Uint8, mask: Bool, *, deadline: float | None = None
    ) -> Float32:
        """Encode one window of super images uint8 [S, R, R, 3], mask bool [S, P].

        Returns float32 [S, 1+P, D]: row 0 the super image, row 1+p its cell p, zeros where padded.
        """
        inputs = _window(pixels, mask)
        (embeddings,) = self._infer("encode_video", version, inputs, ("embeddings",), deadline)
        return np.asarray(embeddings[0], np.float32)

    def encode_text(
        self, version: int, tokens: Tokens, *, deadline: float | None = None
    ) -> Float32:
        """Encode Q tokenised texts as unit vectors float32 [Q, D]."""
        (query,) = self._infer("text_encoder", version, _text(tokens), ("query",), deadline)
        return query

    def score(
        self,
        version: int,
        query: Float32,
        candidates: ScorerInput,
        grid_size: int,
        *,
        deadline: float | None = None,
    ) -> Float32:
        """Score C videos of N x N cells, N = `grid_size`, for one query [D]: float32 [C]."""
        inputs = {"query": query[None], **_candidates(candidates, grid_size)}
        # Without the attention, which a search does not read and which is far longer.
        (scores,) = self._infer("attention_scorer", version, inputs, ("scores",), deadline)
        return np.asarray(scores[0], np.float32)

    def rank(
        self,
        version: int,
        tokens: Tokens,
        candidates: ScorerInput,
        grid_size: int,
        *,
        deadline: float | None = None,
    ) -> VideoScores:
        """Score C videos for one tokenised text: text encoder and scorer in one call."""
        inputs = {**_text(tokens), **_candidates(candidates, grid_size)}
        outputs = self._infer("rank", version, inputs, SCORES, deadline)
        return VideoScores(*(output[0] for output in outputs))

    def match(
        self,
        version: int,
        pixels: Uint8,
        mask: Bool,
        tokens: Tokens,
        *,
        deadline: float | None = None,
    ) -> VideoMatch:
        """Score one video, uint8 [S, R, R, 3] and mask [S, P], for one tokenised text."""
        inputs = {**_window(pixels, mask), **_text(tokens)}
        scores, attention, cells = self._infer("match", version, inputs, SCORES, deadline)
        return VideoMatch(float(scores[0, 0]), attention[0, 0], cells[0, 0].reshape(mask.shape))

    def load(self, model: str, *, deadline: float = 120.0) -> None:
        """Load or reload a model by its config in the repository; needs the key."""
        with self._errors(model, deadline):
            self._client.load_model(model, headers=self._headers, client_timeout=deadline)

    def unload(self, model: str, *, deadline: float = 30.0) -> None:
        """Unload every version of a model; needs the key."""
        with self._errors(model, deadline):
            self._client.unload_model(model, headers=self._headers, client_timeout=deadline)

    def versions(self, model: str) -> list[int]:
        """Return the ready versions of a model, ascending; none for an unknown model."""
        with self._errors(model, self.deadline):
            index = self._client.get_model_repository_index(
                headers=self._headers, client_timeout=self.deadline
            )
        ready = [entry for entry in index.models if entry.name == model and entry.state == "READY"]
        return sorted(int(entry.version) for entry in ready)

    def _infer(
        self,
        model: str,
        version: int,
        inputs: Inputs,
        outputs: tuple[str, ...],
        deadline: float | None,
    ) -> list[Float32]:
        seconds = self.deadline if deadline is None else deadline
        is_ensemble = model in ENSEMBLES
        name = ensemble_name(model, version) if is_ensemble else model
        with self._call_context(name) as headers, self._errors(name, seconds):
            result = self._client.infer(
                name,
                [_tensor(tensor, array) for tensor, array in inputs.items()],
                "" if is_ensemble else str(version),
                [protocol.InferRequestedOutput(tensor) for tensor in outputs],
                # Also in Triton's queue, which then drops requests that nobody waits for.
                timeout=int(seconds * 1e6),
                client_timeout=seconds,
                headers=dict(headers),
                # Triton puts it on its spans, even on those that lose their trace.
                request_id=headers.get("traceparent", ""),
            )
        return [result.as_numpy(tensor) for tensor in outputs]

    @contextmanager
    def _errors(self, model: str, seconds: float) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            raise _translate(error, f"Triton at {self.url}, {model}", seconds) from error


def _window(pixels: Uint8, mask: Bool) -> Inputs:
    """Reshape the mask to bool [S, N, N], from which the models read N.

    Raises:
        InvalidInput: the mask does not describe S super images of N x N cells.
    """
    side = math.isqrt(mask.shape[-1])
    if mask.shape != (len(pixels), side**2):
        raise InvalidInput(
            f"mask {mask.shape} does not fit super images {pixels.shape}; give bool [S, N*N]"
        )
    return {"super_images": pixels, "mask": mask.reshape(-1, side, side)}


def _text(tokens: Tokens) -> Inputs:
    return {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}


def _candidates(candidates: ScorerInput, grid_size: int) -> Inputs:
    """Return the scorer's inputs except the query, as a batch of one."""
    return {
        "super_image_embeddings": candidates.super_images[None],
        "log_weights": candidates.log_weights[None],
        "cell_embeddings": candidates.cells[None],
        "cell_log_weights": candidates.cell_log_weights[None],
        "grid_size": np.full((1, 1), grid_size, np.int64),
    }


def _tensor(name: str, array: np.ndarray[Any, Any]) -> Any:
    tensor = protocol.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(np.ascontiguousarray(array))
    return tensor


def _translate(error: InferenceServerException, who: str, seconds: float) -> QasirError:
    """Map a gRPC error to ours; only its text tells a full queue from a dead server."""
    status = str(error.status()).removeprefix("StatusCode.")
    detail = str(error.message()).strip()
    if "maximum queue size" in detail or "Request timeout expired" in detail:
        return Overloaded(f"{who}: {detail}; send fewer requests at once, or try again later")
    if "restricted" in detail:
        return InvalidConfig(f"{who}: the key is missing or wrong; set QASIR_TRITON_KEY")
    if status in {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}:
        return InvalidInput(f"{who} rejects the request: {detail}")
    if status == "DEADLINE_EXCEEDED":
        return ModelUnavailable(f"{who} did not answer within {seconds:g} s; try again later")
    return ModelUnavailable(f"{who}: {status}: {detail}; see `qasir doctor`")

"""Export a backbone and its retriever as ONNX graphs with a manifest.

N and R are dynamic axes of the graphs, so one export serves every grid size.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from qasir.artifacts import sha256_of
from qasir.config import Variant
from qasir.errors import InvalidInput
from qasir.manifest import KnownText, Manifest, Preprocessing, Profile, ScoreFusion, write_manifest
from qasir.modeling.backbones import Backbone, tensors_digest, weights_digest
from qasir.modeling.retriever import AttentionScorer, Retriever, learned_state
from qasir.search import MASKED_LOG_WEIGHT
from qasir.text import TOKENIZER_NAME, Tokenizer

OPSET = 17
# The canary checks a served model by their vectors: short and long, to cover several buckets.
SENTENCES = (
    "snow",
    "a dog runs on the beach",
    "a red car drives through a city at night",
    "two people cook a meal together in a small kitchen",
    "a child opens a present while the family sits around the table, sings and laughs, and an "
    "old man in a blue chair by the window takes a photo of all of them",
)
# Finer than any check, and coarse enough that two machines write the same manifest.
DECIMALS = 4


@dataclass(frozen=True)
class Graph:
    """One ONNX graph: its module, example inputs and the axes of every tensor by name.

    Axes are letters between spaces: in upper case (S, 1+P) dynamic, else constant in the graph.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, tuple[Tensor, str]]
    outputs: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Trace the module and write `<name>.onnx`."""
        axes = {**{name: letters for name, (_, letters) in self.inputs.items()}, **self.outputs}
        dynamic = {
            tensor: {i: letter for i, letter in enumerate(letters.split()) if letter.isupper()}
            for tensor, letters in axes.items()
        }
        with warnings.catch_warnings():
            # The tracer warns of every Python branch; the parity tests are what counts.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self.module.eval(),
                tuple(example for example, _ in self.inputs.values()),
                folder / f"{self.name}.onnx",
                input_names=list(self.inputs),
                output_names=list(self.outputs),
                dynamic_axes=dynamic,
                opset_version=OPSET,
                dynamo=False,
            )


class WindowEncoder(nn.Module):
    """The video side of a retriever for one window, with outputs that the scorer reads.

    The leading 1 of each output turns a batch of super images into one video. Log weights and
    grid size go straight to the scorer, so an ensemble needs no step between the two.
    """

    def __init__(self, video: nn.Module) -> None:
        super().__init__()
        self.video = video

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """float32 [S, 1+P, F'], bool [S, N, N] -> embeddings float32 [1, S, 1+P, D], super
        images float16 [1, S, D], cells float16 [1, S*P, D], log weights float32 [1, 1, S] and
        [1, 1, S*P], grid size int64 [1, 1]."""
        embeddings = self.video(features.unsqueeze(0), mask.unsqueeze(0))[0]
        rounded = embeddings.to(torch.float16)
        cells = mask.flatten(1)
        # N as the sum of a row of ones, so that a traced graph follows the shape.
        grid_size = torch.ones_like(mask[0, 0], dtype=torch.int64).sum().view(1, 1)
        return (
            embeddings.unsqueeze(0),
            rounded[:, 0].unsqueeze(0),
            rounded[:, 1:].flatten(0, 1).unsqueeze(0),
            log_weights(cells.any(1)),
            log_weights(cells.flatten()),
            grid_size,
        )


def log_weights(real: Tensor) -> Tensor:
    """bool [M] -> float32 [1, 1, M]: 0 where real, MASKED_LOG_WEIGHT where padded."""
    return (1.0 - real.to(torch.float32)).view(1, 1, -1) * float(MASKED_LOG_WEIGHT)


class QueryEncoder(nn.Module):
    """The text tower and the text side of a retriever."""

    def __init__(self, text_tower: nn.Module, text: nn.Module) -> None:
        super().__init__()
        self.text_tower = text_tower
        self.text = text

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [Q, T] twice -> unit vectors float32 [Q, D]."""
        query: Tensor = self.text(self.text_tower(input_ids, attention_mask))
        return query


def example_mask() -> Tensor:
    """Return bool [3, 2, 2] with padding in the last super image, for tracing."""
    mask = torch.ones(3, 2, 2, dtype=torch.bool)
    mask[2, 1] = False
    return mask


def image_graph(backbone: Backbone, resolution: int) -> Graph:
    """super_images uint8 [S, R, R, 3], mask bool [S, N, N] -> features float32 [S, 1+P, F']."""
    pixels = torch.randint(0, 256, (3, resolution, resolution, 3), dtype=torch.uint8)
    inputs = {"super_images": (pixels, "S R R2 3"), "mask": (example_mask(), "S N N2")}
    return Graph("super_image_encoder", backbone.image_tower, inputs, {"features": "S 1+P f"})


def temporal_graph(backbone: Backbone, retriever: Retriever) -> Graph:
    """features, mask -> the outputs of WindowEncoder, under Triton's tensor names."""
    features = torch.randn(3, 5, backbone.feature_dim)
    inputs = {"features": (features, "S 1+P f"), "mask": (example_mask(), "S N N2")}
    outputs = {
        "embeddings": "1 S 1+P d",
        "super_image_embeddings": "1 S d",
        "cell_embeddings": "1 S*P d",
        "log_weights": "1 1 S",
        "cell_log_weights": "1 1 S*P",
        "grid_size": "1 1",
    }
    return Graph("temporal_encoder", WindowEncoder(retriever.video), inputs, outputs)


def text_graph(backbone: Backbone, retriever: Retriever) -> Graph:
    """input_ids, attention_mask int64 [Q, T] -> query float32 [Q, D].

    The example is a padded batch: traced without padding, a text tower takes its mask-free path
    and the graph is silently wrong on padded texts.
    """
    ids = torch.full((2, backbone.tokenizer_spec.buckets[0]), backbone.tokenizer_spec.pad_id)
    mask = torch.ones_like(ids)
    mask[1, ids.shape[1] // 2 :] = 0
    inputs = {"input_ids": (ids, "Q T"), "attention_mask": (mask, "Q T")}
    module = QueryEncoder(backbone.text_tower, retriever.text)
    return Graph("text_encoder", module, inputs, {"query": "Q d"})


def scorer_graph(dim: int, branches: Mapping[int, ScoreFusion]) -> Graph:
    """query, embeddings and log weights of both branches, grid_size -> scores and attention."""
    inputs = {
        "query": (torch.randn(2, dim), "B d"),
        "super_image_embeddings": (torch.randn(2, 5, dim).to(torch.float16), "B M d"),
        "log_weights": (torch.zeros(2, 3, 5), "B C M"),
        "cell_embeddings": (torch.randn(2, 7, dim).to(torch.float16), "B K d"),
        "cell_log_weights": (torch.zeros(2, 3, 7), "B C K"),
        "grid_size": (torch.full((2, 1), min(branches)), "B 1"),
    }
    outputs = {"scores": "B C", "attention": "B C M", "cell_attention": "B C K"}
    return Graph("attention_scorer", AttentionScorer(branches), inputs, outputs)


@torch.inference_mode()
def known_texts(backbone: Backbone, retriever: Retriever, tokenizer: Path) -> tuple[KnownText, ...]:
    """Encode each sentence on its own; `tokenizer` is the folder of `tokenizer.json`."""
    reader = Tokenizer.load(tokenizer, backbone.tokenizer_spec)
    text_tower, text = backbone.text_tower.eval(), retriever.text.eval()
    pairs = []
    for sentence in SENTENCES:
        tokens = reader.encode([sentence])
        ids, mask = torch.from_numpy(tokens.input_ids), torch.from_numpy(tokens.attention_mask)
        vector = text(text_tower(ids, mask))[0].tolist()
        pairs.append(KnownText(text=sentence, vector=tuple(round(x, DECIMALS) for x in vector)))
    return tuple(pairs)


def model_digest(backbone: Backbone, retriever: Retriever) -> str:
    """Return the hex SHA-256 of all that changes a vector: backbone and learned tensors.

    A zero-shot model has the digest of its backbone. Branches change only scores: left out.
    """
    weights = weights_digest(backbone)
    if retriever.params is None:
        return weights
    learned = tensors_digest(learned_state(retriever))
    facts = [weights, learned, retriever.params.model_dump()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def export_model(
    backbone: Backbone,
    retriever: Retriever,
    folder: Path,
    *,
    name: str,
    variant: Variant,
    grids: Mapping[int, int],
    fps: tuple[float, ...],
    profile: Profile,
    window: int,
    window_overlap: int,
) -> Manifest:
    """Write four graphs, `tokenizer.json` and `manifest.json`; return the manifest.

    grids: R by N.

    Raises:
        InvalidInput: the backbone does not accept a resolution of `grids`, or the retriever has
            no branches for one of its grid sizes.
    """
    for resolution in grids.values():
        backbone.check_resolution(resolution)
    if missing := sorted(grids.keys() - retriever.branches.keys()):
        raise InvalidInput(
            f"grid sizes {missing} have no branches, the retriever has them for "
            f"{sorted(retriever.branches)}; run `dvc repro evaluate` with the same grids"
        )
    branches = {n: retriever.branches[n] for n in grids}
    folder.mkdir(parents=True, exist_ok=True)
    graphs = (
        image_graph(backbone, grids[min(grids)]),
        temporal_graph(backbone, retriever),
        text_graph(backbone, retriever),
        scorer_graph(retriever.dim, branches),
    )
    for graph in graphs:
        graph.write(folder)
    backbone.save_tokenizer(folder)
    names = [f"{graph.name}.onnx" for graph in graphs] + [TOKENIZER_NAME]
    manifest = Manifest(
        name=name,
        backbone=backbone.name,
        variant=variant,
        weights=model_digest(backbone, retriever),
        dim=retriever.dim,
        window=window,
        window_overlap=window_overlap,
        grids=dict(grids),
        branches=branches,
        fps=fps,
        preprocessing=Preprocessing(),
        tokenizer=backbone.tokenizer_spec,
        profile=profile,
        files={file: sha256_of(folder / file) for file in names},
        known_texts=known_texts(backbone, retriever, folder),
    )
    write_manifest(manifest, folder)
    return manifest

"""Compares torch with a running Triton, for every exported model and ensemble.

`python -m benchmarks parity` writes results/parity_triton.json. Needs an export with its
checkpoint (`dvc repro export`) and Triton (`make setup`), which runs on free ports with a state
folder of its own. Cases and tolerance are those of stage `export` (torch = ONNX,
build/parity.json); ensembles are added.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tritonclient.grpc as protocol
from rich.console import Console
from torch import Tensor, nn
from tritonclient.utils import np_to_triton_dtype

from benchmarks.rows import Row
from benchmarks.search import settings_in
from qasir.config import load_params
from qasir.errors import CorruptArtifact
from qasir.manifest import read_manifest
from qasir.triton import ENSEMBLES, MODELS, ensemble_name
from qasir.triton_home import TritonHome
from service.models.store import ModelStore
from service.settings import Settings
from service.stack.control import EXPORT, processes
from training.evaluate.rows import write_json
from training.export import TOLERANCE, Case, Difference, cases, difference, read_model, run_torch

REPORT = Path("results/parity_triton.json")


def parity() -> list[Row]:
    """Write the report; returns no rows, because nothing here is a speed.

    Raises:
        CorruptArtifact: Triton differs from torch by more than 1e-3.
    """
    backbone, retriever = read_model(load_params())
    graphs = list(cases(backbone, retriever, read_manifest(EXPORT)))
    with TemporaryDirectory() as folder, triton(settings_in(Path(folder) / "state")) as served:
        differences = compare(*served, [*graphs, *ensembles(graphs)])
    write_json(differences, REPORT)
    worst = max(differences, key=lambda difference: difference.max_abs)
    Console(soft_wrap=True).print(
        f"{len(differences)} cases: torch and Triton within {worst.max_abs:.1g} "
        f"({worst.graph}, {worst.case}), the limit is {TOLERANCE:g}; see {REPORT}"
    )
    return []


@contextmanager
def triton(settings: Settings) -> Iterator[tuple[str, int]]:
    """Run Triton with the export; yields its gRPC address and the version of its models."""
    TritonHome(settings.triton_home.absolute()).prepare()
    store = ModelStore(settings.state)
    version = store.add(EXPORT)
    store.activate(version)
    (process,) = (process for process in processes(settings) if process.name == "triton")
    process.start()
    try:
        process.wait()
        yield settings.triton_url, version
    finally:
        process.stop()


def compare(url: str, version: int, every: Iterable[Case]) -> list[Difference]:
    """Run every case on Triton.

    Raises:
        CorruptArtifact: a model or ensemble differs from its module by more than 1e-3.
    """
    differences = []
    with protocol.InferenceServerClient(url) as client:
        for case in every:
            pairs = zip(ask(client, version, case), run_torch(case), strict=True)
            worst = max(difference(output, expected) for output, expected in pairs)
            if not worst <= TOLERANCE:
                raise CorruptArtifact(
                    f"Triton's {case.graph}, {case.name}: differs from torch by {worst:.2g}, the "
                    f"limit is {TOLERANCE:g}; if the export is older than its checkpoint, "
                    f"run `dvc repro export`"
                )
            differences.append(Difference(case.graph, case.name, worst))
    return differences


def ask(
    client: protocol.InferenceServerClient, version: int, case: Case
) -> "list[np.ndarray[Any, Any]]":
    """Return the outputs of a model or ensemble in the order of its config and module."""
    name, model_version = case.graph, str(version)
    if name in ENSEMBLES:
        name, model_version = ensemble_name(name, version), ""
    tensors = []
    for tensor_name, array in case.inputs.items():
        dtype = np_to_triton_dtype(array.dtype)
        tensor = protocol.InferInput(tensor_name, list(array.shape), dtype)
        tensors.append(tensor.set_data_from_numpy(array))
    outputs = client.get_model_metadata(name, model_version).outputs
    answer = client.infer(name, tensors, model_version)
    return [answer.as_numpy(output.name) for output in outputs]


def ensembles(graphs: Sequence[Case]) -> Iterator[Case]:
    """Yield the same inputs for every ensemble."""
    by_model = [[case for case in graphs if case.graph == name] for name in MODELS]
    pictures, _, texts, scorers = by_model
    models = [group[0].module for group in by_model]
    for case in pictures:
        yield Case("encode_video", case.name, Ensemble("encode_video", *models), case.inputs)
    for case, query in product(pictures, texts):
        if _batch(query) == 1:
            inputs = {**case.inputs, **query.inputs}
            name = f"{case.name}, {_padding(query)}"
            yield Case("match", name, Ensemble("match", *models), inputs)
    for case, query in product(scorers, texts):
        if _batch(query) == _batch(case):
            candidates = {name: a for name, a in case.inputs.items() if name != "query"}
            name = f"{case.name}, {_padding(query)}"
            inputs = {**query.inputs, **candidates}
            yield Case("rank", name, Ensemble("rank", *models), inputs)


def _batch(case: Case) -> int:
    return len(next(iter(case.inputs.values())))


def _padding(text: Case) -> str:
    """Return "padded" of the text case "batch 1, padded"."""
    return text.name.rpartition(", ")[2]


class Ensemble(nn.Module):
    """Do in torch what the ensemble of this name does: the models in the order of its steps."""

    def __init__(
        self, name: str, image: nn.Module, window: nn.Module, text: nn.Module, scorer: nn.Module
    ) -> None:
        super().__init__()
        self.name = name
        self.image, self.window, self.text, self.scorer = image, window, text, scorer

    def forward(self, *inputs: Tensor) -> Any:
        """Tensors in the order of the ensemble's config -> its outputs."""
        if self.name == "rank":
            return self.scorer(self.text(*inputs[:2]), *inputs[2:])
        super_images, mask, *tokens = inputs
        embeddings, whole, cells, weights, cell_weights, grid_size = self.window(
            self.image(super_images, mask), mask
        )
        if self.name == "encode_video":
            return embeddings
        return self.scorer(self.text(*tokens), whole, weights, cells, cell_weights, grid_size)

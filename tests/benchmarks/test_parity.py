"""torch = Triton: the committed report is whole, and the command that writes it sees an error."""

import json
from itertools import product
from pathlib import Path

import pytest

from benchmarks.parity import REPORT, compare, ensembles
from qasir.config import load_params
from qasir.errors import CorruptArtifact
from qasir.manifest import read_manifest
from qasir.modeling.backbones import Backbone
from qasir.modeling.retriever import Retriever
from qasir.triton import ENSEMBLES, MODELS
from tests.support.triton import ROOT, RunningTriton
from training.export import TOLERANCE, cases

PADDINGS = ("padded", "unpadded")


def expected(grids: dict[int, int]) -> set[tuple[str, str]]:
    """Every graph and case that a report of these grids, R by N, has to tell of."""
    videos = [f"S {s}, N {n}" for s, n in product((1, 3), grids)]
    pictures = [f"{video}, R {grids[int(video[-1])]}" for video in videos]
    texts = [f"batch {b}, {p}" for b, p in product((1, 3), PADDINGS)]
    scorers = [f"batch {b}, N {sorted(grids)[:b]}" for b in (1, 3)]
    by_graph = {
        "super_image_encoder": pictures,
        "temporal_encoder": videos,
        "text_encoder": texts,
        "attention_scorer": scorers,
        "encode_video": pictures,
        "match": [f"{picture}, {p}" for picture, p in product(pictures, PADDINGS)],
        "rank": [f"{scorer}, {p}" for scorer, p in product(scorers, PADDINGS)],
    }
    assert set(by_graph) == {*MODELS, *ENSEMBLES}
    return {(graph, case) for graph, names in by_graph.items() for case in names}


def test_the_committed_report_is_of_the_committed_grids_and_within_tolerance() -> None:
    rows = json.loads((ROOT / REPORT).read_text())
    grids = {n: grid.resolution for n, grid in load_params(ROOT / "params.yaml").grids.items()}
    found = [(row["graph"], row["case"]) for row in rows]
    assert len(found) == len(set(found))
    assert set(found) == expected(grids)
    assert all(0 <= row["max_abs"] <= TOLERANCE for row in rows)


def test_a_right_triton_passes_every_case(
    tuned_server: RunningTriton,
    tuned_export: Path,
    tiny_backbone: Backbone,
    tiny_retriever: Retriever,
) -> None:
    manifest = read_manifest(tuned_export)
    graphs = list(cases(tiny_backbone, tiny_retriever, manifest))
    every = [*graphs, *ensembles(graphs)]
    differences = compare(tuned_server.url, tuned_server.version, every)
    assert {(d.graph, d.case) for d in differences} == expected(dict(manifest.grids))
    # Exactly equal everywhere would mean that one side was compared with itself.
    assert 0 < max(d.max_abs for d in differences) <= TOLERANCE


@pytest.mark.parametrize("graph", ["attention_scorer", "rank", "match"])
def test_a_triton_of_other_branches_is_refused(
    tuned_server: RunningTriton,
    tuned_export: Path,
    tiny_backbone: Backbone,
    tiny_retriever: Retriever,
    graph: str,
) -> None:
    """Of one grid size only: what reads it differs, and nothing else."""
    manifest = read_manifest(tuned_export)
    other = manifest.branches[2].model_copy(update={"cell_tau": 0.9})
    changed = manifest.model_copy(update={"branches": {**manifest.branches, 2: other}})
    graphs = list(cases(tiny_backbone, tiny_retriever, changed))
    every = [case for case in (*graphs, *ensembles(graphs)) if case.graph == graph]
    with pytest.raises(CorruptArtifact, match=rf"Triton's {graph}, .*N .*2.*: differs from torch"):
        compare(tuned_server.url, tuned_server.version, every)

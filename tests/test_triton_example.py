"""The example for people who call Triton directly gives what qasir's own client gives."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from model_repository.examples import call_triton
from qasir.manifest import read_manifest
from qasir.search import ScorerInput
from qasir.text import Tokenizer
from qasir.triton import Triton
from tests.support.triton import ROOT, RunningTriton
from tests.support.videos import write_painted

TEXT = "a red ball on the house"
PROTOCOLS = (tritonclient.grpc, tritonclient.http)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A short one, and one of more than a window of super images."""
    folder = tmp_path_factory.mktemp("example")
    return [
        write_painted(folder / "short.mp4", 7, fps=1),
        write_painted(folder / "long.mp4", 270, fps=1),
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda each: each.__name__)
def test_scores_are_those_of_the_client(
    triton_server: RunningTriton,
    triton: Triton,
    tiny_export: Path,
    videos: list[Path],
    protocol: ModuleType,
) -> None:
    is_grpc = protocol is tritonclient.grpc
    url = triton_server.url if is_grpc else triton_server.http_url.removeprefix("http://")
    manifest, version = read_manifest(tiny_export), triton_server.version
    tokens = Tokenizer.load(tiny_export, manifest.tokenizer).encode([TEXT])
    text = call_triton.text_inputs(tokens)
    parts = [call_triton.windows_of(path, manifest) for path in videos]
    assert [len(each) for each in parts] == [1, 2]

    batch = parts[0][0].batch
    mine = call_triton.ask(
        protocol,
        url,
        "match",
        {**call_triton.picture_inputs(batch), **text},
        call_triton.SCORES,
    )
    match = triton.match(version, batch.pixels, batch.mask, tokens)
    assert mine["scores"][0, 0] == match.score
    np.testing.assert_array_equal(mine["attention"][0, 0], match.attention)
    np.testing.assert_array_equal(mine["cell_attention"][0, 0], match.cell_attention.ravel())

    encoded = [call_triton.encode(protocol, url, each) for each in parts]
    assert [len(cells) for _, cells in encoded] == [7, 270]
    inputs = call_triton.video_inputs(encoded, 2)
    ranked = call_triton.ask(protocol, url, "rank", {**text, **inputs}, call_triton.SCORES)
    names = ("super_image_embeddings", "log_weights", "cell_embeddings", "cell_log_weights")
    packed = ScorerInput(*(inputs[name][0] for name in names))
    expected = triton.rank(version, tokens, packed, 2)
    np.testing.assert_array_equal(ranked["scores"][0], expected.scores)
    np.testing.assert_array_equal(ranked["attention"][0], expected.attention)
    assert ranked["scores"][0, 0] == pytest.approx(match.score, abs=1e-3)


def test_the_script_runs(
    triton_server: RunningTriton, tiny_export: Path, videos: list[Path]
) -> None:
    script = ROOT / "model_repository" / "examples" / "call_triton.py"
    where = ["--grpc", triton_server.url, "--http", triton_server.http_url.removeprefix("http://")]
    command = [sys.executable, "-W", "error", str(script), TEXT, *map(str, videos), *where]
    done = subprocess.run(
        [*command, "--export", str(tiny_export)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [
        [protocol.__name__, path.name] for protocol in PROTOCOLS for path in videos
    ]
    # Both protocols, the same words.
    assert [row[2:] for row in rows[:2]] == [row[2:] for row in rows[2:]]

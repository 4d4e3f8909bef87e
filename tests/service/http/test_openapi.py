"""The OpenAPI document holds: schemathesis, which reads nothing else, finds no fault.

Its checks of answers are on: no server error, no status, type, header or body that is not
documented, and a method that a path has not is refused with those it has. Off are those that
know validity by the schema alone: what metadata's text holds, or a protocol version, is refused
by rules that a schema cannot say.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.service import RunningService

# Activation and retirement would change what every other test searches.
LEFT_ALONE = (
    "/v1/models/{version}/activate",
    "/v1/models/{version}/build",
    "/v1/models/{version}/retire",
)
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
SECONDS = 45


def test_schemathesis_finds_no_fault(running_service: RunningService, tmp_path: Path) -> None:
    running_service.ingested()
    url = str(running_service.http.base_url).rstrip("/")
    left_alone = [option for path in LEFT_ALONE for option in ("--exclude-path", path)]
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/docs.json"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--no-shrink"),
        *("--max-time", str(SECONDS), "--seed", "1", "--request-timeout", "30", "--no-color"),
        *("--warnings", "off", "--generation-database", "none", "--checks", ",".join(CHECKS)),
        # It has no serialiser for the body of a resumable upload.
        *("--exclude-method", "PATCH", *left_alone),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=180
    )
    # What it announced and never sent would leave other tests no place for theirs.
    for upload in (running_service.settings.folders.uploads / "resumable").iterdir():
        shutil.rmtree(upload)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

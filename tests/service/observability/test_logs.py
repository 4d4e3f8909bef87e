"""Logs are one JSON object a line, whoever speaks."""

import json
import subprocess
import sys
from typing import Any

from tests.support.service import RunningService

SPEAK = """
import logging, warnings
import structlog
from service.observability.logs import configure_logs
configure_logs("worker")
structlog.get_logger().info("ours", count=3)
logging.getLogger("circus").warning("theirs, %s", "with an argument")
logging.getLogger("bentoml").info("bento")
logging.getLogger("sqlalchemy").debug("chatter")
warnings.warn("old")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("bug")
    logging.getLogger("uvicorn.error").exception("theirs too")
"""


def test_everybody_speaks_json() -> None:
    spoken = subprocess.run(
        [sys.executable, "-c", SPEAK], capture_output=True, text=True, check=True
    )
    assert spoken.stdout == ""
    lines: list[dict[str, Any]] = [json.loads(line) for line in spoken.stderr.splitlines()]
    assert {line["process"] for line in lines} == {"worker"}
    assert [(line["event"].split("\n")[0], line["level"]) for line in lines[:2]] == [
        ("ours", "info"),
        ("theirs, with an argument", "warning"),
    ]
    assert "UserWarning: old" in lines[2]["event"]
    assert [line["exception"][0]["exc_type"] for line in lines[3:]] == ["ZeroDivisionError"] * 2


def test_a_running_stack_writes_nothing_else(running_service: RunningService) -> None:
    running_service.search()
    for name in ("service", "worker"):
        text = (running_service.settings.folders.run / f"{name}.log").read_text()
        assert {json.loads(line)["process"] for line in text.split("\n")[:-1]} == {name}

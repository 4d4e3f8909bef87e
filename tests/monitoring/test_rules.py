"""Rules and alerts: promtool's own tests of them, their runbook, and the codes that count."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from monitoring.evidence import VARIABLES
from monitoring.queries import (
    FOLDER,
    RULES,
    dashboard_queries,
    metric_names,
    rule_queries,
    rules,
    substituted,
)
from qasir import errors
from qasir.errors import QasirError
from service.http.problems import status_of
from service.observability.metrics import OTHER
from tests.support.programs import needed

RUNBOOK = (FOLDER / "README.md").read_text()
ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDS = [rule["record"] for rule in rules() if "record" in rule]


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        [needed("promtool"), *arguments], capture_output=True, text=True, cwd=FOLDER, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_configuration_is_sound() -> None:
    promtool("check", "config", "prometheus.yml")


@pytest.mark.parametrize("path", sorted(RULES.glob("tests/*.yml")), ids=lambda path: path.stem)
def test_promtool_agrees(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", str(path))


def test_promtool_would_notice(tmp_path: Path) -> None:
    """A threshold ten times as high must fail the same tests."""
    shutil.copytree(RULES, tmp_path / "rules")
    alerts = tmp_path / "rules" / "alerts.yml"
    alerts.write_text(alerts.read_text().replace("14.4 * 0.005", "144 * 0.005"))
    tests = tmp_path / "rules" / "tests" / "search.yml"
    command = [needed("promtool"), "test", "rules", str(tests)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_every_alert_is_tested_and_has_a_runbook(alert: dict[str, object]) -> None:
    name = str(alert["alert"])
    assert re.search(rf"^### {name}$", RUNBOOK, re.MULTILINE), f"no heading for {name}"
    annotations = alert["annotations"]
    assert isinstance(annotations, dict)
    assert annotations["runbook"] == f"monitoring/README.md#{name.lower()}"
    assert annotations["summary"]
    assert alert["for"]
    assert alert["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    tests = "".join(path.read_text() for path in RULES.glob("tests/*.yml"))
    assert re.search(rf"alertname: {name}\n", tests), f"promtool never sees {name} fire"


def test_the_runbook_knows_no_other_alert() -> None:
    headings = set(re.findall(r"^### (Qasir\w+)$", RUNBOOK, re.MULTILINE))
    assert headings == {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("record", sorted(set(RECORDS)))
def test_what_is_recorded_is_read(record: str) -> None:
    asked = [*dashboard_queries(), *rule_queries()]
    exprs = [substituted(query.expr, VARIABLES) for query in asked]
    assert any(record in metric_names(expr) for expr in exprs)


def test_the_budget_counts_what_the_asker_cannot_mend() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    mine = {
        kind.code
        for kind in kinds
        if issubclass(kind, QasirError)
        and (status_of(kind).http >= 500 or status_of(kind).http == 429)
    }
    ratios = [rule["expr"] for rule in rules() if "search_errors" in rule.get("record", "")]
    assert len(ratios) == 4
    for expr in ratios:
        (counted,) = re.findall(r'code=~"([^"]+)"', expr)
        assert set(counted.split("|")) == mine | {OTHER}, "mend monitoring/rules/search.yml"

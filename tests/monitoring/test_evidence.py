"""Evidence: what is missing or impossible is told; and on a real Prometheus nothing is."""

import math
import time
from itertools import count, product

import httpx
import pytest
from rich.console import Console

from monitoring.evidence import Answer, Labels, ask, every_query, faults, table
from monitoring.queries import NamedQuery, absent_hardware
from service.observability.metrics import MODES
from tests.support.monitoring import GRID_SIZES, Watched, variable_queries
from tests.support.service import RunningService, write_sound
from tests.support.waiting import wait_for

NO_LABELS: Labels = frozenset()
P50 = "histogram_quantile(0.5, sum by (le) (rate(a_bucket[1m])))"
P95 = P50.replace("0.5", "0.95")


def answer(*values: float, name: str = "a", expr: str = "a", unit: str = "s") -> Answer:
    labels = [frozenset({("n", str(number))}) for number in range(len(values))]
    return Answer(NamedQuery(name, expr, unit), dict(zip(labels, values, strict=True)))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (answer(), "a: no data"),
        (answer(1.0, math.nan), "a: not a number"),
        (answer(math.inf), "a: not a number, or infinite"),
        (answer(-1.0), "a: negative"),
        (answer(0.5, 1.1, unit="percentunit"), "a: a share above 1"),
        (answer(1.1, name="rule a:ratio_rate5m"), "rule a:ratio_rate5m: a share above 1"),
    ],
)
def test_what_cannot_be_is_told(given: Answer, words: str) -> None:
    (fault,) = faults([given], set())
    assert fault.startswith(words)


def test_what_can_be_is_not() -> None:
    well = [answer(0.0, 7.0), answer(1.0, unit="percentunit")]
    prediction = answer(-1.0, expr="predict_linear(a[6h], 60)")
    assert faults([*well, prediction, answer(name="gpu")], {"gpu"}) == []


def test_quantiles_keep_their_order() -> None:
    low = Answer(NamedQuery("low", P50), {NO_LABELS: 2.0})
    high = Answer(NamedQuery("high", P95), {NO_LABELS: 1.0})
    (fault,) = faults([high, low], set())
    assert "out of order" in fault
    assert faults([high, Answer(low.query, {NO_LABELS: 0.5})], set()) == []
    recorded = {frozenset({("n", "2"), ("quantile", q)}): v for q, v in (("0.5", 3.0), ("0.99", 2))}
    (fault,) = faults([Answer(NamedQuery("b", "b"), recorded)], set())
    assert "out of order" in fault


def work(service: RunningService, number: int) -> None:
    """Searches of every kind, half of them with known texts, and now and then an upload."""
    if number % 8 == 0:
        service.ingested(seconds=20 + number)
    for mode, grid_size in product(MODES, GRID_SIZES):
        query = f"a red ball {number // 2} {grid_size}"
        service.search(query, mode=mode, grid_size=grid_size)
    service.http.post("/v1/search", json={"query": ""})


@pytest.fixture(scope="module")
def answers(watched: Watched) -> list[Answer]:
    """The answers to every query, once there is nothing wrong with them or after a minute."""
    service, absent = watched.service, absent_hardware()
    service.finished(service.upload(write_sound(service.folder / "sound.mp4")).json()["job_id"])
    end = time.monotonic() + 60
    for number in count():
        work(service, number)
        if number % 4 == 3:
            found = ask(watched.prometheus, every_query())
            if not faults(found, absent) or time.monotonic() > end:
                break
    return found


def test_every_query_of_every_panel_and_rule_has_an_answer(answers: list[Answer]) -> None:
    absent = absent_hardware()
    Console(width=140).print(table(answers, absent))
    assert faults(answers, absent) == []
    empty = {one.query.name for one in answers if not one.values}
    assert empty <= absent
    assert len(answers) > 100
    by_grid = next(one for one in answers if one.query.name == "qasir-latency / Search / A")
    assert {dict(labels)["grid_size"] for labels in by_grid.values} == {str(n) for n in GRID_SIZES}


def test_prometheus_finds_its_rules_healthy_and_its_targets_up(watched: Watched) -> None:
    groups = httpx.get(f"{watched.prometheus}/api/v1/rules").json()["data"]["groups"]
    assert {
        rule["lastError"] for group in groups for rule in group["rules"] if "lastError" in rule
    } == set()
    found = httpx.get(f"{watched.prometheus}/api/v1/targets").json()["data"]["activeTargets"]
    assert {target["labels"]["job"] for target in found} == {"service", "worker", "triton", "node"}


@pytest.mark.usefixtures("answers")
def test_every_variable_has_choices(watched: Watched) -> None:
    for metric, label in set(variable_queries()):
        asked = {"match[]": metric}
        url = f"{watched.prometheus}/api/v1/label/{label}/values"
        assert wait_for(lambda url=url, asked=asked: httpx.get(url, params=asked).json()["data"])

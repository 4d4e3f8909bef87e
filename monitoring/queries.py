"""Every query of dashboards and rules, from the files that Grafana and Prometheus read."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

FOLDER = Path(__file__).resolve().parent
DASHBOARDS = FOLDER / "grafana" / "dashboards"
RULES = FOLDER / "rules"
ABSENT_HARDWARE = FOLDER / "absent_hardware.yml"

# Comparisons and set operators: an alert that does not fire has no data, but its sides have.
DECISIONS = frozenset({">", "<", ">=", "<=", "==", "!=", "and", "or", "unless"})


@dataclass(frozen=True)
class NamedQuery:
    """One expression, named by its place; `unit` is Grafana's, "" in a rule."""

    name: str
    expr: str
    unit: str = ""


def dashboard_queries(folder: Path = DASHBOARDS) -> Iterator[NamedQuery]:
    """Read every target of every panel, as `<dashboard> / <panel> / <letter>`."""
    for path in sorted(folder.glob("*.json")):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets") or ():
                yield NamedQuery(
                    f"{board['uid']} / {panel['title']} / {target['refId']}",
                    target["expr"],
                    panel["fieldConfig"]["defaults"]["unit"],
                )


def rules(folder: Path = RULES) -> Iterator[dict[str, Any]]:
    """Read every recording rule and alert."""
    for path in sorted(folder.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def rule_queries(folder: Path = RULES) -> Iterator[NamedQuery]:
    """Read the expression of every recording rule, and both sides of each test of every alert."""
    for rule in rules(folder):
        if "record" in rule:
            quantile = rule.get("labels", {}).get("quantile", "")
            yield NamedQuery(f"rule {rule['record']} {quantile}".strip(), rule["expr"])
        else:
            for number, side in enumerate(sides(rule["expr"]), 1):
                yield NamedQuery(f"alert {rule['alert']} / {number}", side)


def absent_hardware(path: Path = ABSENT_HARDWARE) -> set[str]:
    """Read the names of the queries that may have no data."""
    lists: dict[str, list[str]] = yaml.safe_load(path.read_text())
    return {name for names in lists.values() for name in names}


def substituted(expr: str, variables: Mapping[str, str]) -> str:
    """Replace the variables of an expression, as Grafana does."""
    for name in sorted(variables, key=len, reverse=True):
        expr = expr.replace(f"${name}", variables[name])
    return expr


def metric_names(expr: str) -> set[str]:
    """Collect the names of the series that an expression reads."""
    names: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            names.add(node.name)

    promql_parser.walk(promql_parser.parse(expr), visit)
    return names


def sides(expr: str) -> list[str]:
    """Split an alert into what it compares: `a > 1 and b < 2` reads a and b.

    Of `absent(x)`, which has no data while all is well, it is x.
    """
    return [node.prettify() for node in _sides(promql_parser.parse(expr))]


def _sides(node: Any) -> Iterator[Any]:
    if isinstance(node, promql_parser.ParenExpr):
        yield from _sides(node.expr)
    elif isinstance(node, promql_parser.BinaryExpr) and str(node.op) in DECISIONS:
        yield from _sides(node.lhs)
        yield from _sides(node.rhs)
    elif isinstance(node, promql_parser.Call) and node.func.name == "absent":
        yield from _sides(node.args[0])
    elif metric_names(node.prettify()):
        yield node

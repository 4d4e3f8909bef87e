"""Renders `boards/*.yml` as Grafana's JSON, with Grafana's SDK: `python -m monitoring.dashboards`.

A board is a file of panels in rows. Every panel needs a unit, in Grafana's words, and a sentence
that says what it shows.
"""

import json
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Literal

import yaml
from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, stat, timeseries
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as settings
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from monitoring.queries import DASHBOARDS, FOLDER
from qasir.config import Strict

DATASOURCE = settings.DataSourceRef(type_val="prometheus", uid="$datasource")
LAST = common.ReduceDataOptions().calcs(["lastNotNull"])
SECONDS = heatmap.YAxisConfig().unit("s")
HORIZONTAL = options.VizOrientation.HORIZONTAL
HEIGHT = 8
TAG = "qasir"


class Quantiles(Strict):
    """Quantiles of a histogram, one series per value of the label `by` ("": one in all)."""

    histogram: str
    by: str = ""
    shares: tuple[float, ...]
    selector: str = ""
    window: str = "$__rate_interval"

    def queries(self) -> dict[str, str]:
        """Return expressions by legend."""
        labels = f"le, {self.by}" if self.by else "le"
        buckets = f"{self.histogram}_bucket{{{self.selector}}}[{self.window}]"
        name = "N" if self.by == "grid_size" else self.by
        series = f"{name} {{{{{self.by}}}}} " if self.by else ""
        # Without an observation in the window a quantile is NaN; the comparison drops it.
        return {
            f"{series}p{share * 100:g}": (
                f"histogram_quantile({share:g}, sum by ({labels}) (rate({buckets}))) >= 0"
            )
            for share in self.shares
        }


class Panel(Strict):
    """One panel: PromQL expressions by legend, or quantiles; `width` in Grafana's 24 columns."""

    title: str
    description: str
    unit: str
    kind: Literal["lines", "shares", "bars", "number", "heatmap"] = "lines"
    width: int = 12
    queries: Mapping[str, str] = {}
    quantiles: Quantiles | None = None


class Variable(Strict):
    """A choice at the top of a dashboard: the values of a label of a metric."""

    name: str
    title: str
    metric: str


class Board(Strict):
    """One dashboard, rendered as `<uid>.json`; `rows` holds panels by heading."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: Mapping[str, tuple[Panel, ...]]


# In the order in which to look at them.
BOARDS = tuple(
    Board.model_validate(yaml.safe_load((FOLDER / "boards" / f"{name}.yml").read_text()))
    for name in ("overview", "latency", "ingestion", "triton", "host", "library")
)


def rendered(board: Board) -> str:
    """Render a dashboard as Grafana's provisioning reads it."""
    link = dashboard.DashboardLink(TAG).type(settings.DashboardLinkType.DASHBOARDS).tags([TAG])
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(settings.DashboardCursorSync.CROSSHAIR)
        .link(link.as_dropdown(True))
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
    )
    for variable in board.variables:
        built.with_variable(_variable(variable))
    numbers = count(1)
    for title, panels in board.rows.items():
        built.with_row(dashboard.Row(title).id(next(numbers)))
        for panel in panels:
            built.with_panel(_panel(panel).id(next(numbers)))
    return json.dumps(built.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _variable(variable: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.title)
        .query(f"label_values({variable.metric}, {variable.name})")
        .datasource(DATASOURCE)
        .refresh(settings.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(settings.VariableSort.NUMERICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _panel(panel: Panel) -> Any:
    built = _KINDS[panel.kind]().title(panel.title).description(panel.description).unit(panel.unit)
    built.datasource(DATASOURCE).span(panel.width).height(HEIGHT)
    queries = panel.quantiles.queries() if panel.quantiles else panel.queries
    for letter, (legend, expr) in zip("ABCDEFGH", queries.items(), strict=False):
        target = Dataquery().expr(expr).legend_format(legend).ref_id(letter)
        if panel.kind == "heatmap":
            target.format(PromQueryFormat.HEATMAP)
        instant = panel.kind in ("bars", "number")
        built.with_target(target.instant() if instant else target.range())
    return built


def _lines() -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(options.LegendDisplayMode.LIST)
    legend.placement(options.LegendPlacement.BOTTOM).show_legend(True)
    return timeseries.Panel().min(0).fill_opacity(5).legend(legend)


def _shares() -> timeseries.Panel:
    stacked = common.StackingConfig().mode(options.StackingMode.NORMAL)
    return _lines().max(1).fill_opacity(40).stacking(stacked)


_KINDS: dict[str, Callable[[], Any]] = {
    "lines": _lines,
    "shares": _shares,
    "bars": lambda: bargauge.Panel().min(0).orientation(HORIZONTAL).reduce_options(LAST),
    "number": lambda: stat.Panel().reduce_options(LAST),
    # Prometheus delivers the buckets; seconds are the axis, not the cells.
    "heatmap": lambda: heatmap.Panel().calculate(False).y_axis(SECONDS),
}


def main() -> None:
    """Write the file of every board and remove all others."""
    files = {f"{board.uid}.json": rendered(board) for board in BOARDS}
    for old in DASHBOARDS.glob("*.json"):
        if old.name not in files:
            old.unlink()
    for name, text in files.items():
        (DASHBOARDS / name).write_text(text)


if __name__ == "__main__":
    main()

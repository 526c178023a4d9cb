"""What a benchmark says on a terminal: a table for each work. Its words for figures are those of bench.markdown too."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench.figures import Comparison, Figures, Spread
from bench.works.base import Metric

# Of a second; above it somebody else was at work on these CPUs, and the figure says little.
TOLERABLE_FOREIGN_SHARE = 0.1
LEGEND = """\
median [least-most] of the runs; ratios are of the same run; CPU is user + system time of the measured process.
CPU / rest / foreign: how busy it was, how busy generator and backend were, and others on the same CPUs."""
_COLOURS = {True: "green", False: "red", None: "yellow"}


def table(figures: Figures) -> Group:
    """One work: what each system came to, and beneath it what became of the goals."""
    result = figures.result
    table = Table("", title=Text(result.name, "bold"), title_justify="left")
    for metric in result.metrics:
        table.add_column(metric.name, justify="right")
    shares = {system: shown for system in result.samples if (shown := _shares(figures, system)) is not None}
    if shares:
        table.add_column("CPU / rest / foreign", justify="right")
    for system in result.samples:
        cells = [Text(amount(figures.spread(system, metric.key), metric)) for metric in result.metrics]
        table.add_row(system, *cells, *([shares.get(system, "")] if shares else []))
    return Group(table, *map(_goal, figures.goals()), "")


def _goal(goal: Comparison) -> Text:
    value = amount(goal.value, goal.metric) if goal.peer is None else ratio(goal.value)
    told = Text(f"{goal.metric.name}: {value or '-'}, goal {limit(goal)}: ")
    return told.append(verdict(goal), _COLOURS[goal.is_met])


def _shares(figures: Figures, system: str) -> Text | None:
    measured, rest, foreign = (figures.spread(system, f"{whose}_share") for whose in ("cpu", "rest", "foreign"))
    if measured is None or rest is None or foreign is None:
        return None
    shown = Text(f"{measured.median:.0%} / {rest.median:.0%} / ")
    return shown.append(f"{foreign.median:.0%}", "red" if foreign.median > TOLERABLE_FOREIGN_SHARE else "")


# --- words ----------------------------------------------------------------------------------------------------


def amount(spread: Spread | None, metric: Metric) -> str:
    """A metric's median and range, with its unit; nothing if it was not measured."""
    if spread is None:
        return ""
    median, least, most = (f"{value:,.{metric.digits}f}" for value in spread)
    unit = f" {metric.unit}" if metric.unit else ""
    return f"{median}{unit} [{least}-{most}]"


def ratio(spread: Spread | None) -> str:
    return "" if spread is None else "{:.2f} [{:.2f}-{:.2f}]".format(*spread)


def limit(comparison: Comparison) -> str:
    """What the goal is, nothing if there is none."""
    goal = comparison.goal
    if goal is None:
        return ""
    unit = f" x {goal.peer}" if goal.peer is not None else f" {comparison.metric.unit}".rstrip()
    return f"{'>=' if goal.at_least else '<='} {goal.limit:g}{unit}"


def verdict(comparison: Comparison) -> str:
    """What became of the goal, nothing if there is none."""
    if comparison.goal is None:
        return ""
    return {True: "met", False: "missed", None: "not measured"}[comparison.is_met]

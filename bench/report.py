"""What a benchmark says at its end: a table for people, or JSON with every run."""

import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.build import find
from bench.figures import Figures, Spread, Verdict
from bench.works.base import Metric, Work

# Of a second; above it somebody else was at work on these CPUs, and the figure says little.
TOLERABLE_FOREIGN_SHARE = 0.1
LEGEND = """\
median \\[least-most] of the runs; ratios are of the same run; CPU is user + system time of the measured process.
CPU / rest / foreign: how busy it was, how busy generator and backend were, and others on the same CPUs."""
_VERSION_OPTIONS = {"nginx": "-v", "haproxy": "-v", "gcc": "-dumpfullversion"}


def table(figures: Figures) -> Table:
    """One work: what each system came to, and beneath it what became of the goals."""
    work = figures.work
    goals = [_verdict(work, verdict) for verdict in figures.verdicts()]
    table = Table(title=f"[bold]{work.name}", title_justify="left", caption="\n".join(goals), caption_justify="left")
    table.add_column("")
    for metric in work.metrics:
        table.add_column(metric.name, justify="right")
    table.add_column("CPU / rest / foreign", justify="right")
    for system in figures.samples:
        cells = [_cell(figures.spread(system, metric.key), metric) for metric in work.metrics]
        table.add_row(system, *cells, _shares(figures, system))
    return table


def document(figures: list[Figures]) -> dict[str, Any]:
    """Everything, for a program to read. Shares and ratios are of 1; the rest is in the unit its name says."""
    return {
        "machine": machine(),
        "works": [
            {
                "group": each.work.group,
                "name": each.work.name,
                "metrics": [metric._asdict() for metric in each.work.metrics],
                "goals": [
                    {**verdict.goal._asdict(), "value": verdict.value._asdict(), "is_met": verdict.is_met}
                    for verdict in each.verdicts()
                ],
                "samples": each.samples,
            }
            for each in figures
        ],
    }


def machine() -> dict[str, Any]:
    """Where and when: a figure without it says nothing."""
    cpus = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "time": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "cpu": cpus[0] if cpus else platform.machine(),
        "cpus": len(cpus),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: _version(name, option) for name, option in _VERSION_OPTIONS.items()},
        "load_average": _lines("/proc/loadavg")[0].split()[0],
    }


def _version(name: str, option: str) -> str | None:
    command = find(name)
    if command is None:
        return None
    said = subprocess.run([command, option], capture_output=True, text=True)
    return (said.stdout or said.stderr).splitlines()[0].strip()


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _cell(spread: Spread | None, metric: Metric) -> str:
    if spread is None:
        return ""
    median, least, most = (f"{value:,.{metric.digits}f}" for value in spread)
    return f"{median} {metric.unit} \\[{least}-{most}]".replace("  ", " ")


def _verdict(work: Work, verdict: Verdict) -> str:
    goal, value = verdict.goal, verdict.value
    metric = next(metric for metric in work.metrics if metric.key == goal.metric)
    unit = f" x {goal.peer}" if goal.peer is not None else f" {metric.unit}"
    range_ = f"{value.median:.2f} \\[{value.least:.2f}-{value.most:.2f}]"
    colour, word = ("green", "met") if verdict.is_met else ("red", "missed")
    return f"{metric.name}: {range_}{unit}, goal {'>=' if goal.at_least else '<='} {goal.limit:g}: [{colour}]{word}[/]"


def _shares(figures: Figures, system: str) -> str:
    measured, rest, foreign = (figures.spread(system, f"{whose}_share") for whose in ("cpu", "rest", "foreign"))
    if measured is None or rest is None or foreign is None:
        return ""
    colour = "red" if foreign.median > TOLERABLE_FOREIGN_SHARE else "default"
    return f"{measured.median:.0%} / {rest.median:.0%} / [{colour}]{foreign.median:.0%}"

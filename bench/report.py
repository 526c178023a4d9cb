"""What a benchmark says at its end: a table for people, or JSON with every run."""

import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.build import find
from bench.figures import Figure, Spread

# Of a second; above it somebody else was at work on these CPUs, and the figure says little.
TOLERABLE_FOREIGN_SHARE = 0.1
_VERSION_OPTIONS = {"nginx": "-v", "haproxy": "-v", "gcc": "-dumpfullversion"}


def table(figures: list[Figure]) -> Table:
    table = Table(
        caption="median \\[least-most] of the runs; ratios are of the same run; cost is user + system time.\n"
        "CPU: of the measured process; rest: of generator and backend; foreign: of others on the same CPUs"
    )
    table.add_column("")
    for header in ("cost", "ratio", "goal", "per second", "p50 / p99", "CPU / rest / foreign"):
        table.add_column(header, justify="right")
    work = None
    for figure in figures:
        if figure.work is not work:
            work = figure.work
            table.add_section()
            table.add_row(f"[bold]{work.name}")
        table.add_row(
            f"  {figure.system}",
            _spread(figure.value, f" {figure.work.unit}"),
            "" if figure.ratio is None else "x" + _spread(figure.ratio),
            _goal(figure),
            _format(figure.detail("per_second"), "{:,.0f}"),
            _latency(figure),
            _shares(figure),
        )
    return table


def document(figures: list[Figure]) -> dict[str, Any]:
    """Everything, for a program to read. Shares and ratios are of 1; the rest is in the unit its name says."""
    return {
        "machine": machine(),
        "figures": [
            {
                "group": figure.work.group,
                "work": figure.work.name,
                "system": figure.system,
                "unit": figure.work.unit,
                "value": figure.value._asdict(),
                "base": figure.work.base,
                "ratio": None if figure.ratio is None else figure.ratio._asdict(),
                "goal": figure.work.goal,
                "is_goal_met": figure.is_goal_met,
                "runs": [{"value": sample.value, **sample.details} for sample in figure.samples],
            }
            for figure in figures
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


def _spread(spread: Spread, unit: str = "") -> str:
    return f"{spread.median:.2f}{unit} \\[{spread.least:.2f}-{spread.most:.2f}]"


def _format(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _latency(figure: Figure) -> str:
    p50, p99 = figure.detail("p50_us"), figure.detail("p99_us")
    return "" if p50 is None or p99 is None else f"{p50 / 1000:.2f} / {p99 / 1000:.2f} ms"


def _shares(figure: Figure) -> str:
    measured, rest, foreign = map(figure.detail, ("cpu_share", "rest_share", "foreign_share"))
    if measured is None or rest is None or foreign is None:
        return ""
    colour = "red" if foreign > TOLERABLE_FOREIGN_SHARE else "default"
    return f"{measured:.0%} / {rest:.0%} / [{colour}]{foreign:.0%}"


def _goal(figure: Figure) -> str:
    if figure.is_goal_met is None:
        return ""
    goal = f"x{figure.work.goal:g}" if figure.ratio is not None else f"{figure.work.goal:g} {figure.work.unit}"
    return f"[green]{goal} met" if figure.is_goal_met else f"[red]{goal} missed"

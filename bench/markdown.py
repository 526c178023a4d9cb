"""The figures as Markdown, and their place on a page: between two comments, whatever else the page says.

So the figures on a page are those of runs that are kept, with the machine, the date and the versions, and nobody
copies one by hand.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from bench.figures import OURS, Figures
from bench.process import BenchError
from bench.report import amount, limit, ratio, verdict
from bench.results import Result, write

BEGIN = "<!-- figures: written by python -m bench, don't edit -->"
END = "<!-- end of figures -->"


def put(page: Path, results: Sequence[Result]) -> None:
    """Put the figures into a page, in place of those between the two comments. Raises BenchError."""
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{page}: {error.strerror}") from error
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"{page}: expected a line {BEGIN} and one {END}, for the figures between them")
    write(page, f"{before}{BEGIN}\n{section(results)}{END}{after}")


def section(results: Sequence[Result]) -> str:
    """Conditions, all goals in one table, then a table for each group."""
    all_figures = [Figures(result) for result in results]
    parts = [_conditions(results), _goals(all_figures)]
    for group, figures in groupby(all_figures, lambda figures: figures.result.group):
        parts.append(f"### {group}\n\n" + _group(list(figures)))
    return "\n" + "\n".join(parts) + "\n"


def _conditions(results: Sequence[Result]) -> str:
    """Once if all are the same. A date alone makes no difference that matters: works are measured by and by."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for result in results:
        names, dates = found.setdefault(_told(result), ([], []))
        names.append(result.name)
        dates.append(result.conditions.date)
    lines = []
    for conditions, (names, dates) in found.items():
        whose = "" if len(found) == 1 else f"**{'; '.join(names)}**: "
        when = min(dates) if len(set(dates)) == 1 else f"{min(dates)} to {max(dates)}"
        lines.append(f"{whose}{when}, {conditions}\n")
    return "\n".join(lines)


def _told(result: Result) -> str:
    conditions = result.conditions
    runs = max(map(len, result.samples.values()), default=0)
    command = "python -m bench" if conditions.scale == "full" else f"python -m bench --{conditions.scale}"
    versions = ", ".join(f"{name} {version}" for name, version in conditions.versions.items())
    return f"{runs} runs of `{command}` on {conditions.machine}. {versions}."


def _goals(all_figures: Sequence[Figures]) -> str:
    rows = []
    for figures in all_figures:
        for each in figures.goals():
            ours = amount(figures.spread(OURS, each.metric.key), each.metric)
            beside = (
                ""
                if each.peer is None
                else f"{each.peer} {amount(figures.spread(each.peer, each.metric.key), each.metric)}"
            )
            times = "" if each.peer is None else ratio(each.value)
            word = verdict(each)
            rows.append(
                (
                    figures.result.name,
                    each.metric.name,
                    ours,
                    beside,
                    times,
                    limit(each),
                    word if word == "met" else f"**{word}**",
                )
            )
    return _table(("Work", "Figure", OURS, "Beside", "Ratio", "Goal", ""), rows)


def _group(all_figures: Sequence[Figures]) -> str:
    """Works of a group mostly have the same metrics; where one has others the table has both."""
    columns = {(metric.key, metric.name): metric for each in all_figures for metric in each.result.metrics}
    rows = []
    for figures in all_figures:
        name = figures.result.name
        for system in figures.result.samples:
            cells = (amount(figures.spread(system, key), columns[key, label]) for key, label in columns)
            rows.append((name, system, *cells))
            name = ""
    return _table(("Work", "System", *(metric.name for metric in columns.values())), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  ", "| ") for line in lines)

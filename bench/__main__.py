"""`python -m bench`: measure, and say what came out. Status 1 when a result was wrong, or could not be had."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.build import prepare
from bench.compiled import use_compiled
from bench.figures import Figures
from bench.machine import conditions
from bench.markdown import put
from bench.plot import plot
from bench.process import BenchError
from bench.report import LEGEND, table
from bench.results import Conditions, Result, encode, load, merge, save, write
from bench.systems.base import CPUS, OTHER_CPU
from bench.works import GROUPS, WORKS
from bench.works.base import FULL, QUICK, Metric, Sample, Scale, Work

STDOUT = "-"


def main(words: Sequence[str] | None = None) -> int:
    arguments = _arguments(words)
    progress = Console(stderr=True, highlight=False, soft_wrap=True)
    is_right = True
    try:
        if arguments.report is not None:
            results = load(arguments.report)
        else:
            if not set(CPUS) <= os.sched_getaffinity(0):
                raise BenchError("needs two CPUs: one for what is measured, one for all else")
            prepare()
            if not arguments.interpreted:
                use_compiled()
            os.sched_setaffinity(0, {OTHER_CPU})
            works = [work for work in WORKS if work.group in (arguments.only or GROUPS)]
            if arguments.quick:
                works = [work for work in works if work.in_quick]
            circumstances = conditions("quick" if arguments.quick else "full")
            results = measure(works, QUICK if arguments.quick else FULL, circumstances, progress)
            is_right = len(results) == len(works)
        _tell(results, arguments)
    except BenchError as error:
        progress.print(f"failed: {error}", style="red", markup=False)
        return 1
    return 0 if is_right else 1


def measure(works: list[Work], scale: Scale, circumstances: Conditions, progress: Console) -> list[Result]:
    """Every run of every work, its systems always one right after the other.

    A work of which anything is wrong has no result, and the others go on.
    """
    right = {work.name: work for work in works}
    samples: dict[str, dict[str, list[Sample]]] = {work.name: {name: [] for name in work.systems} for work in works}
    for run in range(scale.runs):
        for work in list(right.values()):
            for system in work.systems:
                what = f"run {run + 1}/{scale.runs}  {work.name}  {system}"
                try:
                    sample = _sample(work, system, scale)
                except BenchError as error:
                    progress.print(f"failed: {what}: {error}", style="red", markup=False)
                    del right[work.name]
                    break
                samples[work.name][system].append(sample)
                progress.print(f"{what}{_told(sample, work.metrics[0])}", markup=False)
    return [
        Result(work.group, work.name, work.metrics, work.goals, samples[work.name], circumstances)
        for work in right.values()
    ]


def _sample(work: Work, system: str, scale: Scale) -> Sample:
    with work.systems[system]() as running:
        try:
            return work.measure(running, scale)
        except BenchError as error:
            raise BenchError(f"{error}{running.last_words()}") from error


def _told(sample: Sample, metric: Metric) -> str:
    return f": {sample[metric.key]:.2f} {metric.unit}".rstrip() if metric.key in sample else ""


def _tell(results: list[Result], arguments: argparse.Namespace) -> None:
    if arguments.json == STDOUT:
        sys.stdout.write(encode(results))
    else:
        console = Console(width=None if sys.stdout.isatty() else 150)
        for result in results:
            console.print(table(Figures(result)))
        console.print(LEGEND, markup=False, highlight=False)
    if arguments.json not in (None, STDOUT):
        file = Path(arguments.json)
        results = merge(load(file) if file.exists() else [], results, [work.name for work in WORKS])
        save(file, results)
    if arguments.plot is not None:
        write(arguments.plot, plot(results))
    if arguments.markdown is not None:
        put(arguments.markdown, results)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--quick", action="store_true", help="fewer works and runs, and shorter ones, for a first look: under 2 minutes"
    )
    source.add_argument("--report", type=Path, metavar="FILE", help="measure nothing: say what --json has kept there")
    parser.add_argument(
        "--interpreted",
        action="store_true",
        help="measure the sources as they are: without the minute that compiling takes",
    )
    parser.add_argument("--only", action="append", choices=GROUPS, help="measure only this; can be repeated")
    parser.add_argument(
        "--json",
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help="keep every run there, in place of the same works there before; without FILE, print it, not tables",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw all works as SVG")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="put the figures into that page, where it has room"
    )
    parsed = parser.parse_args(words)
    if parsed.report is not None and (parsed.only or parsed.json):
        parser.error("--report measures nothing: --only and --json don't go with it")
    return parsed


if __name__ == "__main__":
    sys.exit(main())

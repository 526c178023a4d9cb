"""`python -m bench`: measure, and say what came out. Status 1 when a result was wrong, or could not be had."""

import argparse
import json
import os
import sys

from rich.console import Console

from bench.build import prepare
from bench.figures import Figures
from bench.process import BenchError
from bench.report import LEGEND, document, table
from bench.systems.base import CPUS, OTHER_CPU
from bench.works import GROUPS, WORKS
from bench.works.base import FULL, QUICK, Sample, Scale, Work


def main() -> int:
    arguments = _arguments()
    progress = Console(stderr=True)
    works = [work for work in WORKS if work.group in (arguments.only or GROUPS)]
    try:
        if not set(CPUS) <= os.sched_getaffinity(0):
            raise BenchError("needs two CPUs: one for what is measured, one for all else")
        prepare()
        os.sched_setaffinity(0, {OTHER_CPU})
        results = _measure(works, QUICK if arguments.quick else FULL, progress)
    except BenchError as error:
        progress.print(f"[red]failed:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    if arguments.json:
        json.dump(document(results), sys.stdout, indent=2)
        print()
    else:
        console = Console(width=None if sys.stdout.isatty() else 150)
        for figures in results:
            console.print(table(figures))
        console.print(LEGEND)
    return 0


def _measure(works: list[Work], scale: Scale, progress: Console) -> list[Figures]:
    """Every run of every system, the systems of a work always one right after the other."""
    samples: list[dict[str, list[Sample]]] = [{system: [] for system in work.systems} for work in works]
    for run in range(scale.runs):
        for work, taken in zip(works, samples, strict=True):
            for system, start in work.systems.items():
                what = f"run {run + 1}/{scale.runs}  {work.name}  {system}"
                with start() as running:
                    try:
                        sample = work.measure(running, scale)
                    except BenchError as error:
                        raise BenchError(f"{what}: {error}{running.last_words()}") from error
                taken[system].append(sample)
                first = work.metrics[0]
                progress.print(f"{what}: {sample[first.key]:.2f} {first.unit}", highlight=False)
    return [Figures(work, taken) for work, taken in zip(works, samples, strict=True)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="shorter and fewer runs, for a first look: under 2 minutes"
    )
    parser.add_argument("--json", action="store_true", help="print JSON with every run instead of the table")
    parser.add_argument("--only", action="append", choices=GROUPS, help="measure only this; can be repeated")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

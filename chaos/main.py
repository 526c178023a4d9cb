"""Runs a Plan for the command line: shows how it goes, prints what came of it, returns the exit status."""

import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

from holdfast.chaos.display import Display
from holdfast.chaos.processes import Processes
from holdfast.chaos.report import Report
from holdfast.chaos.trial import Plan, Trial
from holdfast.console.output import say_json
from holdfast.node.errors import one_of_ours

INTERRUPTED = 130  # as holdfast.cli's


def run(plan: Plan, title: str, *, as_json: bool) -> int:
    """0: every promise holds. 1: one does not. With as_json the report goes to stdout, and all else to stderr."""
    display = Display(title, sys.stderr if as_json else sys.stdout)
    with tempfile.TemporaryDirectory(prefix="holdfast-") as directory, Processes(Path(directory)) as processes:
        report = trio.run(partial(_run, Trial(plan, processes, display.event), display))
    if report is None:
        return INTERRUPTED
    if as_json:
        say_json(report)
    else:
        display.report(report)
    return 0 if report.ok else 1


async def _run(trial: Trial, display: Display) -> Report | None:
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(display.run, trial.snapshot)
            report = await trial.run()
            nursery.cancel_scope.cancel(reason="done")
        return report
    except ExceptionGroup as group:
        error = one_of_ours(group)
        if error is None:
            raise
        raise error from None

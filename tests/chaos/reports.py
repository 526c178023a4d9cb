"""What a test of chaos shows when a promise is broken: that "25 clients dropped" says neither which nor by what."""

import json
from typing import Any

import msgspec

from holdfast.chaos.report import Report

SHOWN = ("broken", "seed", "faults", "turns_skipped", "clients", "losses", "missed", "twice", "disordered")
LAST_LINES = 60  # of what is told meanwhile: each fault has one


def check_kept(report: Report | dict[str, Any], progress: str = "") -> None:
    """Every promise is, else the failure says what came of the run. progress: what it has told meanwhile."""
    said = msgspec.to_builtins(report)
    if said["broken"] or not said["ok"]:
        shown = [f"{name}: {json.dumps(said[name])}" for name in SHOWN if name in said]
        raise AssertionError("\n".join(["promises are broken", *shown, *progress.splitlines()[-LAST_LINES:]]))

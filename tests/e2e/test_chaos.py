"""`holdfast chaos` as a user runs it, small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.reports import check_kept

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0


def chaos(*arguments):
    command = [sys.executable, "-m", "holdfast", "chaos", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def test_kills_cost_nothing():
    status, report, progress = chaos(
        *("--for", "4s", "--clients", "30", "--fault", "kill", "--every", "1s", "--work", "20ms", "--all-at-once"),
        *("--seed", "1"),
    )
    check_kept(report, progress)
    assert status == 0
    assert report["ok"] is True
    assert report["seed"] == 1
    assert report["faults"]["all"] == 1
    assert report["faults"]["kill"] >= 2
    assert report["masters"]["hit"] >= 1
    requests = report["requests"]
    # On a machine that is busy a request may be at work for as long as it is between two kills, and lose two nodes.
    quarantined = requests["errors"].get("quarantined", 0)
    assert set(requests["errors"]) <= {"quarantined"}
    assert requests["sent"] - quarantined == requests["answered_once"] > 900
    assert requests["redelivered"] > 0
    assert requests["answered_twice"] == requests["unanswered"] == requests["wrong_client"] == requests["stray"] == 0
    notifications = report["notifications"]
    assert requests["answered_once"] <= notifications["published"] <= requests["sent"]
    assert notifications["delivered"] == 10 * notifications["published"]
    for loss in ("missing", "duplicated", "out_of_order", "unfounded", "old_masters"):
        assert notifications[loss] == 0
    assert report["clients"]["dropped"] == {}
    state = report["state"]
    assert state["sent"] == state["acknowledged"] + state["refused"] + state["failed"]
    assert (state["acknowledged"] > 50, state["nodes"], state["differing"]) == (True, 3, 0)
    epochs = [acting["epoch"] for acting in report["masters"]["epochs"]]
    assert epochs == sorted(set(epochs))
    assert report["masters"]["overlaps"] == 0
    assert 0 < sum(kind["redelivered"]["count"] for kind in report["failover"].values()) <= requests["redelivered"]
    assert "kill all: node-1, node-2, node-3" in progress


def test_all_workers_are_restarted():
    """That a proxy which is alone is: tests/chaos/test_trial.py."""
    status, report, progress = chaos(
        *("--for", "10s", "--clients", "30", "--rate", "5", "--every", "2s", "--seed", "1", "--workers", "2"),
        *("--fault", "restart,restart-kill", "--set", "drain.spread=1"),
    )
    check_kept(report, progress)
    assert status == 0
    assert report["clients"]["moved"] >= 20
    assert report["clients"]["dropped"] == {}
    assert report["state"]["acknowledged"] > 20
    assert report["state"]["lost"] == report["state"]["counted_wrong"] == report["state"]["differing"] == 0
    assert sum(report["faults"].values()) >= 1


def test_a_promise_that_cannot_be_kept_is_told():
    """A proxy that gives up too early: no node answers within a tenth of the time that a request takes."""
    status, report, _ = chaos(
        *("--for", "2s", "--clients", "10", "--fault", "none", "--work", "1s"),
        *("--set", "request.timeout=100ms", "--set", "request.parked_timeout=50ms"),
    )
    assert status == 1
    assert report["ok"] is False
    assert report["requests"]["errors"].keys() == {"deadline_exceeded"}
    assert report["requests"]["answered_once"] == 0
    assert report["notifications"]["unfounded"] == 0  # the effects of late replies are refused with them
    # Nor may its writes of the state be in time, where the machine is busy.
    assert "no request was answered: nothing is proven" in report["broken"]

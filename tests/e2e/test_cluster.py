"""A cluster of three proxies as a user tests it: its processes die in turn and together, and nothing is lost."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.reports import check_kept

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENCE = 170.0
OF_BOTH = ["kill", "kill-proxy", "kill-together"]
STORES = {
    "sqlite": OF_BOTH,
    "redis": [*OF_BOTH, "kill-store"],
}


@pytest.mark.parametrize("store", STORES)
def test_whatever_dies_costs_nothing(store):
    kinds = STORES[store]
    command = [
        *(sys.executable, "-m", "holdfast", "chaos", "--json", "--proxies", "3", "--store", store),
        *("--for", "18s", "--clients", "60", "--rate", "3", "--work", "30ms", "--seed", "1"),
        *("--fault", ",".join(kinds), "--every", "2s"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    check_kept(report, done.stderr)
    assert done.returncode == 0
    assert report["faults"].keys() == set(kinds) or report["turns_skipped"]  # a busy machine has no time for some

    requests, clients = report["requests"], report["clients"]
    assert requests["sent"] == requests["answered_once"] + requests["gone"] > 1_000
    assert requests["errors"] == {}  # those of living proxies' clients were all answered
    assert requests["redelivered"] > 0
    for loss in ("answered_twice", "unanswered", "wrong_client", "stray"):
        assert requests[loss] == 0

    faults = Counter(report["faults"])
    assert faults["kill-proxy"] + faults["kill-together"] >= 1
    assert clients["dropped"] == {}
    assert clients["moved"] >= 20  # a third of all, at least once
    assert clients["away"]["count"] <= clients["moved"]  # fewer, if one lost the next proxy, too, before it was served

    notifications = report["notifications"]
    assert notifications["published"] == requests["answered_once"]
    assert notifications["delivered"] > notifications["published"]  # most have ten members; few are on the move
    for loss in ("missing", "duplicated", "out_of_order", "unfounded", "old_masters"):
        assert notifications[loss] == 0

    openings = report["openings"]
    assert openings["runs"] == 3 + faults["kill"] + faults["kill-together"]
    assert openings["opened"] >= 3 * (60 + clients["moved"]) - 3 * 60  # a node that is being started hears of some only
    assert openings["closed"] > 0
    for wrong in ("opened_twice", "closed_twice", "closed_unopened", "closed_early", "unknown", "left_over"):
        assert openings[wrong] == 0

    epochs = [acting["epoch"] for acting in report["masters"]["epochs"]]
    assert len(epochs) > 1
    assert epochs == sorted(set(epochs))
    assert report["masters"]["overlaps"] == 0

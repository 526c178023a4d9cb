"""`python -m tests.mutation`: mutants of the rules that promises rest on. `--list` names them, `--only` tries one.

A survivor is either a rule that no test holds, or a change that changes nothing: those are in EQUIVALENT, with why.
"""

import argparse
import importlib
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutation import trial
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import Mutant, mutants

# Imported once and inherited by every mutant's process: none of them imports a module of ours.
LIBRARIES = ("trio", "trio.testing", "msgspec", "zmq", "structlog", "hypothesis", "pytest", "pytest_trio", "redis")

STORIES = ["tests/sim/test_scenarios.py"]
PROMISES = ["tests/sim/test_promises.py"]
SEEDS = ["tests/sim/test_sim.py"]
LANES = ["tests/proxy/realtime/test_lane_faults.py", "tests/proxy/realtime/test_lane_limits.py"]
REPLICAS = ["tests/sim/test_replicas.py"]
# What is looked at, and by which tests, in this order: the quick ones first.
TARGETS: dict[str, list[list[str]]] = {
    "balancer/cluster/*.py": [["tests/balancer/cluster"], REPLICAS, STORIES, SEEDS],
    "balancer/remembered.py": [["tests/balancer/test_remembered.py"], LANES, SEEDS],
    "balancer/state.py": [["tests/balancer/test_state.py"], PROMISES, SEEDS],
    "balancer/ledger.py": [["tests/balancer/test_ledger.py"], ["tests/proxy/nodes/test_requests.py"], STORIES],
    "holdfast/node/stream*.py": [["tests/holdfast/node/test_streams.py", "tests/holdfast/node/test_owes.py"], PROMISES],
    "holdfast/node/exchange.py": [
        ["tests/holdfast/node/test_exchange.py"],
        ["tests/holdfast/node/test_several_proxies.py", "tests/holdfast/node/test_request.py"],
        PROMISES,
    ],
    "holdfast/node/replica.py": [
        ["tests/holdfast/node/test_replica.py", "tests/holdfast/node/test_state.py"],
        PROMISES,
        SEEDS,
    ],
    "proxy/realtime/effects.py": [
        LANES,
        ["tests/proxy/realtime/test_effects.py", "tests/proxy/realtime/test_realtime.py"],
        PROMISES,
    ],
    "proxy/realtime/lanes.py": [
        LANES,
        ["tests/proxy/realtime/test_lanes.py", "tests/proxy/realtime/test_effects.py"],
        PROMISES,
    ],
    "proxy/realtime/mutes.py": [LANES, ["tests/proxy/realtime/test_effects.py"], PROMISES],
    "proxy/nodes/dispatch.py": [
        LANES,
        ["tests/proxy/nodes/test_requests.py"],
        ["tests/proxy/realtime/test_lanes.py"],
        STORIES,
    ],
    "proxy/nodes/keeper.py": [
        ["tests/proxy/nodes/test_keeper.py", "tests/proxy/nodes/test_keeper_runs.py"],
        PROMISES,
        SEEDS,
    ],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("paths", nargs="*", help="files to look at (default: all of the rules)")
    parser.add_argument("--only", metavar="FILE:N", help="one mutant, with what its tests say")
    parser.add_argument("--list", action="store_true", help="name the mutants and try none")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="at random, N of each file (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--timeout", type=float, default=180.0, help="seconds for one mutant (default: %(default)s)")
    options = parser.parse_args()
    for name in LIBRARIES:
        importlib.import_module(name)
    targets = _targets(options.paths)
    if options.only:
        file, _, number = options.only.rpartition(":")
        return _try_one(Path(file), int(number), targets)
    work = [
        (path, mutant, steps)
        for path, steps in targets
        for mutant in _chosen(_different(path), options.sample, options.seed)
    ]
    if options.list:
        for path, mutant, _ in work:
            print(f"{path}:{mutant.number}  line {mutant.line}  {mutant.what}")
        return 0
    return _try_all(work, options.processes or 1, options.timeout)


def _targets(paths: list[str]) -> list[tuple[Path, list[list[str]]]]:
    found = [
        (path.relative_to(trial.ROOT), steps)
        for pattern, steps in TARGETS.items()
        for path in sorted(trial.ROOT.glob(pattern))
        if path.name != "__init__.py"
    ]
    return [(path, steps) for path, steps in found if not paths or str(path) in paths]


def _different(path: Path) -> list[Mutant]:
    """Its mutants, but for those that anybody would take for the same program."""
    source = (trial.ROOT / path).read_text(encoding="utf-8")
    lines = source.splitlines()
    return [
        mutant
        for mutant in mutants(source)
        if (str(path), lines[mutant.line - 1].strip(), mutant.what) not in EQUIVALENT
    ]


def _chosen(found: list[Mutant], sample: int, seed: int) -> list[Mutant]:
    return random.Random(seed).sample(found, sample) if 0 < sample < len(found) else found


def _try_one(path: Path, number: int, targets: list[tuple[Path, list[list[str]]]]) -> int:
    steps = dict(targets)[path]
    mutant = mutants((trial.ROOT / path).read_text(encoding="utf-8"))[number]
    killer, seconds = trial.run(trial.ROOT / path, mutant.source, steps, 600)
    by = " ".join(steps[killer - 1]) if killer else "nobody"
    print(f"{path}:{number}  line {mutant.line}  {mutant.what}\nkilled by: {by}, after {seconds:.1f} s")
    return 0 if killer else 1


def _try_all(work: list[tuple[Path, Mutant, list[list[str]]]], processes: int, timeout: float) -> int:
    began = time.monotonic()
    survivors = []
    done = 0

    def attempt(job: tuple[Path, Mutant, list[list[str]]]) -> tuple[Path, Mutant, int]:
        path, mutant, steps = job
        return path, mutant, trial.run(trial.ROOT / path, mutant.source, steps, timeout)[0]

    with ThreadPoolExecutor(processes) as pool:
        for path, mutant, killer in pool.map(attempt, work):
            done += 1
            if not killer:
                survivors.append(mutant)
                print(f"survived: {path}:{mutant.number}  line {mutant.line}  {mutant.what}", flush=True)
            if done % 100 == 0:
                print(f"{done:,} of {len(work):,}, {time.monotonic() - began:.0f} s", flush=True)
    killed = done - len(survivors)
    share = 100 * killed / done if done else 100.0
    print(f"{done:,} mutants, {killed:,} killed ({share:.1f} %), {len(survivors)} survived,", end=" ")
    print(f"{len(EQUIVALENT)} left out as equivalent, {time.monotonic() - began:.0f} s")
    return 1 if share < 95 else 0


if __name__ == "__main__":
    sys.exit(main())

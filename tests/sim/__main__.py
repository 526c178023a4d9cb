"""`python -m tests.sim SEED` replays one with a log; with `--seeds N` it runs that many, on all processors."""

import argparse
import gc
import os
import resource
import sys
import time
from collections import Counter
from multiprocessing import get_context

from tests.sim import stand_ins
from tests.sim.checks import Violation
from tests.sim.faults import live, new_world, run_world
from tests.sim.world import World

# A worker is for so many seeds, and takes its worlds with it: to end them one by one, with all that their tasks have to
# say to it, or to look for garbage in them, is a tenth of all the work.
SEEDS_PER_WORKER = 20
_worlds: list[World] = []


def try_seed(seed: int) -> tuple[int, int, int, str]:
    """Seed, steps, masters, and what went wrong, if anything. In a worker: the world stays as it is."""
    world = new_world(seed)
    _worlds.append(world)
    problem = ""
    try:
        live(world)
    except Violation as violation:
        problem = f"step {world.steps}, {world.time:.3f} s: {violation}"
    stand_ins.leave()
    return seed, world.steps, world.checks.masters, problem


def replay(seed: int) -> int:
    world = new_world(seed, print)
    try:
        run_world(world)
    except Violation as violation:
        print(f"\nseed {seed}, step {world.steps}, at {world.time:.3f} s: {violation}\nthe last events:")
        for at, *what in world.events:
            print(f"{at:8.3f}  " + "  ".join(map(str, what)))
        return 1
    print(f"\nseed {seed}: {world.steps} steps, whole at {world.time:.3f} s")
    return 0


def run_many(first: int, count: int, processes: int) -> int:
    began = time.perf_counter()
    totals: Counter[str] = Counter()
    broken = []
    seeds = range(first, first + count)
    with get_context("fork").Pool(processes, gc.disable, maxtasksperchild=1) as pool:
        for seed, steps, masters, problem in pool.imap_unordered(try_seed, seeds, chunksize=SEEDS_PER_WORKER):
            totals.update(seeds=1, steps=steps, masters=masters)
            if problem:
                broken.append(seed)
                print(f"seed {seed}: {problem}", flush=True)
            if totals["seeds"] % 1000 == 0:
                print(f"{totals['seeds']:,} seeds, {time.perf_counter() - began:.0f} s", flush=True)
        pool.close()
        pool.join()  # what they took is known when they have ended
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (used.ru_utime + used.ru_stime) / totals["seeds"]
    print(
        f"{totals['seeds']:,} seeds, {totals['steps']:,} steps, {totals['masters']:,} terms of masters,"
        f" {len(broken)} violations, {time.perf_counter() - began:.0f} s, {cpu:.3f} s of CPU a seed"
    )
    if broken:
        print(f"replay with: python -m tests.sim {broken[0]}")
    return 1 if broken else 0


def main() -> int:
    if os.environ.get("PYTHONHASHSEED") != "0":  # else sets of strings have another order in each run
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
        )
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", help="replay this one")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many to run (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.seed is not None:
        return replay(options.seed)
    return run_many(options.first, options.seeds, options.processes)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench.ladder`: where each microsecond of a WebSocket round trip goes, in the proxy and in a node.

Programs under the same generator, each with one thing more inside than the one before (bench.rungs, bench.memory_link,
bench.bare_node): what it costs more is what that thing costs. Some tell their parts themselves, by the clock of their
thread. 100 connections, 160 bytes, one in flight on each.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench.build import prepare
from bench.compiled import use_compiled
from bench.load import connect
from bench.process import BenchError, Process
from bench.systems.base import MEASURED_CPU, OTHER_CPU, System
from bench.systems.direct import direct
from bench.systems.holdfast import holdfast, serve
from bench.systems.node import behind_proxy, c_node, library_node
from bench.works.base import MESSAGE_BYTES

CONNECTIONS = 100

Costs = dict[str, float]  # of one program in one run, by part, us for one message; ALL: the whole process
Run = Mapping[str, Costs]  # of all programs, by name
ALL, IO_THREAD = "all", "I/O thread"


class Rung(NamedTuple):
    """A program. has_parts: it tells them when asked."""

    start: Callable[[], AbstractContextManager[System]]
    has_parts: bool = True


class Step(NamedTuple):
    """A line of a ladder."""

    name: str
    cost: Callable[[Run], float]
    how: str


class Ladder(NamedTuple):
    """The steps add up to the last of them."""

    title: str
    rungs: Mapping[str, Rung]
    steps: tuple[Step, ...]


@contextmanager
def program(name: str) -> Iterator[System]:
    """One of bench.rungs."""
    with Process(sys.executable, "-m", "bench.rungs", name, cpu=MEASURED_CPU) as process:
        yield System(process.read()["port"], process)


@contextmanager
def inside() -> Iterator[System]:
    with serve("node.heartbeat_timeout=1h", module="bench.memory_link") as (process, port, _):
        yield System(port, process)


def bare(address: str) -> Process:
    return Process(sys.executable, "-m", "bench.bare_node", address, cpu=MEASURED_CPU)


def rest(costs: Costs) -> float:
    """What is in none of the parts."""
    return 2 * costs[ALL] - sum(costs.values())


PROXY = Ladder(
    "The proxy",
    {
        "C": Rung(direct, has_parts=False),
        "loop": Rung(lambda: program("loop")),
        "reactor": Rung(lambda: program("reactor")),
        "connection": Rung(lambda: program("connection")),
        "inside": Rung(inside),
        "proxy": Rung(holdfast, has_parts=False),
    },
    (
        Step("read()", lambda of: of["loop"]["read"], "told by `loop`"),
        Step("write()", lambda of: of["loop"]["write"], "told by `loop`; the client's receiving is in it, on loopback"),
        Step("epoll and a loop", lambda of: rest(of["loop"]), "the rest of `loop`"),
        Step("adapter", lambda of: of["loop"]["adapter"], "told by `loop`: frames, mask, UTF-8, events"),
        Step("reactor, Trio", lambda of: of["reactor"][ALL] - of["loop"][ALL], "reactor - loop"),
        Step("connection", lambda of: of["connection"][ALL] - of["reactor"][ALL], "connection - reactor"),
        Step(
            "dispatch, ledger, gateway, link", lambda of: rest(of["inside"]) - of["connection"][ALL],
            "inside, without its node and batches, - connection",
        ),
        Step("batches", lambda of: of["inside"]["batches"], "told by `inside`: msgpack"),
        Step(
            "ZeroMQ, main thread", lambda of: rest(of["proxy"]) - rest(of["inside"]) - of["inside"]["batches"],
            "proxy - inside, without its node",
        ),
        Step("ZeroMQ, I/O thread", lambda of: of["proxy"][IO_THREAD], "the thread's clock"),
        Step("all of the proxy", lambda of: of["proxy"][ALL], "`proxy`"),
    ),
)  # fmt: skip

NODE = Ladder(
    "A node that echoes, by a plain function",
    {
        "C node": Rung(lambda: behind_proxy(c_node), has_parts=False),
        "bare": Rung(lambda: behind_proxy(bare)),
        "library": Rung(lambda: behind_proxy(library_node), has_parts=False),
    },
    (
        Step("batches", lambda of: of["bare"]["batches"], "told by `bare`: msgpack"),
        Step("ZeroMQ, main thread, and Trio", lambda of: rest(of["bare"]), "the rest of `bare`"),
        Step("session, workers, exchange", lambda of: rest(of["library"]) - rest(of["bare"]) - of["bare"]["batches"],
             "library - bare"),
        Step("ZeroMQ, I/O thread", lambda of: of["library"][IO_THREAD], "the thread's clock"),
        Step("all of the node", lambda of: of["library"][ALL], "`library`"),
    ),
)  # fmt: skip


def climb(rung: Rung, warm_up: float, seconds: float) -> Costs:
    """One run of one program."""
    with rung.start() as system, connect(system, CONNECTIONS, size=MESSAGE_BYTES) as load:
        load.echo(warm_up)
        before = _spent(system.measured, rung.has_parts)
        outcome = load.echo(seconds)
        after = _spent(system.measured, rung.has_parts)
    return {part: (after[part] - before[part]) / outcome.messages * 1e6 for part in after}


def _spent(process: Process, has_parts: bool) -> Costs:
    """Seconds, so far."""
    threads = process.thread_seconds()
    spent = {ALL: sum(threads.values())}
    if has_parts:
        os.kill(process.pid, signal.SIGUSR1)
        spent |= {part: ns / 1e9 for part, ns in process.read().items()}
    for name, seconds in threads.items():
        if "ZMQbg/IO" in name and seconds / spent[ALL] > 0.001:  # there is one where nothing is sent, too
            spent[IO_THREAD] = seconds
    return spent


def main() -> int:
    arguments = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    try:
        prepare()
        if not arguments.interpreted:
            use_compiled()
        os.sched_setaffinity(0, {OTHER_CPU})
        for ladder in (PROXY, NODE):
            runs = [
                {name: climb(rung, arguments.seconds / 4, arguments.seconds) for name, rung in ladder.rungs.items()}
                for _ in range(arguments.runs)
            ]
            for table in _steps(ladder, runs), _rungs(ladder, runs):
                console.print(table)
    except BenchError as error:
        console.print(f"failed: {error}", style="red", markup=False)
        return 1
    return 0


def _steps(ladder: Ladder, runs: Sequence[Run]) -> Table:
    table = _table(ladder.title, "measured as")
    for step in ladder.steps:
        if step is ladder.steps[-1]:
            table.add_section()
        _add(table, step.name, [step.cost(run) for run in runs], step.how)
    return table


def _rungs(ladder: Ladder, runs: Sequence[Run]) -> Table:
    table = _table("its rungs: all that each program costs", "of that")
    for name in ladder.rungs:
        costs = [run[name] for run in runs]
        told = [f"{part} {median(each[part] for each in costs):.2f}" for part in costs[0] if part != ALL]
        _add(table, name, [each[ALL] for each in costs], ", ".join(told))
    return table


def _table(title: str, last: str) -> Table:
    table = Table(title=f"[bold]{title}[/]: us of CPU for one round trip", title_justify="left")
    for name in ("", "us", "least-most", last):
        table.add_column(name, justify="right" if name == "us" else "left")
    return table


def _add(table: Table, name: str, values: list[float], note: str) -> None:
    table.add_row(name, f"{median(values):.2f}", f"{min(values):.2f}-{max(values):.2f}", note)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.ladder", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="of every program, in turns; 3 by default")
    parser.add_argument("--seconds", type=float, default=2.0, help="of load, for each; 2 by default")
    parser.add_argument("--interpreted", action="store_true", help="measure the sources as they are, not compiled")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

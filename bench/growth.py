"""`python -m bench.growth`: what a cluster costs as it grows, and how soon it knows.

idle    CPU and bytes of an idle cluster: so many proxies and 4 nodes, all linked to each other
join    a proxy joins a cluster of 2 with 5,000 clients, each in 4 channels of its own: the time from the start of its
        process until it serves, and until it has all counts
status  how soon after the last event 3 proxies show the same, and what is true

The store is a file. CPU is user and system time; bytes are TCP's payload, as the kernel counts it for each connection.
"""

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import trio
from rich.console import Console
from rich.table import Table

from bench.cluster import CHANNELS, NODES, Cluster, clients, cluster, knows_counts, sample, until, views
from bench.compiled import interpreted, use_compiled
from bench.machine import conditions
from bench.process import BenchError
from bench.sockets import traffic
from holdfast.chaos.processes import Processes
from holdfast.node.errors import one_of_ours
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.config import ClusterSettings

SIZES = (2, 4, 8, 16)
SETTLE = 3.0  # until what the start has caused is over
CLIENTS = 5_000
SAMPLE = 500  # channels whose count is asked for; each is a request over HTTP
VISITORS = 30  # clients that come, join channels and go in a round
PARTS = ("idle", "join", "status")

Row = dict[str, float]


async def idle(processes: Processes, proxies: int, seconds: float) -> list[Row]:
    """seconds: how long it is watched."""
    started = await cluster(processes, proxies)
    of_proxies = [proxy.process.pid for proxy in started.deployment.own]
    of_nodes = [node.pid for node in started.nodes]
    pids = of_proxies + of_nodes
    await trio.sleep(SETTLE)
    begun, cpu, said = time.monotonic(), [*map(cpu_seconds, pids)], traffic(of_proxies, of_nodes)
    await trio.sleep(seconds)
    took = time.monotonic() - begun
    used = [after - before for before, after in zip(cpu, map(cpu_seconds, pids), strict=True)]
    moved = traffic(of_proxies, of_nodes).since(said)
    own, theirs = used[:proxies], used[proxies:]
    row: Row = {
        "proxies": proxies,
        "seconds": took,
        "proxy_cpu_seconds": sum(own) / proxies,
        "most_proxy_cpu_seconds": max(own),
        "node_cpu_seconds": sum(theirs) / NODES,
        "all_cpu_seconds": sum(used),
        "to_proxies_bytes_per_second": moved.between_proxies / proxies / took,
        "to_nodes_bytes_per_second": moved.to_nodes / proxies / took,
        "from_nodes_bytes_per_second": moved.from_nodes / proxies / took,
        "all_bytes_per_second": sum(moved) / took,
    }
    return [row]


def cpu_seconds(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid gives on Linux


async def join(processes: Processes, count: int, times: int) -> list[Row]:
    """count: of clients. times: how often; each time the newcomer leaves again."""
    started = await cluster(processes, 2)
    async with clients(started.proxies, count, "member") as channels:
        first = started.proxies[0]
        await until(partial(knows_counts, first, sample(channels, SAMPLE)), "the others to have all counts")
        return [await _join_once(started, channels) for _ in range(times)]


async def _join_once(started: Cluster, channels: Sequence[str]) -> Row:
    process, proxy, serves = await started.newcomer()
    begun = time.monotonic()
    has_all_at_once = await knows_counts(proxy, sample(channels, SAMPLE))
    await until(partial(knows_counts, proxy, sample(channels, SAMPLE)), "the newcomer to have all counts")
    counted = 0.0 if has_all_at_once else time.monotonic() - begun
    (shown, *_) = await views([proxy])
    known = sum(member["channels"] for member in shown["members"])
    if known != len(channels):
        raise BenchError(f"the newcomer was told of {known} channels, there are {len(channels)}")
    uptime = (await proxy.status()).uptime - (time.monotonic() - begun)
    await started.leaves(process)
    return {"serves_after_seconds": serves, "of_that_up_seconds": uptime, "counts_after_that_seconds": counted}


async def status(processes: Processes, times: int) -> list[Row]:
    """times: how often something happens, and then nothing."""
    started = await cluster(processes, 3)
    rows: list[Row] = []
    for number in range(times):
        await trio.sleep(random.random() * ClusterSettings().heartbeat)  # not always at the same moment between two
        async with clients(started.proxies, VISITORS, f"visit-{number}"):
            pass
        begun = time.monotonic()
        looked = 0
        requests = VISITORS * (number + 1)

        async def is_equal_and_true(requests: int = requests) -> bool:
            nonlocal looked
            looked += 1
            first, *others = await views(started.proxies)
            figures = first["members"]
            return (
                all(other == first for other in others)
                and sum(member["requests"] for member in figures) == requests
                and not any(member["clients"] or member["in_flight"] or member["channels"] for member in figures)
            )

        await until(is_equal_and_true, "all proxies to show the same")
        rows.append({"equal_after_seconds": time.monotonic() - begun, "looks": looked})
    return rows


# --- the program ----------------------------------------------------------------------------------------------


def main() -> int:
    arguments = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    # Most clients are in this process, whose limit proxies inherit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    measured: dict[str, list[Row]] = {}
    try:
        if arguments.interpreted:
            os.environ |= interpreted()
        else:
            use_compiled()
        for part in arguments.only or PARTS:
            rows = measured[part] = []
            if part == "idle":
                for size in arguments.proxies:
                    rows += _run(partial(idle, proxies=size, seconds=arguments.seconds))
                title = f"idle, {NODES} nodes, {arguments.seconds:g} s"
                console.print(_table(title, IDLE_COLUMNS, rows))
            elif part == "join":
                rows += _run(partial(join, count=arguments.clients, times=arguments.runs))
                title = f"a proxy joins; {arguments.clients:,} clients, {arguments.clients * CHANNELS:,} channels"
                console.print(_table(title, JOIN_COLUMNS, _summary(rows)))
            else:
                rows += _run(partial(status, times=4 * arguments.runs))
                title = f"all proxies show what is true; heartbeat {ClusterSettings().heartbeat:g} s"
                console.print(_table(title, STATUS_COLUMNS, _summary(rows)))
    except (BenchError, HoldfastError) as error:
        console.print(f"failed: {error}", style="red", markup=False)
        return 1
    if arguments.json is not None:
        kept = {"conditions": conditions("growth")._asdict(), "nodes": NODES, **measured}
        arguments.json.write_text(json.dumps(kept, indent=1) + "\n")
    return 0


def _run(work: Callable[[Processes], Awaitable[list[Row]]]) -> list[Row]:
    """With processes of its own, which are ended with it."""

    async def in_folder() -> list[Row]:
        with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder, Processes(Path(folder)) as processes:
            return await work(processes)

    try:
        return trio.run(in_folder)
    except ExceptionGroup as group:
        raise one_of_ours(group) or group from None


IDLE_COLUMNS = {
    "proxies": ("proxies", "{:.0f}"),
    "proxy_cpu_seconds": ("CPU s of a proxy", "{:.2f}"),
    "most_proxy_cpu_seconds": ("of the busiest", "{:.2f}"),
    "node_cpu_seconds": ("of a node", "{:.2f}"),
    "all_cpu_seconds": ("of all", "{:.2f}"),
    "to_proxies_bytes_per_second": ("B/s of a proxy to others", "{:,.0f}"),
    "to_nodes_bytes_per_second": ("to nodes", "{:,.0f}"),
    "from_nodes_bytes_per_second": ("from nodes", "{:,.0f}"),
    "all_bytes_per_second": ("of all", "{:,.0f}"),
}
JOIN_COLUMNS = {
    "": ("", "{}"),
    "serves_after_seconds": ("serves after, s", "{:.2f}"),
    "of_that_up_seconds": ("of that since it was up", "{:.2f}"),
    "counts_after_that_seconds": ("has all counts after that, s", "{:.2f}"),
}
STATUS_COLUMNS = {
    "": ("", "{}"),
    "equal_after_seconds": ("after the last event, s", "{:.3f}"),
    "looks": ("looked at it so often", "{:.0f}"),
}


def _summary(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Of all runs."""
    return [
        {"": name, **{key: of([row[key] for row in rows]) for key in rows[0]}}
        for name, of in (("median", median), ("least", min), ("most", max))
    ]


def _table(title: str, columns: Mapping[str, tuple[str, str]], rows: Sequence[Mapping[str, object]]) -> Table:
    table = Table(title=f"[bold]{title}[/]", title_justify="left")
    for name, _ in columns.values():
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(form.format(row[key]) for key, (_, form) in columns.items()))
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="measure only this; can be repeated")
    parser.add_argument(
        "--proxies", type=_sizes, default=SIZES, metavar="N,...", help="idle: how many; 2,4,8,16 by default"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="idle: how long, for each; 20 by default")
    parser.add_argument("--clients", type=int, default=CLIENTS, help=f"join: how many; {CLIENTS:,} by default")
    parser.add_argument("--runs", type=int, default=5, help="join: how often, status: a quarter of it; 5 by default")
    parser.add_argument("--interpreted", action="store_true", help="measure the sources as they are, not compiled")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every run there")
    return parser.parse_args()


def _sizes(text: str) -> list[int]:
    return [int(size) for size in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())

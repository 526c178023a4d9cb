"""What people see of a run: a live table on a terminal, elsewhere a line per second; and the report in the end."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TextIO

import trio
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from holdfast.chaos.deliveries import Disordered, Missed, Twice
from holdfast.chaos.failover import Percentiles
from holdfast.chaos.flood import FloodFigures
from holdfast.chaos.losses import Losses, Quarantined
from holdfast.chaos.openings import Openings
from holdfast.chaos.report import Report
from holdfast.chaos.trial import Snapshot
from holdfast.chaos.writes import StateFigures
from holdfast.console.output import console_on, printable

LIVE_INTERVAL = 0.25
LINE_INTERVAL = 1.0
EVENTS = 8
RATE_WINDOW = 1.0  # seconds that requests/s are counted over


class Display:
    """title: of the live table. stream: where to write."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title = title
        self._console = console_on(stream)
        self._is_live = stream.isatty()
        self._begun = time.monotonic()
        self._events: deque[str] = deque(maxlen=EVENTS)
        self._counts: deque[tuple[float, int]] = deque()
        self._address = ""

    def event(self, text: str) -> None:
        """Something has happened."""
        line = f"{time.monotonic() - self._begun:6.1f} s  {printable(text)}"
        self._events.append(line)
        if not self._is_live:
            self._line(line)

    async def run(self, snapshot: Callable[[], Snapshot]) -> None:
        """Task: show how it goes."""
        if not self._is_live:
            while True:
                self._show_line(snapshot())
                await trio.sleep(LINE_INTERVAL)
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(self._table(snapshot()), refresh=True)
                await trio.sleep(LIVE_INTERVAL)

    def report(self, report: Report) -> None:
        rows = list(_rows(report))
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self._line(f"{name:{width}}  {value}")
        if report.failover:
            for number, definition in enumerate(report.definitions.values(), 1):
                self._line(f"({number}) {definition}")
        if report.ok:
            self._line("Nothing was lost.", "bold green")
        for promise in report.broken:
            self._line(f"Broken: {printable(promise)}", "bold red")

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style), soft_wrap=True)

    # --- while it goes on -------------------------------------------------------------------------------------

    def _rate(self, done: int) -> float:
        now = time.monotonic()
        counts = self._counts
        counts.append((now, done))
        while len(counts) > 2 and now - counts[1][0] >= RATE_WINDOW:
            counts.popleft()
        begun, before = counts[0]
        return (done - before) / (now - begun) if now > begun else 0.0

    def _figures(self, snapshot: Snapshot) -> list[tuple[str, str]]:
        progress, status = snapshot.progress, snapshot.status
        master = next((node.name for node in status.nodes if node.id == status.master.node), "nobody")
        failover = "-" if status.last_failover is None else f"{status.last_failover * 1000:.1f} ms"
        if progress is None:
            return [("clients", "connecting")]
        return [
            ("clients", f"{progress.clients:,}"),
            ("requests/s", f"{self._rate(progress.done):,.0f}"),
            ("answered", f"{progress.done - sum(progress.errors.values()):,}"),
            ("p50", f"{progress.latency.p50:.1f} ms"),
            ("p99", f"{progress.latency.p99:.1f} ms"),
            ("redelivered", f"{progress.redelivered:,}"),
            ("errors", f"{sum(progress.errors.values()):,}"),
            ("lost", f"{progress.lost:,}"),
            ("moved", f"{progress.moves:,}"),
            ("faults", f"{snapshot.faults:,}"),
            ("master", f"{printable(master)}, epoch {status.master.epoch}"),
            ("last failover", failover),
        ]

    def _show_line(self, snapshot: Snapshot) -> None:
        if snapshot.address != self._address:
            self._address = snapshot.address
            self._line(f"clients connect to {snapshot.address}")
        if snapshot.elapsed is not None:
            figures = "  ".join(f"{name} {value}" for name, value in self._figures(snapshot))
            self._line(f"{time.monotonic() - self._begun:6.1f} s  {figures}")

    def _table(self, snapshot: Snapshot) -> RenderableType:
        figures = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for name, value in self._figures(snapshot):
            figures.add_row(name, Text(value, "bold red" if name == "lost" and value != "0" else "bold"))
        nodes = Table("node", "pid", "state", "in flight", "", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for node in sorted(snapshot.status.nodes, key=lambda node: (node.name, node.id)):
            is_master = node.id == snapshot.status.master.node
            nodes.add_row(
                printable(node.name),
                str(node.pid),
                Text(node.state, "green" if node.state == "ready" else "yellow"),
                str(node.in_flight),
                Text("master" if is_master else "", "bold"),
            )
        elapsed = "" if snapshot.elapsed is None else f", {snapshot.elapsed:.0f} s"
        where = f"Connect to {snapshot.address}" if snapshot.address else "Starting"
        return Group(
            Text(f"{self._title}{elapsed}. {where}. Ctrl-C ends it.", "bold"),
            Text(""),
            figures,
            Text(""),
            nodes,
            Text(""),
            Text("\n".join(self._events)),
        )


# --- the report -----------------------------------------------------------------------------------------------


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    requests, notifications = report.requests, report.notifications
    yield "faults", _counts(report.faults) + (f" ({report.turns_skipped} skipped)" if report.turns_skipped else "")
    yield "  seed", str(report.seed)
    yield "requests sent", f"{requests.sent:,} in {report.seconds:g} s"
    yield "  answered once", f"{requests.answered_once:,}"
    yield "  answered twice", f"{requests.answered_twice:,}"
    yield "  answered with an error", _counts(requests.errors)
    yield "  never answered", f"{requests.unanswered:,}"
    yield "  gone with a connection", f"{requests.gone:,}"
    yield "  to the wrong client", f"{requests.wrong_client:,}"
    yield "  redelivered", f"{requests.redelivered:,}"
    yield "notifications", f"{notifications.published:,}, each to {report.clients.group} clients"
    yield "  delivered", f"{notifications.delivered:,}"
    yield "  missing", f"{notifications.missing:,}"
    yield "  duplicated", f"{notifications.duplicated:,}"
    after = f", at most {notifications.again_after:g} s after it was published" if notifications.again else ""
    yield "  again, at another proxy", f"{notifications.again:,}{after}"
    yield "  out of order", f"{notifications.out_of_order:,}"
    yield "  unfounded", f"{notifications.unfounded:,}"
    yield "  not due, and came once", f"{notifications.not_due:,}, or not: {notifications.excused:,}"
    for twice in report.twice:
        yield "  came twice", _twice(twice)
    for disordered in report.disordered:
        yield "  out of order", _disordered(disordered)
    for missed in report.missed:
        yield "  missed", _missed(missed)
    yield "clients", f"{report.clients.count:,}"
    yield "  dropped", _counts(report.clients.dropped)
    yield "  lost with their proxy", f"{report.clients.moved:,}"
    if report.clients.moved:
        yield "  served again after", _times(report.clients.away)
    if report.openings is not None:
        yield from _openings(report.openings)
    if report.state is not None:
        yield from _state(report.state)
    if report.flood is not None:
        yield from _flood(report.flood)
    if report.losses is not None:
        yield from _losses(report.losses)
    epochs = report.masters.epochs
    if epochs:
        yield "masters", f"{len(epochs):,}"
        yield "  acting at once", f"{report.masters.overlaps:,}"
    else:
        yield "masters", "the nodes are not ours: nobody testified"
    yield "  hit by a fault", f"{report.masters.hit:,}"
    yield "latency", _times(report.latency)
    for kind, failover in report.failover.items():
        yield f"failover after {kind} (1)", _times(failover.redelivered)
        yield f"sent just after {kind} (2)", _times(failover.next)
    for name, memory in report.memory.items():
        sizes = (
            f"{memory.first:g} MiB at first, {memory.median:g} median, {memory.last:g} at last, {memory.most:g} most"
        )
        yield f"memory of {name}", sizes
    cores = ", ".join(f"{name} {cores:.2f}" for name, cores in report.cpu.items())
    yield "cores in use", f"{cores}; requests left up to {report.clients.worst_lag:g} ms late"


def _twice(twice: Twice) -> str:
    times = zip((twice.first, twice.again), twice.proxies, strict=True)
    first, second = (f"{at:.3f} s from proxy {number + 1}" for at, number in times)
    return (
        f"request {twice.request} of client {twice.sender}, sent at {twice.sent:.3f} s: client {twice.client} heard it "
        f"at {first} and at {second}, to which it had come at {twice.came:.3f} s"
    )


def _disordered(one: Disordered) -> str:
    return (
        f"request {one.request} of client {one.sender}, sent at {one.sent:.3f} s: client {one.client} heard it at "
        f"{one.at:.3f} s from proxy {one.proxy + 1}, as number {one.number} of that node after number {one.last}"
    )


def _missed(missed: Missed) -> str:
    between = ", though it heard earlier and later ones of that node's over one connection" if missed.is_between else ""
    return (
        f"request {missed.request} of client {missed.sender}, sent at {missed.sent:.3f} s and answered at "
        f"{missed.answered:.3f} s: client {missed.client} did not hear it{between}"
    )


def _openings(told: Openings) -> Iterator[tuple[str, str]]:
    yield "nodes were told", f"{told.opened:,} openings, {told.closed:,} closings, in {told.runs:,} runs"
    yield "  twice", f"{told.opened_twice + told.closed_twice:,}"
    yield "  closings untrue", f"{told.closed_early + told.closed_unopened:,}"
    yield "  wrong in the end", f"{told.unknown + told.left_over:,}"


def _state(figures: StateFigures) -> Iterator[tuple[str, str]]:
    yield "state writes", f"{figures.sent:,}"
    yield "  acknowledged", f"{figures.acknowledged:,}"
    yield "  refused, failed, gone", f"{figures.refused:,}, {figures.failed:,}, {figures.gone:,}"
    yield "  lost, undone", f"{figures.lost:,}, {figures.returned:,}"
    yield "  counters off by", f"{figures.counted_wrong:,}"
    yield "  out of order", f"{figures.reordered:,}"
    yield "  wrong keys left", f"{figures.left_over + figures.unfounded:,}"
    yield "  nodes that differ", f"{figures.differing:,} of {figures.nodes:,}"
    yield "  took", f"{_times(figures.latency)}; {figures.pause:g} s without one at most"


def _flood(figures: FloodFigures) -> Iterator[tuple[str, str]]:
    yield "flood, to listeners", f"{figures.listeners:,}, and {figures.slow:,} that do not read"
    if figures.factor:
        yield "  ordered", f"{figures.factor:g} x the {figures.capacity:,.0f} deliveries/s that can be made"
    achieved = f", {figures.published / figures.attempted:.0%} of what was ordered" if figures.attempted else ""
    yield "  published", f"{figures.published:,}{achieved}, in {figures.seconds:g} s"
    yield "  delivered", f"{figures.delivered:,}"
    yield "  missing, doubled", f"{figures.missing:,}, {figures.doubled:,}"
    yield "  after publishing", _times(figures.latency)
    yield "  closed", _counts(figures.closed)
    yield "  closed that do not read", f"{figures.slow_closed:,} of {figures.slow:,}"
    yield "  nodes given up", f"{figures.nodes_lost:,}"


def _losses(figures: Losses) -> Iterator[tuple[str, str]]:
    yield "nodes lost by proxies", _counts(figures.by_proxies)
    yield "proxies lost by nodes", _counts(figures.by_nodes)
    if figures.quarantined:
        yield "quarantined", f"{figures.quarantined:,}, of them within a time of silence {figures.of_silence:,}"
    for one in figures.told:
        yield "  quarantined", _quarantined(one)


def _quarantined(one: Quarantined) -> str:
    lost = "; ".join(f"{loss.node} at {loss.at:.3f} s ({loss.why}), with {loss.in_flight:,}" for loss in one.lost)
    return (
        f"{one.count:,} of {one.proxy} from {one.at:.3f} s on, after {one.attempts} attempts, the first is request "
        f"{one.request}; it had lost: {printable(lost) or 'nothing'}"
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{printable(name)} {count:,}" for name, count in sorted(counts.items())) or "0"


def _times(times: Percentiles) -> str:
    if not times.count:
        return "no request"
    return f"p50 {times.p50:g} ms, p99 {times.p99:g} ms, max {times.max:g} ms, of {times.count:,}"

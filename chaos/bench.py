"""Runs an EchoLoad for the command line: shows how it goes, prints what came of it, returns the exit status."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from functools import partial

import trio
from rich.live import Live
from rich.text import Text

from holdfast.chaos.echo_load import EchoLoad, Report, Settings
from holdfast.console.output import console_on, printable, say, say_json
from holdfast.node.errors import one_of_ours
from holdfast.proxy.process import hangup

PATIENCE = 10.0  # for what is in flight in the end
LIVE_INTERVAL = 0.25
LINE_INTERVAL = 1.0
BUSY = 0.9  # of a core: the load itself is what limits it
INTERRUPTED = 130  # as holdfast.cli's


def run(settings: Settings, seconds: float, *, as_json: bool) -> int:
    """0: every message came back as it was. 1: not so. Progress goes to stderr."""
    report = trio.run(partial(_run, settings, seconds))
    if report is None:
        return INTERRUPTED
    if as_json:
        say_json(report)
    else:
        for line in _lines(report, settings):
            say(line)
    return 0 if report.ok else 1


async def _run(settings: Settings, seconds: float) -> Report | None:
    """None: it was interrupted before it had begun. Raises HoldfastError if it can't begin."""
    has_begun = False
    working = trio.CancelScope()
    try:
        with closing(EchoLoad(settings)) as load, trio.open_signal_receiver(*hangup.endings()) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_heed, signals, working, nursery.cancel_scope)
                with working:
                    await load.open()
                    nursery.start_soon(load.run)
                    nursery.start_soon(_show, load)
                    load.start()
                    has_begun = True
                    with trio.move_on_after(seconds):
                        await load.complete.wait()
                if has_begun:
                    load.stop()
                    with trio.move_on_after(PATIENCE):
                        await load.complete.wait()
                nursery.cancel_scope.cancel(reason="done")
            return load.report() if has_begun else None
    except ExceptionGroup as group:
        error = one_of_ours(group)
        if error is None:
            raise
        raise error from None


async def _heed(signals: AsyncIterator[int], working: trio.CancelScope, everything: trio.CancelScope) -> None:
    """The first signal ends the sending; the second the waiting for what is in flight."""
    await anext(signals)
    working.cancel(reason="interrupted")
    await anext(signals)
    everything.cancel(reason="interrupted twice")


async def _show(load: EchoLoad) -> None:
    """Task: one line that is always new on a terminal, elsewhere a line each second."""
    console = console_on(sys.stderr)
    if not console.is_terminal:
        async for line in _progress(load, LINE_INTERVAL):
            console.print(line, markup=False, soft_wrap=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        async for line in _progress(load, LIVE_INTERVAL):
            live.update(Text(f"{line}  Ctrl-C ends it"), refresh=True)


async def _progress(load: EchoLoad, interval: float) -> AsyncIterator[str]:
    """A line for each interval, for ever: its rate, and what else has come so far."""
    begun = last = trio.current_time()
    done = 0
    while True:
        await trio.sleep(interval)
        now, report = trio.current_time(), load.report()
        rate = (report.round_trips - done) / (now - last)
        last, done = now, report.round_trips
        bad = {"wrong": report.wrong, "errors": sum(report.errors.values()), "dropped": sum(report.dropped.values())}
        figures = [f"{now - begun:5.1f} s", f"{rate:,.0f} round trips/s", f"p50 {report.latency.p50:.2f} ms"]
        yield "  ".join([*figures, *(f"{name} {count:,}" for name, count in bad.items() if count)])


def _lines(report: Report, settings: Settings) -> Iterator[str]:
    latency = report.latency
    p50, p99, p999, most = (f"{value:.2f} ms" for value in (latency.p50, latency.p99, latency.p999, latency.max))
    yield f"connections   {settings.connections:,}, on each {settings.in_flight:,} x {settings.size:,} bytes in flight"
    yield f"round trips   {report.round_trips:,} in {report.seconds:.1f} s: {report.per_second:,.0f} per second"
    yield f"latency       p50 {p50}, p99 {p99}, p99.9 {p999}, max {most}"
    yield f"wrong         {report.wrong:,}"
    yield f"errors        {_counts(report.errors)}"
    yield f"unanswered    {report.unanswered:,}"
    yield f"dropped       {_counts(report.dropped)}"
    yield f"CPU           this load took {report.cpu:.2f} cores" + (
        ", and was what limited it" if report.cpu > BUSY else ""
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{printable(name)} {count:,}" for name, count in sorted(counts.items())) or "0"

"""Idle connections: what one costs in memory, of the process and of the kernel, and how often it wakes the proxy."""

import time
from collections.abc import Callable
from functools import partial

from bench.kernel import sockets
from bench.limits import limit
from bench.load import connect
from bench.systems.base import System
from bench.systems.holdfast import holdfast
from bench.works.base import MESSAGE_BYTES, Goal, Metric, Sample, Scale, Work
from bench.works.round_trip import PROXIES

# Without them what a heap keeps after its first handshakes would count for, or against, those that are measured.
FORMER = 1000
SIZES = (1000, 20_000)
IN_QUICK = 1000
PROBES = 20  # clients by which to tell; one of a start may still be there
WATCHED = 3.0  # seconds of doing nothing

PING_INTERVAL, PING_TIMEOUT = 25.0, 20.0  # as installed
SHORTER = 5.0  # so many times, to measure keepalive: a ping costs the same, measured at intervals of 4 to 25 s
TURN = 0.175  # what the quarter-second slots of its timers and the tenths of its ticker add to an interval, on average


CONNECTIONS = Metric("connections", "connections", "", 0)


def idle(wanted: int, system: System, scale: Scale) -> Sample:
    """One more connection, idle after one message and its reply, when there are a thousand already."""
    each = _sockets_each(system)
    connections = min(wanted, limit(each).connections - FORMER)
    with connect(system, FORMER, size=MESSAGE_BYTES) as former:
        former.turn()
        memory, kernel = system.measured.memory_bytes(), sockets()
        with connect(system, connections, size=MESSAGE_BYTES) as load:
            fresh = system.measured.memory_bytes() - memory
            load.turn()
            used = system.measured.memory_bytes() - memory
            now = sockets()
    sample = {
        "user_kib": used / connections / 1024,
        "fresh_kib": fresh / connections / 1024,
        "sockets": float(each),
        "connections": float(connections),
        "process_mib": memory / (1 << 20),
    }
    if kernel is not None and now is not None:
        sample["kernel_kib"] = now.bytes_each(kernel) * each / 1024
    return sample


def _sockets_each(system: System) -> int:
    """How many the proxy has for one client."""
    before = system.measured.socket_count()
    with connect(system, PROBES):
        return round((system.measured.socket_count() - before) / PROBES)


def wake_ups(wanted: int, system: System, scale: Scale) -> Sample:
    """How much more often the proxy wakes up because of connections of which nothing is heard."""
    connections = min(wanted, limit(_sockets_each(system)).connections)
    alone = _rate(system.measured.wake_ups)
    with connect(system, connections, size=MESSAGE_BYTES):
        rate = _rate(system.measured.wake_ups)
    return {
        # A proxy's own ticks, some thirty a second, vary by ten: with 20,000 connections that is 0.03.
        "wake_ups": round(max(0.0, rate - alone) * 60 / connections, 1),
        "alone_per_second": alone,
        "per_second": rate,
        "connections": float(connections),
    }


def keepalive(connections: int, system: System, scale: Scale) -> Sample:
    """CPU for a ping and its pong on each connection, in each interval."""
    alone = _rate(system.measured.cpu_seconds)
    interval = PING_INTERVAL / SHORTER
    with connect(system, connections, size=MESSAGE_BYTES):
        time.sleep(interval + 2 * TURN)  # the last one's first ping has been
        share = _rate(system.measured.cpu_seconds, interval) - alone
    share_as_installed = share * (interval + TURN) / (PING_INTERVAL + TURN)
    return {
        "keepalive_percent": 100 * share_as_installed,
        "ping_us": share * (interval + TURN) / connections * 1e6,
        "alone_percent": 100 * alone,
    }


def _rate(count: Callable[[], float], seconds: float = WATCHED) -> float:
    """Per second, while nobody does anything."""
    before, began = count(), time.monotonic()
    time.sleep(seconds)
    return (count() - before) / (time.monotonic() - began)


def _idle(wanted: int, name: str) -> Work:
    return Work(
        group="idle",
        name=f"Idle connections, {name}",
        systems={**PROXIES, "Holdfast": partial(holdfast, settings=(f"client.max_connections={FORMER + wanted}",))},
        metrics=(
            Metric("user_kib", "user memory each", "KiB"),
            Metric("kernel_kib", "kernel memory each", "KiB"),
            Metric("sockets", "sockets each", "", 0),
            CONNECTIONS,
            Metric("fresh_kib", "before its first message", "KiB"),
        ),
        goals=(Goal("user_kib", 1.2),),
        measure=partial(idle, wanted),
        in_quick=wanted <= IN_QUICK,
    )


def _wake_ups(wanted: int) -> Work:
    return Work(
        group="idle",
        name=f"{wanted:,} idle connections between keepalives",
        systems=PROXIES,
        metrics=(
            Metric("wake_ups", "wake-ups each per minute", "", 1),
            Metric("alone_per_second", "wake-ups per second without them", "", 0),
            Metric("per_second", "with them", "", 0),
            CONNECTIONS,
        ),
        goals=(Goal("wake_ups", 0),),
        measure=partial(wake_ups, wanted),
        in_quick=False,
    )


def _keepalive(connections: int) -> Work:
    shorter = (f"client.ping_interval={PING_INTERVAL / SHORTER}", f"client.ping_timeout={PING_TIMEOUT / SHORTER}")
    return Work(
        group="idle",
        name=f"Keepalive of {connections:,} idle connections",
        systems={"Holdfast": partial(holdfast, settings=shorter)},
        metrics=(
            Metric("keepalive_percent", "CPU, as installed", "%"),
            Metric("ping_us", "CPU per ping and pong", "us"),
            Metric("alone_percent", "CPU without connections", "%"),
        ),
        goals=(Goal("keepalive_percent", 1.0),),
        measure=partial(keepalive, connections),
        in_quick=False,
    )


most, why = limit()
WORKS = (
    *(_idle(size, f"{size:,}") for size in SIZES if FORMER + size < most),
    _idle(most, f"as many as the {why} allow"),
    _wake_ups(min(SIZES[-1], most)),
    _keepalive(min(SIZES[-1], most)),
)

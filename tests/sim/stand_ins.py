"""What Holdfast finds in place of the operating system, ZeroMQ and chance, while a world runs.

Owns the patching, and nothing else patches anything: every module of Holdfast that has `os`, `select`, `socket` or
`zmq` gets one that knows simulated processes; `proxy.app` gets a listener of simulated clients and no admin server;
random numbers are the seed's. All else of the program is as it is.
"""

import fcntl
import os
import random
import select
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from math import inf
from types import ModuleType
from typing import TYPE_CHECKING, Any

import trio
import zmq
import zmq.utils.monitor
from trio._core import _run

from holdfast.balancer.directory import Node
from holdfast.balancer.links import callers
from holdfast.balancer.links.guard import Guard
from holdfast.balancer.links.zeromq import ZeromqLink
from holdfast.node import links, node, pump
from holdfast.node.session import Session
from holdfast.proxy import app, ticker
from holdfast.proxy.admin import control
from holdfast.proxy.cluster import alone, runner
from holdfast.proxy.open_files import Shares
from holdfast.proxy.realtime import effects, lanes
from tests.sim import loop
from tests.sim.kernel import ROOM, Epoll, Flag, Kernel, Nap
from tests.sim.sockets import Again, Context

if TYPE_CHECKING:
    from tests.sim.world import World

PACKAGES = ("proxy", "balancer", "holdfast", "protocols")
# Polling costs the simulator most of its time: what is done twenty times a second is done four times. A turn does so
# little, a window is so small, that a few clients and publications are more than there is room for. What takes a minute
# takes seconds.
CONSTANTS: list[tuple[ModuleType, str, float]] = [
    (ticker, "INTERVAL", 0.25),
    (runner, "TICK", 0.25),
    (runner, "POLL_INTERVAL", 0.2),
    (alone, "TICK", 0.25),
    (links, "TUNNEL_INTERVAL", 0.5),
    (node, "FORGET_TIMEOUT", 8.0),
    (lanes, "SLICE", 8),
    (effects, "TARGET_DELIVERIES", 64),
]

TUNNEL_DELAY = links.TUNNEL_DELAY
EXPLICIT = _run.CancelReason(source="explicit")  # without the name of who has done it, which takes longer than all else
WALL_CLOCK = 1e9  # as a world begins, in seconds

_world: "World | None" = None
_undo: list[Callable[[], object]] = []


def _kernel() -> Kernel:
    assert _world is not None
    assert _world.current is not None
    return _world.current.kernel


class Os:
    """As the module, but for the descriptors of a simulated process."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @staticmethod
    def read(number: int, size: int) -> bytes:
        data: bytes = _kernel().find(number).read(size)
        return data

    @staticmethod
    def write(number: int, data: Any) -> int:
        sent: int = _kernel().find(number).write(data)
        return sent

    @staticmethod
    def close(number: int) -> None:
        _kernel().find(number).close()

    @staticmethod
    def eventfd(value: int, flags: int) -> int:
        return Flag(_kernel()).number

    @staticmethod
    def eventfd_write(number: int, value: int) -> None:
        _kernel().find(number).put_up()

    @staticmethod
    def eventfd_read(number: int) -> int:
        _kernel().find(number).is_up = False
        return 1

    @staticmethod
    def getpid() -> int:
        return 0

    @staticmethod
    def sched_yield() -> None:
        pass


class OsOfApp(Os):
    """A proxy's id is what it draws here: the world knows it by that one."""

    @staticmethod
    def urandom(size: int) -> bytes:
        assert _world is not None
        assert _world.current is not None
        return bytes.fromhex(_world.current.id) if size == 8 else random.randbytes(size)


class Time:
    """The wall clock of a process: it goes as fast as its other one. A lone proxy has its host's in each life."""

    @staticmethod
    def time_ns() -> int:
        assert _world is not None
        assert _world.current is not None
        clock = _world.current.clock
        rate = 1.0 if _world.is_alone else clock.rate
        return int((WALL_CLOCK + _world.time * rate - clock.behind) * 1e9)


class Select:
    def __getattr__(self, name: str) -> Any:
        return getattr(select, name)

    @staticmethod
    def epoll() -> Epoll:
        return Epoll(_kernel())


class OfDescriptor:
    """A socket object that was made of a client's descriptor."""

    def __init__(self, number: int) -> None:
        stream = _kernel().find(number)
        self.shutdown = stream.shutdown
        self.getsockopt = stream.getsockopt
        self.setsockopt = stream.setsockopt
        self._number = number

    def detach(self) -> int:
        return self._number


class Fcntl:
    def __getattr__(self, name: str) -> Any:
        return getattr(fcntl, name)

    @staticmethod
    def ioctl(descriptor: int, request: int, answer: Any) -> None:
        """TIOCOUTQ: how much is on its way to the client."""
        answer[0] = ROOM - _kernel().find(descriptor).room


class Socket:
    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    @staticmethod
    def socket(*_: int, fileno: int) -> OfDescriptor:
        return OfDescriptor(fileno)


class Zmq:
    """Constants are plain numbers: to join two of zmq's costs more than what is done with them."""

    Again = Again

    def __init__(self) -> None:
        vars(self).update({name: int(value) for name, value in vars(zmq).items() if isinstance(value, int)})

    def __getattr__(self, name: str) -> Any:
        return getattr(zmq, name)

    @staticmethod
    def Context() -> Context:
        assert _world is not None
        return Context(_world)


# --- of proxy.app -----------------------------------------------------------------------------------------------------


class Listening:
    """In place of a bound socket and its Listener: clients of the world come to it while it accepts."""

    def __init__(self, listening: object, clients: Any, tls: object, first_protocol: object = None) -> None:
        assert _world is not None
        assert _world.current is not None
        self.address = _world.current.id
        self.clients = clients
        self.accepts = False
        _world.current.listener = self

    def listen(self, backlog: int) -> None:
        pass

    def close(self) -> None:
        self.accepts = False

    async def run(self) -> None:
        self.accepts = True
        try:
            await trio.sleep_forever()
        finally:
            self.accepts = False


class Name:
    def close(self) -> None:
        pass


class Names:
    """In place of proxy.cluster.names: on one host, who lives has its name."""

    @staticmethod
    def hold(proxy: str) -> Name | None:
        assert _world is not None
        return Name() if _world.is_one_host else None

    @staticmethod
    def is_free(proxy: str) -> bool:
        assert _world is not None
        return _world.is_copied or proxy not in _world.proxies


class NoAdmin:
    def __init__(self, *_: object) -> None:
        pass

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started("")
        await trio.sleep_forever()


class Signals:
    """What trio.open_signal_receiver gives: the world sends them."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[int](10)

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        return await self._receive.receive()

    def put(self, number: int) -> None:
        self._send.send_nowait(number)


@contextmanager
def open_signal_receiver(*_: int) -> Iterator[Signals]:
    assert _world is not None
    assert _world.current is not None
    signals = Signals()
    _world.current.signals = signals
    yield signals


def sleep(seconds: float) -> Awaitable[None]:
    return _kernel().sleep(seconds)


def current_time() -> float:
    """By the shortest way: it is asked for more often than anything else."""
    clock = _world.current.clock  # type: ignore[union-attr]
    return clock.offset + _world.time * clock.rate  # type: ignore[union-attr]


def wait_readable(number: object) -> Awaitable[None]:
    """Likewise."""
    return _world.current.kernel.wait_readable(number)  # type: ignore[union-attr]


class TrioWithNaps:
    """As the module, for who has no cancel scopes but such with one wait for a descriptor in them."""

    def __init__(self) -> None:
        vars(self).update(vars(trio), CancelScope=Nap)


class Registering:
    """In place of a generator that is a context: of it is half of what Trio's cancel scopes cost, in every nap."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Any) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        scope = self._scope
        old = scope._registered_deadline
        new = inf if scope._cancel_status is None or scope._cancel_called else scope._deadline
        if old != new:
            scope._registered_deadline = new
            deadlines = _run.GLOBAL_RUN_CONTEXT.runner.deadlines
            if old != inf:
                deadlines.remove(old, scope)
            if new != inf:
                deadlines.add(new, scope)


async def run_sync(function: Callable[..., object], *arguments: object, **_: object) -> object:
    """In place of a thread."""
    await trio.lowlevel.checkpoint()
    return function(*arguments)


# --- putting in place -------------------------------------------------------------------------------------------------


class Log:
    """In place of a module's logger. What is logged as an exception is a fault of ours, and the world's end."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **_: object) -> None:
        pass

    def info(self, event: str, **what: object) -> None:
        if _world is not None and _world.is_told:
            _world.logged(event, what)

    warning = info

    def error(self, event: str, **what: object) -> None:
        # Of the node library, which does not leave it to structlog how to show one. What a handler raises is answered.
        if "exception" in what and event != "handler_failed":
            self.exception(event)
        self.info(event, **what)

    def exception(self, event: str, **what: object) -> None:
        assert _world is not None
        _world.crashed(f"{self._name}: {event}", sys.exc_info()[1])


_numbers: dict[int, tuple[object, int]] = {}


def _number(thing: object) -> int:
    """In place of a hash that depends on where in memory a thing is: the order of a set is the same in each run."""
    return _numbers.setdefault(id(thing), (thing, len(_numbers)))[1]


def _put(thing: object, name: str, value: object) -> None:
    former = getattr(thing, name)
    setattr(thing, name, value)
    _undo.append(lambda: setattr(thing, name, former))


def install(world: "World", *, tunnels: bool) -> None:
    """From now on all that is asked is asked of this world. tunnels: whether nodes make use of them.

    A former one ends: what is left of it would be found as garbage in the middle of this one, and end there as a fault.
    """
    global _world
    if not _undo:
        _install()
    if _world is not None:
        _world.close()
    _world = world
    links.TUNNEL_DELAY = TUNNEL_DELAY if tunnels else inf
    random.seed(world.seed)
    _numbers.clear()


def leave() -> None:
    """The present world stays as it is, and is none any more: who asks for that sees that it never becomes garbage."""
    global _world
    _world = None


def uninstall() -> None:
    global _world
    _world = None
    while _undo:
        _undo.pop()()


def end() -> None:
    """The present world ends, and modules are as they were."""
    if _world is not None:
        _world.close()
    uninstall()


def _install() -> None:
    replaced: dict[ModuleType, object] = {os: Os(), select: Select(), socket: Socket(), fcntl: Fcntl(), zmq: Zmq()}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in PACKAGES and module is not None:
            for attribute, value in list(vars(module).items()):
                if isinstance(value, ModuleType) and value in replaced:
                    _put(module, attribute, replaced[value])
            if "log" in vars(module) and hasattr(module.log, "info"):
                _put(module, "log", Log(name))
    for module, name, value in CONSTANTS:
        _put(module, name, value)
    for kind in (ZeromqLink, Session, Node):
        _put(kind, "__hash__", _number)
    _put(links, "TUNNEL_DELAY", TUNNEL_DELAY)
    _put(zmq.utils.monitor, "recv_monitor_message", lambda monitor, flags: monitor.take())
    _put(trio, "open_signal_receiver", open_signal_receiver)
    _put(trio, "sleep", sleep)
    _put(trio, "current_time", current_time)
    _put(trio.lowlevel, "wait_readable", wait_readable)
    _put(trio.to_thread, "run_sync", run_sync)
    for module in (trio._core, trio.lowlevel, _run):
        _put(module, "wait_task_rescheduled", loop.rescheduled)
        _put(module, "cancel_shielded_checkpoint", loop.shielded_checkpoint)
    _put(_run.Runner, "reschedule", loop.reschedule)
    _put(_run, "current_time", current_time)
    _put(_run.CancelScope, "cancel", lambda scope, reason=None: scope._cancel(EXPLICIT))
    _put(_run.CancelScope, "_might_change_registered_deadline", lambda scope: Registering(scope))
    for module in (pump, callers):
        _put(module, "trio", TrioWithNaps())
    _put(os, "urandom", lambda size: random.randbytes(size))
    _put(random, "_urandom", lambda size: random.randbytes(size))
    _put(Guard, "start", lambda guard, context: None)
    _put(app, "os", OsOfApp())
    _put(runner, "time", Time())
    _put(control, "version", lambda name: "")  # to look it up takes as long as all else of a proxy's start
    _put(app, "bind", lambda address, **_: None)
    _put(app, "shares_of", lambda of, *rest, **_: Shares(of.client.max_connections, of.node.max_nodes, *rest))
    _put(app, "Listener", Listening)
    _put(runner, "names", Names())
    _put(runner, "host_id", lambda: "host")
    _put(node, "whereabouts", lambda: ("", 0))  # no pid of ours is anything to the kernel
    _put(app, "AdminServer", NoAdmin)

"""What the world has in place of ZeroMQ: sockets with its contract, as far as Holdfast uses it, and no threads.

A node's connection is a wire (tests.sim.wires). What goes between proxies is in connections that libzmq makes anew:
messages are lost, doubled, garbled, as the world says. A socket's descriptor is edge-triggered as in libzmq: up when
something has come, down when anybody looks.
"""

from collections import deque
from typing import TYPE_CHECKING, Any

import zmq

from tests.sim.kernel import Flag
from tests.sim.wires import Wire

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

SNDMORE = int(zmq.SNDMORE)
FD, EVENTS, RCVMORE = int(zmq.FD), int(zmq.EVENTS), int(zmq.RCVMORE)
POLLIN, POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)


class Again(zmq.Again):
    """Without the message, which costs more than all else about it."""

    errno = int(zmq.EAGAIN)
    __init__ = Exception.__init__  # type: ignore[assignment]


class Context:
    def __init__(self, world: "World") -> None:
        self._world = world

    def socket(self, kind: int) -> Any:
        process = self._world.current
        assert process is not None
        return _KINDS[kind](process)

    def term(self) -> None:
        pass

    def destroy(self, linger: int = 0) -> None:
        pass


class Socket:
    """What all have. Options that are set are attributes, and mean nothing but those that are looked at here."""

    routing_id = b""
    reconnect_ivl = 0

    def __init__(self, process: "Process") -> None:
        self.process = process
        self.world = process.world
        self.flag = Flag(process.kernel)
        self.inbox: deque[tuple[Any, bytes]] = deque()  # from whom, and what
        self.monitor: Monitor | None = None
        self.is_closed = False
        process.kernel.owns(self)

    def setsockopt(self, option: int, value: Any) -> None:
        pass

    def getsockopt(self, option: int) -> int:
        if option == FD:
            return self.flag.number
        self.flag.is_up = False
        if option == EVENTS:
            return (POLLIN if self.inbox else 0) | (POLLOUT if self.has_room() else 0)
        return 0

    def has_room(self) -> bool:
        return True

    def subscribe(self, topic: bytes) -> None:
        pass

    def get_monitor_socket(self, events: int) -> "Monitor":
        self.monitor = Monitor(self.process, events)
        return self.monitor

    def disable_monitor(self) -> None:
        self.monitor = None

    def arrive(self, source: Any, data: bytes) -> None:
        self.inbox.append((source, data))
        self.flag.put_up()

    def recv(self, flags: int = 0) -> bytes:
        self.flag.is_up = False
        if not self.inbox:
            raise Again
        source, data = self.inbox.popleft()
        if source is not None:
            source.taken(self)
        return data

    def close(self, linger: int = 0) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.end(is_kill=False)
            self.flag.close()

    def orphaned(self) -> None:
        """The process was killed."""
        if not self.is_closed:
            self.is_closed = True
            self.end(is_kill=True)

    def end(self, *, is_kill: bool) -> None:
        """What it has is given back."""

    def forget(self, wire: Any) -> int:
        """That one has ended. Its descriptor, if this end has any."""
        return 0


class Frame:
    """A message with what libzmq knows of it."""

    more = False

    def __init__(self, data: bytes, fd: int) -> None:
        self.bytes = data
        self._fd = fd

    def get(self, name: str) -> str:
        assert name == "__fd"
        return str(self._fd)


class Monitor:
    def __init__(self, process: "Process", mask: int) -> None:
        self._flag = Flag(process.kernel)
        self._mask = mask
        self._events: deque[tuple[int, int]] = deque()

    def tell(self, event: int, fd: int = 0) -> None:
        if event & self._mask:
            self._events.append((event, fd))
            self._flag.put_up()

    def getsockopt(self, option: int) -> int:
        if option == FD:
            return self._flag.number
        self._flag.is_up = False
        return POLLIN if self._events else 0

    def take(self) -> dict[str, int]:
        event, fd = self._events.popleft()
        return {"event": event, "value": fd}

    def close(self, linger: int = 0) -> None:
        self._flag.close()


class Router(Socket):
    def __init__(self, process: "Process") -> None:
        super().__init__(process)
        self._wires: dict[bytes, Any] = {}
        self._fds: dict[Any, int] = {}
        self._next_fd = 1000
        self._part: Frame | None = None
        self._to: bytes | None = None
        self.address = ""

    def bind(self, address: str) -> None:
        self.world.bind(address, self)
        self.address = address

    def getsockopt_string(self, option: int) -> str:
        return self.address

    def accept(self, identity: bytes, wire: Any) -> None:
        self._wires[identity] = wire
        self._next_fd += 1
        self._fds[wire] = self._next_fd

    def forget(self, wire: Any) -> int:
        for identity, known in list(self._wires.items()):
            if known is wire:
                del self._wires[identity]
        return self._fds.pop(wire, 0)

    def recv(self, flags: int = 0, copy: bool = True) -> Any:
        if self._part is not None:
            part, self._part = self._part, None
            return part.bytes if copy else part
        self.flag.is_up = False
        if not self.inbox:
            raise Again
        source, data = self.inbox.popleft()
        source.taken(self)
        self._part = Frame(data, self._fds.get(source, 0))
        return source.identity

    def send(self, data: bytes, flags: int = 0) -> None:
        self.flag.is_up = False
        if flags & SNDMORE:
            wire = self._wires.get(data)
            if wire is None:
                raise zmq.ZMQError(zmq.EHOSTUNREACH)
            if not wire.has_room(self):
                raise Again
            self._to = data
            return
        assert self._to is not None
        self._wires[self._to].send(self, data)

    def end(self, *, is_kill: bool) -> None:
        self.world.unbind(self.address, self)
        for wire in dict.fromkeys(self._wires.values()):
            wire.closed_by(self, is_kill=is_kill)


class AskWire:
    """Of a proxy that asks another one: no order and no certainty, and it is there as long as both are."""

    def __init__(self, dealer: "Dealer", router: Router) -> None:
        self.identity = dealer.routing_id
        self._dealer = dealer
        self._router = router
        router.accept(self.identity, self)

    def has_room(self, end: Socket) -> bool:
        return True

    def send(self, end: Socket, data: bytes) -> None:
        if not self._dealer.is_closed:
            self._router.world.datagram(self._router.process, self._dealer.process, self._dealer.answered, data)

    def taken(self, by: Socket) -> None:
        pass

    def closed_by(self, end: Socket, *, is_kill: bool) -> None:
        pass


class Dealer(Socket):
    """A node's pump, if it never reconnects; else of a proxy that asks another."""

    def __init__(self, process: "Process") -> None:
        super().__init__(process)
        self._wire: Wire | None = None
        self._early: list[bytes] = []  # said before the connection stood
        self._is_over = False
        self._address = ""
        self._asks: dict[Router, AskWire] = {}

    @property
    def _is_pump(self) -> bool:
        return self.reconnect_ivl == -1

    def connect(self, address: str) -> None:
        self._address = address
        if self._is_pump:
            self.world.at(self.world.time + self.world.delay() * 2, self._connected)

    def _connected(self) -> None:
        if self.is_closed:
            return
        router = self.world.bound.get(self._address)
        name = self.process.id
        if router is None and self._address not in self.world.silent:
            self._fail()
            return
        there = "" if router is None else router.process.id
        if router is None or self.world.is_cut(name, there) or self.world.is_cut(there, name):
            self.world.at(self.world.time + self.connect_timeout / 1000, self._connected_late)
            return
        self._wire = Wire(self, router)
        router.accept(self.routing_id, self._wire)
        for data in self._early:
            self._wire.send(self, data)
        self._early = []

    def _connected_late(self) -> None:
        """The time for connecting is over."""
        if not self.is_closed:
            self._fail()

    def _fail(self) -> None:
        self._is_over = True
        if self.monitor is not None:
            self.monitor.tell(int(zmq.EVENT_CLOSED))

    def has_room(self) -> bool:
        if self._wire is None:
            return len(self._early) < self.world.pipe
        return self._wire.takes(self)

    def send(self, data: bytes, flags: int = 0) -> None:
        self.flag.is_up = False
        if not self._is_pump:
            self._ask(data)
        elif not self.has_room():
            raise Again
        elif self._wire is None:
            self._early.append(data)
        else:
            self._wire.send(self, data)

    def _ask(self, data: bytes) -> None:
        router = self.world.bound.get(self._address)
        if router is None:
            raise Again
        self.world.datagram(self.process, router.process, self._asked, router, data)

    def _asked(self, router: Router, data: bytes) -> None:
        if self.is_closed or router.is_closed:
            return
        wire = self._asks.get(router)
        if wire is None:
            wire = self._asks[router] = AskWire(self, router)
        router.arrive(wire, data)

    def answered(self, data: bytes) -> None:
        if not self.is_closed:
            self.arrive(None, data)

    def end(self, *, is_kill: bool) -> None:
        if self._wire is not None:
            self._wire.closed_by(self, is_kill=is_kill)
        for router, wire in self._asks.items():
            router.forget(wire)


class Publisher(Socket):
    address = ""

    def bind(self, address: str) -> None:
        self.address = address

    def getsockopt_string(self, option: int) -> str:
        return self.address

    def send(self, data: bytes, flags: int = 0) -> None:
        self.world.published(self.process)
        for subscriber in self.world.subscribers.get(self.address, ()):
            self.world.datagram(self.process, subscriber.process, subscriber.told, data)


class Subscriber(Socket):
    """What is published before it is subscribed never comes."""

    def connect(self, address: str) -> None:
        self._address = address
        self.world.at(self.world.time + self.world.random.uniform(*self.world.subscribing), self._subscribed)

    def _subscribed(self) -> None:
        if not self.is_closed:
            self.world.subscribers.setdefault(self._address, {})[self] = None

    def told(self, data: bytes) -> None:
        if not self.is_closed:
            self.arrive(None, data)

    def end(self, *, is_kill: bool) -> None:
        self.world.subscribers.get(self._address, {}).pop(self, None)


_KINDS = {int(zmq.ROUTER): Router, int(zmq.DEALER): Dealer, int(zmq.PUB): Publisher, int(zmq.SUB): Subscriber}

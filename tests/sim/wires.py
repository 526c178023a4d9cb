"""A node's connection to a proxy: it never reconnects.

In order and without loss while it stands: what a cut network holds up comes when it is whole again. A connection that
has ended takes what was under way with it; each end notices at its time, or at the next message, or never.
"""

from collections import deque
from typing import TYPE_CHECKING

import zmq

if TYPE_CHECKING:
    from tests.sim.sockets import Dealer, Router, Socket


class Direction:
    """What goes one way on a wire. size: messages that were sent and not taken."""

    __slots__ = ("arrival", "is_scheduled", "queue", "size")

    def __init__(self) -> None:
        self.queue: deque[tuple[float, bytes | None]] = deque()  # None: the other end has closed
        self.arrival = 0.0
        self.size = 0
        self.is_scheduled = False


class Wire:
    """A node's connection to a proxy. ends: DEALER and ROUTER. Each end is there until it has closed, or has noticed
    that the other one has."""

    def __init__(self, dealer: "Dealer", router: "Router") -> None:
        self.world = dealer.world
        self.identity = dealer.routing_id
        self.ends: tuple[Socket, Socket] = (dealer, router)
        self.names = (dealer.process.id, router.process.id)
        self._open = [True, True]
        self._ways = (Direction(), Direction())  # to the router, to the dealer
        self.world.wires[self] = None

    def takes(self, end: "Socket") -> bool:
        side = 0 if end is self.ends[0] else 1
        return self._open[side] and self._ways[side].size < self.world.pipe

    def has_room(self, end: "Socket") -> bool:
        return self._ways[0 if end is self.ends[0] else 1].size < self.world.pipe

    def send(self, end: "Socket", data: bytes) -> None:
        side = 0 if end is self.ends[0] else 1
        self._ways[side].size += 1
        self._put(side, data)

    def taken(self, by: "Socket") -> None:
        """That end has received a message."""
        side = 1 if by is self.ends[0] else 0
        way = self._ways[side]
        way.size -= 1
        if way.size == self.world.pipe - 1 and self._open[side]:
            self.ends[side].flag.put_up()

    def _put(self, side: int, data: bytes | None) -> None:
        way = self._ways[side]
        way.arrival = max(way.arrival, self.world.time + self.world.delay())
        way.queue.append((way.arrival, data))
        self._schedule(side)

    def _schedule(self, side: int) -> None:
        way = self._ways[side]
        if way.queue and not way.is_scheduled:
            way.is_scheduled = True
            self.world.at(max(way.queue[0][0], self.world.time), self._arrive, side)

    def _arrive(self, side: int) -> None:
        way = self._ways[side]
        way.is_scheduled = False
        if not way.queue:
            return
        if self.world.is_cut(self.names[side], self.names[1 - side]):
            self.world.stalled[self] = None
            return
        if self in self.world.severed and way.queue[0][1] is not None:
            way.queue.popleft()
            return
        _, data = way.queue.popleft()
        if self._open[1 - side]:
            end = self.ends[1 - side]
            if data is None:
                self._lose(1 - side)
            else:
                end.arrive(self, data)
        elif data is not None and self._open[side]:
            # To an end that is no more: the answer is a reset.
            self._ways[1 - side].queue.append((self.world.time + self.world.delay(), None))
            self._schedule(1 - side)
        self._schedule(side)

    def mended(self) -> None:
        for side in (0, 1):
            self._schedule(side)

    def closed_by(self, end: "Socket", *, is_kill: bool) -> None:
        side = self.ends.index(end)
        if not self._open[side]:
            return
        self._open[side] = False
        way = self._ways[side]
        if is_kill:  # what libzmq had not given to the kernel
            for _ in range(self.world.random.randint(0, len(way.queue))):
                way.queue.pop()
        self._put(side, None)
        self._forget_if_over()

    def break_off(self, *, who_notices: tuple[bool, bool] = (True, True)) -> None:
        """A reset: what is under way is lost; the ends notice each at its time, or at the next message, or never."""
        for side in (0, 1):
            self._ways[side].queue.clear()
            if self._open[1 - side] and who_notices[1 - side]:
                self._put(side, None)
        if not all(who_notices):
            self.world.severed[self] = None

    def found_out(self) -> None:
        """Whoever has not noticed, notices."""
        self.world.severed.pop(self, None)
        for side in (0, 1):
            if self._open[1 - side]:
                self._put(side, None)

    def lost_at_router(self) -> None:
        if self._open[1]:
            self._lose(1)

    def _lose(self, side: int) -> None:
        """This end notices that the connection is no more."""
        self._open[side] = False
        self._ways[side].queue.clear()
        end = self.ends[side]
        fd = end.forget(self)
        if end.monitor is not None:
            end.monitor.tell(int(zmq.EVENT_DISCONNECTED), fd)
        self._forget_if_over()

    def _forget_if_over(self) -> None:
        if not any(self._open) and not any(way.queue for way in self._ways):
            for known in (self.world.wires, self.world.stalled, self.world.severed):
                known.pop(self, None)

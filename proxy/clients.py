"""The clients' side as a whole: every connection, what they share, and who may come in.

Owns the table of connections, ids, the limits on their number, their timers, and the announcement of sessions to
nodes and channels. Does not accept sockets (proxy.listener), read them (proxy.connection) or choose nodes.
"""

import os
from collections.abc import Callable

from protocols.clients.base import ClientProtocol, Limits
from protocols.clients.events import Opened, Request
from protocols.close import Reason
from protocols.nodes.frames import Client
from proxy.config import ClientSettings
from proxy.connection import Connection
from proxy.metrics import Counters
from proxy.reactor import Reactor
from proxy.tls import TlsChannel
from proxy.transport import Transport
from proxy.wheel import Wheel

Dispatch = Callable[[Connection, Request], None]
FirstProtocol = Callable[[Limits, str, float], ClientProtocol]


class Clients:
    """Every connection, by id. Those with a session are clients to nodes; the others are HTTP requests' transports.

    prefix: the upper 31 bits of every client's id, this proxy's own, so that ids are unique in a cluster and over
    restarts; the lower 32 count.
    """

    def __init__(
        self,
        settings: ClientSettings,
        first_protocol: FirstProtocol,
        reactor: Reactor,
        counters: Counters,
        prefix: int,
    ) -> None:
        self.reactor = reactor
        self.counters = counters
        self.max_connections = settings.max_connections
        self.max_in_flight = settings.max_in_flight
        self.max_outbox_bytes = settings.max_outbox_bytes
        self.max_unread_reply_bytes = settings.max_unread_reply_bytes
        self.stall_timeout = settings.ping_timeout
        self.rate = settings.max_message_rate
        self.connections: dict[int, Connection] = {}
        self.sessions = 0
        self.touched: list[Transport] = []  # connections with bytes to write at the turn's end
        self.refuses: Reason | None = None  # why nobody is taken at present
        self.has_abandoned = False  # a connection went while requests of it were with nodes
        self.wheel = Wheel(self.connections.get, reactor.now)
        self.dispatch: Dispatch
        self.on_opened: Callable[[Connection, Client], None]
        self.on_closed: Callable[[Connection, Reason], None]
        self._settings = settings
        self._first_protocol = first_protocol
        self._next_id = prefix << 32
        self._per_address: dict[str, int] = {}

    def refusal(self, address: str) -> Reason | None:
        """Why a connection from this address (without port) can't be taken now, or None."""
        if self.refuses is not None:
            return self.refuses
        if len(self.connections) >= self.max_connections:
            return Reason.TOO_MANY_CONNECTIONS
        limit = self._settings.max_connections_per_address
        if limit and self._per_address.get(address, 0) >= limit:
            return Reason.TOO_MANY_FROM_ADDRESS
        return None

    def add(
        self, fd: int, address: str, tls: TlsChannel | None, first_protocol: FirstProtocol | None = None
    ) -> Connection:
        """Take an accepted, non-blocking descriptor. address: "host:port". first_protocol: of a port of its own."""
        now = self.reactor.now
        self._next_id = id = self._next_id + 1
        protocol = (first_protocol or self._first_protocol)(self._settings, address, now)
        connection = Connection(self, id, fd, address, protocol, tls)
        self.connections[id] = connection
        if self._settings.max_connections_per_address:
            host = address.rpartition(":")[0]
            self._per_address[host] = self._per_address.get(host, 0) + 1
        self.reactor.register_newcomer(fd, connection)
        self.wheel.schedule(connection, connection.protocol.deadline)
        self.counters.connections_accepted += 1
        return connection

    def opened(self, connection: Connection, event: Opened) -> None:
        """A session has begun."""
        self.sessions += 1
        address = event.address or connection.address
        self.on_opened(connection, Client(connection.id, event.protocol, address, event.path, event.headers))

    def closed(self, connection: Connection, reason: Reason) -> None:
        """A connection has left OPEN: nothing more is for it."""
        self.counters.connections_closed[reason] += 1
        if connection.in_flight:
            self.has_abandoned = True
        if connection.is_session:
            self.sessions -= 1
            self.on_closed(connection, reason)

    def forget(self, connection: Connection) -> None:
        """Its descriptor is closed."""
        del self.connections[connection.id]
        if self._settings.max_connections_per_address:
            host = connection.address.rpartition(":")[0]
            left = self._per_address[host] - 1
            if left:
                self._per_address[host] = left
            else:
                del self._per_address[host]

    def find(self, client: int) -> Connection | None:
        """A client's connection while it is open."""
        connection = self.connections.get(client)
        return connection if connection is not None and not connection.is_closed else None

    def flush(self, now: float) -> bool:
        """Turn's end: write what the turn has queued."""
        while self.touched:
            touched, self.touched = self.touched, []
            for connection in touched:
                connection.flush()
        return False

    def tick(self, now: float) -> None:
        self.wheel.turn(now)

    def close(self) -> None:
        """Close every descriptor, now."""
        for connection in list(self.connections.values()):
            connection.abort(Reason.DRAINING)


def random_prefix() -> int:
    """31 random bits, for `Clients.prefix`."""
    return int.from_bytes(os.urandom(4), "little") >> 1 or 1

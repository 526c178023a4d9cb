"""The clients' side as a whole: every connection, what they share, and who may come in.

Owns the table of connections, ids, the limits on their number, their timers, and the announcement of sessions to
nodes and channels. Does not accept sockets (listener), read them (transport) or choose nodes.
"""

import os
from collections.abc import Callable
from ipaddress import IPv6Address
from math import inf

import structlog
import trio

from holdfast.protocols.clients.base import ClientProtocol, KnowsAddress, Limits
from holdfast.protocols.clients.events import Opened
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.nodes.frames import Client
from holdfast.proxy.clients.admission import Admission, Identifies
from holdfast.proxy.clients.closings import USUAL, Closings
from holdfast.proxy.clients.connection import Connection
from holdfast.proxy.clients.handshakes import Handshakes, Handshaking
from holdfast.proxy.clients.nowhere import Nowhere
from holdfast.proxy.clients.ordered import OrderedConnection
from holdfast.proxy.clients.reactor import Reactor, close_crashed
from holdfast.proxy.clients.session import NOBODY, House, Identity, Peer, Session
from holdfast.proxy.clients.tls import TlsChannel
from holdfast.proxy.clients.transport import Transport
from holdfast.proxy.clients.wheel import SLOTS_PER_SECOND, Wheel
from holdfast.proxy.config import ClientSettings
from holdfast.proxy.metrics import Counters

log = structlog.get_logger("holdfast.clients")

# In a turn, with what was more than one turn's share of its client: so long do all others wait for it at most.
GO_ON_TIME = 0.002

FirstProtocol = Callable[[Limits, str, float], ClientProtocol]


class Clients(House):
    """Every connection, by id. Those with a session are clients to nodes; the others are HTTP requests' transports.

    prefix: the upper 31 bits of every client's id, this proxy's own, so that ids are unique in a cluster and over
    restarts; the lower 32 count. client_of: what nodes have been told of a session, by its id.

    To be set by who joins the sides: dispatch, where requests go; on_opened and on_closed, who is told of sessions;
    join, who keeps channels; tokens, if clients have some, and admission: who say which sessions may begin.
    """

    on_opened: Callable[[Client], None]
    join: Callable[[int, str], object]
    on_closed: Callable[[Session, Reason], None]

    def __init__(
        self,
        settings: ClientSettings,
        first_protocol: FirstProtocol,
        reactor: Reactor,
        counters: Counters,
        prefix: int,
        client_of: Callable[[int], Client | None],
    ) -> None:
        super().__init__(settings, reactor, counters)
        self._client_of = client_of
        self.max_connections = settings.max_connections
        self.connections: dict[int, Connection] = {}
        self.refuses: Reason | None = None  # why nobody is taken at present
        self.has_abandoned = False  # a connection went while requests of it were with nodes
        self.wheel = Wheel(self.connections.get, reactor.now)
        self._turned_at = reactor.now
        self._longest_timeout = max(
            settings.handshake_timeout, settings.body_timeout, settings.ping_timeout, settings.close_timeout
        )
        self.handshakes = Handshakes(reactor, self.encrypted)
        self.nowhere = Nowhere(self, -1, None)
        self.closings = Closings()
        self.tokens: Identifies | None = None
        self.admission: Admission | None = None
        self._settings = settings
        self._make_connection = OrderedConnection if settings.ordered else Connection
        self._first_protocol = first_protocol
        self._next_id = prefix << 32
        self._per_network: dict[str, int] = {}
        self._network_of: dict[int, str] = {}  # by connection, while there is a limit

    def refusal(self, address: str) -> Reason | None:
        """Why a connection from this IP address can't be taken now, or None."""
        if self.refuses is not None:
            return self.refuses
        if len(self.connections) >= self.max_connections:
            return Reason.TOO_MANY_CONNECTIONS
        limit = self._settings.max_connections_per_address
        if limit and self._per_network.get(_network(address), 0) >= limit:
            return Reason.TOO_MANY_FROM_ADDRESS
        return None

    def add(
        self, fd: int, address: str, tls: TlsChannel | None, first_protocol: FirstProtocol | None = None
    ) -> Connection | None:
        """Take an accepted, non-blocking descriptor. address: "host:port". first_protocol: of a port of its own.

        None: its adapter could not be made, which is the end of this connection and of no other.
        """
        now = self.reactor.now
        try:
            protocol = (first_protocol or self._first_protocol)(self._settings, address, now)
        except Exception:
            if self.reactor.masses.admits("adapter_crashed", now):
                log.exception("adapter_crashed", address=address)
            os.close(fd)
            return None
        self._next_id = id = self._next_id + 1
        connection = self._make_connection(self, id, Transport(self, fd, tls), protocol)
        self.connections[id] = connection
        if self._settings.max_connections_per_address:
            self._network_of[id] = network = _network(address.rpartition(":")[0])
            self._per_network[network] = self._per_network.get(network, 0) + 1
        transport = connection.transport
        self.reactor.register_newcomer(fd, transport if tls is None else Handshaking(self.handshakes, transport))
        self.wheel.schedule(connection, protocol.deadline)
        self.counters.connections_accepted += 1
        return connection

    def opened(self, session: Session, event: Opened, identity: Identity) -> None:
        handshake = event.protocol, event.address, event.path, event.headers, event.query
        self.on_opened(Client(session.id, *handshake, identity.user, identity.data, identity.claims))
        for channel in identity.channels:
            self.join(session.id, channel)

    def renew(self, session: Session, token: str) -> None:
        client = self._client_of(session.id)
        if self.tokens is None or client is None:
            raise HoldfastError("tokens are not verified here", Reason.NOT_IMPLEMENTED)
        session.expires = min(self.tokens.renew(token, client.claims), session.until)

    @property
    def asks_for_admission(self) -> bool:
        return self.tokens is not None or (self.admission is not None and self.admission.is_wanted)

    def ask_for_admission(self, connection: Connection, event: Opened) -> None:  # type: ignore[override]
        identity = NOBODY
        if self.tokens is not None:
            try:
                identity = self.tokens.identify(event)
            except HoldfastError as error:
                connection.refused_entry(error)
                return
        if self.admission is not None and self.admission.is_wanted:
            self.admission.ask(connection, event, identity)
        else:
            connection.admitted(identity)

    def closed(self, connection: Peer, session: Session | None, reason: Reason, detail: str, code: int) -> None:
        self.counters.connections_closed[reason] += 1
        if (
            reason is not Reason.CLIENT_LEFT
            and reason not in USUAL
            and (session is not None or reason is not Reason.IDLE)
        ):
            address = self._address_of(connection, session)
            self.closings.say(connection.id, address, reason, detail, code, self.reactor.now)
        if connection.in_flight:
            self.has_abandoned = True
        if session is not None:
            self.on_closed(session, reason)

    def ended_session(self, connection: Connection, session: Session) -> None:  # type: ignore[override]
        self.subscribing.ended(session)
        self.on_closed(session, Reason.CLIENT_LEFT)
        self._next_id = id = self._next_id + 1
        self.connections[id] = self.connections.pop(connection.id)
        network = self._network_of.pop(connection.id, None)
        if network is not None:
            self._network_of[id] = network
        connection.id, connection.timer = id, inf
        self.wheel.schedule(connection, self.reactor.now)  # which looks for whatever else is due

    def forget(self, connection: Peer) -> None:
        del self.connections[connection.id]
        network = self._network_of.pop(connection.id, None)
        if network is not None:
            self._per_network[network] -= 1
            if not self._per_network[network]:
                del self._per_network[network]

    def find(self, client: int) -> Session | None:
        """A client's session while it is open."""
        connection = self.connections.get(client)
        return None if connection is None else connection.session

    def all_sessions(self) -> list[Session]:
        """Every client, in the order in which they came."""
        return [each.session for each in self.connections.values() if each.session is not None]

    def _address_of(self, connection: Peer, session: Session | None) -> str:
        """Who that is, for people: a client's own address, or else that of the socket's other end."""
        client = None if session is None else self._client_of(session.id)
        if client is not None:
            return client.address
        protocol = self.connections[connection.id].protocol
        return protocol.client_address if isinstance(protocol, KnowsAddress) else connection.transport.peer_name()

    def flush(self, now: float) -> bool:
        """Turn's end: write what the turn has queued, and go on with those who have more. True: some have."""
        while self.touched:
            touched, self.touched = self.touched, []
            for transport in touched:
                try:
                    transport.flush()
                except Exception:  # a guard: a fault with one connection must not keep back what others have queued
                    if self.reactor.masses.admits("flush_crashed", now):
                        log.exception("flush_crashed")
                    close_crashed(transport)
        if not self.unfinished:
            return False
        self._go_on(now)
        return True

    def _go_on(self, now: float) -> None:
        """Those who have had their share of a turn, while this one has time for them: each is little, all are not."""
        until = trio.current_time() + GO_ON_TIME
        for _ in range(len(self.unfinished)):
            self.unfinished.popleft().go_on(now)
            if trio.current_time() >= until:
                break

    def forgive(self, seconds: float, now: float) -> None:
        """Ticker: we were away for so long. For as long, nobody is late, but no longer than anybody has for anything.

        What they have said meanwhile waits unread, and what they still have to say may wait for an answer of ours, or
        for room in our socket: of the time that it had left then each has at least half. Not again before all who were
        excused have been judged: our turns may always be long.
        """
        if self._turned_at >= self.judges_at + 1.0 / SLOTS_PER_SECOND:
            self.judges_at = now + min(seconds, self._longest_timeout)

    def turn_wheel(self) -> None:
        """Ticker: timers that are due; in the next turns those that are more than one's share."""
        self._turned_at = self.reactor.now
        self._turn_on()

    def _turn_on(self) -> None:
        """As of the last tick: if we were away since then, only the next one knows."""
        if self.wheel.turn(self._turned_at):
            self.reactor.in_next_turn(self._turn_on)

    def close(self) -> None:
        """Close every descriptor, now."""
        for connection in list(self.connections.values()):
            connection.abort(Reason.DRAINING)


def random_prefix() -> int:
    """31 random bits, for `Clients.prefix`."""
    return int.from_bytes(os.urandom(4), "little") >> 1 or 1


def _network(host: str) -> str:
    """What a limit per address counts: one of IPv4, and of IPv6 the /64 of which a subscriber has at least one."""
    if ":" not in host:
        return host
    address = IPv6Address(host.strip("[]").partition("%")[0])
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))

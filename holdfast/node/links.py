"""The links to all proxies: one task for each, that makes session after session.

Owns the known addresses, which of them to keep trying, and what goes to every proxy. A node needs one proxy's address
and learns the others from it. Two addresses of one proxy are found out, and one of them rests. A proxy that lives by
the word of another and can't be reached is linked through that one, until it can.
"""

import random
from collections.abc import Iterable, Sequence

import structlog
import trio
import zmq

from holdfast.complaints import Complaints
from holdfast.names import look_up
from holdfast.node import effects
from holdfast.node.backoff import Attempts
from holdfast.node.batches import Batches
from holdfast.node.clients import NO_WORD, Clients
from holdfast.node.elsewhere import in_trio
from holdfast.node.errors import LinkRefused
from holdfast.node.gate import Gate
from holdfast.node.latest import Latest
from holdfast.node.memory import Address, MemoryPump
from holdfast.node.pump import LINGER, Curve, Pump
from holdfast.node.session import Parts, Session
from holdfast.node.streams import Concerned, Streams
from holdfast.protocols.errors import ConfigError
from holdfast.protocols.nodes.frames import Drain, Effect, Peers, Via

log = structlog.get_logger("holdfast.node")

SUCCESSION_TIMEOUT = 2.0  # for a proxy's other address to come back, before this one is tried
TUNNEL_DELAY = 0.5  # a proxy that lives gets so long to be linked directly
TUNNEL_INTERVAL = 0.1


class Links:
    """An Outlet: effects that go out at once go to every proxy, and each delivers to its own clients.

    sessions: those that have a welcome, by proxy. is_ready: set when the first one is ready for requests. is_draining:
    none is to be ready any more. is_drained: none is to get requests, by an operator's word, or because it is so.
    gate: where what is done to clients waits for a link; whoever runs us says that a run begins and ends.
    alive: proxies that live, by the word of another one that is linked.
    forget_timeout: an address that was only learned is given up when it can't be reached for so many seconds.
    """

    def __init__(self, curve: Curve | None, forget_timeout: float, streams: Streams, clients: Clients) -> None:
        self.streams = streams
        streams.on_owes = self._beat
        self._clients = clients
        self._curve = curve
        self._forget_timeout = forget_timeout
        self._joined: frozenset[str] = frozenset()  # addresses that the author named: never given up
        self._addresses: dict[str, str] = {}  # by proxy, by the proxies' latest word
        self._lost_at: dict[str, float | None] = {}  # every address that has a task; None: its proxy is linked
        self._proxy_at: dict[str, str] = {}  # who answered there last
        self._sessions: set[Session] = set()  # with those that have no welcome yet
        self._new: list[str] = []  # addresses that are to get a task
        self._relayed: set[str] = set()  # proxies that are linked, or about to be, through another one
        self._changed = trio.Event()
        self.gate = Gate()
        self._leaving = trio.Event()
        self._looking: set[trio.CancelScope] = set()  # up names: nobody waits for that when the node leaves
        self._endpoints: dict[str, str] = {}  # by address: where it was linked last
        self.expect = Latest().expect
        self._has_dialled = False
        self.is_ready = trio.Event()
        self.is_draining = self.is_drained = False
        self.was_drained = trio.Event()  # by an operator's word
        self.sessions: dict[str, Session] = {}
        clients.heir.links = self.sessions
        self.alive: frozenset[str] = frozenset()

    async def run(self, parts: Parts, join: Sequence[str]) -> None:
        """Link to the proxies at `join`, and to those that they name, until `leave`.

        Raises LinkRefused if a proxy refuses this node for good, ConfigError if an address of `join` is none.
        """
        self.gate.link()
        self._joined = frozenset(join)
        self._add(join)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            async with trio.open_nursery() as nursery:
                has_peers = False
                while not self._leaving.is_set():
                    while self._new:
                        nursery.start_soon(self._keep, parts, context, self._new.pop())
                    if self.alive and not has_peers:
                        has_peers = True
                        nursery.start_soon(self._keep_tunnels, parts, context, nursery)
                    await self._changed.wait()
                    self._changed = trio.Event()
                # Whoever has not read what is before our goodbye has been waited for.
                nursery.cancel_scope.deadline = trio.current_time() + LINGER
        finally:
            # What was said last may still be on its way. In a thread, because libzmq blocks until it is not.
            with trio.move_on_after(LINGER + 1, shield=True):
                if self._has_dialled:
                    await trio.to_thread.run_sync(context.term, abandon_on_cancel=True)
                else:
                    context.term()

    # --- from the sessions ------------------------------------------------------------------------------------------

    def welcomed(self, session: Session, seen: int) -> None:
        """A session stands. seen: number of the last of our effects that the proxy has."""
        twin = self.sessions.get(session.proxy)
        if twin is not None:
            # Two addresses of one proxy. It takes the later hello as a new session in place of the earlier one.
            twin.successor = session
            twin.end(f"the proxy at {session.address} is the same")
        for other in self._sessions:
            if other.via == session.proxy and not other.proxy:
                other.end("the proxy is linked by now")
        self.sessions[session.proxy] = session
        self.streams.attach(session, seen)
        self._clients.heir.linked(session)
        self.gate.linked()
        if not session.via:
            former = self._proxy_at.get(session.address, "")
            self._proxy_at[session.address] = session.proxy
            if former not in self.sessions and self._addresses.get(former, session.address) == session.address:
                self._clients.forget(former)  # another proxy is at its address now
                self.streams.forget(former)

    def introduced(self, session: Session, peers: Peers) -> None:
        """Proxies, as one of them tells them."""
        session.peers = peers
        self._relist()

    def ready(self, session: Session) -> None:
        if not session.via:
            self._lost_at[session.address] = None
        self.is_ready.set()
        if not isinstance(session.address, Address):  # a test has many of those
            log.info("link_ready", proxy=session.proxy, address=session.address, via=session.via)

    def lost(self, session: Session, *, for_good: bool) -> None:
        """A session that was welcomed is over. for_good: the proxy has said goodbye."""
        if self.sessions.get(session.proxy) is not session:
            return  # another with the same proxy stands
        del self.sessions[session.proxy]
        if not self.sessions:
            self.gate.unlinked()
        self.streams.detach(session, for_good=for_good)
        if for_good:
            self._clients.forget(session.proxy)
        else:
            self._clients.lost(session.proxy, trio.current_time())
        self._relist()

    def drained(self, proxy: str) -> None:
        """A proxy gives us no more requests: an operator's word. This process is where it is remembered, for all."""
        if not self.is_drained:
            self.is_drained = True
            log.info("drained_by_operator", proxy=proxy)
            self._beat()
            self.was_drained.set()

    def _beat(self) -> None:
        """Have all proxies know what a heartbeat tells before anything that is said from now on: a reply may not be
        read before whom we owe."""
        for session in list(self.sessions.values()):
            session.beat()

    def _relist(self) -> None:
        """The lists of all linked proxies, put together. What one says of itself tells nothing that its link does not.

        Without any list the former ones still say what to keep for whom, and where to look; but nobody vouches for
        clients any more.
        """
        told = [(session, peer) for session in self.sessions.values() for peer in session.peers.proxies]
        listed: dict[str, int] = {}
        for session, peer in told:
            if peer.proxy != session.proxy:
                listed[peer.proxy] = max(listed.get(peer.proxy, 0), session.peers.ballot)
        latest = max((session.peers.ballot for session, _ in told), default=NO_WORD)
        unheard = self._clients.introduced(listed, latest)
        self.alive = frozenset(peer.proxy for session, peer in told if peer.alive and peer.proxy != session.proxy)
        if told:
            self._addresses = {peer.proxy: peer.address for _, peer in told}
            self.streams.listed(listed.keys() | unheard | self.sessions.keys())
        linked = {proxy for proxy, session in self.sessions.items() if not session.via}
        self._add(address for proxy, address in self._addresses.items() if proxy not in linked)
        self._changed.set()

    def _add(self, addresses: Iterable[str]) -> None:
        for address in sorted(set(addresses) - self._lost_at.keys()):
            self._lost_at[address] = trio.current_time()
            self._new.append(address)
            self._changed.set()

    # --- for the node -----------------------------------------------------------------------------------------------

    def serves(self, default: effects.Outlet) -> bool:
        return default is self

    def log_context(self) -> dict[str, object]:
        return {}

    async def put(self, effect: Effect) -> None:
        await in_trio(self._put, effect)

    async def _put(self, effect: Effect) -> None:
        to = await self.wait_room([effect])
        self.streams.send([effect], to=to)

    async def wait_room(self, effects: Sequence[Effect] = ()) -> Concerned:
        """Wait until a proxy is linked, no outbox is over its limit, and all that these concern take more.

        Always a checkpoint. Raises HoldfastError if the node does not run, or no longer does.
        """
        while True:
            await self.gate.wait()
            for session in list(self.sessions.values()):
                await session.wait_room()
            to = await self.streams.wait_room(effects)
            if self.sessions and not self.gate.is_held:
                return to

    async def drain(self) -> None:
        """Ask for no more requests, and wait until none can come.

        Sessions that are lost are made anew, but ask for none: what is kept for their proxies has no other way.
        """
        self.is_draining = self.is_drained = True
        for session, stamp in [(session, session.drain()) for session in self._sessions]:
            await session.wait_answered(stamp)

    def resign(self) -> None:
        """Drained, and acting as master no more: say so, and another is elected at once. What comes is still done. That
        is nothing new to who was told by `drain`."""
        for session in self.sessions.values():
            session.send(Drain())

    async def wait_read(self) -> None:
        """Wait until each proxy has what was sent by now, however long that takes, or its session is over."""
        for session, stamp in [(session, session.beat()) for session in self.sessions.values()]:
            await session.wait_answered(stamp)

    def leave(self) -> None:
        """Say goodbye; `run` returns when it is said."""
        self._begin_to_leave()
        for session in self._sessions:
            session.leave()

    def _begin_to_leave(self) -> None:
        self._leaving.set()
        self._changed.set()
        for scope in self._looking:
            scope.cancel(reason="the node leaves")

    # ----------------------------------------------------------------------------------------------------------------

    async def _keep(self, parts: Parts, context: "zmq.Context[zmq.Socket[bytes]]", address: str) -> None:
        """Task: keep a session with the proxy at an address."""
        attempts = Attempts()
        limiter = trio.CapacityLimiter(1)  # of this name alone: one that nobody answers for holds up no other
        while self._is_wanted(address):
            attempts.begin(trio.current_time())
            try:
                endpoints = await self._look_up(address, limiter, attempts.complaints)
                session = await self._visit(parts, context, address, endpoints)
            except ConfigError as error:
                if address in self._joined:
                    raise
                log.warning("bad_peer_address", address=address, error=str(error))
                break
            if session.refused_for_good:
                raise LinkRefused(f"the proxy at {address} refuses this node: {session.refused_for_good}")
            if self._leaving.is_set():
                break
            if session.successor is not None and not session.successor.via:
                await self._rest(session)
            now = trio.current_time()
            if self._lost_at[address] is None:  # it was linked
                self._lost_at[address] = now
                attempts.stood(now)
                log.warning("link_lost", address=address, reason=session.reason)
            elif attempts.complaints.is_due(session.reason, now):
                log.info("link_failed", address=address, reason=session.reason)
            with trio.move_on_after(attempts.pause(now)):
                await self._leaving.wait()
        del self._lost_at[address]
        self._endpoints.pop(address, None)

    async def _look_up(self, address: str, limiter: trio.CapacityLimiter, complaints: Complaints) -> list[str]:
        """As `names.look_up`, until we leave."""
        with trio.CancelScope() as scope:
            self._looking.add(scope)
            try:
                return await look_up(address, limiter, complaints)
            finally:
                self._looking.discard(scope)
        return []

    async def _visit(
        self, parts: Parts, context: "zmq.Context[zmq.Socket[bytes]]", address: str, endpoints: list[str]
    ) -> Session:
        """A session at the first of these that answers, until its end. If none does, the last that was tried."""
        session = Session(parts, Pump(context, address, self._curve), address)
        session.end("its name was not found")
        for endpoint in endpoints:
            if self._leaving.is_set():
                break
            session = Session(parts, self._pump(context, endpoint), address)
            self._sessions.add(session)
            self._endpoints[address] = endpoint
            try:
                await session.run()
            finally:
                self._sessions.discard(session)
            if session.proxy or session.refused_for_good:
                break
        return session

    def _pump(self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str) -> Batches:
        if isinstance(endpoint, Address):
            return MemoryPump(endpoint.proxy)
        self._has_dialled = True
        return Pump(context, endpoint, self._curve)

    async def _rest(self, session: Session) -> None:
        """The proxy is linked at another address: wait until it is not."""
        self._lost_at[session.address] = None
        successor = session.successor
        while successor is not None:
            await successor.over.wait()
            with trio.move_on_after(SUCCESSION_TIMEOUT):
                await self._leaving.wait()
            successor = self.sessions.get(session.proxy)

    def _is_wanted(self, address: str) -> bool:
        lost_at = self._lost_at[address]
        return not self._leaving.is_set() and (
            address in self._joined
            or address in self._addresses.values()
            or lost_at is None
            or trio.current_time() - lost_at < self._forget_timeout
        )

    async def _keep_tunnels(
        self, parts: Parts, context: "zmq.Context[zmq.Socket[bytes]]", nursery: trio.Nursery
    ) -> None:
        """Task: see that a proxy which lives and can't be reached is linked through another one."""
        unlinked: dict[str, float] = {}
        while not self._leaving.is_set():
            now = trio.current_time()
            lacking = self.alive - self.sessions.keys() - self._relayed
            unlinked = {proxy: unlinked.get(proxy, now) for proxy in lacking}
            for proxy in [proxy for proxy, since in unlinked.items() if now - since >= TUNNEL_DELAY]:
                self._relayed.add(proxy)
                nursery.start_soon(self._keep_tunnel, parts, context, proxy)
            with trio.move_on_after(TUNNEL_INTERVAL):
                await self._leaving.wait()

    def _relays(self, proxy: str) -> list[str]:
        """Where proxies are linked through which this one may be reached."""
        return [
            self._endpoints[session.address]
            for session in self.sessions.values()
            if not session.via and any(peer.proxy == proxy and peer.alive for peer in session.peers.proxies)
        ]

    async def _keep_tunnel(self, parts: Parts, context: "zmq.Context[zmq.Socket[bytes]]", proxy: str) -> None:
        """Task: sessions with a proxy through others, as long as it lives and has none of its own."""
        attempts = Attempts()
        while not self._leaving.is_set() and proxy in self.alive - self.sessions.keys():
            attempts.begin(trio.current_time())
            relays = self._relays(proxy)
            if relays:
                address = random.choice(relays)
                way = Via(proxy, parts.hello().token)
                session = Session(parts, Pump(context, address, self._curve, way), address, proxy)
                self._sessions.add(session)
                try:
                    await session.run()
                finally:
                    self._sessions.discard(session)
                if session.proxy:
                    attempts.stood(trio.current_time())
                    log.info("tunnel_ended", proxy=proxy, address=address, reason=session.reason)
                elif attempts.complaints.is_due(session.reason, trio.current_time()):
                    log.info("tunnel_failed", proxy=proxy, address=address, reason=session.reason)
            with trio.move_on_after(attempts.pause(trio.current_time())):
                await self._leaving.wait()
        self._relayed.discard(proxy)

"""The links to all proxies: one task for each, that makes session after session.

Owns the known addresses, which of them to keep trying, and what goes to every proxy. A node needs one proxy's address
and learns the others from it. Two addresses of one proxy are found out, and one of them rests.
"""

from collections.abc import Iterable, Sequence

import structlog
import trio
import zmq

from holdfast import backoff, effects
from holdfast.errors import LinkRefused
from holdfast.pump import LINGER, Curve, Pump
from holdfast.session import Parts, Session
from protocols.errors import ConfigError
from protocols.nodes.frames import AsMaster, Effect

log = structlog.get_logger("holdfast.node")

SUCCESSION_TIMEOUT = 2.0  # for a proxy's other address to come back, before this one is tried


class Links:
    """An Outlet: effects that go out at once go to every proxy, and each delivers to its own clients.

    sessions: those that have a welcome, by proxy. is_ready: set when the first one is ready for requests.
    forget_timeout: an address that was only learned is given up when it can't be reached for so many seconds.
    """

    def __init__(self, curve: Curve | None, forget_timeout: float) -> None:
        self._curve = curve
        self._forget_timeout = forget_timeout
        self._joined: frozenset[str] = frozenset()  # addresses that the author named: never given up
        self._peers: frozenset[str] = frozenset()  # those of the proxies' latest word
        self._lost_at: dict[str, float | None] = {}  # every address that has a task; None: its proxy is linked
        self._proxy_at: dict[str, str] = {}  # who answered there last
        self._sessions: set[Session] = set()  # with those that have no welcome yet
        self._new: list[str] = []  # addresses that are to get a task
        self._changed = trio.Event()
        self._linked = trio.Event()
        self._leaving = trio.Event()
        self.is_ready = trio.Event()
        self.sessions: dict[str, Session] = {}

    async def run(self, parts: Parts, join: Sequence[str]) -> None:
        """Link to the proxies at `join`, and to those that they name, until `leave`.

        Raises LinkRefused if a proxy refuses this node for good, ConfigError if an address of `join` is none.
        """
        self._joined = frozenset(join)
        self.add(join)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            async with trio.open_nursery() as nursery:
                while not self._leaving.is_set():
                    while self._new:
                        nursery.start_soon(self._keep, parts, context, self._new.pop())
                    await self._changed.wait()
                    self._changed = trio.Event()
        finally:
            # What was said last may still be on its way. In a thread, because libzmq blocks until it is not.
            with trio.move_on_after(LINGER + 1, shield=True):
                await trio.to_thread.run_sync(context.term, abandon_on_cancel=True)

    # --- from the sessions ------------------------------------------------------------------------------------------

    def add(self, addresses: Iterable[str]) -> None:
        """Proxies' addresses, as one of them tells them."""
        self._peers = frozenset(addresses)
        for address in sorted(self._peers - self._lost_at.keys()):
            self._lost_at[address] = trio.current_time()
            self._new.append(address)
            self._changed.set()

    def welcomed(self, session: Session) -> str:
        """A session stands. Returns the proxy that was at its address before, if that is gone."""
        twin = self.sessions.get(session.proxy)
        if twin is not None:
            # Two addresses of one proxy. It takes the later hello as a new session in place of the earlier one.
            twin.successor = session
            twin.end(f"the proxy at {session.address} is the same")
        former = self._proxy_at.get(session.address, "")
        self._proxy_at[session.address] = session.proxy
        self.sessions[session.proxy] = session
        self._linked.set()
        return "" if former in self.sessions else former

    def ready(self, session: Session) -> None:
        self._lost_at[session.address] = None
        self.is_ready.set()
        log.info("link_ready", proxy=session.proxy, address=session.address)

    def lost(self, session: Session) -> bool:
        """A session that was welcomed is over. True: and no other with the same proxy stands."""
        if self.sessions.get(session.proxy) is not session:
            return False
        del self.sessions[session.proxy]
        if not self.sessions:
            self._linked = trio.Event()
        return True

    # --- for the node -----------------------------------------------------------------------------------------------

    def serves(self, default: effects.Outlet) -> bool:
        return default is self

    async def put(self, effect: Effect) -> None:
        await self.wait_room()
        self.send(effect)

    async def wait_room(self) -> None:
        """Wait until a proxy is linked and no outbox is over its limit. Always a checkpoint."""
        await trio.lowlevel.checkpoint()
        while not self.sessions:
            await self._linked.wait()
        for session in list(self.sessions.values()):
            await session.wait_room()

    def send(self, frame: Effect | AsMaster, but: Session | None = None) -> None:
        """Send to every proxy, or to all but one."""
        size = effects.weigh(frame)
        for session in self.sessions.values():
            effects.check_size(size, session.max_batch_bytes)
        for session in self.sessions.values():
            if session is not but:
                session.send(frame, size)

    async def drain(self) -> None:
        """Make no new session, ask for no more requests, and wait until none can come."""
        self._leaving.set()
        self._changed.set()
        sessions = list(self._sessions)
        for session in sessions:
            session.drain()
        for session in sessions:
            await session.drained.wait()

    def leave(self) -> None:
        """Say goodbye; `run` returns when it is said."""
        self._leaving.set()
        self._changed.set()
        for session in self._sessions:
            session.leave()

    # ----------------------------------------------------------------------------------------------------------------

    async def _keep(self, parts: Parts, context: "zmq.Context[zmq.Socket[bytes]]", address: str) -> None:
        """Task: keep a session with the proxy at an address."""
        delays = backoff.delays()
        while self._is_wanted(address):
            session = Session(parts, Pump(context, address, self._curve), address)
            self._sessions.add(session)
            try:
                await session.run()
            except ConfigError as error:
                if address in self._joined:
                    raise
                log.warning("bad_peer_address", address=address, error=str(error))
                break
            finally:
                self._sessions.discard(session)
            if session.refused_for_good:
                raise LinkRefused(f"the proxy at {address} refuses this node: {session.refused_for_good}")
            if self._leaving.is_set():
                break
            if session.successor is not None:
                await self._rest(session)
            if self._lost_at[address] is None:  # it was linked
                self._lost_at[address] = trio.current_time()
                delays = backoff.delays()
                log.warning("link_lost", address=address, reason=session.reason)
            else:
                log.info("link_failed", address=address, reason=session.reason)
            delay = next(delays)
            with trio.move_on_after(delay):
                await self._leaving.wait()
        del self._lost_at[address]

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
            or address in self._peers
            or lost_at is None
            or trio.current_time() - lost_at < self._forget_timeout
        )

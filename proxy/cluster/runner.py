"""The cluster's tasks and sockets: what balancer.cluster decides is done here, and what comes is given to it.

Owns the connections to peers, and the order of joining and leaving. Decides nothing itself: who is in the cluster is
Cluster's, what is in the store is Store's. No client's message and no node's comes by here, but for sessions of nodes
that have no other way (proxy.cluster.ways).
"""

import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import blake2b

import structlog
import trio

from holdfast.balancer.cluster import unheard
from holdfast.balancer.cluster.actions import Action, Ask, CloseClients, Dial, Fence, HangUp, Introduce, Publish, Write
from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.coordination.base import CoordinationError, Coordinator
from holdfast.balancer.coordination.sqlite_file import boot_id
from holdfast.balancer.directory import Directory, NodeState
from holdfast.balancer.links.callers import Standing
from holdfast.balancer.links.guard import Guard
from holdfast.balancer.links.peers import PeerLink, PeerPort
from holdfast.balancer.links.zeromq import ZeromqHub
from holdfast.balancer.state import StateCopy
from holdfast.protocols.errors import ConfigError, HoldfastError
from holdfast.protocols.peers.frames import READY, Figures, Member, Record
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.cluster import names, views
from holdfast.proxy.cluster.bindings import advertised, resolve
from holdfast.proxy.cluster.fence import ClientsFence
from holdfast.proxy.cluster.store import Store
from holdfast.proxy.cluster.times import times_of
from holdfast.proxy.cluster.ways import Kind, Ways
from holdfast.proxy.config import Config
from holdfast.proxy.nodes.announcer import Announcer
from holdfast.proxy.nodes.gateway import Gateway

log = structlog.get_logger("holdfast.cluster")

TICK = 0.05  # a master is named at most this long after its lease allows it
POLL_INTERVAL = 0.02  # while it joins
KNOCKING_INTERVAL = 60.0  # between two lines about proxies that are not heard
LEAVE_TIMEOUT = 2.0  # for the set to be firm, and the store to take it; then others have to find out by themselves
STANDING = {Kind.PASSED_ON: Standing.KNOWN, Kind.DROPPED: Standing.REFUSED, Kind.FOR_US: Standing.NOBODY}


class Runner:
    """This proxy's part of a cluster. `open`, then `run`, then `join`; `cluster` and `store` are there from `open` on.

    figures: what operators see of this proxy, made when it is asked for. look: called before each tick, to tell the
    cluster of our nodes. state: our copy. prefix: of our clients' ids. is_store_ours:
    nobody but this process and its siblings can know the store.
    """

    cluster: Cluster
    store: Store

    def __init__(
        self,
        proxy_id: str,
        config: Config,
        coordinator: Coordinator,
        guard: Guard,
        hub: ZeromqHub,
        gateway: Gateway,
        announcer: Announcer,
        directory: Directory,
        clients_fence: ClientsFence,
        reactor: Reactor,
        figures: Callable[[], Figures],
        look: Callable[[], object],
        state: StateCopy,
        prefix: int,
        *,
        is_store_ours: bool,
    ) -> None:
        self._proxy_id = proxy_id
        self._config = config
        self._coordinator = coordinator
        self._guard = guard
        self._hub = hub
        self._gateway = gateway
        self._announcer = announcer
        self._directory = directory
        self._fence = clients_fence
        self._reactor = reactor
        self._figures = figures
        self._look = look
        self._state = state
        self._prefix = prefix
        self._is_store_ours = is_store_ours
        self._waits = ""  # what was said last that we wait for
        self._knocking_at = float("-inf")
        self._lacking: list[str] = []  # who had not told its part of the state when we looked last
        self._lacking_since = float("inf")
        self._port = PeerPort()
        self._name: socket.socket | None = None  # names.hold
        self._links: dict[str, PeerLink] = {}
        self._dial, self._dialled = trio.open_memory_channel[PeerLink](float("inf"))
        self._tends_at = float("-inf")
        hub.stranger = self._stranger

    def open(self, node_addresses: Sequence[str]) -> str:
        """Bind what we publish on; the node link is bound already. Returns the endpoint. Raises OSError."""
        config = self._config
        bound = self._port.open(resolve(config.cluster.pub), self._hub.context, self._guard)
        router = advertised(node_addresses[0], config.cluster.router)
        is_bound = not config.cluster.router
        self._name = names.hold(self._proxy_id)
        is_named = self._name is not None
        me = Member(self._proxy_id, router, advertised(bound), host_id(), is_bound, self._prefix, is_named)
        times, token, now = times_of(config), config.node.token.encode(), trio.current_time()
        state, debts = self._state, self._gateway.debts
        self.cluster = cluster = Cluster(me, token, times, random_number, wall_clock, now, state, debts)
        self.store = Store(self._coordinator, cluster, config.cluster, times.card_ttl, self._settle)
        self._ways = Ways(self._hub, cluster, self._links, config.node, self._gateway.max_nodes)
        cluster.membership.is_first = self._is_store_ours
        cluster.voice.figures = self._figures
        self.step()  # the first heartbeat: what it says of us is what operators see, and nodes learn who we are
        self._reactor.at_turn_end(self._replicate)
        return bound

    def close(self) -> None:
        self._port.close()
        if self._name is not None:
            self._name.close()

    async def run(self) -> None:
        """Task: all that goes on by itself."""
        followed = self.cluster.on_record

        def on_record(former: Record, record: Record) -> None:
            self._log(former, record)
            followed(former, record)

        self.cluster.on_record = on_record
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_links)
                nursery.start_soon(self._port.watch)
                nursery.start_soon(self.store.run)
                nursery.start_soon(self._fence.run)
                nursery.start_soon(self._tick)
        finally:
            await self._coordinator.aclose()

    async def join_unless(self, signals: AsyncIterator[int], nursery: trio.Nursery) -> bool:
        """Run in the nursery, and join. False: a signal came before we were a member."""
        nursery.start_soon(self.run)
        is_stopped = False

        async def stop_on_signal() -> None:
            nonlocal is_stopped
            await anext(signals)
            is_stopped = True
            joining.cancel_scope.cancel(reason="signal")

        async with trio.open_nursery() as joining:
            joining.start_soon(stop_on_signal)
            await self.join()
            joining.cancel_scope.cancel(reason="joined")
        return not is_stopped

    async def join(self) -> None:
        """While `run` runs: wait until we are a member, and have the nodes that the others have.

        Raises HoldfastError when that has failed cluster.retry_join times, or can't succeed; ConfigError if it is the
        store that will not have us.
        """
        membership, settings = self.cluster.membership, self._config.cluster
        while not membership.is_member:
            refusal = self.cluster.refusal(trio.current_time())
            if refusal:
                raise HoldfastError(f"can't join the cluster: {refusal}")
            if self.store.is_refused:
                raise ConfigError(f"can't join the cluster: {self.store.failure}")
            if self.store.attempts.failed >= settings.retry_join:
                waits = self.cluster.hindrance(trio.current_time())
                why = self.store.failure or (f"waits {waits}" if waits else "")
                attempts = f"attempts: {self.store.attempts.failed}"
                raise HoldfastError(f"can't join the cluster; {attempts}{f'; {why}' if why else ''}")
            await trio.sleep(POLL_INTERVAL)
        with trio.move_on_after(settings.discover_timeout):
            while self._lacks_nodes():  # noqa: ASYNC110 - the directory is the hot path's, and sets no events
                await trio.sleep(POLL_INTERVAL)

    def _lacks_nodes(self) -> bool:
        """Whether more than half of the others have a node ready that is not ready here."""
        cluster = self.cluster
        others = cluster.membership.hears(trio.current_time()) - {self._proxy_id}
        votes: dict[tuple[str, int], int] = {}
        for proxy in others:
            for process, state in cluster.membership.nodes.get(proxy, {}).items():
                if state == READY:
                    votes[process] = votes.get(process, 0) + 1
        ready = {(node.id, node.incarnation) for node in self._directory if node.state is not NodeState.SYNCING}
        return any(2 * count > len(others) and key not in ready for key, count in votes.items())

    async def leave(self) -> None:
        """Out of the record, and say so. Clients are gone by then, nodes are still there."""
        cluster = self.cluster
        deadline = trio.current_time() + LEAVE_TIMEOUT
        with trio.move_on_at(deadline) as limit:
            cluster.leave()
            self.step()
            # What is being written may make us a member.
            while cluster.membership.is_member or cluster.writing.is_under_way:  # noqa: ASYNC110 - rules set no events
                await trio.sleep(POLL_INTERVAL)
        if limit.cancelled_caught:
            log.warning("left_without_the_store", firm=cluster.membership.is_firm)
        self._do(cluster.farewell())
        with trio.move_on_at(deadline):
            try:
                await self.store.withdraw()
            except CoordinationError as error:
                log.warning("card_stays", error=str(error))  # and ends by itself

    # --- what operators ask ---------------------------------------------------------------------------------------

    def trouble(self) -> str:
        return views.trouble_of(self.cluster, trio.current_time())

    def warning(self) -> str:
        return views.warning_of(self.cluster, trio.current_time())

    def reset(self) -> None:
        log.warning("cluster_reset", hears=sorted(self.cluster.membership.hears(trio.current_time())))
        self.cluster.reset()
        self._settle()

    @property
    def tunnels(self) -> int:
        return len(self._ways)

    @property
    def strangers_ended(self) -> int:
        """Where proxies listen to us."""
        return self._port.door.ended

    # --- what comes -----------------------------------------------------------------------------------------------

    def _received(self, burst: Sequence[bytes]) -> None:
        """From a peer's PUB or ROUTER."""
        for data in burst:
            self.cluster.received(data, trio.current_time())
        self._settle()

    def _stranger(self, identity: bytes, data: bytes) -> Standing:
        """From an identity that has no session with us: a node's on its way to another proxy, or a proxy."""
        kind = self._ways.take(identity, data)
        if kind is not Kind.OTHER:
            return STANDING[kind]
        asked = self.cluster.asked(data, trio.current_time())
        if asked is None:
            return Standing.NOBODY
        for answer in asked[1]:
            self._hub.send_raw(identity, answer)
        self.step()
        return Standing.KNOWN

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK)
            self._look()
            now = trio.current_time()
            if now >= self._tends_at:
                self._tends_at = now + self._config.cluster.heartbeat / 2
                self._tend()
            self._settle()

    def _tend(self) -> None:
        self._ways.tend()
        self._look_for_the_dead()
        self._say_what_we_wait_for()
        self._say_who_is_not_heard()

    def _look_for_the_dead(self) -> None:
        """Proxies of this host whose processes are no more."""
        membership = self.cluster.membership
        for proxy in filter(names.is_free, membership.nameable(trio.current_time())):
            log.info("proxy_process_died", proxy=proxy)
            membership.died(proxy)

    def _say_what_we_wait_for(self) -> None:
        """If it is long: each that founds a cluster, or joins one, waits for a moment."""
        membership, now = self.cluster.membership, trio.current_time()
        hindrance = self.cluster.hindrance(now) if now - membership.began > membership.times.card_ttl else ""
        if hindrance != self._waits:
            self._waits = hindrance
            if hindrance:
                log.warning("waits_to_join", why=hindrance)
        lacking = self.cluster.replication.waits_for
        if lacking != self._lacking:
            self._lacking, self._lacking_since = lacking, now
        elif lacking and now - self._lacking_since > membership.times.heartbeat_timeout:
            self._lacking_since = float("inf")  # once
            log.warning("waits_for_state", members=lacking, why="a new keeper hears from all members")

    def _say_who_is_not_heard(self) -> None:
        """One that starts again and again has a new id each time: a line in a while is enough."""
        now = trio.current_time()
        if now >= self._knocking_at:
            proxies, why = self.cluster.knocking(now)
            if proxies:
                self._knocking_at = now + KNOCKING_INTERVAL
                first = proxies[0]
                log.warning("proxy_not_heard", proxy=first.proxy, router=first.router, pub=first.pub,
                            count=len(proxies), why=why)  # fmt: skip

    # --- what we do -----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        self.step()
        self._reactor.settle()

    def step(self) -> None:
        """Do what the rules want done now."""
        for action in self.cluster.tick(trio.current_time()):
            self._do(action)

    def _replicate(self, now: float) -> bool:
        """At a turn's end: what nodes have changed in the state goes to the members, in few messages."""
        if self.cluster.has_to_replicate:
            for action in self.cluster.replicate(now):
                self._do(action)
        return False

    def _do(self, action: Action) -> None:
        match action:
            case Publish(data):
                self._port.publish(data)
            case Ask(peer, data):
                self._links[peer].send(data)
            case Write():
                self.store.ask(action)
            case Introduce(peers, ballot):
                self._announcer.introduce(peers, ballot)
            case Dial(member):
                link = self._links[member.proxy] = PeerLink(member, self._config.cluster.heartbeat_timeout)
                self._dial.send_nowait(link)
            case HangUp(peer):
                self._links.pop(peer).end()
                self._ways.lose(peer)
            case Fence(on):
                if on:
                    log.warning("fenced", why=self.trouble())
                else:
                    log.info("not_fenced")
                    self._fence.take_down()
            case CloseClients():
                log.warning("closes_clients", fenced_for=self._config.cluster.fence_timeout)
                self._fence.put_up()

    async def _keep_links(self) -> None:
        """Task: the connections to peers, each a task."""
        async with trio.open_nursery() as nursery:
            async for link in self._dialled:
                nursery.start_soon(link.run, self._hub.context, self._guard, self._received)

    def _log(self, former: Record, record: Record) -> None:
        joined = sorted(set(record.ids).difference(former.ids))
        gone = sorted(set(former.ids).difference(record.ids))
        if joined or gone:
            log.info("members", version=record.version, count=len(record.members), joined=joined, gone=gone)
        me = self.cluster.me.proxy
        for member in unheard.evicted(self.cluster.membership, former, trio.current_time()):
            why = "it was not heard here" if member.proxy != me else "others did not hear us"
            log.warning("member_evicted", proxy=member.proxy, address=member.router, why=why)


def host_id() -> str:
    """Of this machine since its boot, and of this network namespace: where a loopback address means the same place."""
    namespace = os.stat("/proc/self/ns/net").st_ino
    return blake2b(f"{boot_id()} {namespace}".encode(), digest_size=8).hexdigest()


def random_number() -> int:
    """63 bits that nobody can foretell."""
    return int.from_bytes(os.urandom(8), "little") >> 1


def wall_clock() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000

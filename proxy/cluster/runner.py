"""The cluster's tasks and sockets: what balancer.cluster decides is done here, and what comes is given to it.

Owns the connections to peers, and the order of joining and leaving. Decides nothing itself: who is in the cluster is
Cluster's, what is in the store is Store's. No client's message and no node's comes by here, but for sessions of nodes
that have no other way (proxy.cluster.ways).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

import structlog
import trio

from balancer.cluster.actions import Action, Ask, CloseClients, Dial, Fence, HangUp, Introduce, Publish, Write
from balancer.cluster.cluster import Cluster
from balancer.coordination.base import CoordinationError, Coordinator
from balancer.coordination.sqlite import boot_id
from balancer.directory import Directory, NodeState
from balancer.links.curve import Curve
from balancer.links.peers import PeerLink, PeerPort
from balancer.links.zeromq import ZeromqHub
from protocols.errors import HoldfastError
from protocols.peers.frames import READY, Figures, Member, Record
from proxy.admin.views import ClusterView
from proxy.channels import Channels
from proxy.cluster import fence, views
from proxy.cluster.bindings import advertised, resolve
from proxy.cluster.statistics import ClusterStatistics, StatisticsOf
from proxy.cluster.store import Store
from proxy.cluster.times import times_of
from proxy.cluster.ways import Kind, Ways
from proxy.config import Config
from proxy.gateway import Gateway
from proxy.reactor import Reactor

log = structlog.get_logger("holdfast.cluster")

TICK = 0.05  # changes of channels' counts are collected for so long
POLL_INTERVAL = 0.02  # while it joins
LEAVE_TIMEOUT = 2.0  # for the store to let us out; then the others have to find out by themselves
RETRY_DELAY = 0.1


class Runner:
    """This proxy's part of a cluster. `open`, then `run`, then `join`; `cluster` and `store` are there from `open` on.

    figures: what operators see of this proxy, made when it is asked for.
    """

    cluster: Cluster
    store: Store

    def __init__(
        self,
        proxy_id: str,
        config: Config,
        coordinator: Coordinator,
        curve: Curve | None,
        hub: ZeromqHub,
        gateway: Gateway,
        directory: Directory,
        channels: Channels,
        clients_fence: fence.Fence,
        reactor: Reactor,
        figures: Callable[[], Figures],
    ) -> None:
        self._proxy_id = proxy_id
        self._config = config
        self._coordinator = coordinator
        self._curve = curve
        self._hub = hub
        self._gateway = gateway
        self._directory = directory
        self._channels = channels
        self._fence = clients_fence
        self._reactor = reactor
        self._figures = figures
        self._port = PeerPort()
        self._links: dict[str, PeerLink] = {}
        self._dial, self._dialled = trio.open_memory_channel[PeerLink](float("inf"))
        self._tends_at = float("-inf")
        hub.stranger = self._stranger

    def open(self, node_addresses: Sequence[str]) -> str:
        """Bind what we publish on; the node link is bound already. Returns the endpoint. Raises OSError."""
        config = self._config
        bound = self._port.open(resolve(config.cluster.pub), self._hub.context, self._curve)
        router = advertised(node_addresses[0], config.cluster.router)
        me = Member(self._proxy_id, router, advertised(bound), host_id())
        times = times_of(config)
        self.cluster = cluster = Cluster(me, config.node.token.encode(), times, random_number, trio.current_time())
        self._statistics = StatisticsOf(cluster)
        self.store = Store(self._coordinator, cluster, config.cluster, times.card_ttl, self._settle)
        self._ways = Ways(self._hub, cluster, self._links, config.node.max_nodes)
        self._channels.changed = set()
        self._gateway.count_everywhere = lambda channel: sum(self.count(channel).values())
        self._gateway.count_patience = self._config.cluster.wait_for_missing_rooms
        cluster.voice.figures = self._figures
        self._step()  # the first heartbeat: what it says of us is what operators see, and nodes learn who we are
        return bound

    def close(self) -> None:
        self._port.close()

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
                nursery.start_soon(self.store.run)
                nursery.start_soon(self._fence.run)
                nursery.start_soon(self._tick)
        finally:
            await self._coordinator.aclose()

    async def join(self) -> None:
        """While `run` runs: wait until we are a member, and have the nodes that the others have.

        Raises HoldfastError when that has failed cluster.retry_join times.
        """
        membership, settings = self.cluster.membership, self._config.cluster
        while not membership.is_member:
            if self.store.attempts.failed >= settings.retry_join:
                raise HoldfastError(f"can't join the cluster; attempts: {self.store.attempts.failed}")
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
            for seen in cluster.peers[proxy].facts.nodes:
                if seen.state == READY:
                    key = (seen.node, seen.incarnation)
                    votes[key] = votes.get(key, 0) + 1
        ready = {(node.id, node.incarnation) for node in self._directory if node.state is not NodeState.SYNCING}
        return any(2 * count > len(others) and key not in ready for key, count in votes.items())

    async def leave(self) -> None:
        """Out of the record, and say so. Clients are gone by then, nodes are still there."""
        cluster = self.cluster
        deadline = trio.current_time() + LEAVE_TIMEOUT
        with trio.move_on_at(deadline) as limit:
            cluster.membership.resign()
            await self.store.settle()  # it may be the one that makes us a member
            while (write := cluster.leave(trio.current_time())) is not None:
                try:
                    await self.store.write(write.record, write.expected)
                except CoordinationError:
                    cluster.store_failed()
                    await trio.sleep(RETRY_DELAY)
        if limit.cancelled_caught:
            log.warning("left_without_the_store")
        self._do(cluster.farewell())
        with trio.move_on_at(deadline):
            try:
                await self.store.withdraw()
            except CoordinationError as error:
                log.warning("card_stays", error=str(error))  # and ends by itself

    # --- what operators ask ---------------------------------------------------------------------------------------

    def trouble(self) -> str:
        return views.trouble_of(self.cluster, trio.current_time())

    def view(self) -> ClusterView:
        return views.view_of(self.cluster, trio.current_time())

    def count(self, channel: str) -> Mapping[str, int]:
        """Members of the channel by proxy, as far as there are any: our own as they are, those of others as told."""
        counts = self.cluster.count(channel)
        counts[self._proxy_id] = self._channels.count(channel)
        return {proxy: count for proxy, count in counts.items() if count}

    def reset(self) -> None:
        log.warning("cluster_reset", hears=sorted(self.cluster.membership.hears(trio.current_time())))
        self.store.ask(self.cluster.reset(trio.current_time()))

    def statistics(self) -> ClusterStatistics:
        return self._statistics.now(trio.current_time(), len(self._ways))

    # --- what comes -----------------------------------------------------------------------------------------------

    def _received(self, burst: Sequence[bytes]) -> None:
        """From a peer's PUB or ROUTER."""
        for data in burst:
            self.cluster.received(data, trio.current_time())
        self._settle()

    def _stranger(self, identity: bytes, data: bytes) -> bool:
        """From an identity that has no session with us: a node's on its way to another proxy, or a proxy."""
        kind = self._ways.take(identity, data)
        if kind is not Kind.OTHER:
            return kind is Kind.PASSED_ON
        asked = self.cluster.asked(data, trio.current_time())
        if asked is None:
            return False
        for answer in asked[1]:
            self._hub.send_raw(identity, answer)
        self._step()
        return True

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK)
            changed = self._channels.changed
            if changed:
                self._channels.changed = set()
                self.cluster.count_changed([(channel, self._channels.count(channel)) for channel in changed])
            now = trio.current_time()
            if now >= self._tends_at:
                self._tends_at = now + self._config.cluster.heartbeat / 2
                self._tend()
            self._settle()

    def _tend(self) -> None:
        self._ways.tend()
        drained = self.cluster.drained()
        if drained:
            for node in list(self._directory):
                if (node.id, node.incarnation) in drained:
                    self._gateway.drain(node)

    # --- what we do -----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        self._step()
        self._reactor.settle()

    def _step(self) -> None:
        for action in self.cluster.tick(trio.current_time()):
            self._do(action)

    def _do(self, action: Action) -> None:
        match action:
            case Publish(data):
                self._port.publish(data)
            case Ask(peer, data):
                self._links[peer].send(data)
            case Write():
                self.store.ask(action)
            case Introduce(peers):
                self._gateway.introduce(peers)
            case Dial(member):
                self._statistics.dialled(member.proxy)
                link = self._links[member.proxy] = PeerLink(member, self._config.cluster.heartbeat_timeout)
                self._dial.send_nowait(link)
            case HangUp(peer):
                self._links.pop(peer).end()
                self._statistics.hung_up(peer)
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
                nursery.start_soon(link.run, self._hub.context, self._curve, self._received)

    def _log(self, former: Record, record: Record) -> None:
        joined = sorted(set(record.ids).difference(former.ids))
        gone = sorted(set(former.ids).difference(record.ids))
        if joined or gone:
            log.info("members", version=record.version, count=len(record.members), joined=joined, gone=gone)


def host_id() -> str:
    """Of this machine since its boot, and of this network namespace: where a loopback address means the same place."""
    namespace = os.stat("/proc/self/ns/net").st_ino
    return blake2b(f"{boot_id()} {namespace}".encode(), digest_size=8).hexdigest()


def random_number() -> int:
    """63 bits that nobody can foretell."""
    return int.from_bytes(os.urandom(8), "little") >> 1

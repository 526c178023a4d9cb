"""Proxies and nodes: what drives the real classes, as the proxy's steward and the node library do."""

from typing import TYPE_CHECKING

from balancer.cluster.actions import Ask, CloseClients, Dial, Fence, HangUp, Publish, Write
from balancer.cluster.cluster import Cluster
from balancer.coordination.base import MasterRecord
from balancer.election import Election
from balancer.settings import ElectionSettings
from protocols.nodes.leases import Leases
from protocols.peers.frames import DRAINED, DRAINING, READY, Member, NodeSeen, Record
from tests.sim.checks import CHANNELS

if TYPE_CHECKING:
    from tests.sim.world import Clock, World

TOKEN = b"the simulator's"
TICK = 0.25
READ_EVERY = 1.0


class Proxy:
    """One run of a proxy. word: grows, and is the new count of one channel after the other; the others are to know."""

    def __init__(self, world: "World", name: str, router: str, clock: "Clock") -> None:
        self.world = world
        self.id = name
        self.clock = clock
        self.me = Member(name, router, router)
        self.cluster = Cluster(self.me, TOKEN, world.times, lambda: world.random.getrandbits(40), self.now)
        self.cluster.on_record = self._on_record
        self.election = Election(ElectionSettings(lease=world.lease), self.now)
        self.word = 0
        self.subscribed: set[str] = set()
        self.delivered: dict[str, float] = {}  # peer: when its last message came that was new
        self.is_fenced = False
        self.is_leaving = False
        self.is_resetting = False
        self.closings = 0
        self.drained: set[tuple[str, int]] = set()  # nodes' processes, by the operator: for all their lives
        self._nodes: dict[tuple[str, int], list[float]] = {}  # last heard, state
        self._is_asking = False
        self._asked_at = float("-inf")
        self._read_at = float("-inf")

    @property
    def now(self) -> float:
        return self.clock.at(self.world.time)

    def start(self) -> None:
        self._run()
        self._speak()

    def _run(self) -> None:
        """The ticker."""
        if self.id in self.world.proxies:
            self.world.later(TICK, self.world.on, self.id, self._run)
            self._expire_nodes()
            self.tick()

    def _speak(self) -> None:
        if self.id in self.world.proxies:
            self.world.later(self.world.random.uniform(0.2, 1.5), self.world.on, self.id, self._speak)
            self.speak()

    def speak(self) -> None:
        self.word += 1
        self.cluster.count_changed([(f"word {self.word % CHANNELS}", self.word)])

    # --- the cluster --------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        now = self.now
        for action in self.cluster.tick(now):
            self._do(action)
        self.drained |= self.cluster.drained().intersection(self._nodes)
        self._elect(now)
        if not self._is_asking and now - self._read_at >= READ_EVERY / (1 if self.cluster.membership.is_member else 4):
            self._ask_store(None)

    def _do(self, action) -> None:
        world = self.world
        match action:
            case Publish(data):
                world.checks.said(self)
                for other in world.proxies.values():
                    if self.id in other.subscribed:
                        world.send(self.id, other.id, other.receive, self.id, data)
            case Ask(peer, data):
                if peer in world.proxies:
                    world.send(self.id, peer, world.proxies[peer].asked, self.id, data)
            case Dial(member):
                # A subscription takes a while, and what is published meanwhile never comes.
                world.later(world.random.uniform(0.001, 0.05), world.on, self.id, self.subscribed.add, member.proxy)
            case HangUp(peer):
                self.subscribed.discard(peer)
            case Write(record, expected):
                world.checks.writes(self, record)
                self._ask_store((record, expected))
            case Fence(on):
                self.is_fenced = on
                world.note(self.id, "fenced" if on else "not fenced")
            case CloseClients():
                self.closings += 1

    def receive(self, peer: str, data: bytes) -> None:
        counters = self.cluster.peers[peer].stream.counters if peer in self.cluster.peers else None
        before = (counters.duplicates, counters.replayed) if counters else None
        self.cluster.received(data, self.now)
        if counters is not None and (counters.duplicates, counters.replayed) == before:
            self.delivered[peer] = self.now
        self.world.checks.heard(self, peer)
        self.tick()

    def asked(self, peer: str, data: bytes) -> None:
        asked = self.cluster.asked(data, self.now)
        if asked is not None and asked[0] in self.world.proxies:
            for answer in asked[1]:
                other = self.world.proxies[asked[0]]
                self.world.send(self.id, other.id, other.receive, self.id, answer)
        self.tick()

    def _on_record(self, former: Record, record: Record) -> None:
        self.world.checks.followed(self, former, record)
        self.world.note(self.id, "follows", record.version)
        if self.id in record.ids and self.id not in former.ids:
            self.election.joined()
        self.election.follow(record)

    # --- the store ----------------------------------------------------------------------------------------------------

    def _ask_store(self, write: tuple[Record, int] | None) -> None:
        self._is_asking = True
        asked = self.now

        def answer(record: Record, cards: dict[str, Member]) -> None:
            self._is_asking = False
            self._read_at = self.now
            self.cluster.stored(record, cards, asked, self.now)
            self.election.settled(MasterRecord(record.epoch, record.master))
            if self.is_leaving:
                self._leave()
            self.is_resetting = False
            self.tick()

        def fail() -> None:
            self._is_asking = False
            self._read_at = self.now
            self.election.failed()
            self.cluster.store_failed()
            if self.is_leaving:
                self._leave()

        self.world.store.ask(self.id, self.me, write, answer, fail)

    # --- what the steward does ----------------------------------------------------------------------------------------

    def _elect(self, now: float) -> None:
        membership, election = self.cluster.membership, self.election
        if not membership.is_keeper or not membership.is_quorate(now) or self.cluster.is_writing or self._is_asking:
            return
        record = membership.record
        if election.master and not membership.majority_sees(record.master, record.incarnation, now):
            election.lost(election.master)
        candidates = {}
        if not election.master:
            ready = [process for process, (_, state) in self._nodes.items() if state == READY]
            candidates = {
                name: number for name, number in ready if membership.majority_sees(name, number, now, ready=True)
            }
        nomination = election.decide(now, list(candidates))
        if nomination is None:
            return
        node = nomination.record.node
        incarnation = candidates.get(node, record.incarnation)
        self._do(self.cluster.elect(node, incarnation, nomination.record.epoch))

    def node_beats(self, node: "Node", stamp: float, seen_epoch: int, is_draining: bool) -> None:
        process = (node.name, node.incarnation)
        state = DRAINING if is_draining else DRAINED if process in self.drained else READY
        known = self._nodes.get(process)
        if known is None or known[1] != state:
            self.election.saw(seen_epoch)
            if known is not None and state == DRAINING:
                self.election.released(node.name)
            elif known is not None and state == DRAINED:
                self.election.revoke(node.name)
            self._nodes[process] = [self.now, state]
            self._tell_nodes()
        self._nodes[process][0] = self.now
        membership = self.cluster.membership
        record = membership.record
        epoch, lease = self.election.epoch, 0.0
        if process == (record.master, record.incarnation) and membership.may_grant(self.now) and not is_draining:
            epoch, lease = self.election.renew(node.name, self.now, node.incarnation)
        content = (self.id, stamp, epoch, lease, record.ballot, record.quorum)
        self.world.send(self.id, node.id, node.answered, *content)

    def lose(self, name: str, incarnation: int) -> None:
        """The node's session is over."""
        if self._nodes.pop((name, incarnation), None):
            if (name, incarnation) == (
                self.cluster.membership.record.master,
                self.cluster.membership.record.incarnation,
            ):
                self.election.session_lost(name)
            self._tell_nodes()

    def _expire_nodes(self) -> None:
        for process, (at, _) in list(self._nodes.items()):
            if self.now - at > self.world.times.heartbeat_timeout:
                self.lose(*process)

    def _tell_nodes(self) -> None:
        self.cluster.node_list(
            [NodeSeen(name, number, int(state)) for (name, number), (_, state) in self._nodes.items()]
        )

    # --- the operator -------------------------------------------------------------------------------------------------

    def drain(self, name: str) -> None:
        self.drained |= {process for process in self._nodes if process[0] == name}

    def leave(self) -> None:
        """SIGTERM: out of the record, then the end; at the latest after 2 s."""
        self.world.note(self.id, "leaves")
        self.is_leaving = True
        self.cluster.membership.resign()
        self.world.later(2.0, self.world.on, self.id, self._end)
        if not self._is_asking:
            self._leave()

    def _leave(self) -> None:
        write = self.cluster.leave(self.now)
        if write is None:
            self._end()
        else:
            self._do(write)

    def _end(self) -> None:
        if self.id in self.world.proxies:
            self._do(self.cluster.farewell())
            self.world.kill(self.id)

    def reset(self) -> None:
        if not self._is_asking:
            self.world.note(self.id, "resets")
            self.is_resetting = True
            self._do(self.cluster.reset(self.now))


class Node:
    """One run of a node: it says hello to every proxy with its heartbeat, and acts while its leases stand."""

    def __init__(self, world: "World", name: str, incarnation: int, clock: "Clock") -> None:
        self.world = world
        self.name = name
        self.incarnation = incarnation
        self.id = f"{name}#{incarnation}"
        self.clock = clock
        self.leases = Leases()
        self.is_draining = False

    @property
    def is_acting(self) -> bool:
        """A frozen process counts: it might go on in the middle of anything before it looks at the clock."""
        return not self.is_draining and self.leases.end > self.clock.at(self.world.time)

    def start(self) -> None:
        if self.id in self.world.nodes:
            self.world.later(self.world.node_heartbeat / self.clock.rate, self.world.on, self.id, self.start)
            self.beat()

    def beat(self) -> None:
        stamp = self.clock.at(self.world.time)
        for proxy in self.world.proxies.values():
            content = (self, stamp, self.leases.epoch, self.is_draining)
            self.world.send(self.id, proxy.id, proxy.node_beats, *content)

    def answered(self, proxy: str, stamp: float, epoch: int, lease: float, ballot: int, quorum: int) -> None:
        self.leases.saw(epoch)
        if lease and not self.is_draining:
            self.leases.granted(proxy, epoch, ballot, quorum, stamp + lease)
            self.world.checks.granted(self)

    def drain(self) -> None:
        """It stops to act, then tells every proxy."""
        self.world.note(self.id, "drains")
        self.is_draining = True
        self.leases.clear()
        self.beat()

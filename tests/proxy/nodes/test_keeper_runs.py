"""Random runs of a keeper and three nodes' replicas: the keeper is restarted without its state, its members hold
entries late, links break with frames on their way, callers give up. What was acknowledged stays; nothing is done twice.
"""

from collections import deque
from random import Random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.balancer.cluster.keeping import Phase
from holdfast.balancer.cluster.owners import Owners
from holdfast.balancer.directory import Node, NodeState
from holdfast.balancer.health import Health
from holdfast.balancer.settings import BalanceSettings, NodeSettings, StateSettings
from holdfast.node.errors import StateConflict
from holdfast.node.replica import Proposal, Replica
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import Entry, decode_from_node, decode_from_proxy, encode_batch
from holdfast.protocols.nodes.state import item_bytes
from holdfast.proxy.metrics import Counters
from holdfast.proxy.nodes.keeper import Keeper

KEYS = "abc"
RECOVERY = 2.0


class Clock:
    now = 0.0


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(trio, "current_time", lambda: Clock.now)


class Link:
    """The proxy's end of a session, and the pages of a snapshot that are made when it is asked for one."""

    def __init__(self, peer):
        self.peer = peer
        self.pages = iter(())

    def send(self, frame):
        self.peer.to_node.append(frame)

    def break_off(self, why):
        raise AssertionError(why)


class Session:
    """The node's end of a session. proxy: the keeper's name."""

    proxy = "keeper"
    max_batch_bytes = 16 << 20

    def __init__(self, peer):
        self.peer = peer

    def send(self, frame, size):
        self.peer.to_keeper.append(frame)

    def beat(self):
        epoch, index = self.peer.replica.view.position
        self.send(frames.Heartbeat(0.0, state_epoch=epoch, state_index=index), 0)

    def check_synced(self):
        pass


class Links:
    def __init__(self):
        self.sessions = {}
        self.streams = {"keeper": True}


class Callbacks:
    def release(self):
        pass


class Peer:
    """A node's process. wanted: every proposal that it ever made, and what for."""

    def __init__(self, name, first):
        self.name = name
        self.links = Links()
        self.replica = Replica(name, first, self.links, Callbacks(), lambda key, value: None)
        self.wanted = []
        self.node = None
        self.session = None
        self.to_node, self.to_keeper = deque(), deque()


class Members:
    """They have what they are given a little later."""

    def __init__(self, run):
        self.run = run
        self.copy = run.keeper.copy
        self.uncommitted = deque()
        self.waits_for = ()
        self.is_keeper = True

    @property
    def uncommitted_bytes(self):
        return sum(item_bytes(entry.key, entry.value) for entry in self.uncommitted)

    def lead(self, term):
        self.run.keeper.forsake()
        self.term, self.phase = term, Phase.RECOVERING
        self.run.keeper.lead(Clock.now)

    def order(self, node, propose):
        outcome = self.copy.order(node, propose, self.term)
        if isinstance(outcome, Entry):
            self.uncommitted.append(outcome)
        return outcome

    def begin(self, clock):
        self.uncommitted.clear()
        self.copy.begin(self.term, clock)
        self.phase = Phase.BEGINNING

    def adopt(self, pages):
        self.copy.adopt(pages)

    def recover(self):
        self.phase = Phase.RECOVERING

    def raise_term(self, above):
        self.lead(above + 1)

    def hold(self, count):
        if self.phase is Phase.BEGINNING:
            self.phase = Phase.KEEPING
            self.run.keeper.begun()
        for _ in range(min(count, len(self.uncommitted))):
            entry = self.uncommitted.popleft()
            self.run.keeper.committed(entry)


class Run:
    def __init__(self, random):
        self.random = random
        self.cut = set()
        self.peers = [Peer(f"n{number}", random.randrange(1, 2**62)) for number in range(3)]
        self.restart()

    # --- the keeper ---------------------------------------------------------------------------------------------------

    def restart(self):
        """The keeper's process dies, and another begins: nodes keep what they have."""
        for peer in self.peers:
            self.disconnect(peer, forget=True)
        self.nodes = {}
        self.keeper = Keeper(
            StateSettings(recover_timeout=RECOVERY), NodeSettings(registry_page=2), self.nodes, Counters(),
            lambda id: True, lambda node, pages: setattr(node.link, "pages", pages), lambda: int(Clock.now * 1e6),
        )  # fmt: skip
        self.members = Members(self)
        self.keeper.start(self.members, Owners(0, self.keeper.copy))
        self.members.lead(1)
        Clock.now += 0.5
        for peer in self.peers:
            self.connect(peer)

    def tick(self):
        """Nodes come back while a keeper waits for them: their back-off is shorter."""
        Clock.now += 0.5
        if self.members.phase is Phase.RECOVERING:
            for peer in self.peers:
                self.connect(peer)
        self.keeper.tick(Clock.now)

    # --- links --------------------------------------------------------------------------------------------------------

    def connect(self, peer):
        if peer.node is not None or peer in self.cut:
            return
        peer.session = Session(peer)
        peer.links.sessions["keeper"] = peer.session
        position = peer.replica.view.position
        hello = frames.Hello(1, peer.name, "n", 1, 1, state_epoch=position[0], state_index=position[1])
        peer.node = Node(hello, Link(peer), Health(BalanceSettings()), 0.0)
        peer.to_node.append("welcome")
        self.nodes[peer.node] = None
        self.keeper.heed(peer.node)

    def disconnect(self, peer, *, forget=False):
        if peer.node is None:
            return
        node, peer.node = peer.node, None
        peer.to_node.clear()
        peer.to_keeper.clear()
        session = peer.links.sessions.pop("keeper")
        peer.replica.lost(session)
        if not forget:
            del self.nodes[node]
            node.state = NodeState.LOST
            self.keeper.lost(node)

    def flow(self, peer, count):
        """Frames both ways, pages among them."""
        if peer.node is None:
            return
        for _ in range(count):
            page = next(peer.node.link.pages, None)
            if page is not None:
                peer.to_node.extend(page)
        for _ in range(min(count, len(peer.to_node))):
            self.to_node(peer, peer.to_node.popleft())
        for _ in range(min(count, len(peer.to_keeper))):
            frame = decode_from_node(encode_batch(1, [peer.to_keeper.popleft()]))[1][0]
            match frame:
                case frames.Propose():
                    self.keeper.propose(peer.node, frame)
                case frames.State():
                    self.keeper.state_page(peer.node, frame)
                case frames.Heartbeat():
                    self.keeper.told(peer.node, (frame.state_epoch, frame.state_index))

    def to_node(self, peer, frame):
        replica, session = peer.replica, peer.session
        if frame == "welcome":
            replica.kept_by(session, "", 1)
            return
        frame = decode_from_proxy(encode_batch(1, [frame]))[1][0]
        match frame:
            case frames.State():
                replica.page(session, frame)
            case frames.Entry():
                replica.entry(session, frame)
            case frames.ProposalRefused():
                replica.refused(session, frame)
            case frames.WantState():
                replica.want_state(session, frame)

    # --- what nodes want ----------------------------------------------------------------------------------------------

    def increment(self, peer):
        """As State.update does, one try of it."""
        view = peer.replica.view
        item = view.items.get("counter")
        value = int(item.value) + 1 if item else 1
        proposal = Proposal("counter", b"%d" % value, 0, view.version("counter"))
        peer.wanted.append(proposal)
        peer.replica.put(proposal)

    def set(self, peer):
        proposal = Proposal(self.random.choice(KEYS), b"%d" % self.random.randrange(10**9), 0, -1)
        peer.wanted.append(proposal)
        peer.replica.put(proposal)

    def give_up(self, peer):
        waiting = [proposal for proposal in peer.wanted if not proposal.settled.is_set()]
        if waiting:
            peer.replica.abandon(self.random.choice(waiting))

    # --- what must hold -----------------------------------------------------------------------------------------------

    def check(self):
        """Copies of one position are equal."""
        for peer in self.peers:
            for other in self.peers:
                if peer.replica.view.position == other.replica.view.position:
                    assert peer.replica.view.items == other.replica.view.items

    def finish(self):
        for _ in range(20):
            for peer in self.peers:
                self.connect(peer)
                peer.session.beat()
            self.tick()
            for _ in range(50):
                self.members.hold(100)
                for peer in self.peers:
                    self.flow(peer, 100)
        assert self.members.phase is Phase.KEEPING
        final = self.keeper.copy
        values = {}
        for peer in self.peers:
            view = peer.replica.view
            assert (view.position, view.items) == (final.position, final.items)
            for proposal in peer.wanted:
                assert proposal.is_abandoned or proposal.settled.is_set(), "stuck"
                if proposal.settled.is_set() and proposal.refusal is None:
                    values.setdefault(proposal.key, []).append((proposal.version, proposal.value))
        done = [value for _, value in values.get("counter", ())]
        sure = sum(
            p.key == "counter" and p.refusal is None and p.settled.is_set() for q in self.peers for p in q.wanted
        )
        unsure = sum(p.key == "counter" and not p.settled.is_set() for q in self.peers for p in q.wanted)
        count = int(final.items["counter"].value) if "counter" in final.items else 0
        assert sure <= count <= sure + unsure, "an increment was lost, or made twice"
        assert len(set(done)) == len(done)
        for key, told in values.items():
            version, value = max(told)
            if final.version(key) == version:
                assert final.items[key].value == value
            else:
                assert final.version(key) > version, "an acknowledged change was undone"


@given(seed=st.integers(0, 2**64))
@settings(max_examples=150, deadline=None)
def test_runs(seed):
    random = Random(seed)
    run = Run(random)
    acts = [
        (run.flow, 100), (run.increment, 20), (run.set, 20), (run.give_up, 2), (run.disconnect, 4), (run.connect, 12),
    ]  # fmt: skip
    for _ in range(600):
        kind = random.random()
        if kind < 0.15:
            run.members.hold(random.randrange(1, 4))
        elif kind < 0.25:
            run.tick()
        elif kind < 0.253:
            run.restart()
        else:
            [(act, _)] = random.choices(acts, [weight for _, weight in acts])
            peer = random.choice(run.peers)
            act(peer, random.randrange(1, 6)) if act == run.flow else act(peer)
        run.check()
    run.finish()


@given(seed=st.integers(0, 2**64))
@settings(max_examples=30, deadline=None)
def test_a_change_that_waits_is_none_of_another_life(seed):
    """The whole state is lost, with all who had it but one that was cut off while it changed what it had read."""
    random = Random(seed)
    run = Run(random)
    former, other, _ = run.peers

    def increments():
        for _ in range(random.randrange(1, 5)):
            settle(run)
            run.increment(other)
        settle(run)

    increments()
    run.cut.add(former)
    run.disconnect(former)
    run.increment(former)
    [waiting] = former.wanted
    other = Peer("m", random.randrange(1, 2**62))
    run.peers[1:] = [other]
    run.restart()
    increments()
    run.cut.clear()
    settle(run)
    assert isinstance(waiting.refusal, StateConflict)
    assert int(run.keeper.copy.items["counter"].value) == len(other.wanted)


def settle(run):
    for _ in range(20):
        run.tick()
        for peer in run.peers:
            run.connect(peer)
            run.members.hold(100)
            run.flow(peer, 100)

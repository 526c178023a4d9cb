"""Replicated state from end to end: balancer.state at the proxy, protocols.nodes.state at the nodes."""

from collections import deque
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.settings import StateSettings
from balancer.state import Snapshot, StateCopy
from protocols.errors import FrameError, StaleError
from protocols.nodes.frames import (
    Closed,
    Drain,
    Entry,
    Master,
    Propose,
    Proposed,
    Ready,
    State,
    StateItem,
    WantState,
    decode_from_proxy,
    encode_batch,
    encode_frame,
)
from protocols.nodes.state import StatePages, StateView

SMALL = StateSettings(max_keys=4, max_bytes=40, max_key_bytes=3, max_value_bytes=12)


def decode(raw):
    return decode_from_proxy(encode_batch(1, [raw]))[1][0]


def change(copy, key, value, owner=0, epoch=1, node="n"):
    """A proposal that is accepted, ordered and applied."""
    propose = Propose(len(copy.pending) + 1, key, value, owner)
    assert copy.check(propose) is None
    copy.pend(node, propose)
    entry = Entry(epoch, copy.position[1] + 1, node, propose.proposal, key, value, owner)
    copy.apply(entry, epoch)
    return entry


def synced_view(position=(0, 0), *items):
    view = StateView()
    view.page(State(*position, list(items), last=True))
    return view


class TestLimits:
    @pytest.mark.parametrize(
        ("propose", "limit"),
        [
            (Propose(1, "four", b""), "max_key_bytes"),
            (Propose(1, "éé", b""), "max_key_bytes"),
            (Propose(1, "k", b"x" * 13), "max_value_bytes"),
            (Propose(0, "k", b""), "numbered from 1"),
        ],
    )
    def test_a_proposal_past_a_limit_is_refused(self, propose, limit):
        assert limit in StateCopy(SMALL).check(propose)

    def test_a_proposal_at_the_limits_is_not(self):
        assert StateCopy(SMALL).check(Propose(1, "key", b"x" * 12)) is None

    def test_keys_and_what_is_pending_count_together(self):
        copy = StateCopy(SMALL)
        change(copy, "a", b"1")
        change(copy, "b", b"1")
        for number in (1, 2):
            copy.pend("n", Propose(number, f"p{number}", b"1"))
        assert "max_keys" in copy.check(Propose(3, "c", b"1"))
        assert copy.check(Propose(3, "a", b"2")) is None, "a key that is there takes no more room"
        assert copy.check(Propose(3, "a", None)) is None

    def test_bytes_and_what_is_pending_count_together(self):
        copy = StateCopy(SMALL)
        change(copy, "a", b"x" * 12)
        copy.pend("n", Propose(1, "b", b"x" * 12))
        assert (copy.bytes, copy.pending_bytes) == (13, 13)
        assert copy.check(Propose(2, "c", b"x" * 12)) is None
        copy.pend("n", Propose(2, "c", b"x" * 12))
        assert "max_bytes" in copy.check(Propose(3, "d", b"x"))
        assert copy.check(Propose(3, "d", None)) is None


class TestCopy:
    def test_applies_in_order_and_counts(self):
        copy = StateCopy(SMALL)
        change(copy, "a", b"123", owner=7)
        change(copy, "b", b"4")
        change(copy, "a", b"5", epoch=3)
        change(copy, "b", None, epoch=3)
        assert copy.items == {"a": StateItem("a", b"5", 0)}
        assert copy.position == (3, 4)
        assert (copy.bytes, copy.pending_bytes, len(copy.pending)) == (2, 0, 0)

    @pytest.mark.parametrize(("entry_epoch", "epoch"), [(1, 2), (3, 2), (2, 0), (0, 0)])
    def test_an_entry_of_another_epoch_leaves_no_trace(self, entry_epoch, epoch):
        copy = StateCopy(SMALL)
        copy.pend("n", Propose(1, "a", b"1"))
        with pytest.raises(StaleError):
            copy.apply(Entry(entry_epoch, 1, "n", 1, "a", b"1"), epoch)
        assert (copy.position, copy.items, len(copy.pending)) == ((0, 0), {}, 1)

    @pytest.mark.parametrize(
        "entry",
        [
            Entry(1, 2, "n", 1, "a", b"1", 5),  # a hole
            Entry(1, 0, "n", 1, "a", b"1", 5),  # again
            Entry(1, 1, "n", 2, "b", b"1"),  # not the oldest
            Entry(1, 1, "n", 2, "b", None),
            Entry(1, 1, "m", 1, "a", b"1", 5),
            Entry(1, 1, "n", 1, "b", b"1", 5),  # not what was proposed
            Entry(1, 1, "n", 1, "a", b"2", 5),
            Entry(1, 1, "n", 1, "a", b"1", 6),
            Entry(1, 1, "m", 0, "a", b"1"),  # a value of its own making
        ],
    )
    def test_a_master_that_breaks_the_order_is_refused(self, entry):
        copy = StateCopy(SMALL)
        copy.pend("n", Propose(1, "a", b"1", 5))
        copy.pend("n", Propose(2, "b", b"1"))
        with pytest.raises(FrameError):
            copy.apply(entry, 1)
        assert (copy.position, copy.items, len(copy.pending)) == ((0, 0), {}, 2)

    def test_a_master_may_delete_between_proposals_and_in_place_of_one(self):
        copy = StateCopy(SMALL)
        change(copy, "a", b"1", owner=5)
        copy.pend("n", Propose(1, "b", b"1", 5))
        copy.apply(Entry(1, 2, "m", 0, "a", None), 1)
        copy.apply(Entry(1, 3, "n", 1, "b", None, 5), 1)
        assert (copy.items, copy.bytes, copy.pending_bytes, len(copy.pending)) == ({}, 0, 0, 0)


class TestSnapshot:
    def test_is_of_its_moment_and_what_was_held_follows(self):
        copy = StateCopy(SMALL)
        for key in "abc":
            change(copy, key, b"1")
        snapshot = copy.snapshot(2)
        first = snapshot.next_frame()
        entry = change(copy, "a", b"2")
        snapshot.hold(encode_frame(entry))
        assert snapshot.held_bytes == len(bytes(encode_frame(entry)))
        a, b, c = (StateItem(key, b"1") for key in "abc")
        assert decode(first) == State(1, 3, [a, b], last=False)
        assert decode(snapshot.next_frame()) == State(1, 3, [c], last=True)
        assert decode(snapshot.next_frame()) == entry
        assert (snapshot.next_frame(), snapshot.held_bytes) == (None, 0)

    def test_of_an_empty_state_is_one_page(self):
        snapshot = StateCopy(SMALL).snapshot(2)
        assert decode(snapshot.next_frame()) == State(0, 0, [], last=True)
        assert snapshot.next_frame() is None

    def test_large_values_make_a_page_shorter(self):
        copy = StateCopy(StateSettings())
        for number in range(5):
            change(copy, f"k{number}", bytes(200 << 10))
        frames = [decode(raw) for raw in iter(copy.snapshot(500).next_frame, None)]
        assert [(len(frame.items), frame.last) for frame in frames] == [(2, False), (2, False), (1, True)]


class TestAdoption:
    PAGES = (State(4, 9, [StateItem("a", b"12")], last=False), State(4, 9, [StateItem("b", b"3")], last=True))

    def adopt(self, copy, epoch=0):
        adoption = copy.adoption()
        assert [adoption.add(page) for page in self.PAGES] == [False, True]
        return copy.adopt(adoption, epoch)

    def test_a_higher_position_is_taken(self):
        copy = StateCopy(SMALL)
        assert self.adopt(copy)
        assert (copy.position, sorted(copy.items), copy.bytes) == ((4, 9), ["a", "b"], 5)
        copy.pend("n", Propose(1, "a", None))
        copy.apply(Entry(5, 10, "n", 1, "a", None), 5)
        assert copy.bytes == 2

    def test_not_twice_and_not_once_there_was_a_master(self):
        copy = StateCopy(SMALL)
        assert not self.adopt(copy, epoch=1)
        assert copy.position == (0, 0)
        assert self.adopt(copy)
        assert not self.adopt(copy)

    def test_pages_past_the_limits_are_refused(self):
        with pytest.raises(FrameError, match="4 keys"):
            StateCopy(SMALL).adoption().add(State(1, 9, [StateItem(key, b"") for key in "abcde"], last=False))
        adoption = StateCopy(SMALL).adoption()
        adoption.add(State(1, 9, [StateItem("a", b"x" * 20)], last=False))
        with pytest.raises(FrameError, match="40 bytes"):
            adoption.add(State(1, 9, [StateItem("b", b"x" * 20)], last=False))

    def test_pages_of_two_positions_are_refused(self):
        pages = StatePages()
        pages.add(State(1, 9, [], last=False))
        with pytest.raises(FrameError):
            pages.add(State(1, 10, [], last=True))


class TestView:
    def test_a_snapshot_replaces_the_view_at_its_last_page(self):
        view = synced_view((1, 5), StateItem("a", b"1", 7))
        view.welcome()
        assert not view.page(State(2, 3, [StateItem("b", b"1", 8)], last=False))
        assert (list(view.items), view.position, view.is_synced) == (["a"], (1, 5), False)
        assert view.page(State(2, 3, [StateItem("c", b"1", 8)], last=True))
        assert (sorted(view.items), view.position, view.is_synced) == (["b", "c"], (2, 3), True)
        assert (view.owned_by(7), view.owned_by(8)) == ([], ["b", "c"])

    def test_another_snapshot_may_begin_at_any_time(self):
        view = synced_view((1, 5), StateItem("a", b"1"))
        assert not view.page(State(1, 6, [StateItem("b", b"1")], last=False))
        assert view.page(State(1, 7, [StateItem("c", b"1")], last=True))
        assert (list(view.items), view.position) == (["c"], (1, 7))

    @pytest.mark.parametrize("entry", [Entry(2, 7, "n", 1, "a", b""), Entry(2, 5, "n", 1, "a", b""),
                                       Entry(1, 6, "n", 1, "a", b"")])  # fmt: skip
    def test_a_hole_or_an_older_epoch_is_refused(self, entry):
        view = synced_view((2, 5))
        with pytest.raises(FrameError):
            view.entry(entry)
        assert (view.position, view.items) == ((2, 5), {})

    def test_an_entry_before_the_last_page_is_refused(self):
        view = StateView()
        with pytest.raises(FrameError, match="snapshot"):
            view.entry(Entry(1, 1, "n", 1, "a", b""))
        view.page(State(0, 0, [], last=False))
        with pytest.raises(FrameError, match="snapshot"):
            view.entry(Entry(1, 1, "n", 1, "a", b""))

    def test_gives_its_state_to_a_proxy_that_has_none(self):
        view = synced_view((2, 5), *(StateItem(key, b"1", 3) for key in "abc"))
        pages = list(view.snapshot(2))
        view.entry(Entry(2, 6, "n", 1, "a", None))
        assert [len(page.items) for page in pages] == [2, 1]
        other = StateView()
        assert [other.page(page) for page in pages] == [False, True]
        assert other.position == (2, 5)
        assert other.owned_by(3) == ["a", "b", "c"]


class TestMaster:
    def test_gives_places_and_changes_nothing_until_they_come_back(self):
        view = synced_view((1, 5))
        assert view.lead(2, {}) == []
        first = view.order(Proposed("n", 1, "a", b"1"), {})
        second = view.order(Proposed("m", 1, "a", b"2"), {})
        assert (first.epoch, first.index, second.index, view.position, view.items) == (2, 6, 7, (1, 5), {})
        view.entry(first)
        assert view.order(Proposed("n", 2, "b", b"3"), {}).index == 8
        view.entry(second)
        assert view.items == {"a": StateItem("a", b"2")}

    def test_places_of_an_older_epoch_are_given_again(self):
        view = synced_view((1, 5))
        view.lead(2, {})
        view.order(Proposed("n", 1, "a", b"1"), {})
        view.lead(3, {})
        entry = view.order(Proposed("n", 1, "a", b"1"), {})
        assert (entry.epoch, entry.index) == (3, 6)

    def test_keys_of_clients_that_went_without_a_master_come_first(self):
        view = synced_view((1, 5), StateItem("a", b"", 1), StateItem("b", b"", 2), StateItem("c", b""))
        assert view.lead(2, {2}) == ["a"]

    def test_an_owner_that_has_gone_owns_nothing(self):
        view = synced_view()
        view.lead(1, {7})
        assert view.order(Proposed("n", 1, "a", b"1", 7), {7}).value == b"1"
        assert view.order(Proposed("n", 2, "b", b"1", 8), {7}).value is None

    def test_what_a_client_owns_regards_entries_on_their_way(self):
        view = synced_view((1, 5), StateItem("kept", b"", 7), StateItem("taken", b"", 7), StateItem("gone", b"", 7))
        view.lead(1, {7, 8})
        view.order(Proposed("n", 1, "taken", b"", 8), {7, 8})
        view.order(Proposed("n", 2, "gone", None), {7, 8})
        view.order(Proposed("n", 3, "new", b"", 7), {7, 8})
        assert view.owned_by(7) == ["kept", "new"]
        assert view.owned_by(8) == ["taken"]

    def test_nobody_else_orders(self):
        view = StateView()
        with pytest.raises(StaleError):
            view.lead(1, {})
        view = synced_view((4, 5))
        with pytest.raises(StaleError):
            view.lead(3, {})
        with pytest.raises(StaleError):
            view.order(Proposed("n", 1, "a", b""), {})
        view.lead(4, {})
        view.welcome()
        with pytest.raises(StaleError):
            view.order(Proposed("n", 1, "a", b""), {})


class Peer:
    """One node: its view, and the frames under way in both directions of its session."""

    def __init__(self, name) -> None:
        self.name = name
        self.view = StateView()
        self.clients: set[int] = set()
        self.is_leading = False
        self.proposals = 0
        self.to_node: deque = deque()
        self.to_proxy: deque = deque()
        self.snapshot: Snapshot | None = None
        self.adoption: StatePages | None = None
        self.is_connected = self.is_ready = False

    def disconnect(self):
        self.to_node.clear()
        self.to_proxy.clear()
        self.snapshot = self.adoption = None
        self.is_connected = self.is_ready = self.is_leading = False

    def deliver(self):
        frame = self.to_node.popleft()
        match frame if isinstance(frame, set | int) else decode(frame):
            case set() as clients:  # stands for Welcome and the whole snapshot of clients
                self.clients = set(clients)
                self.view.welcome()
            case int() as opened:
                self.clients.add(opened)
            case Closed(client=gone):
                self.clients.remove(gone)
                if self.is_leading:
                    self.delete(self.view.owned_by(gone))
            case State() as page:
                if self.view.page(page):
                    self.to_proxy.append(Ready())
            case WantState():
                self.to_proxy.extend(self.view.snapshot(2))
            case Entry() as entry:
                assert entry.epoch >= self.view.position[0]
                self.view.entry(entry)
            case Master(node=node, epoch=epoch):
                self.is_leading = node == self.name
                if self.is_leading:
                    self.delete(self.view.lead(epoch, self.clients))
            case Proposed() as proposed:
                self.to_proxy.append(self.view.order(proposed, self.clients))

    def delete(self, keys):
        for key in keys:
            self.to_proxy.append(self.view.order(Proposed(self.name, 0, key, None), self.clients))


class Replication:
    """One proxy with restarts, and three nodes that propose, lead, lose their session and come back at any time."""

    def __init__(self, random) -> None:
        self.random = random
        self.peers = [Peer(name) for name in ("n0", "n1", "n2")]
        self.history: dict[tuple[int, int], dict] = {(0, 0): {}}
        self.ids = self.epoch = 0
        self.start()

    def start(self):
        self.copy = StateCopy(SMALL)
        self.clients: set[int] = set()
        self.master: Peer | None = None
        self.run_epoch = 0
        self.spare_keys = self.spare_bytes = 0  # by which an adoption may pass the limits
        self.accepted: list[tuple[str, int]] = []
        self.applied: list[tuple[str, int]] = []

    # --- the proxy ----------------------------------------------------------------------------------------------------

    def send(self, peer, raw):
        """Frames of the state: after the snapshot if there is one, and not to a node that will get one later."""
        if peer.snapshot is not None:
            peer.snapshot.hold(raw)
        elif peer.is_connected and peer.adoption is None:
            peer.to_node.append(raw)

    def relay(self, frame):
        for peer in self.peers:
            self.send(peer, encode_frame(frame))

    def take(self, peer):
        match peer.to_proxy.popleft():
            case Ready():
                peer.is_ready = True
            case Drain():
                self.vacate(peer)
            case Propose() as propose:
                if self.copy.check(propose) is None:
                    proposed = self.copy.pend(peer.name, propose)
                    self.accepted.append((peer.name, propose.proposal))
                    if self.master is not None:
                        self.send(self.master, encode_frame(proposed))
            case Entry() as entry:
                self.take_entry(peer, entry)
            case State() as page:
                if peer.adoption.add(page):
                    self.adopt(peer)

    def take_entry(self, peer, entry):
        epoch, index = self.copy.position
        try:
            self.copy.apply(entry, self.run_epoch if peer is self.master else 0)
        except StaleError:
            assert peer is not self.master or entry.epoch < self.run_epoch
            return
        assert peer is self.master
        assert self.copy.position == (self.run_epoch, index + 1)
        assert self.run_epoch >= epoch
        if entry.proposal:
            self.applied.append((entry.node, entry.proposal))
        assert self.copy.position not in self.history
        self.history[self.copy.position] = dict(self.copy.items)
        self.relay(entry)

    def adopt(self, peer):
        changed = self.copy.adopt(peer.adoption, self.run_epoch)
        peer.adoption = None
        if changed:
            self.spare_keys, self.spare_bytes = len(self.copy.pending), self.copy.pending_bytes
        for other in self.peers:
            if other is peer or (changed and other.is_connected and other.adoption is None):
                other.snapshot = self.copy.snapshot(2)

    def vacate(self, peer):
        if peer is self.master:
            self.master = None
            self.relay(Master("", self.run_epoch))

    def elect(self, peer):
        self.epoch += 1
        self.run_epoch, self.master = self.epoch, peer
        self.relay(Master(peer.name, self.epoch))
        for proposed in self.copy.pending:
            self.send(peer, encode_frame(proposed))

    # --- what happens -------------------------------------------------------------------------------------------------

    def propose(self):
        peer, random = self.random.choice(self.peers), self.random
        if peer.is_ready:
            peer.proposals += 1
            value = random.randbytes(random.randrange(13)) if random.random() < 0.7 else None
            owner = random.choice([0, *sorted(peer.clients)])
            peer.to_proxy.append(Propose(peer.proposals, random.choice("abcde"), value, owner))

    def open_client(self):
        self.ids += 1
        self.clients.add(self.ids)
        for peer in self.peers:
            if peer.is_connected:
                peer.to_node.append(self.ids)

    def close_client(self):
        if self.clients:
            gone = self.random.choice(sorted(self.clients))
            self.clients.remove(gone)
            for peer in self.peers:
                if peer.is_connected:
                    peer.to_node.append(encode_frame(Closed(1, gone, "idle")))

    def reconnect(self):
        peer = self.random.choice(self.peers)
        if not peer.is_connected:
            self.connect(peer)

    def connect(self, peer):
        peer.is_connected = True
        peer.to_node.append(set(self.clients))
        if not self.run_epoch and peer.view.position > self.copy.position:
            peer.adoption = self.copy.adoption()
            peer.to_node.append(encode_frame(WantState()))
        else:
            peer.snapshot = self.copy.snapshot(2)

    def lose(self):
        peer = self.random.choice(self.peers)
        peer.disconnect()
        self.vacate(peer)

    def kill(self):
        self.lose()
        self.peers = [self.anew(peer) if not peer.is_connected else peer for peer in self.peers]

    def anew(self, peer):
        new = Peer(peer.name)
        new.proposals = peer.proposals
        return new

    def restart_proxy(self):
        for peer in self.peers:
            peer.disconnect()
        self.start()

    def elect_one(self):
        ready = [peer for peer in self.peers if peer.is_ready]
        if self.master is None and ready:
            self.elect(self.random.choice(ready))

    def new_epoch_for_the_master(self):
        if self.master is not None:
            self.elect(self.master)

    def resign(self):
        if self.master is not None:
            self.master.to_proxy.append(Drain())

    def flow(self):
        self.move(self.random.choice(self.peers), self.random.choice("pdt"), self.random.randrange(1, 6))

    def move(self, peer, what, count):
        """Make pages for a node, deliver frames to it, or take frames from it."""
        for _ in range(count):
            if what == "p" and peer.snapshot is not None:
                raw = peer.snapshot.next_frame()
                if raw is None:
                    peer.snapshot = None
                else:
                    peer.to_node.append(raw)
            elif what == "d" and peer.to_node:
                peer.deliver()
            elif what == "t" and peer.to_proxy:
                self.take(peer)

    def settle(self):
        while any(peer.to_node or peer.to_proxy or peer.snapshot for peer in self.peers):
            for peer in self.peers:
                for what in "pdt":
                    self.move(peer, what, 5)

    # --- what must hold -----------------------------------------------------------------------------------------------

    def check(self):
        for peer in self.peers:
            assert peer.view.items == self.history[peer.view.position], "views of one position are equal"
        waiting = [(proposed.node, proposed.proposal) for proposed in self.copy.pending]
        assert self.applied + waiting == self.accepted, "accepted proposals are applied once and in order"
        items = self.copy.items.values()
        assert self.copy.bytes == sum(len(item.key) + len(item.value) for item in items)
        assert len(items) <= SMALL.max_keys + self.spare_keys
        assert self.copy.bytes <= SMALL.max_bytes + self.spare_bytes

    def finish(self):
        for peer in self.peers:
            if not peer.is_connected:
                self.connect(peer)
        self.settle()
        if self.master is None:
            self.elect(self.peers[0])
        self.settle()
        self.check()
        assert not self.copy.pending
        for peer in self.peers:
            assert peer.view.position == self.copy.position
            assert all(not item.owner or item.owner in self.clients for item in peer.view.items.values())


WEIGHTS = {
    Replication.flow: 200,
    Replication.propose: 30,
    Replication.open_client: 4,
    Replication.close_client: 4,
    Replication.reconnect: 10,
    Replication.elect_one: 5,
    Replication.lose: 2,
    Replication.kill: 1,
    Replication.resign: 1,
    Replication.new_epoch_for_the_master: 1,
    Replication.restart_proxy: 0.3,
}


@given(seed=st.integers(0, 2**64))
@settings(max_examples=200, deadline=None)
def test_replication(seed):
    """A long random run each. Hypothesis only finds the seed: a run drawn step by step seldom gets far enough."""
    random = Random(seed)
    replication = Replication(random)
    for _ in range(3):
        for action in random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=400):
            action(replication)
            replication.check()
        replication.finish()

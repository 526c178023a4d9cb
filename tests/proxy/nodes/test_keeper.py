"""The keeper: what it tells nodes and when, alone and with others that hold the state; restarts, owners, bounds."""

import pytest
import trio
from structlog.testing import capture_logs

from holdfast.balancer.cluster.keeping import Phase
from holdfast.balancer.cluster.replication import Replication
from holdfast.balancer.directory import Node, NodeState
from holdfast.balancer.health import Health
from holdfast.balancer.settings import BalanceSettings, NodeSettings, StateSettings
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.frames import (
    VERSION,
    Entry,
    Hello,
    ProposalRefused,
    Propose,
    State,
    StateItem,
    WantState,
    decode_from_proxy,
    encode_batch,
)
from holdfast.protocols.nodes.state import StatePages, item_bytes
from holdfast.proxy.metrics import Counters
from holdfast.proxy.nodes import keeper as module
from holdfast.proxy.nodes.ahead import TERM_EVERY
from holdfast.proxy.nodes.keeper import Keeper
from tests.balancer.cluster.views import record_of
from tests.harness import ScriptedNode, client_ids, running, websocket

OURS, THEIRS, GONE = 1, 2, 3  # clients


class Link:
    def __init__(self):
        self.sent = []
        self.broken = []

    def send(self, frame):
        self.sent += decode_from_proxy(encode_batch(1, [frame]))[1]

    def break_off(self, why):
        self.broken.append(why)


class Members:
    """Holders that have what they are given when the test says so."""

    def __init__(self, keeper):
        self.keeper = keeper
        self.copy = keeper.copy
        self.phase = Phase.FOLLOWING
        self.term = 0
        self.uncommitted = []
        self.begins = 0
        self.waits_for = []
        self.is_keeper = True

    @property
    def uncommitted_bytes(self):
        return sum(item_bytes(entry.key, entry.value) for entry in self.uncommitted)

    def lead(self, term, now):
        self.keeper.forsake()
        self.term, self.phase = term, Phase.RECOVERING
        self.keeper.lead(now)

    def order(self, node, propose):
        outcome = self.copy.order(node, propose, self.term)
        if isinstance(outcome, Entry):
            self.uncommitted.append(outcome)
        return outcome

    def delete(self, key):
        self.uncommitted.append(self.copy.order_deletion(key, self.term))
        return self.uncommitted[-1]

    def begin(self, clock):
        self.uncommitted.clear()
        self.begins += 1
        self.copy.begin(self.term, clock)
        self.phase = Phase.BEGINNING

    def begun(self):
        self.phase = Phase.KEEPING
        self.keeper.begun()

    def raise_term(self, above):
        self.raised = above

    def hold(self, count=1):
        for _ in range(count):
            self.keeper.committed(self.uncommitted.pop(0))


class Alone(Replication):
    """The real one, of a proxy that is the only member; the record has a later term as soon as it is needed."""

    def __init__(self, keeper):
        super().__init__("p", keeper.copy)
        self.keeping = keeper

    def lead(self, term, now):
        self.follow(record_of("p", term=term), now)

    def raise_term(self, above):
        self.lead(above + 1, trio.current_time())


class Owners:
    """owners: of keys that were set in this term. theirs: clients of other proxies."""

    def __init__(self):
        self.owners = []
        self.theirs = {THEIRS}

    def begin(self):
        self.owners.clear()

    def noted(self, client):
        self.owners.append(client)

    def may_own(self, client):
        return client in self.theirs


class World:
    def __init__(self, clock, holders=Alone, **limits):
        self.clock = clock
        self.counters = Counters()
        limits.setdefault("recover_timeout", 0.0)
        self.states = {}
        self.nodes = {}
        node = NodeSettings(registry_page=2, handshake_timeout=10.0, max_outbox_bytes=1000)
        self.keeper = Keeper(
            StateSettings(**limits), node, self.nodes, self.counters, lambda id: id == OURS, self.states.__setitem__,
            lambda: clock.wall,
        )  # fmt: skip
        self.members = holders(self.keeper)
        self.owners = Owners()
        self.keeper.start(self.members, self.owners)

    def lead(self, term=1):
        self.members.lead(term, self.clock.now)
        return self

    def join(self, name, position=(0, 0)):
        hello = Hello(VERSION, name, name, 1, 1, state_epoch=position[0], state_index=position[1])
        node = Node(hello, Link(), Health(BalanceSettings()), 0.0)
        self.nodes[node] = None
        self.keeper.heed(node)
        return node

    def lose(self, node):
        del self.nodes[node]
        node.state = NodeState.LOST
        self.keeper.lost(node)

    def told(self, node):
        """What was sent to the node since it was asked last, its pages first."""
        for page in self.states.pop(node, ()):
            for raw in page:
                node.link.send(raw)
        sent, node.link.sent = node.link.sent, []
        return sent

    def propose(self, node, number, key, value=b"v", owner=0, expected=-1, epoch=None):
        epoch = self.keeper.copy.position[0] if epoch is None else epoch
        self.keeper.propose(node, Propose(number, key, value, owner, expected, epoch))


class Clock:
    now = 100.0
    wall = 0


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(trio, "current_time", lambda: clock.now)
    return clock


def empty(epoch):
    return State(epoch, 0, [], True, page=0)


class TestAlone:
    def test_changes_are_put_in_order_and_told_to_all(self, clock):
        world = World(clock).lead(7)
        one, two = world.join("one"), world.join("two")
        assert world.told(one) == world.told(two) == [empty(7)]
        world.propose(one, 11, "a")
        world.propose(two, 5, "a", None)
        told = [Entry(7, 1, "one", 11, "a", b"v"), Entry(7, 2, "two", 5, "a", None)]
        assert world.told(one) == world.told(two) == told

    def test_nothing_is_made_twice(self, clock):
        """Fault 5."""
        world = World(clock).lead()
        one = world.join("one")
        world.told(one)
        world.propose(one, 1, "k", b"1")
        world.propose(one, 2, "k", b"2")
        world.lose(one)
        again = world.join("one")
        [page] = world.told(again)
        assert (page.index, [(a.node, a.newest, a.bits) for a in page.applied]) == (2, [("one", 2, b"\3")])
        world.propose(again, 1, "k", b"1")
        assert world.told(again) == []
        assert world.keeper.copy.items["k"].value == b"2"

    def test_a_refusal_names_the_limit_or_the_conflict(self, clock):
        world = World(clock, max_value_bytes=3).lead()
        node = world.join("n")
        world.told(node)
        world.propose(node, 1, "k", b"long")
        world.propose(node, 2, "k", b"1", expected=4)
        limit, conflict = world.told(node)
        assert (limit.proposal, limit.conflict, "state.max_value_bytes" in limit.reason) == (1, False, True)
        assert (conflict.proposal, conflict.conflict) == (2, True)
        assert world.counters.limits_hit == {"state.max_value_bytes": 1}

    def test_what_was_proposed_before_the_snapshot_came_is_ignored(self, clock):
        """Else it could be refused, proposed again, and then be made: its caller was told that it was not."""
        world = World(clock).lead(5)
        node = world.join("n")
        world.propose(node, 1, "k", epoch=4)
        assert world.told(node) == [empty(5)]

    def test_entries_follow_a_snapshot_that_is_on_its_way(self, clock):
        world = World(clock).lead()
        master = world.join("m")
        for number in range(1, 6):
            world.propose(master, number, f"k{number}")
        late = world.join("late")
        world.propose(master, 6, "k6")
        world.propose(late, 1, "k1", expected=9)
        told = world.told(late)
        assert [type(frame) for frame in told] == [State, State, State, Entry, ProposalRefused]
        assert (told[0].index, told[3].index) == (5, 6)
        world.propose(master, 7, "k7")
        assert [frame.index for frame in world.told(late)] == [7]

    def test_who_does_not_take_its_snapshot_is_broken_off(self, clock):
        world = World(clock).lead()
        one, late = world.join("one"), world.join("late")
        world.told(one)
        for number in range(1, 4):
            world.propose(one, number, "k", b"x" * 400)
        assert late.link.broken
        assert not one.link.broken

    def test_a_proxy_that_is_not_keeper_takes_nothing_and_sends_nothing(self, clock):
        world = World(clock)
        node = world.join("n", (3, 9))
        world.propose(node, 1, "k", epoch=0)
        world.keeper.state_page(node, State(3, 9, [StateItem("k", b"")], True))
        world.keeper.owner_gone(OURS)
        assert (world.told(node), world.keeper.copy.position) == ([], (0, 0))
        world.lead()
        assert world.told(node) == [WantState()]
        world.members.follow(record_of("q", term=2), clock.now)
        world.keeper.state_page(node, State(3, 9, [StateItem("k", b"")], True))
        assert (world.members.phase, world.keeper.copy.position) == (Phase.OUTSIDE, (0, 0))

    def test_nothing_waits_after_the_last_page(self, clock):
        """The node is synced when it has that, and what comes to it then, requests too, must not overtake a change."""
        world = World(clock).lead()
        node = world.join("n")
        world.propose(node, 1, "k")
        late = world.join("late")
        for number in range(2, 9):
            world.propose(node, number, "k")
        page = decode_from_proxy(encode_batch(1, next(world.states.pop(late))))[1]
        assert [frame.index for frame in page] == [1, *range(2, 9)]
        world.propose(node, 9, "k")
        assert [entry.index for entry in late.link.sent] == [9]

    def test_pages_end_when_another_is_keeper(self, clock):
        world = World(clock).lead()
        node = world.join("n")
        for number in range(1, 6):
            world.propose(node, number, f"k{number}")
        late = world.join("late")
        pages = world.states[late]
        next(pages)
        world.keeper.forsake()
        assert list(pages) == []


class TestOwners:
    def test_the_keys_of_a_client_go_with_it(self, clock):
        world = World(clock).lead()
        node = world.join("n")
        for number, (key, owner) in enumerate([("b", OURS), ("a", OURS), ("free", 0)], 1):
            world.propose(node, number, key, owner=owner)
        world.told(node)
        world.keeper.owner_gone(OURS)
        assert world.told(node) == [Entry(1, 4, "", 0, "a", None), Entry(1, 5, "", 0, "b", None)]
        assert list(world.keeper.copy.items) == ["free"]

    @pytest.mark.parametrize("owner", [OURS, THEIRS, GONE])
    def test_every_owner_is_looked_at_when_its_key_is_there(self, clock, owner):
        """Whoever has just gone has gone, whichever proxy it was of."""
        world = World(clock).lead()
        node = world.join("n")
        world.told(node)
        world.propose(node, 1, "k", owner=owner)
        assert world.owners.owners == [owner]
        world.keeper.owner_gone(owner)
        assert world.told(node) == [Entry(1, 1, "n", 1, "k", b"v", owner), Entry(1, 2, "", 0, "k", None)]

    def test_owners_of_another_proxy_are_its_members_to_know(self, clock):
        world = World(clock, Members).lead()
        world.members.begun()
        node = world.join("n")
        world.propose(node, 1, "k", owner=THEIRS)
        world.members.hold()
        assert world.keeper.copy.owners() == {THEIRS}
        assert world.owners.owners == [THEIRS]
        world.keeper.owner_gone(THEIRS)
        assert world.members.uncommitted == [Entry(1, 2, "", 0, "k", None)]

    def test_a_term_begins_with_the_deletion_of_keys_whose_owners_went_before(self, clock):
        world = World(clock)
        node = world.join("n", (3, 2))
        world.lead()
        page = State(3, 2, [StateItem("a", b"", GONE), StateItem("b", b"", OURS)], True)
        world.keeper.state_page(node, page)
        assert [frame.key for frame in world.told(node) if isinstance(frame, Entry)] == ["a"]


class TestRestart:
    def test_the_node_with_the_most_is_asked_and_all_get_what_it_has(self, clock):
        world = World(clock)
        one, two, new = world.join("one", (5, 9)), world.join("two", (4, 30)), world.join("new")
        world.lead()
        assert (world.told(one), world.told(two), world.told(new)) == ([WantState()], [], [])
        items = [StateItem("a", b"1", 0, 3), StateItem("b", b"2", 0, 9)]
        world.keeper.state_page(one, State(5, 9, items[:1], False))
        assert world.told(new) == []
        world.keeper.state_page(one, State(5, 9, items[1:], True))
        for node in (one, two, new):
            assert world.told(node) == [State(6, 9, items, True, page=0)]
        world.propose(two, 1, "c")
        assert world.told(one) == [Entry(6, 10, "two", 1, "c", b"v")]

    def test_it_waits_for_nodes_and_the_first_need_not_be_the_one_with_the_most(self, clock):
        """Fault 2."""
        world = World(clock, recover_timeout=2.0).lead()
        behind = world.join("behind", (5, 3))
        assert world.told(behind) == [WantState()]
        world.keeper.state_page(behind, State(5, 3, [StateItem("old", b"")], True))
        clock.now += 1.9
        world.keeper.tick(clock.now)
        assert world.told(behind) == []
        ahead = world.join("ahead", (5, 4))
        clock.now += 0.2
        world.keeper.tick(clock.now)
        assert world.told(ahead) == [WantState()]
        world.keeper.state_page(ahead, State(5, 4, [StateItem("new", b"")], True))
        assert world.told(behind) == world.told(ahead) == [State(6, 4, [StateItem("new", b"")], True, page=0)]

    def test_without_nodes_the_wait_ends(self, clock):
        world = World(clock, recover_timeout=2.0).lead()
        node = world.join("n")
        clock.now += 1.9
        world.keeper.tick(clock.now)
        assert (world.told(node), world.members.phase) == ([], Phase.RECOVERING)
        world.propose(node, 1, "k", epoch=0)
        clock.now += 0.2
        world.keeper.tick(clock.now)
        assert world.told(node) == [empty(1)]

    def test_who_joins_meanwhile_tells_what_it_has_before_the_term_begins(self, clock):
        world = World(clock, recover_timeout=2.0).lead()
        world.members.waits_for = ["b"]
        clock.now += 2.1
        world.keeper.tick(clock.now)
        assert world.members.phase is Phase.RECOVERING
        world.members.waits_for = []
        world.keeper.tick(clock.now)
        assert world.members.phase is Phase.KEEPING

    def test_who_has_state_does_not_wait(self, clock):
        world = World(clock, recover_timeout=2.0)
        world.keeper.copy.order("n", Propose(1, "k", b""), 3)
        world.lead()
        assert world.members.phase is Phase.KEEPING

    @pytest.mark.parametrize("how", ["lost", "silent"])
    def test_a_node_that_promises_its_state_and_does_not_send_it_holds_nobody_up(self, clock, how):
        world = World(clock)
        one, two = world.join("one", (5, 9)), world.join("two")
        world.lead()
        if how == "silent":
            clock.now += 11.0
            world.keeper.tick(clock.now)
            world.keeper.tick(clock.now)
            assert one.link.broken == ["does not send its state"]
        world.lose(one)
        assert world.told(two) == [empty(6)], "above what it promised"

    def test_a_node_with_more_that_is_lost_may_come_back(self, clock):
        world = World(clock, recover_timeout=2.0).lead()
        behind, ahead = world.join("behind", (5, 3)), world.join("ahead", (5, 4))
        clock.now += 3.0
        world.lose(ahead)
        world.keeper.state_page(behind, State(5, 3, [StateItem("old", b"")], True))
        assert world.told(behind) == [WantState()]
        for _ in range(20):
            clock.now += 0.9
            flaps = world.join("ahead", (5, 4))
            assert world.told(flaps) == [WantState()] or world.members.phase is Phase.KEEPING
            world.lose(flaps)
            world.keeper.tick(clock.now)
        assert world.members.phase is Phase.KEEPING, "it is not waited for without end"

    def test_who_comes_late_is_heeded_if_nothing_has_been_set(self, clock):
        world = World(clock).lead(9)
        one = world.join("one")
        world.told(one)
        late = world.join("late", (5, 2))
        assert world.told(late) == [WantState()]
        world.keeper.state_page(late, State(5, 2, [StateItem("k", b"")], True))
        assert world.told(one) == world.told(late) == [State(10, 2, [StateItem("k", b"")], True, page=0)]

    @pytest.mark.parametrize("position", [(1, 9**12), (7, 9**12), (7, 9), (7, 0)])
    def test_else_it_gives_up_what_it_had(self, clock, position):
        """What has been acknowledged since stays. Of a lower index it may have no more than there is: it can tell."""
        clock.wall = 1_000
        world = World(clock).lead(1)
        one = world.join("one")
        world.propose(one, 1, "k")
        world.told(one)
        with capture_logs() as logs:
            late = world.join("late", position)
        given_up = [line["position"] for line in logs if line["event"] == "state_given_up"]
        assert given_up == [position] * (position[1] == 9**12)
        [page] = world.told(late)
        assert [item.key for item in page.items] == ["k"]
        assert (page.epoch, page.index) > position, "else it would not take it"
        world.propose(one, 2, "k", b"2")
        assert world.keeper.copy.items["k"].value == b"2"

    def test_what_a_node_s_state_replaces_is_told(self, clock):
        world = World(clock)
        world.keeper.copy.order("n", Propose(1, "k", b""), 3)
        node = world.join("other", (5, 9))
        world.lead(4)
        with capture_logs() as logs:
            world.keeper.state_page(node, State(5, 9, [], True))
        assert {"event": "state_given_up", "log_level": "warning", "position": (3, 1), "for_position": (5, 9),
                "changes": 1} in logs  # fmt: skip

    def test_a_version_of_a_state_that_was_lost_never_comes_back(self, clock):
        """All proxies and nodes went but one, which comes back too late. What it has read is compared with nothing."""
        clock.wall = 1_000
        world = World(clock).lead()
        former = world.join("one")
        world.propose(former, 1, "k")
        [entry] = [frame for frame in world.told(former) if isinstance(frame, Entry)]

        clock.wall += 1_000_000
        world = World(clock).lead()
        new = world.join("new")
        world.propose(new, 1, "k", b"new")
        former = world.join("one", (1, entry.index))
        world.told(former)
        world.propose(former, 2, "k", b"over it", expected=entry.index)
        assert world.told(former)[0].conflict
        assert world.keeper.copy.items["k"].value == b"new"

    def test_a_version_that_only_a_late_node_has_is_never_another_change_s(self, clock):
        """Both have the same beginning: a node that was slower brought it, and what came after it was lost."""
        world = World(clock)
        behind = world.join("behind", (5, 6))
        world.lead()
        clock.wall = 1_000_000
        world.keeper.state_page(behind, State(5, 6, [StateItem("k", b"", 0, 6)], True))
        world.propose(behind, 1, "k", b"since")
        late = world.join("late", (5, 7))
        world.propose(late, 1, "k", b"over it", expected=7)
        assert world.keeper.copy.items["k"].value == b"since"

    def test_a_clock_that_is_wrong_leaves_room_to_count(self, clock):
        clock.wall = 2**60
        world = World(clock).lead()
        node = world.join("n")
        world.propose(node, 1, "k")
        position = world.keeper.copy.position
        assert position[1] < 2**53
        world = World(clock)
        assert world.keeper.is_near(position), "else nobody could bring it back"

    def test_a_node_that_lies_makes_a_term_once_in_a_while_however_it_comes(self, clock):
        world = World(clock, Members).lead()
        world.members.begun()
        liar = world.join("liar")
        world.propose(liar, 1, "k")
        world.members.hold()
        terms = 0
        for second in range(125):
            clock.now += 1.0
            world.members.raised = 0
            above = world.keeper.copy.position[0] + 1000
            if second % 2:
                world.lose(liar)
                liar = world.join("liar", (above, 1))
            else:
                world.keeper.told(liar, (above, second + 1))
            world.keeper.tick(clock.now)
            if world.members.raised:
                terms += 1
                world.keeper.forsake()
                world.lead(world.members.raised + 1)
                world.members.begun()
        assert terms == 3

    def test_many_that_lie_make_one_term_after_another(self, clock):
        world = World(clock).lead()
        node = world.join("n")
        world.propose(node, 1, "k")
        before = world.members.term
        for number in range(100):
            world.join(f"liar {number}", (world.members.term + 1, 1))
        assert world.members.term == before + 2

    def test_an_honest_one_is_heeded_while_another_lies(self, clock):
        world = World(clock).lead()
        liar, one = world.join("liar"), world.join("one")
        world.propose(one, 1, "k")
        world.keeper.told(liar, (50, 1))
        world.keeper.told(liar, (100, 1))
        late = world.join("late", (80, 7))
        world.told(late)
        clock.now += TERM_EVERY
        world.keeper.tick(clock.now)
        [page] = world.told(late)
        assert ((page.epoch, page.index) > (80, 7), [item.key for item in page.items]) == (True, ["k"])

    def test_whoever_is_not_ahead_any_more_gets_its_snapshot(self, clock):
        world = World(clock).lead()
        one, other = world.join("one"), world.join("other")
        world.propose(one, 1, "k")
        world.keeper.told(other, (7, 1))
        world.keeper.told(other, (8, 3))
        world.told(other)
        for number in (2, 3):
            world.propose(one, number, "k")
        world.keeper.told(other, (8, 2))
        clock.now += 0.1
        world.keeper.tick(clock.now)
        assert State in [type(frame) for frame in world.told(other)]

    def test_who_can_t_bring_its_state_does_not_stop_the_others_again(self, clock):
        world = World(clock).lead()
        one = world.join("one")
        for _ in range(2):
            liar = world.join("liar", (5, 2))
            clock.now += 11.0
            world.keeper.tick(clock.now)
            world.lose(liar)
        liar = world.join("liar", (5, 2))
        assert (world.members.phase, world.told(liar)) == (Phase.KEEPING, [])
        world.propose(one, 1, "k")
        assert world.keeper.copy.items.keys() == {"k"}

    def test_a_term_begins_though_a_node_tells_more_each_time(self, clock):
        world = World(clock, Members)
        liar = world.join("liar", (5, 0))
        world.lead(1)
        for _ in range(3):
            if world.members.begins:
                break
            term = world.members.raised + 1
            world.keeper.told(liar, (term, 0))
            world.lead(term)
        assert world.members.begins

    def test_a_heartbeat_may_tell_that_a_snapshot_was_refused(self, clock):
        world = World(clock).lead(1)
        one, two = world.join("one"), world.join("two")
        world.propose(one, 1, "k")
        world.told(two)
        world.keeper.told(two, (1, 1))
        assert world.told(two) == []
        world.keeper.told(two, (4, 1))
        assert [(frame.epoch, frame.index) for frame in world.told(two)] == [(5, 1)]
        for position in ((2**53, 1), (-1, 1), (4, -1)):
            with pytest.raises(FrameError):
                world.keeper.told(two, position)

    def test_pages_that_are_none(self, clock):
        world = World(clock)
        one, two = world.join("one", (5, 9)), world.join("two")
        world.lead()
        world.keeper.state_page(two, State(5, 9, [], True))  # was not asked
        for page in (State(5, -1, [], True), State(2**53, 9, [], True),
                     State(5, 9, [StateItem("a", b""), StateItem("a", b"")], True)):  # fmt: skip
            with pytest.raises(FrameError):
                world.keeper.state_page(one, page)
        assert world.keeper.copy.position == (0, 0)

    def test_the_rest_of_an_answer_to_a_former_question_is_not_the_state(self, clock):
        """We have become keeper anew while a node sent us its state: what had come of it by then is gone."""
        world = World(clock)
        one = world.join("one", (5, 9))
        world.lead()
        items = [StateItem("a", b"1", 0, 8), StateItem("b", b"2", 0, 9)]
        answer = [State(5, 9, items[:1], False, page=0), State(5, 9, items[1:], True, page=1)]
        world.keeper.state_page(one, answer[0])
        world.keeper.forsake()
        world.lead(6)
        world.keeper.state_page(one, answer[1])
        assert world.keeper.copy.position == (0, 0)
        for page in answer:
            world.keeper.state_page(one, page)
        assert sorted(world.keeper.copy.items) == ["a", "b"]

    def test_a_state_above_our_limits_is_kept_and_said_to_be(self, clock):
        """Those of the proxy that ordered it are higher, or ours were."""
        world = World(clock, max_keys=1)
        one = world.join("one", (5, 9))
        with capture_logs() as logs:
            world.lead()
            items = [StateItem("a", b"1", 0, 8), StateItem("b", b"2", 0, 9)]
            world.keeper.state_page(one, State(5, 9, items, True))
            world.lead(6)
        [line] = [line for line in logs if line["event"] == "state_above_limit"]
        assert (line["limit"], line["keys"], line["bytes"]) == ("state.max_keys", 2, 4)
        world.told(one)
        for number, (key, value) in enumerate({"c": b"", "a": b"12", "b": b"3"}.items(), 1):
            world.propose(one, number, key, value)
        refused, grown, entry = world.told(one)
        assert "at most 1 keys" in refused.reason
        assert (grown.key, entry.key) == ("a", "b")


class TestMembers:
    """Others hold the state with us, and nobody is told of what they may not have."""

    def test_nodes_hear_of_what_more_than_half_have(self, clock):
        world = World(clock, Members).lead(3)
        node = world.join("n")
        assert (world.members.begins, world.told(node), world.members.phase) == (1, [], Phase.BEGINNING)
        world.members.begun()
        assert world.told(node) == [empty(3)]
        world.propose(node, 1, "a")
        world.propose(node, 2, "b")
        assert world.told(node) == []
        world.members.hold()
        assert [frame.key for frame in world.told(node)] == ["a"]

    def test_a_snapshot_waits_until_all_in_it_is_held(self, clock):
        world = World(clock, Members).lead()
        world.members.begun()
        one = world.join("one")
        for number in (1, 2):
            world.propose(one, number, f"k{number}")
        late = world.join("late")
        world.propose(one, 3, "k3")
        world.members.hold()
        assert world.told(late) == []
        world.members.hold()
        [page] = world.told(late)
        assert (page.index, page.applied[0].newest) == (2, 2)
        world.members.hold()
        assert [frame.key for frame in world.told(late)] == ["k3"]

    def test_a_conflict_is_told_after_what_it_conflicts_with(self, clock):
        world = World(clock, Members).lead()
        world.members.begun()
        one, two = world.join("one"), world.join("two")
        for node in (one, two):
            world.told(node)
            world.propose(node, 1, "k", expected=0)
        assert world.told(two) == []
        world.members.hold()
        assert [type(frame) for frame in world.told(two)] == [Entry, ProposalRefused]

    def test_a_new_term_begins_from_what_is_held(self, clock):
        """What was under way in the former one is in the state, or proposed again."""
        world = World(clock, Members).lead()
        world.members.begun()
        node = world.join("n")
        world.told(node)
        world.propose(node, 1, "k", expected=0)
        world.propose(node, 2, "k", expected=0)
        world.lead(5)
        world.members.begun()
        [page] = world.told(node)
        assert (page.epoch, page.index, page.applied[0].newest) == (5, 1, 1)

    def test_a_refusal_of_a_former_term_is_not_told_in_this_one(self, clock):
        """The node has proposed it again, and that may be made."""
        world = World(clock, Members).lead()
        world.members.begun()
        node = world.join("n")
        world.propose(node, 1, "k", expected=0)
        world.propose(node, 2, "k", expected=0)
        world.lead(5)
        world.members.begun()
        world.told(node)
        world.propose(node, 3, "other")
        world.members.hold()
        assert [frame.key for frame in world.told(node)] == ["other"]

    def test_what_was_under_way_in_a_former_term_is_not_made_later(self, clock):
        """Fault 3: we were frozen, another was keeper meanwhile, and we are it again."""
        world = World(clock, Members).lead()
        world.members.begun()
        node = world.join("n")
        world.propose(node, 1, "k", b"old")
        world.keeper.forsake()
        coming = StatePages()
        coming.add(State(2, 1, [StateItem("k", b"FINAL", 0, 1)], True))
        world.keeper.copy.adopt(coming)
        world.lead(3)
        world.members.begun()
        assert (world.keeper.copy.items["k"].value, list(world.members.uncommitted)) == (b"FINAL", [])

    def test_a_term_that_is_not_above_all_is_not_begun(self, clock):
        world = World(clock, Members)
        node = world.join("n", (5, 0))
        world.lead(5)
        assert (world.members.raised, world.members.begins) == (5, 0)
        world.lead(6)
        world.members.begun()
        assert world.told(node) == [empty(6)]

    def test_what_was_acknowledged_stays_when_the_term_is_raised_above_a_node(self, clock):
        world = World(clock, Members).lead(2)
        world.members.begun()
        node = world.join("n")
        world.propose(node, 1, "k")
        world.members.hold()
        late = world.join("late", (5, 9))
        assert world.members.raised == 5
        world.propose(node, 2, "k2")
        world.members.hold()
        world.keeper.forsake()
        world.lead(6)
        world.members.begun()
        *_, page = world.told(late)
        assert ([item.key for item in page.items], page.epoch) == (["k", "k2"], 6)

    @pytest.mark.parametrize("is_away", [True, False])
    def test_nothing_is_said_to_be_given_up_before_it_is(self, clock, is_away):
        """Who stood still hears first from a node, and then that it has been evicted."""
        world = World(clock, Members).lead(2)
        world.members.begun()
        world.propose(world.join("one"), 1, "k")
        world.members.hold()
        with capture_logs() as logs:
            world.join("n", (5, 9**12))
            assert world.members.raised == 5
            world.members.is_keeper = not is_away
            world.keeper.forsake()
            world.members.is_keeper = True
            assert not [line for line in logs if line["event"] == "state_given_up"]
            world.lead(6)
            if not is_away:
                world.members.begun()
        assert len([line for line in logs if line["event"] == "state_given_up"]) == (not is_away)

    def test_what_was_acknowledged_counts_no_more_when_another_has_been_keeper(self, clock):
        """It was to be above a node that had more by then, and was evicted: the node has what others have added."""
        world = World(clock, Members).lead(2)
        world.members.begun()
        node = world.join("n")
        world.propose(node, 1, "k")
        world.members.hold()
        late = world.join("late", (5, 9))
        assert world.members.raised == 5
        world.told(late)
        world.members.is_keeper = False
        world.keeper.forsake()
        world.members.is_keeper = True
        world.lead(7)
        assert world.told(late) == [WantState()]

    def test_what_is_not_held_is_limited(self, clock, monkeypatch):
        monkeypatch.setattr(module, "MAX_UNCOMMITTED", 3)
        world = World(clock, Members).lead()
        world.members.begun()
        node = world.join("n")
        world.told(node)
        for number in range(1, 5):
            world.propose(node, number, "k")
        assert len(world.members.uncommitted) == 3
        world.members.hold(3)
        told = world.told(node)
        assert [type(frame) for frame in told] == [Entry, Entry, Entry, ProposalRefused]
        world.propose(node, 5, "k")
        assert len(world.members.uncommitted) == 1
        monkeypatch.setattr(module, "MAX_UNCOMMITTED_BYTES", 1)
        world.propose(node, 6, "k")
        assert len(world.members.uncommitted) == 1

    def test_snapshots_of_nodes_that_went_are_forgotten(self, clock):
        world = World(clock, Members).lead()
        world.members.begun()
        node = world.join("n")
        world.propose(node, 1, "k")
        for _ in range(5):
            world.lose(world.join("flaps"))
        assert not world.keeper._unheld


# --- through a proxy --------------------------------------------------------------------------------------------------


async def test_set_through_a_proxy():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            [epoch] = {frame.epoch for frame in one.frames if isinstance(frame, State)}
            two.say(Propose(1, "key", b"value", epoch=epoch))
            entry = await one.take(Entry)
            assert entry == Entry(epoch, entry.index, two.id, 1, "key", b"value")
            assert await two.take(Entry) == entry


async def test_the_keys_of_a_client_end_when_it_leaves():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            [epoch] = {frame.epoch for frame in node.frames if isinstance(frame, State)}
            async with websocket(proxy):
                [client] = client_ids(proxy)
                node.say(Propose(1, "key", b"value", client, epoch=epoch))
                entry = await node.take(Entry)
                assert entry.owner == client
            assert await node.take(Entry) == Entry(epoch, entry.index + 1, "", 0, "key", None)
            node.say(Propose(2, "key", b"value", client, epoch=epoch))
            assert await node.take(Entry) == Entry(epoch, entry.index + 2, node.id, 2, "key", b"value", client)
            assert await node.take(Entry) == Entry(epoch, entry.index + 3, "", 0, "key", None)


async def test_nodes_are_not_ready_before_the_state_is_known():
    async with running(state={"recover_timeout": 0.3}) as proxy:
        with ScriptedNode(proxy.node) as node, ScriptedNode(proxy.node, state_epoch=5, state_index=9) as has_it:
            node.say(node.hello)
            has_it.say(has_it.hello)
            await has_it.take(WantState)
            has_it.say(State(5, 9, [StateItem("k", b"v", 0, 9)], True))
            for one in (node, has_it):
                state = await one.take(State)
                assert state.epoch > 5
                assert state == State(state.epoch, 9, [StateItem("k", b"v", 0, 9)], True, page=0)

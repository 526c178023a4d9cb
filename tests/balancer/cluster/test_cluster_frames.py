"""One Cluster and what comes to it, frame by frame. test_cluster has several of them."""

import pytest
from msgspec.structs import replace

from holdfast.balancer.cluster import changes, counting, unheard
from holdfast.balancer.cluster.actions import Ask, CloseClients, Dial, Fence, HangUp, Introduce, Publish
from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.debts import MAX_SLEEP, Debts, Run
from holdfast.balancer.cluster.keeping import Phase
from holdfast.balancer.cluster.sequence import SequenceState
from holdfast.balancer.settings import StateSettings
from holdfast.balancer.state import StateCopy
from holdfast.protocols.nodes.frames import Propose, pack_ids
from holdfast.protocols.peers.envelope import seal, unseal
from holdfast.protocols.peers.frames import (
    Beat,
    CountIs,
    Dead,
    Facts,
    Leaving,
    Member,
    Nodes,
    NodeSeen,
    Proof,
    Told,
    Tunnelled,
    WantCount,
    WantFacts,
    WantKick,
)
from holdfast.protocols.peers.replication import Gone, Held, LostRun, Noted, Owed, Watch
from tests.balancer.cluster.views import TIMES, Prompt, record_of

TOKEN = b"shared"
NONCE = 7
MEMBERS = tuple(
    Member(name, f"tcp://10.0.0.1:{name}", "pub", "host", True, prefix) for prefix, name in enumerate("abc", 1)
)
RECORD = record_of("abc", members=MEMBERS)


def of(name, number=1):
    """A client of that proxy."""
    return "abc".index(name) + 1 << 32 | number


def cluster_of(me="a", **given):
    it = Cluster(MEMBERS["abc".index(me)], TOKEN, TIMES, lambda: NONCE, lambda: 0, 0.0, **given)
    Prompt(it.replication)
    return it


class Proxy:
    """Follows RECORD, in which a is the keeper. It hears those that are live."""

    def __init__(self, me="a", live="bc", record=RECORD):
        self.it = cluster_of(me)
        self.now = 1.0
        self.numbers = dict.fromkeys("abc", 0)
        self.it.stored(record, {}, self.now, self.now)
        self.it.tick(self.now)
        for peer in live:
            self.hears(peer, Proof(NONCE))
            self.answers(peer, Facts(1, [Told(record), Beat(record.version, [], []), Nodes([])]))

    def hears(self, peer, *frames):
        """A message of its stream."""
        self.numbers[peer] += 1
        self.it.received(seal(TOKEN, peer, self.numbers[peer], frames), self.now)

    def answers(self, peer, frame):
        self.it.received(seal(TOKEN, peer, 0, [frame]), self.now)

    def asked(self, peer, *frames):
        """Returns the answers."""
        asked = self.it.asked(seal(TOKEN, peer, 0, frames), self.now)
        assert asked is not None
        assert asked[0] == peer
        return [frame for data in asked[1] for frame in unseal(TOKEN, data).frames]

    def tick(self, kind, now=None):
        self.now = self.now if now is None else now
        return [action for action in self.it.tick(self.now) if isinstance(action, kind)]

    def asks(self):
        return [(ask.peer, *unseal(TOKEN, ask.data).frames) for ask in self.tick(Ask)]

    def said(self):
        return [frame for action in self.tick(Publish) for frame in unseal(TOKEN, action.data).frames]

    @property
    def heard(self):
        return self.it.membership.heard_now(self.now)


# --- what comes -------------------------------------------------------------------------------------------------------


def test_its_state_and_its_debts_may_be_given():
    state, debts = StateCopy(StateSettings()), Debts("a")
    it = cluster_of(state=state, debts=debts)
    assert it.replication.copy is state
    assert it.debts is debts


def test_who_founds_alone_keeps_the_state_at_once():
    it = cluster_of()
    it.found_alone(0.0)
    assert it.replication.phase is Phase.KEEPING
    assert it.membership.record.ids == ("a",)


def test_all_bytes_are_counted():
    a = Proxy(live="")
    data = [seal(TOKEN, "b", 0, [WantFacts()]), seal(TOKEN, "b", 1, [Beat(5, [], [])]), b"noise"]
    a.it.asked(data[0], a.now)
    a.it.received(data[1], a.now)
    a.it.received(data[2], a.now)
    assert a.it.counters.bytes_received == sum(map(len, data))
    assert a.it.counters.garbled == 1


def test_a_peer_is_heard_when_its_facts_have_come():
    a = Proxy(live="")
    a.hears("b", Proof(NONCE))
    assert a.heard == set(), "it may never answer"
    a.hears("b", Beat(5, [], []))
    assert a.heard == set()
    a.answers("b", Facts(2, [Nodes([NodeSeen("n", 1)])]))
    assert a.heard == {"b"}
    assert a.it.membership.nodes["b"].keys() == {("n", 1)}
    assert a.it.peers["b"].stream.state is SequenceState.LIVE


def test_what_came_after_its_facts_follows_them():
    a = Proxy(live="")
    a.hears("b", Proof(NONCE))
    a.hears("b", Nodes([NodeSeen("later", 1)]))
    a.answers("b", Facts(1, [Nodes([NodeSeen("before", 1)])]))
    assert a.it.membership.nodes["b"].keys() == {("later", 1)}


def test_facts_that_nobody_has_asked_for_are_nothing():
    a = Proxy()
    a.answers("b", Facts(9, [Nodes([NodeSeen("n", 1)])]))
    assert a.it.membership.nodes["b"] == {}


def test_a_stranger_is_nothing_before_it_is_dialled():
    a = Proxy()
    a.it.received(seal(TOKEN, "x", 1, [Beat(5, [], [])]), a.now)
    a.it.received(seal(TOKEN, "x", 0, [Facts(1, [])]), a.now)
    assert a.heard == {"b", "c"}


def test_what_is_news_is_applied_in_order():
    a = Proxy()
    a.now += 0.9
    a.hears("b", Nodes([NodeSeen("first", 1)]), Nodes([NodeSeen("then", 1)]))
    a.now += 1.5
    assert a.heard == {"b"}, "that was a sign of life"
    assert a.it.membership.nodes["b"].keys() == {("then", 1)}


def test_a_heartbeat_tells_of_the_peer_and_of_what_it_holds():
    a = Proxy(live="b")
    assert a.it.replication.waits_for == ["c"], "the facts of b had one"
    a.hears("b", Beat(6, ["c"], ["x"]))
    assert a.it.membership.beats["b"].strangers == ["x"]
    assert a.it.membership.follows("b", 6)


def test_a_record_that_a_peer_tells_is_followed_and_so_is_that_the_peer_does():
    a = Proxy()
    followed = []
    a.it.on_record = lambda former, new: followed.append((former.version, new.version))
    later = record_of("abc", 6, members=MEMBERS, ballot=6)
    a.hears("b", Told(later))
    assert a.it.membership.record == later
    assert a.it.membership.follows("b", 6)
    a.hears("c", Told(later))
    assert followed == [(5, 6)]
    assert a.it.membership.is_confirmed
    assert Told(later) in a.said(), "and told on"


def test_a_record_that_is_followed_already_is_no_news():
    a = Proxy()
    a.said()
    followed = []
    a.it.on_record = lambda former, new: followed.append(new)
    a.it.stored(RECORD, {}, a.now, a.now)
    assert (followed, a.said()) == ([], [])


def test_whose_clients_may_own_keys_follows_from_the_record():
    a = Proxy(record=record_of("ab", members=MEMBERS[:2]))
    assert not a.it.owners.may_own(of("c"))
    a.it.stored(record_of("abc", 6, members=MEMBERS), {}, a.now, a.now)
    assert a.it.owners.may_own(of("c"))


@pytest.mark.parametrize(
    ("records", "waits"),
    [
        ([record_of("ab", members=MEMBERS[:2])], True),  # of which we are none
        ([record_of("abc", members=MEMBERS)], False),
        ([record_of("ab", members=MEMBERS[:2]), record_of("abc", 6, members=MEMBERS)], False),
    ],
)
def test_who_joins_does_not_wait_for_what_a_former_run_has_granted(records, waits):
    it = cluster_of("c")
    for record in records:
        it.stored(record, {}, 0.0, 0.0)
    assert (it.mastership.grants.end > 0.0) == waits


def test_who_is_a_member_and_remains_one_does():
    it = cluster_of()
    it.found_alone(0.0)
    it.stored(replace(it.membership.record, version=1, epoch=1), {}, 0.0, 0.0)
    assert it.membership.record.version == 1
    assert it.mastership.grants.end == TIMES.lease_wait


def test_a_death_is_told():
    a = Proxy()
    died = []
    a.it.on_died = lambda node, incarnation: died.append((node, incarnation))
    a.hears("b", Dead("n", 7))
    assert died == [("n", 7)]


def test_who_says_that_it_leaves_is_not_heard_from_then_on():
    a = Proxy()
    a.hears("b", Beat(5, [], []), Leaving())
    assert a.heard == {"c"}
    a.it.stored(record_of("ac", 6, members=(MEMBERS[0], MEMBERS[2])), {}, a.now, a.now)
    assert a.it.counters.evictions == 0


def test_parts_of_the_state_go_their_own_way():
    a = Proxy(live="")
    for peer in "bc":
        assert peer in a.it.replication.waits_for
        a.answers(peer, Held(0, (0, 0)))
    assert a.it.replication.waits_for == []


# --- what is asked ----------------------------------------------------------------------------------------------------


AWAY = TIMES.heartbeat_timeout / 2


@pytest.mark.parametrize("does", ["receives", "is asked", "reads the store", "ticks"])
def test_whatever_it_does_shows_that_it_is_awake(does):
    def do():
        match does:
            case "receives":
                a.it.received(b"noise", a.now)
            case "is asked":
                a.asked("b", WantFacts())
            case "reads the store":
                a.it.stored(RECORD, {}, a.now, a.now)
            case "ticks":
                a.it.tick(a.now)

    a = Proxy()
    a.now += AWAY
    do()
    a.now += AWAY
    do()
    a.hears("b", Beat(5, [], []))
    assert "b" in a.heard
    a.now += AWAY + 0.1
    do()
    assert a.heard == set(), "it was away: what waits is old"
    a.hears("b", Beat(5, [], []))
    assert a.heard == set()


@pytest.mark.parametrize(("names", "told"), [("a", []), ("ab", [""])])
def test_who_was_away_for_long_has_missed_something_of_others(names, told):
    a = Proxy(live="", record=record_of(names, members=MEMBERS[: len(names)]))
    missed = []
    a.it.debts._on_missed = lambda node, before: missed.append(node)
    a.it.tick(a.now + MAX_SLEEP)
    a.now += MAX_SLEEP
    assert missed == []
    a.it.tick(a.now + MAX_SLEEP + 0.1)
    assert missed == told


def test_facts_are_ours_as_they_are_now():
    a = Proxy()
    a.it.node_list([NodeSeen("n", 1)])
    a.said()
    [facts] = a.asked("b", WantFacts())
    assert facts.frames == [Told(a.it.membership.record), a.it.voice.beat, Nodes([NodeSeen("n", 1)])]


def test_nothing_numbered_is_asked_and_nothing_of_ourselves():
    a = Proxy()
    assert a.it.asked(seal(TOKEN, "b", 3, [WantFacts()]), a.now) is None
    assert a.it.asked(seal(TOKEN, "a", 0, [WantFacts()]), a.now) is None


def test_where_nobody_has_said_what_is_here_nothing_is():
    a = Proxy()
    assert a.asked("b", WantCount(3, "room"), WantKick(4, of("a"), "bye")) == [CountIs(3, 0), CountIs(4, 0)]


def test_members_are_counted_and_clients_are_kicked_here():
    a = Proxy()
    kicked = []
    a.it.count_here = {"room": 5}.get
    a.it.kick_here = lambda client, reason: kicked.append((client, reason)) or True
    assert a.asked("b", WantCount(3, "room"), WantKick(4, of("a"), "bye")) == [CountIs(3, 5), CountIs(4, 1)]
    assert kicked == [(of("a"), "bye")]


def test_what_nodes_leave_is_answered():
    b = Proxy("b", live="ac")
    assert b.asked("a", Watch(0, pack_ids([of("b")]))) == [Gone(0, pack_ids([of("b")]))]
    assert b.asked("c", Owed("b", [LostRun("n", 7, 1, 1, 0.0, 1)], 1)) == [Noted([("n", 7)], 1)]
    assert b.asked("c", Watch(0, pack_ids([of("b")]))) == []


# --- what we ask ------------------------------------------------------------------------------------------------------


def kick(a, client, told, patience=0.5):
    return a.it.kick(client, "bye", patience, told.append, a.now)


@pytest.mark.parametrize("client", [of("a"), 9 << 32 | 1], ids=["ours", "nobody's"])
def test_a_client_of_nobody_else_is_ours_to_kick(client):
    a, told = Proxy(), []
    assert not kick(a, client, told)
    assert (told, a.asks()) == ([], [])


@pytest.mark.parametrize("count", [0, 1])
def test_a_client_is_kicked_by_its_proxy(count):
    a, told = Proxy(), []
    assert kick(a, of("b"), told)
    [(peer, question)] = a.asks()
    assert (peer, question) == ("b", WantKick(question.ask, of("b"), "bye"))
    assert told == []
    a.answers("b", CountIs(question.ask, count))
    assert told == [{"b": count}]
    assert a.asks() == [], "once"


def test_one_of_a_proxy_that_is_not_heard_or_does_not_answer_is_not():
    a, told = Proxy(live="b"), []
    assert kick(a, of("c"), told)
    assert told == [{}]
    assert kick(a, of("b"), told, patience=0.5)
    a.tick(Ask, a.now + 0.4)
    assert told == [{}]
    a.tick(Ask, a.now + 0.1)
    assert told == [{}, {}]


def test_nor_when_too_much_is_being_asked(monkeypatch):
    monkeypatch.setattr(counting, "LIMIT", 0)
    a, told = Proxy(), []
    assert kick(a, of("b"), told)
    assert told == [{}]
    assert not a.it.count("room", 0.5, told.append, a.now)
    assert told == [{}], "who asks knows"


def test_all_that_are_heard_are_asked_for_their_members():
    a, told = Proxy(live="b"), []
    a.it.count_here = {"room": 5}.get
    assert a.it.count("room", 0.5, told.append, a.now)
    [(peer, question)] = [ask for ask in a.asks() if isinstance(ask[1], WantCount)]
    assert (peer, question.channel) == ("b", "room")
    a.answers("b", CountIs(question.ask, 2))
    assert told == [{"a": 5, "b": 2}]


def test_a_nodes_message_goes_in_an_envelope_without_a_number():
    a = Proxy()
    envelope = unseal(TOKEN, a.it.tunnel("b", b"s", b"data", back=True))
    assert (envelope.proxy, envelope.number, envelope.frames) == ("a", 0, [Tunnelled(b"s", b"data", True, "b")])


def test_a_tunnelled_message_is_handed_on_whichever_way_it_comes():
    a, came = Proxy(), []
    a.it.on_tunnelled = lambda peer, frame: came.append((peer, frame))
    frame = Tunnelled(b"s", b"data", False, "a")
    a.answers("b", frame)
    assert a.asked("b", frame) == []
    assert came == [("b", frame)] * 2


# --- what we do -------------------------------------------------------------------------------------------------------


def test_members_are_dialled_and_those_who_ask():
    it = cluster_of()
    it.stored(RECORD, {"x": Member("x", "tcp://10.0.0.1:x", "pub")}, 0.0, 0.0)
    assert [action.member.proxy for action in it.tick(0.0) if isinstance(action, Dial)] == ["b", "c", "x"]
    assert not [action for action in it.tick(0.1) if isinstance(action, Dial)]


def test_who_is_hung_up_on_is_forgotten():
    a = Proxy()
    a.it.stored(record_of("ab", 6, members=MEMBERS[:2]), {}, a.now, a.now)
    for _ in range(30):
        a.now += 0.5
        a.hears("b", Beat(6, [], []))
        if gone := a.tick(HangUp):
            break
    assert gone == [HangUp("c")]
    assert "c" not in a.it.membership.beats
    assert "c" not in a.it.peers


def test_what_a_lost_node_owed_is_told_at_once():
    a = Proxy()
    a.tick(Ask)
    a.it.debts.lost(Run("n", 7), [("b", 1)], [], 0, a.now)
    asks = [(ask.peer, *unseal(TOKEN, ask.data).frames) for ask in a.it.replicate(a.now) if isinstance(ask, Ask)]
    assert asks == [("b", Owed("b", [LostRun("n", 7, 1, 1, 0.0, 1)], 1))]


def test_what_the_keeper_orders_is_published_at_once():
    a = Proxy()
    for peer in "bc":
        a.answers(peer, Held(0, (0, 0)))
    a.it.stored(record_of("abc", 6, members=MEMBERS, term=6), {}, a.now, a.now)
    for peer in "bc":
        a.answers(peer, Held(6, (0, 0)))
    a.answers("b", Held(6, (6, 0)))
    assert a.it.replication.phase is Phase.KEEPING
    a.it.tick(a.now)
    assert not a.it.has_to_replicate
    a.it.replication.order("n", Propose(1, "k", b"v"))
    assert a.it.has_to_replicate
    [publish] = a.it.replicate(a.now)
    [entries] = unseal(TOKEN, publish.data).frames
    assert [entry.key for entry in entries.steps] == ["k"]
    assert not a.it.has_to_replicate


def test_the_keeper_is_told_at_once_of_a_client_that_has_gone():
    b = Proxy("b", live="ac")
    b.it.owners.is_here = lambda client: True
    b.asked("a", Watch(0, pack_ids([of("b")])))
    b.it.tick(b.now)
    b.it.owners.closed(of("b"))
    assert b.it.has_to_replicate
    [ask] = b.it.replicate(b.now)
    assert (ask.peer, *unseal(TOKEN, ask.data).frames) == ("a", Gone(0, pack_ids([of("b")])))


def test_nobody_is_told_before_it_is_dialled():
    it = cluster_of("b")
    it.stored(RECORD, {}, 0.0, 0.0)
    it.peers.want(MEMBERS[0], 0.0)
    assert [action for action in it.replicate(0.0) if isinstance(action, Ask)] == []


def test_a_fence_goes_up_once_then_clients_are_closed_once():
    a = Proxy()
    silent = a.now + TIMES.heartbeat_timeout
    at = {}
    while a.now < silent + TIMES.fence_timeout + 2.0:
        for action in a.tick((Fence, CloseClients), a.now + 0.5):
            assert action not in at
            at[action] = a.now
    assert at == {Fence(True): silent + 1.0, CloseClients(): silent + TIMES.fence_timeout + 0.5}
    assert a.it.voice.beat.fenced


def test_who_was_fenced_again_closes_again():
    a = Proxy()
    long = TIMES.heartbeat_timeout + TIMES.fence_timeout + 2.0
    seen = []
    for _ in range(2):
        end = a.now + long
        while a.now < end:
            seen += a.tick((Fence, CloseClients), a.now + 0.5)
        a.it.peers.restart()
        a.hears("b", Proof(a.it.peers["b"].stream.nonce))
        a.answers("b", Facts(a.numbers["b"], [Told(RECORD)]))
        seen += a.tick((Fence, CloseClients))
    assert seen == [Fence(True), CloseClients(), Fence(False)] * 2


def test_nodes_are_introduced_when_something_changes():
    a = Proxy(live="b")
    router = {member.proxy: member.router for member in MEMBERS}
    peers = [("a", router["a"], True), ("b", router["b"], True), ("c", router["c"], False)]
    assert a.tick(Introduce) == [Introduce(peers, 5)]
    assert a.tick(Introduce) == []


def test_who_is_no_member_introduces_nobody():
    it = cluster_of("c")
    it.stored(record_of("ab", members=MEMBERS[:2]), {}, 0.0, 0.0)
    assert not [action for action in it.tick(0.0) if isinstance(action, Introduce)]


# --- what it waits for ------------------------------------------------------------------------------------------------


def founder():
    """It has founded, and a node comes that knows of another cluster."""
    it = cluster_of()
    it.stored(record_of("a", members=MEMBERS[:1]), {}, 0.0, 0.0)
    it.membership.node_told(40, 0.0)
    return it


def test_a_founder_in_doubt_says_so_until_the_operator_knows_better():
    it = founder()
    assert it.hindrance(0.0) == changes.unknown_cluster(it.membership)
    it.reset()
    assert it.hindrance(0.0) == ""


def test_who_has_not_read_the_store_waits_for_nobody_in_it():
    assert cluster_of().hindrance(0.0) == ""


def test_who_leaves_and_is_no_member_waits_for_nothing():
    it = cluster_of("c")
    it.stored(record_of("ab", members=MEMBERS[:2]), {}, 0.0, 0.0)
    assert it.hindrance(0.0).startswith("to hear 2 of 2 members")
    it.leave()
    assert it.hindrance(0.0) == ""


def test_noise_explains_for_a_while_why_nobody_is_heard():
    it = cluster_of("c")
    it.stored(record_of("ab", members=MEMBERS[:2]), {}, 0.0, 0.0)
    assert it.hindrance(0.0).endswith(unheard.SILENCE)
    it.received(b"noise", 1.0)
    assert it.hindrance(1.0 + TIMES.discover_timeout).endswith(unheard.GARBLED)
    assert it.hindrance(1.1 + TIMES.discover_timeout).endswith(unheard.SILENCE)
    it.asked(b"noise", 2.0)
    assert it.hindrance(2.0 + TIMES.discover_timeout).endswith(unheard.GARBLED)

"""One Cluster and what comes to it, frame by frame. test_cluster has several of them."""

import pytest

from holdfast.balancer.cluster import counting
from holdfast.balancer.cluster.actions import Ask, CloseClients, Dial, Fence, HangUp, Introduce, Publish
from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.debts import Debts, Run
from holdfast.balancer.cluster.keeping import Phase
from holdfast.balancer.cluster.sequence import SequenceState
from holdfast.balancer.settings import StateSettings
from holdfast.balancer.state import StateCopy
from holdfast.protocols.nodes.frames import pack_ids
from holdfast.protocols.peers.envelope import seal, unseal
from holdfast.protocols.peers.frames import (
    DRAINED,
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
from holdfast.protocols.peers.replication import Gone, Held, Noted, Owed, Watch
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
    it = Cluster(MEMBERS["abc".index(me)], TOKEN, TIMES, lambda: NONCE, 0.0, **given)
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


def test_what_is_asked_is_a_sign_that_we_are_awake():
    a = Proxy()
    a.now += 5.0
    a.asked("b", WantFacts())
    a.hears("b", Beat(5, [], []))
    assert a.heard == set(), "nothing that waited counts"


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
    assert b.asked("c", Owed("b", [("n", 7, 1)])) == [Noted([("n", 7)])]
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


def test_what_is_drained_at_others_is_known():
    a = Proxy()
    a.hears("b", Nodes([NodeSeen("n", 1, DRAINED), NodeSeen("m", 1)]))
    a.it.node_list([NodeSeen("o", 1, DRAINED)])
    assert a.it.drained() == {("n", 1)}


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
    a.it.debts.lost(Run("n", 7), [("b", 1)], 0, a.now)
    asks = [(ask.peer, *unseal(TOKEN, ask.data).frames) for ask in a.it.replicate(a.now) if isinstance(ask, Ask)]
    assert asks == [("b", Owed("b", [("n", 7, 1)]))]


def test_nobody_is_told_before_it_is_dialled():
    it = cluster_of("b")
    it.stored(RECORD, {}, 0.0, 0.0)
    assert [action for action in it.replicate(0.0) if isinstance(action, Ask)] == []


def test_a_fence_goes_up_once_then_clients_are_closed_once():
    a = Proxy()
    actions = []
    while a.now < 3.0 + TIMES.heartbeat_timeout + TIMES.fence_timeout:
        actions += a.tick((Fence, CloseClients), a.now + 0.5)
    assert actions == [Fence(True), CloseClients()]
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

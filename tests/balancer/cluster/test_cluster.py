"""Two or three Clusters, joined by hand: what each does with what comes."""

from collections import deque

import pytest

from holdfast.balancer.cluster import debts
from holdfast.balancer.cluster.actions import Ask, CloseClients, Dial, Fence, HangUp, Introduce, Publish, Write
from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.debts import Run
from holdfast.balancer.cluster.mastership import RAISE_EVERY
from holdfast.balancer.cluster.sequence import SequenceState
from holdfast.protocols.peers.envelope import seal
from holdfast.protocols.peers.frames import (
    SYNCING,
    Figures,
    Member,
    NodeSeen,
    Prove,
    Record,
    Tunnelled,
    WantFacts,
)
from tests.balancer.cluster.views import LEASE_WAIT, TIMES, Prompt, member

TOKEN = b"shared"


class Net:
    """Everything arrives at once; time passes by hand.

    off: who says nothing and hears nothing. deaf: who answers no question. cut: pairs, of whose first nothing comes to
    the second. no_store: who can't reach it. writers: who has written to it.
    """

    def __init__(self, *names):
        self.now = 0.0
        self.record = Record()
        self.cards = {}
        self.clusters = {}
        self.done = {}
        self.off, self.deaf, self.cut, self.no_store, self.writers = set(), set(), set(), set(), set()
        for name in names:
            self.add(name)

    def add(self, name, me: Member | None = None, times=TIMES, token=TOKEN):
        me = me or member(name)
        self.clusters[name] = Cluster(me, token, times, lambda: len(self.clusters) * 1000, lambda: 0, self.now)
        Prompt(self.clusters[name].replication)
        self.cards[name] = me
        self.done[name] = []
        return self.clusters[name]

    def run(self, duration, step=0.1):
        end = self.now + duration
        while self.now < end:
            self.now += step
            for name, cluster in self.clusters.items():
                if name not in self.off | self.no_store:
                    cluster.stored(self.record, dict(self.cards), self.now, self.now)
            self.settle()

    def settle(self):
        queue = deque(name for name in self.clusters if name not in self.off)
        while queue:
            name = queue.popleft()
            self.clusters[name].debts.tick(self.now)  # as the proxy's ticker
            for action in self.clusters[name].tick(self.now):
                self.done[name].append(action)
                self.carry_out(name, action, queue)

    def carry_out(self, name, action, queue):
        match action:
            case Publish(data):
                for other in self.clusters:
                    if other != name and not {name, other} & self.off and (name, other) not in self.cut:
                        self.clusters[other].received(data, self.now)
                        queue.append(other)
            case Ask(peer, data) if peer in self.clusters and peer not in self.off and (name, peer) not in self.cut:
                asked = self.clusters[peer].asked(data, self.now)
                answers = [b"refused"] if asked is None else asked[1]
                for answer in answers if peer not in self.deaf else ():
                    self.clusters[name].received(answer, self.now)
                queue += [peer, name]
            case Write() if name in self.no_store:
                self.clusters[name].store_failed(was_writing=True)
            case Write(record, expected):
                self.writers.add(name)
                if self.record.version == expected:
                    self.record = record
                self.clusters[name].stored(self.record, dict(self.cards), self.now, self.now)
                queue.append(name)

    def actions(self, name, kind):
        return [action for action in self.done[name] if isinstance(action, kind)]


def test_three_find_each_other():
    net = Net("a", "b", "c")
    net.run(3.0)
    records = {cluster.membership.record for cluster in net.clusters.values()}
    assert len(records) == 1
    assert set(records.pop().ids) == {"a", "b", "c"}
    assert {action.member.proxy for action in net.actions("a", Dial)} == {"b", "c"}
    assert net.clusters["a"].counters.joins == 3


def test_who_is_owed_by_a_lost_node_is_told_and_says_so():
    net = Net("a", "b", "c")
    net.run(3.0)
    a, b, c = (cluster.debts for cluster in net.clusters.values())
    missed = []
    b._on_missed = c._on_missed = lambda node, before: missed.append(node)
    a.lost(Run("n", 7), [("b", 1)], [], 0, net.now)
    net.run(1.0 + debts.PATIENCE * debts.WAY_BACK)
    assert (len(a), missed) == (0, ["n"])


def test_who_is_owed_and_frozen_is_told_when_it_wakes_up():
    net = Net("a", "b", "c")
    net.run(3.0)
    a, b = net.clusters["a"].debts, net.clusters["b"].debts
    missed = []
    b._on_missed = lambda node, before: missed.append(node)
    net.off.add("b")
    a.lost(Run("n", 7), [("b", 1)], [], 0, net.now)
    net.run(debts.MAX_SLEEP - 5)
    assert len(a) == 1
    net.off.remove("b")
    net.run(3.0 + debts.PATIENCE * debts.WAY_BACK)
    assert (len(a), missed) == (0, ["n"])


@pytest.mark.parametrize("names", [("a", "b", "c"), ("b",)])
def test_who_was_away_for_too_long_closes_its_clients(names):
    net = Net(*names)
    net.run(3.0)
    missed = []
    net.clusters["b"].debts._on_missed = lambda node, before: missed.append(node)
    net.off.add("b")
    net.run(debts.MAX_SLEEP + 1)
    net.off.remove("b")
    net.run(1.0)
    assert missed == [""] * (len(names) > 1), "alone it is not forgotten"


def test_nodes_and_figures_come_to_all():
    net = Net("a", "b")
    net.run(3.0)
    a, b = net.clusters.values()
    a.node_list([NodeSeen("n", 7)])
    a.voice.figures = lambda: Figures(clients=12)
    net.run(1.0)
    b.node_list([NodeSeen("n", 7)])
    assert b.membership.majority_sees("n", 7, net.now, ready=True)
    assert b.beat_of("a") == a.beat_of("a")
    assert b.beat_of("a").figures.clients == 12
    assert b.beat_of("x") is None


def test_a_death_that_one_can_see_is_told_to_all():
    net = Net("a", "b", "c")
    net.run(3.0)
    told = []
    for name, cluster in net.clusters.items():
        cluster.on_died = lambda *whom, name=name: told.append((name, *whom))
    net.clusters["b"].node_died("n", 7)
    net.run(1.0)
    assert sorted(told) == [("a", "n", 7), ("c", "n", 7)]


def test_members_of_a_channel_are_asked_for():
    net = Net("a", "b", "c")
    net.run(4.0)
    for name, cluster in net.clusters.items():
        cluster.count_here = {"room": ord(name)}.get
    told = []
    assert net.clusters["a"].count("room", 0.5, told.append, net.now)
    net.settle()
    assert told == [{"a": 97, "b": 98, "c": 99}]


def test_who_does_not_answer_counts_nothing():
    net = Net("a", "b", "c")
    net.run(4.0)
    for cluster in net.clusters.values():
        cluster.count_here = lambda channel: 2
    net.off.add("c")
    told = []
    net.clusters["a"].count("room", 0.5, told.append, net.now)
    net.run(0.4)
    assert told == []
    net.run(0.2)
    assert told == [{"a": 2, "b": 2}]


def test_alone_the_count_is_our_own():
    net = Net("a")
    net.run(3.0)
    told = []
    net.clusters["a"].count_here = lambda channel: 5
    assert net.clusters["a"].count("room", 0.5, told.append, net.now)
    assert told == [{"a": 5}]


def test_a_newcomer_gets_what_was_said_before():
    net = Net("a")
    net.run(2.0)
    net.clusters["a"].node_list([NodeSeen("n", 1)])
    net.run(1.0)
    net.add("b")
    net.run(2.0)
    assert net.clusters["b"].membership.nodes["a"].keys() == {("n", 1)}
    assert net.clusters["b"].peers["a"].stream.counters.repairs == 1


def test_a_peer_that_never_answers_is_not_heard():
    """It publishes, and we can't ask it for its facts."""
    net = Net("a", "b")
    net.deaf.add("b")
    net.run(3.0)
    assert net.clusters["a"].peers["b"].stream.state is SequenceState.ASKING
    assert net.clusters["a"].membership.heard_now(net.now) == set()
    net.deaf.clear()
    net.run(1.5)
    assert net.clusters["a"].membership.heard_now(net.now) == {"b"}


class TestElection:
    def proxies(self, *names):
        net = Net(*names)
        net.run(4.0)
        return net

    def say(self, net, *names, nodes=(("n", 1),)):
        for name in names:
            net.clusters[name].node_list([NodeSeen(*node) for node in nodes])

    def test_the_first_node_that_a_majority_has_ready(self):
        net = self.proxies("a", "b", "c")
        self.say(net, "a", nodes=[("m", 1), ("x", 1, SYNCING), ("n", 1), ("o", 1)])
        self.say(net, "b", nodes=[("x", 1), ("n", 1), ("o", 1)])
        net.run(0.3)
        assert (net.record.master, net.record.incarnation) == ("n", 1)
        assert net.record.epoch == net.record.version
        for cluster in net.clusters.values():
            assert cluster.mastership.master(net.now) == ("n", net.record.epoch)

    def test_it_stays_and_gets_a_higher_epoch_when_a_node_has_seen_one(self):
        net = self.proxies("a", "b")
        self.say(net, "a", "b")
        net.run(0.3)
        version = net.record.version
        self.say(net, "a", "b", nodes=[("m", 1), ("n", 1)])
        net.run(3.0)
        assert net.record.version == version
        # When no other cluster can be left.
        net.clusters["a"].membership.node_told(40, net.now + TIMES.takeover_timeout)
        net.run(0.3)
        assert (net.record.master, net.record.epoch) == ("n", 41)

    def test_so_it_is_where_nobody_is_ready_yet(self):
        """Who has seen a higher epoch may wait for its keeper, and never be ready to be elected."""
        net = self.proxies("a", "b")
        self.say(net, "a", "b", nodes=[("n", 1, SYNCING)])
        net.clusters["a"].membership.node_told(40, net.now + TIMES.takeover_timeout)
        net.run(0.3)
        assert (net.record.master, net.record.epoch) == ("", 41)
        self.say(net, "a", "b")
        net.run(1.0)
        assert net.record.master == "n"

    def test_that_is_not_done_all_the_time(self):
        """Two clusters that have nodes in common would be above each other in turn."""
        net = self.proxies("a")
        self.say(net, "a")
        net.run(TIMES.takeover_timeout)
        epochs = []
        for _ in range(40):
            net.clusters["a"].membership.node_told(net.record.epoch + 10, net.now)
            net.run(0.25)
            if net.record.epoch not in epochs:
                epochs.append(net.record.epoch)
        assert len(epochs) <= 1 + 10.0 / RAISE_EVERY

    def test_the_next_one_waits_for_its_lease(self):
        net = self.proxies("a")
        self.say(net, "a")
        net.run(LEASE_WAIT)
        cluster = net.clusters["a"]
        assert cluster.mastership.renew(("n", 1), net.now)
        granted = net.now
        self.say(net, "a", nodes=[("m", 1)])
        net.run(0.3)
        assert cluster.mastership.master(net.now) == ("", net.record.epoch)
        assert not cluster.mastership.renew(("n", 1), net.now), "it is lost, and there is another"
        while net.record.master != "m":
            net.run(0.1)
        assert granted + LEASE_WAIT <= net.now < granted + LEASE_WAIT + 0.3

    def test_without_another_the_old_one_may_come_back(self):
        net = self.proxies("a")
        self.say(net, "a")
        net.run(LEASE_WAIT)
        self.say(net, "a", nodes=[])
        net.run(1.0)
        assert net.clusters["a"].mastership.renew(("n", 1), net.now)

    def test_only_the_records_process_is_granted(self):
        net = self.proxies("a")
        self.say(net, "a")
        net.run(LEASE_WAIT)
        assert not net.clusters["a"].mastership.renew(("n", 2), net.now)
        assert not net.clusters["a"].mastership.renew(("m", 1), net.now)

    def test_when_the_keeper_has_no_store_the_next_one_elects_a_step_later(self):
        net = self.proxies("a", "b", "c")
        keeper, second, _ = net.record.ids
        assert net.record.keeper == keeper
        net.no_store.add(keeper)
        net.writers.clear()
        self.say(net, "a", "b", "c")
        net.run(0.9)
        assert net.record.master == ""
        net.run(0.4)
        assert net.record.master == "n"
        assert net.writers == {second}

    def test_one_that_sees_less_than_there_is_elects_nobody(self):
        """a - b - c, and c has not the master: it sees it at one of two."""
        net = self.proxies("a", "b", "c")
        self.say(net, "a", "b", nodes=[("n", 1), ("m", 1)])
        net.run(0.3)
        assert net.record.master == "n"
        self.say(net, "c", nodes=[("m", 1)])
        net.cut |= {("a", "c"), ("c", "a")}
        version = net.record.version
        net.run(6.0)
        assert net.clusters["c"].membership.is_vacant(net.now)
        assert net.record.version == version


def test_nobody_is_let_in_with_other_settings():
    net = Net("a")
    net.run(2.0)
    newcomer = net.add("b", times=TIMES._replace(lease=1.0))
    net.run(2.0)
    assert net.record.ids == ("a",)
    assert newcomer.refusal(net.now).startswith("election.lease is 1 here and 2 in the cluster")
    assert net.clusters["a"].refusal(net.now) == ""


LATE = TIMES.card_ttl + TIMES.discover_timeout + 1.0


def test_who_comes_with_another_token_is_told_so_and_the_members_know_of_it():
    net = Net("a", "b")
    net.run(2.0)
    newcomer = net.add("c", token=b"another")
    net.run(1.0)
    assert newcomer.hindrance(net.now).startswith("to hear 2 of 2 members, such as a at tcp://10.0.0.1:a and pub: ")
    assert "another node.token" in newcomer.hindrance(net.now)
    assert net.clusters["a"].knocking(net.now)[0] == [], "it may be about to come"
    net.run(LATE)
    proxies, why = net.clusters["a"].knocking(net.now)
    assert [proxy.proxy for proxy in proxies] == ["c"]
    assert "another node.token" in why
    assert newcomer.knocking(net.now)[0] == [], "who is no member says what it waits for itself"


def test_who_hears_nobody_is_told_so():
    net = Net("a", "b")
    net.run(2.0)
    newcomer = net.add("c")
    net.cut |= {("c", "a"), ("c", "b"), ("a", "c"), ("b", "c")}
    net.run(LATE)
    assert "nothing comes: an address that is not reached" in newcomer.hindrance(net.now)
    proxies, why = net.clusters["a"].knocking(net.now)
    assert [proxy.proxy for proxy in proxies] == ["c"]
    assert "nothing comes" in why


def test_who_leaves_waits_for_nothing():
    net = Net("a")
    net.run(2.0)
    net.clusters["a"].leave()
    net.run(3.0)
    assert net.record.ids == ()
    assert net.clusters["a"].hindrance(net.now) == ""


def test_two_that_begin_at_once_are_one_cluster():
    net = Net("a", "b")
    net.run(0.5)
    assert net.record == Record()
    assert net.clusters["a"].hindrance(net.now)
    net.run(3.0)
    assert set(net.record.ids) == {"a", "b"}
    assert net.clusters["a"].hindrance(net.now) == ""
    for proxy in "ab":
        assert all(introduce.peers for introduce in net.actions(proxy, Introduce)), "who is no member yet lists nobody"


def test_who_falls_silent_is_evicted_given_up_and_hung_up_on():
    net = Net("a", "b", "c")
    net.run(3.0)
    net.off.add("c")
    del net.cards["c"]
    net.run(3.0)
    assert net.record.ids == ("a", "b")
    assert net.clusters["a"].counters.evictions == 1
    assert ("c", member("c").router, False) in net.actions("a", Introduce)[-1].peers
    net.run(4.0)
    assert [action.peer for action in net.actions("a", HangUp)] == ["c"]
    assert net.clusters["a"].beat_of("c") is None
    net.run(TIMES.grace)
    assert [proxy for proxy, _, _ in net.actions("a", Introduce)[-1].peers] == ["a", "b"]
    told = net.actions("a", Introduce)
    assert [introduce.ballot for introduce in told] == sorted(introduce.ballot for introduce in told)
    assert told[0].ballot < told[-1].ballot == net.record.ballot


def test_who_is_alone_is_fenced_once_then_closes_once_and_comes_back():
    net = Net("a", "b", "c")
    net.run(3.0)
    net.off |= {"b", "c"}
    for _ in range(200):  # without the store, too
        net.now += 0.1
        net.settle()
    assert net.actions("a", Fence) == [Fence(True)]
    assert len(net.actions("a", CloseClients)) == 1
    assert net.clusters["a"].beat_of("a").fenced
    net.off.clear()
    net.run(3.0)
    assert net.actions("a", Fence) == [Fence(True), Fence(False)]
    assert set(net.record.ids) == {"a", "b", "c"}


def test_who_leaves_is_gone_at_once():
    net = Net("a", "b")
    net.run(3.0)
    leaver = net.clusters["b"]
    leaver.leave()
    assert not leaver.membership.may_grant(net.now)
    net.settle()
    assert not leaver.membership.is_member
    net.carry_out("b", leaver.farewell(), deque())
    net.off.add("b")
    net.run(0.2)
    assert net.clusters["a"].membership.record.ids == ("a",)
    assert [proxy for proxy, _, _ in net.clusters["a"].membership.peers(net.now)] == ["a"]


def test_the_record_of_another_cluster_is_not_followed():
    """Both have the same token, and one takes the other's address for that of a member of its own."""
    net, other = Net("a"), Net("b")
    net.run(3.0)
    other.record = Record(version=100)  # it has lived for longer
    other.run(3.0)
    a, b = net.clusters["a"], other.clusters["b"]
    record = a.membership.record
    now = other.now = net.now
    asked = a.asked(seal(TOKEN, "b", 0, [Prove(7, b.me)]), now)
    assert asked is not None
    for _ in range(20):
        now += 0.1
        for one, another in ((a, b), (b, a)):
            for action in one.tick(now):
                if isinstance(action, Publish):
                    another.received(action.data, now)
                elif isinstance(action, Ask):
                    for answer in (another.asked(action.data, now) or ("", []))[1]:
                        one.received(answer, now)
    assert "b" in a.membership.heard_now(now)
    assert b.membership.record.version > record.version
    assert a.membership.record == record


def test_tunnelled_messages_go_both_ways():
    net = Net("a", "b")
    net.run(2.0)
    a, b = net.clusters.values()
    came = []
    for cluster in (a, b):
        cluster.on_tunnelled = lambda peer, frame: came.append((peer, frame))
    assert b.asked(a.tunnel("b", b"s", b"data", back=False), net.now) == ("a", [])
    a.received(b.tunnel("a", b"s", b"reply", back=True), net.now)
    assert came == [("a", Tunnelled(b"s", b"data", False, "b")), ("b", Tunnelled(b"s", b"reply", True, "a"))]


def test_strangers_and_noise_are_counted_and_nothing_else():
    net = Net("a", "b")
    net.run(2.0)
    cluster = net.clusters["a"]
    for data in (b"", b"noise", seal(b"another token", "b", 999, [])):
        cluster.received(data, net.now)
        assert cluster.asked(data, net.now) is None
    assert cluster.counters.garbled == 6
    assert cluster.asked(seal(TOKEN, "a", 0, [WantFacts()]), net.now) is None, "that is us"
    assert cluster.asked(seal(TOKEN, "x", 0, [Prove(1, member("y"))]), net.now) == ("x", [])
    assert "y" not in cluster.peers, "nobody asks for another"
    net.run(5.0)
    assert set(net.record.ids) == {"a", "b"}


def test_whoever_was_away_believes_nothing_that_waited():
    net = Net("a", "b")
    net.run(2.0)
    a = net.clusters["a"]
    heartbeat = net.clusters["b"].voice.message(net.record, net.clusters["b"].beat_of("b"), net.now + 1.0)
    assert a.membership.heard_now(net.now) == {"b"}
    a.received(heartbeat, net.now + 5.0)
    assert a.membership.heard_now(net.now + 5.0) == set()


def test_one_write_at_a_time_and_none_before_the_store_was_read():
    net = Net("a")
    cluster = net.clusters["a"]
    assert not [action for action in cluster.tick(0.1) if isinstance(action, Write)]
    for now in (0.1, 1.6):
        cluster.stored(Record(), {}, now, now)
    assert not cluster.writing.is_under_way
    assert [action for action in cluster.tick(1.6) if isinstance(action, Write)]
    assert not [action for action in cluster.tick(1.7) if isinstance(action, Write)]
    assert cluster.writing.is_under_way
    cluster.store_failed(was_writing=False)
    assert cluster.writing.is_under_way, "the answer to that is not there yet"
    cluster.store_failed(was_writing=True)
    assert not cluster.writing.is_under_way
    assert [action for action in cluster.tick(1.8) if isinstance(action, Write)]
    assert cluster.counters.store_errors == 2


def test_a_reset_leaves_who_is_heard_and_asks_all_anew():
    net = Net("a", "b", "c", "d", "e")
    net.run(4.0)
    net.off |= {"c", "d", "e"}
    net.run(3.0)
    assert len(net.record.ids) == 5
    net.clusters["a"].reset()
    repairs = net.clusters["a"].peers["b"].stream.counters.repairs
    net.run(1.0)
    assert set(net.record.ids) == {"a", "b"}
    assert net.clusters["a"].peers["b"].stream.counters.repairs == repairs + 1


def test_alone_a_former_run_may_have_granted_just_before():
    cluster = Cluster(member("a"), TOKEN, TIMES, lambda: 1, lambda: 0, 0.0)
    Prompt(cluster.replication)
    cluster.found_alone(0.0)
    cluster.node_list([NodeSeen("n", 7)])
    cluster.stored(cluster.membership.record, {}, 0.0, 0.0)
    assert not any(isinstance(action, Write) for action in cluster.tick(TIMES.lease_wait - 0.01))
    assert any(isinstance(action, Write) for action in cluster.tick(TIMES.lease_wait + 0.01))


def test_alone_there_is_nothing_to_do_but_to_be_introduced():
    cluster = Cluster(member("a"), TOKEN, TIMES, lambda: 1, lambda: 0, 0.0)
    Prompt(cluster.replication)
    cluster.found_alone(0.0)
    for tenth in range(100):
        actions = cluster.tick(tenth / 10)
        assert not [action for action in actions if not isinstance(action, (Publish, Introduce))]
    cluster.node_list([NodeSeen("n", 7)])
    cluster.stored(cluster.membership.record, {}, 10.0, 10.0)
    (write,) = [action for action in cluster.tick(10.0) if isinstance(action, Write)]
    assert write.expected == 1
    assert (write.record.version, write.record.master, write.record.incarnation) == (2, "n", 7)

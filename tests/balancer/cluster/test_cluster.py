"""Two or three Clusters, joined by hand: what each does with what comes."""

from collections import deque

from balancer.cluster.actions import Ask, CloseClients, Dial, Fence, HangUp, Introduce, Publish, Write
from balancer.cluster.cluster import Cluster
from protocols.peers.envelope import seal
from protocols.peers.frames import DRAINED, Figures, Member, NodeSeen, Prove, Record, Tunnelled, WantFacts
from tests.balancer.cluster.views import TIMES, member

TOKEN = b"shared"


class Net:
    """Everything arrives at once; time passes by hand. off: who says nothing and hears nothing."""

    def __init__(self, *names):
        self.now = 0.0
        self.record = Record()
        self.cards = {}
        self.clusters = {}
        self.done = {}
        self.off = set()
        for name in names:
            self.add(name)

    def add(self, name, me: Member | None = None):
        me = me or member(name)
        self.clusters[name] = Cluster(me, TOKEN, TIMES, lambda: len(self.clusters) * 1000, self.now)
        self.cards[name] = me
        self.done[name] = []
        return self.clusters[name]

    def run(self, duration, step=0.1):
        end = self.now + duration
        while self.now < end:
            self.now += step
            for name, cluster in self.clusters.items():
                if name not in self.off:
                    cluster.stored(self.record, dict(self.cards), self.now, self.now)
            self.settle()

    def settle(self):
        queue = deque(name for name in self.clusters if name not in self.off)
        while queue:
            name = queue.popleft()
            for action in self.clusters[name].tick(self.now):
                self.done[name].append(action)
                self.carry_out(name, action, queue)

    def carry_out(self, name, action, queue):
        match action:
            case Publish(data):
                for other in self.clusters:
                    if other != name and other not in self.off and name not in self.off:
                        self.clusters[other].received(data, self.now)
                        queue.append(other)
            case Ask(peer, data) if peer in self.clusters and peer not in self.off:
                asked = self.clusters[peer].asked(data, self.now)
                assert asked is not None
                for answer in asked[1]:
                    self.clusters[name].received(answer, self.now)
                queue += [peer, name]
            case Write(record, expected):
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


def test_counts_nodes_and_figures_come_to_all():
    net = Net("a", "b")
    net.run(2.0)
    a, b = net.clusters.values()
    a.count_changed([("c", 3)])
    b.count_changed([("c", 4), ("d", 1)])
    a.node_list([NodeSeen("n", 7)])
    a.voice.figures = lambda: Figures(clients=12)
    net.run(1.0)
    assert a.count("c") == b.count("c") == {"a": 3, "b": 4}
    assert a.count("d") == {"b": 1}
    assert a.count("none") == {}
    b.node_list([NodeSeen("n", 7)])
    assert b.membership.majority_sees("n", 7, net.now, ready=True)
    assert b.beat_of("a") == a.beat_of("a")
    assert b.beat_of("a").figures.clients == 12
    assert b.beat_of("x") is None


def test_a_newcomer_gets_what_was_said_before():
    net = Net("a")
    net.run(1.0)
    net.clusters["a"].count_changed((f"c{number}", 1) for number in range(5000))
    net.run(1.0)
    net.add("b")
    net.run(2.0)
    assert net.clusters["b"].count("c4999") == {"a": 1}
    assert net.clusters["b"].peers["a"].stream.counters.repairs == 1


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
    net.run(2.0)
    leaver = net.clusters["b"]
    net.carry_out("b", leaver.leave(net.now), deque())
    assert not leaver.membership.may_grant(net.now)
    assert leaver.leave(net.now) is None, "it is done"
    net.carry_out("b", leaver.farewell(), deque())
    net.off.add("b")
    net.run(0.2)
    assert net.clusters["a"].membership.record.ids == ("a",)
    assert [proxy for proxy, _, _ in net.clusters["a"].membership.peers(net.now)] == ["a"]


def test_what_an_operator_drains_at_one_member_is_known_at_the_others():
    net = Net("a", "b")
    net.run(2.0)
    a, b = net.clusters.values()
    a.node_list([NodeSeen("n", 1, DRAINED), NodeSeen("m", 1)])
    net.run(1.0)
    assert b.drained() == {("n", 1)}
    assert a.drained() == set()
    a.node_list([NodeSeen("n", 2)])  # a new process of it
    net.run(1.0)
    assert b.drained() == set()


def test_the_record_of_another_cluster_is_not_followed():
    """Both have the same token, and one takes the other's address for that of a member of its own."""
    net, other = Net("a"), Net("b")
    net.run(1.0)
    other.record = Record(version=100)  # it has lived for longer
    other.run(1.0)
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
    assert b.asked(a.tunnel(b"s", b"data", back=False), net.now) == ("a", [])
    a.received(b.tunnel(b"s", b"reply", back=True), net.now)
    assert came == [("a", Tunnelled(b"s", b"data")), ("b", Tunnelled(b"s", b"reply", True))]


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
    cluster.stored(Record(), {}, 0.1, 0.1)
    assert not cluster.is_writing
    assert [action for action in cluster.tick(0.1) if isinstance(action, Write)]
    assert not [action for action in cluster.tick(0.2) if isinstance(action, Write)]
    assert cluster.is_writing
    cluster.store_failed()
    assert not cluster.is_writing
    assert [action for action in cluster.tick(0.3) if isinstance(action, Write)]
    assert cluster.counters.store_errors == 1


def test_who_may_not_join_waits():
    net = Net("a")
    cluster = net.clusters["a"]
    cluster.may_join = False
    net.run(1.0)
    assert net.record == Record()
    cluster.may_join = True
    net.run(0.2)
    assert net.record.ids == ("a",)


def test_a_reset_leaves_who_is_heard_and_asks_all_anew():
    net = Net("a", "b", "c", "d", "e")
    net.run(4.0)
    net.off |= {"c", "d", "e"}
    net.run(3.0)
    assert len(net.record.ids) == 5
    net.carry_out("a", net.clusters["a"].reset(net.now), deque())
    repairs = net.clusters["a"].peers["b"].stream.counters.repairs
    net.run(1.0)
    assert set(net.record.ids) == {"a", "b"}
    assert net.clusters["a"].peers["b"].stream.counters.repairs == repairs + 1


def test_alone_there_is_nothing_to_do_but_to_be_introduced():
    cluster = Cluster(member("a"), TOKEN, TIMES, lambda: 1, 0.0)
    cluster.found_alone(0.0)
    for tenth in range(100):
        actions = cluster.tick(tenth / 10)
        assert not [action for action in actions if not isinstance(action, (Publish, Introduce))]
    write = cluster.elect("n", 7, 1)
    assert write.expected == 0
    assert (write.record.version, write.record.master, write.record.incarnation) == (1, "n", 7)

"""Two proxies' sockets, with the rules that they serve, and what may happen to messages in between."""

import os
import threading
from contextlib import asynccontextmanager

import pytest
import trio
import zmq
import zmq.auth
from structlog.testing import capture_logs

from holdfast.balancer.cluster.actions import Ask, Dial, HangUp, Publish
from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.sequence import SequenceState
from holdfast.balancer.cluster.times import Times
from holdfast.balancer.links.callers import Standing
from holdfast.balancer.links.curve import Curve
from holdfast.balancer.links.guard import Guard
from holdfast.balancer.links.peers import BURST, PUB_HIGH_WATER_MARK, PeerLink, PeerPort
from holdfast.balancer.links.zeromq import ZeromqHub
from holdfast.protocols.peers.frames import Member, NodeSeen, Record
from tests.waiting import PATIENCE, until

TIMES = Times(0.05, 0.4, 0.3, 10.0, 60.0, 2.0, 5.0)


class Nobody:
    """A gateway: no node comes here."""


class Proxy:
    """The cluster of one proxy, and its sockets. middle: where others find what it publishes, if not at its own PUB."""

    def __init__(self, name, token=b"secret", curve=None, middle=None):
        self.guard = Guard(curve, token.decode())
        self.hub = ZeromqHub(Nobody(), max_batch_bytes=1 << 20, max_backlog_bytes=1 << 20, guard=self.guard)
        self.hub.stranger = self._stranger
        (router,) = self.hub.open(["tcp://127.0.0.1:*"])
        self.port = PeerPort()
        self.pub = self.port.open("tcp://127.0.0.1:*", self.hub.context, self.guard)
        self.me = Member(name, router, self.pub if middle is None else middle(self))
        self.cluster = Cluster(
            self.me, token, TIMES, lambda: int.from_bytes(os.urandom(6), "big"), lambda: 0, trio.current_time()
        )
        self.links = {}
        self.unsent = 0

    def meet(self, *others):
        """The store has their cards."""
        now = trio.current_time()
        self.cluster.stored(Record(), {other.me.proxy: other.me for other in others}, now, now)

    async def run(self):
        dial, dialled = trio.open_memory_channel(10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._turns, dial)
            async for link in dialled:
                nursery.start_soon(link.run, self.hub.context, self.guard, self._received)

    async def _turns(self, dial):
        while True:
            await trio.sleep(0.005)
            self.hub.pump(trio.current_time())
            self._act(dial)

    def _act(self, dial):
        for action in self.cluster.tick(trio.current_time()):
            match action:
                case Publish(data):
                    self.port.publish(data)
                case Ask(peer, data):
                    self.unsent += not self.links[peer].send(data)
                case Dial(member):
                    self.links[member.proxy] = PeerLink(member, TIMES.heartbeat_timeout)
                    dial.send_nowait(self.links[member.proxy])
                case HangUp(peer):
                    self.links.pop(peer).end()

    def _received(self, burst):
        for data in burst:
            self.cluster.received(data, trio.current_time())

    def _stranger(self, identity, data):
        asked = self.cluster.asked(data, trio.current_time())
        for answer in asked[1] if asked else ():
            self.hub.send_raw(identity, answer)
        return Standing.KNOWN if asked else Standing.NOBODY

    def hears(self, other):
        return other.me.proxy in self.cluster.membership.heard_now(trio.current_time())

    def stream(self, other):
        return self.cluster.peers[other.me.proxy].stream

    def is_live(self, other):
        return other.me.proxy in self.cluster.peers and self.stream(other).state is SequenceState.LIVE

    def nodes(self, other):
        seen = self.cluster.membership.nodes.get(other.me.proxy, {})
        return [NodeSeen(*process, state) for process, state in seen.items()]

    def close(self):
        self.port.close()
        self.hub.close()


class Middle:
    """Stands between a PUB and those who subscribe, and does with each message what `change` says."""

    def __init__(self, proxy):
        context = proxy.hub.context
        self._hears = context.socket(zmq.SUB)
        self._hears.subscribe(b"")
        self._hears.rcvhwm = 10
        proxy.guard.to_peers_port(self._hears)
        self._hears.connect(proxy.pub)
        self._says = context.socket(zmq.PUB)
        proxy.guard.for_peers(self._says)
        self._says.bind("tcp://127.0.0.1:*")
        self.change = lambda data: [data]
        self.past = []

    @property
    def address(self):
        return self._says.getsockopt_string(zmq.LAST_ENDPOINT)

    async def run(self):
        while True:
            while self._hears.poll(0):
                data = self._hears.recv()
                for one in self.change(data):
                    self._says.send(one)
                self.past.append(data)
            self._says.getsockopt(zmq.EVENTS)
            await trio.sleep(0.002)

    def close(self):
        self._hears.close(linger=0)
        self._says.close(linger=0)


@asynccontextmanager
async def two(first_options=None, second_options=None):
    first, second = Proxy("a", **(first_options or {})), Proxy("b", **(second_options or {}))
    with trio.CancelScope() as scope:
        try:
            async with trio.open_nursery() as inner:
                inner.start_soon(first.run)
                inner.start_soon(second.run)
                first.meet(second)
                second.meet(first)
                yield first, second
                scope.cancel()
        finally:
            first.close()
            second.close()


@pytest.fixture
async def between():
    """first hears second by way of a Middle."""
    middles = []

    def middle(proxy):
        middles.append(Middle(proxy))
        return middles[-1].address

    async with two(None, {"middle": middle}) as (first, second), trio.open_nursery() as nursery:
        (one,) = middles
        nursery.start_soon(one.run)
        await until(lambda: first.is_live(second), "second's facts")
        yield first, second, one
        nursery.cancel_scope.cancel()
    one.close()


async def test_they_hear_each_other_and_have_each_others_facts():
    async with two() as (first, second):
        second.cluster.node_list([NodeSeen("kitchen", 3)])
        for one, other in ((first, second), (second, first)):
            await until(lambda: one.hears(other) and one.is_live(other), "both")  # noqa: B023
        await until(lambda: first.nodes(second) == [NodeSeen("kitchen", 3)], "the node")
        second.cluster.node_list([NodeSeen("kitchen", 4), NodeSeen("hall", 1)])
        await until(lambda: len(first.nodes(second)) == 2, "the change")
        assert (first.stream(second).counters.gaps, first.stream(second).counters.repairs) == (0, 1)


async def test_nothing_counts_before_the_subscription_is_proven():
    """The ROUTER answers at once, but what is published does not come: no facts are taken, nobody is heard."""

    def nowhere(proxy):
        return "tcp://127.0.0.1:9"  # the discard port: nobody is there

    async with two(None, {"middle": nowhere}) as (first, second):
        await until(lambda: second.is_live(first), "the way that works")
        await until(lambda: second.cluster.membership.strangers(trio.current_time()) == ["a"], "it to be heard")
        assert first.stream(second).state is SequenceState.UNPROVEN
        assert not first.hears(second)
        assert first.cluster.counters.bytes_received > 0  # it was asked by second


async def test_a_gap_is_counted_and_repaired(between):
    first, second, middle = between
    middle.change = lambda data: []
    second.cluster.node_list([NodeSeen("kitchen", 3)])
    passed = len(middle.past)
    await until(lambda: len(middle.past) >= passed + 2, "two messages to be lost")
    middle.change = lambda data: [data]
    await until(lambda: first.stream(second).counters.repairs == 2 and first.is_live(second), "the repair")
    assert first.nodes(second) == [NodeSeen("kitchen", 3)]
    counters = first.stream(second).counters
    assert (counters.gaps, counters.messages_lost >= 2) == (1, True)
    assert first.hears(second)


async def test_what_comes_twice_or_late_or_damaged_is_not_taken(between):
    first, second, middle = between
    old = middle.past[-1]
    middle.change = lambda data: [data, data]
    await until(lambda: first.stream(second).counters.duplicates > 2, "duplicates")
    middle.change = lambda data: [data, old]
    await until(lambda: first.stream(second).counters.replayed > 2, "something old")
    middle.change = lambda data: [data, data[:-1] + bytes([data[-1] ^ 1])]
    await until(lambda: first.cluster.counters.garbled > 2, "damage")
    assert first.is_live(second)
    assert first.stream(second).counters.gaps == 0
    second.cluster.node_list([NodeSeen("kitchen", 3)])
    await until(lambda: first.nodes(second) == [NodeSeen("kitchen", 3)], "what is as it should be")


async def test_who_is_told_too_much_at_once_catches_up(between):
    """More is published in one go than libzmq and the kernel keep: it drops the rest, and that is found."""
    first, second, _ = between
    names = [f"{number} {'x' * 200}" for number in range(20)]
    for number in range(4 * PUB_HIGH_WATER_MARK):  # of 4 KB
        second.cluster.node_list([NodeSeen(name, number + 1) for name in names])
        for action in second.cluster.tick(trio.current_time()):
            if isinstance(action, Publish):
                second.port.publish(action.data)
    last = [NodeSeen(name, 4 * PUB_HIGH_WATER_MARK) for name in names]
    await until(lambda: first.is_live(second) and first.nodes(second) == last, "what was said last")
    counters = first.stream(second).counters
    assert counters.received < 4 * PUB_HIGH_WATER_MARK, "not all of it came"
    assert counters.repairs > 1, "by a gap; or, if saying all that took very long, by a new beginning"


def at_a_name(proxy):
    """The same place, by a name."""
    return proxy.pub.replace("127.0.0.1", "proxy.test")


class Names:
    """What names stand for. silent: nobody answers for these until the end."""

    def __init__(self, monkeypatch):
        self.known = {}
        self.silent = set()
        self.asked = []
        self.end = threading.Event()
        monkeypatch.setattr("socket.getaddrinfo", self.look_up)

    def look_up(self, host, port, *, type):
        self.asked.append(host)
        if host in self.silent:
            self.end.wait(PATIENCE)
        if host not in self.known:
            raise OSError("nobody knows that name")
        return [(None, type, 0, "", (address, port)) for address in self.known[host]]


async def test_a_name_is_looked_up_at_each_dial_and_all_that_it_stands_for_is_tried(monkeypatch):
    names = Names(monkeypatch)
    async with two(None, {"middle": at_a_name}) as (first, second):
        await until(lambda: len(names.asked) > 1, "it to be looked up again")
        assert not first.hears(second)
        names.known["proxy.test"] = ["127.0.0.2", "127.0.0.1"]  # nobody is at the first one
        await until(lambda: first.hears(second) and first.is_live(second), "the second address")


async def test_what_can_not_be_dialled_is_one_line_however_often_it_is_tried(monkeypatch):
    names = Names(monkeypatch)
    names.known["known.test"] = ["127.0.0.1"]
    with capture_logs() as lines, zmq.Context() as context:
        async with trio.open_nursery() as nursery:
            for router in ("tcp://unknown.test:7511", "tcp://127.0.0.1:nonsense"):
                link = PeerLink(Member("dead", "tcp://known.test:7510", router), 0.04)
                nursery.start_soon(link.run, context, Guard(), lambda burst: None)
            await until(lambda: names.asked.count("known.test") > 8, "it to be tried again")
            nursery.cancel_scope.cancel()
    assert sorted(line["event"] for line in lines) == ["bad_peer_address", "name_not_found"]


async def test_a_name_that_nobody_answers_for_holds_up_no_other(monkeypatch):
    names = Names(monkeypatch)
    names.silent.add("silent.test")
    names.known["proxy.test"] = ["127.0.0.1"]
    try:
        async with two(None, {"middle": at_a_name}) as (first, second):
            link = PeerLink(Member("dead", "tcp://silent.test:7510", "tcp://silent.test:7511"), 0.4)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run, first.hub.context, None, lambda burst: None)
                await until(lambda: first.hears(second) and "silent.test" in names.asked, "the living")
                link.end()
    finally:
        names.end.set()


async def test_another_token_is_not_heard():
    async with two(None, {"token": b"another"}) as (first, second):
        counters = first.cluster.counters, second.cluster.counters
        await until(lambda: all(it.garbled for it in counters), "each to be asked")
        assert not first.hears(second)
        assert not second.hears(first)


@pytest.fixture
def keys(tmp_path):
    """Of the cluster, and of somebody else who has a key that is authorized."""
    authorized = tmp_path / "authorized"
    authorized.mkdir()
    for name in ("ours", "theirs"):
        public, _ = zmq.auth.create_certificates(tmp_path, name)
        os.rename(public, authorized / f"{name}.key")
    return lambda name: Curve(str(tmp_path / f"{name}.key_secret"), str(authorized))


async def test_with_curve_they_share_a_key_pair(keys):
    async with two({"curve": keys("ours")}, {"curve": keys("ours")}) as (first, second):
        await until(lambda: first.is_live(second) and second.is_live(first), "both")


async def test_another_key_pair_is_not_heard(keys):
    async with two({"curve": keys("ours")}, {"curve": keys("theirs")}) as (first, second):
        await until(lambda: min(first.unsent, second.unsent) > 5, "them to try")
        assert not first.hears(second)
        assert not second.hears(first)
        assert first.cluster.counters.bytes_received == second.cluster.counters.bytes_received == 0


async def test_what_is_hung_up_on_leaves_nothing_open(nursery):
    async with two() as (first, second):
        await until(lambda: first.is_live(second), "both")
        before = len(os.listdir("/proc/self/fd"))
        member = Member("c", "tcp://127.0.0.1:9", "tcp://127.0.0.1:9")
        links = [PeerLink(member, 1.0) for _ in range(5)]
        for link in links:
            nursery.start_soon(link.run, first.hub.context, first.guard, lambda burst: None)
        await until(lambda: len(os.listdir("/proc/self/fd")) >= before + 10, "sockets")
        for link in links:
            link.end()
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before, "them to be closed")


async def test_an_address_that_is_none_is_not_the_end():
    async with two() as (first, _):
        link = PeerLink(Member("c", "nonsense", "tcp://127.0.0.1:9"), 1.0)
        await link.run(first.hub.context, first.guard, lambda burst: None)
        assert not link.send(b"")


async def test_an_address_in_use():
    async with two() as (first, _):
        with pytest.raises(OSError, match="can't bind tcp"):
            PeerPort().open(first.pub, first.hub.context, first.guard)


class Flooded:
    """A socket in which there is always something."""

    def getsockopt(self, option):
        return zmq.POLLIN if option == zmq.EVENTS else 0

    def recv(self, flags):
        return b"more"


async def test_who_never_stops_to_talk_leaves_others_their_turn():
    link = PeerLink(Member("c", "tcp://127.0.0.1:9", "tcp://127.0.0.1:9"), 1.0)
    taken = 0

    def received(burst):
        nonlocal taken
        taken += len(burst)
        assert taken < 20 * BURST, "nobody else had a turn"

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(link._read, Flooded(), received)
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert taken >= BURST

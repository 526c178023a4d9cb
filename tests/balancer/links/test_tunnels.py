import pytest
import zmq

from holdfast.balancer.links.callers import Standing
from holdfast.balancer.links.tunnels import Tunnels
from holdfast.balancer.links.zeromq import ZeromqHub
from holdfast.protocols.nodes.frames import Heartbeat, Refused, Via, decode_from_proxy, encode_batch
from tests.waiting import until


class World:
    """Two proxies can be the ends; what goes to whom is kept."""

    def __init__(self):
        self.heard = {"b", "c"}
        self.full = set()  # proxies that take nothing, sessions whose node has gone
        self.to_proxies = []
        self.to_nodes = []
        self.unread = {}  # what is to be done for a session when all is taken that has come
        self.tunnels = Tunnels(self.heard.__contains__, self._forward, self._answer, 2, self.unread.setdefault)

    def read(self):
        while self.unread:
            self.unread.popitem()[1]()

    def _forward(self, proxy, session, data):
        self.to_proxies.append((proxy, session, data))
        return proxy not in self.full

    def _answer(self, session, data):
        self.to_nodes.append((session, data))
        return session not in self.full

    def refusals(self):
        """What nodes were told."""
        batches = [(session, decode_from_proxy(data)[1]) for session, data in self.to_nodes if data]
        return [(session, frame.reason) for session, (frame,) in batches if isinstance(frame, Refused)]


def test_both_ways():
    world = World()
    world.tunnels.via(b"1", "b")
    world.tunnels.via(b"2", "c")
    assert world.tunnels.forward(b"1", b"x")
    assert world.tunnels.forward(b"2", b"y")
    assert not world.tunnels.forward(b"3", b"z")
    world.tunnels.returned("b", b"1", b"p")
    world.tunnels.returned("b", b"2", b"q")  # not its session
    assert world.to_proxies == [("b", b"1", b"x"), ("c", b"2", b"y")]
    assert world.to_nodes == [(b"1", b"p")]


def test_a_proxy_that_is_not_heard_is_no_end():
    world = World()
    assert not world.tunnels.via(b"1", "d")
    assert world.tunnels.forward(b"1", b"x") is False  # as good as passed on: it must not be taken for our own
    assert world.to_proxies == []
    assert world.refusals() == [(b"1", "that proxy is not heard here")]
    assert len(world.tunnels) == 0


def test_so_many_and_no_more():
    world = World()
    for session in (b"1", b"2", b"3"):
        world.tunnels.via(session, "b")
    assert world.refusals() == [(b"3", "too many tunnels: the limit is 2")]
    world.tunnels.returned("b", b"1", b"")  # over
    world.tunnels.via(b"4", "b")
    assert len(world.refusals()) == 2
    assert len(world.tunnels) == 2


def test_it_ends_with_the_proxy():
    world = World()
    world.tunnels.via(b"1", "b")
    world.tunnels.via(b"2", "c")
    world.heard.remove("b")
    world.tunnels.tend()
    assert world.refusals() == [(b"1", "that proxy is not heard any more")]
    assert world.to_proxies == [("b", b"1", b"")]
    assert len(world.tunnels) == 1


def test_it_ends_with_the_session():
    world = World()
    world.tunnels.via(b"1", "b")
    world.tunnels.returned("b", b"1", b"")
    assert world.refusals() == [(b"1", "the session is over")]
    assert world.tunnels.forward(b"1", b"x") is False
    world.tunnels.returned("b", b"1", b"p")
    assert (world.to_proxies, len(world.to_nodes)) == ([("b", b"1", b"")], 1)
    world.full.add(b"1")
    assert world.tunnels.probe(b"1")  # the node's connection has ended, and with it all that was to be remembered
    world.read()
    assert world.tunnels.forward(b"1", b"x") is None


def test_it_ends_with_the_node():
    world = World()
    world.tunnels.via(b"1", "b")
    world.tunnels.via(b"2", "b")
    asked = len(world.to_nodes)
    assert not world.tunnels.probe(b"1")
    world.full.add(b"1")
    assert world.tunnels.probe(b"1")
    assert world.tunnels.probe(b"1"), "it has not come back"
    world.tunnels.forward(b"1", b"x")  # what it had said comes before its end
    world.read()
    assert [session for session, _ in world.to_nodes[asked:]] == [b"1"] * 3, "nobody else is asked"
    assert world.to_proxies == [("b", b"1", b"x"), ("b", b"1", b"")]
    assert len(world.tunnels) == 1


def test_nothing_is_left_out_of_a_session():
    """What one side does not take ends the tunnel for both."""
    world = World()
    world.tunnels.via(b"1", "b")
    world.full.add("b")
    assert world.tunnels.forward(b"1", b"x")
    assert world.to_proxies == [("b", b"1", b"x"), ("b", b"1", b"")]
    assert world.refusals() == [(b"1", "the proxy does not take what goes to it")]
    world.tunnels.via(b"2", "c")
    world.full.add(b"2")
    world.tunnels.returned("c", b"2", b"p")
    world.read()
    assert world.to_proxies[-1] == ("c", b"2", b"")
    assert world.to_nodes[-1][0] == b"2"
    assert len(world.tunnels) == 0


def test_nothing_is_left_behind_by_an_end_that_is_found_out_in_two_ways():
    """Something comes back for the session, and its connection is asked, before all was taken that it had said."""
    world = World()
    world.tunnels.via(b"1", "b")
    world.full.add(b"1")
    world.tunnels.returned("b", b"1", b"p")
    assert world.tunnels.probe(b"1"), "nobody asks again"
    world.read()
    assert world.tunnels.forward(b"1", b"x") is None
    assert world.tunnels._gone == set()
    assert world.to_proxies == [("b", b"1", b"")]


@pytest.mark.parametrize("how", ["its end is seen", "something comes back for it"])
async def test_what_a_dead_node_has_said_is_passed_on_before_its_end(how):
    hub = ZeromqHub(None, max_batch_bytes=1 << 20, max_backlog_bytes=300)
    passed = []
    tunnels = Tunnels(
        lambda proxy: True, lambda proxy, session, data: passed.append(data) or True, hub.send_raw, 1, hub.when_read
    )
    sessions = []

    def take(session, data):
        if not sessions:
            sessions.append(session)
            tunnels.via(session, "b")
        else:
            tunnels.forward(session, data)
        return Standing.KNOWN

    hub.stranger, hub.on_end = take, tunnels.probe
    [address] = hub.open(["tcp://127.0.0.1:*"])
    context = zmq.Context()
    node = context.socket(zmq.DEALER)
    node.connect(address)
    said = [encode_batch(0, [Via("b")])] + [encode_batch(number, [Heartbeat(1.0)]) for number in range(1, 201)]
    node.send(said[0])
    while not sessions:
        hub.pump(1.0)
    hub.callers.take_events(1.0)
    for data in said[1:]:
        node.send(data)
    node.close(linger=-1)
    context.term()  # all has left
    assert hub.callers.door.monitor.poll(60_000), "the end of the connection"

    def is_known():
        if how == "its end is seen":
            hub.probe(sessions[0])
        else:
            tunnels.returned("b", sessions[0], b"an Ack")
        return bool(hub._ended)

    await until(is_known, interval=0.01)
    while hub.pump(1.0):
        pass
    hub.close()
    assert passed == [*said[1:], b""]

"""Whoever asks is told the end of each request, once, whatever it ends by; and what counts them comes out even."""

from contextlib import contextmanager

import pytest

from holdfast.balancer.calls import Call, Caller
from holdfast.balancer.taken import ALL
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError
from holdfast.protocols.nodes import frames
from holdfast.proxy.nodes import expired
from tests.proxy.still import StillProxy, taken


class Asking(Caller):
    """ends: what it is told: a reply's payload, or the reason of an error."""

    def __init__(self):
        self.ends = []
        self.has_gone = False

    @property
    def is_closed(self):
        return self.has_gone

    def reply(self, event, head, payload, is_text, more):
        if payload == b"bad":
            raise ProtocolError("not that", Reason.BAD_REPLY)
        self.ends.append(payload)
        return ALL

    def fail(self, event, error):
        self.ends.append(error.reason)
        return 0


@contextmanager
def still(**sections):
    proxy = StillProxy(**sections)
    try:
        yield proxy
    finally:
        proxy.close()


def asks(proxy, asking, timeout=5.0):
    pool = proxy.app.calls._pools["publish"]
    proxy.dispatch.call(asking, Call("publish", b"x"), pool, timeout)
    proxy.hear()


def says(frame, **more):
    def end(proxy, asking, node):
        [call] = taken(node, frames.Call)
        node.say(frame(call.id, 1, **more))

    return end


def reply(payload, more=False, effects=None):
    return says(lambda id, attempt: frames.Reply(id, attempt, payload, True, more, effects))


def goes(proxy, asking, node):
    asking.has_gone = True
    proxy.dispatch.abandon()


def goes_and_its_node_too(proxy, asking, node):
    asking.has_gone = True
    node.vanish()


def goes_before_there_is_a_node(proxy, asking, node):
    asking.has_gone = True
    proxy.join(takes=["publish"])


def two_are_lost(proxy, asking, node):
    nodes = [node, *(proxy.join(name, takes=["publish"]) for name in "bc")]
    while not asking.ends:
        has_it = next(each for each in nodes if taken(each, frames.Call))
        nodes.remove(has_it)
        has_it.vanish()
        proxy.hear()


def overloads(proxy, asking, node):
    proxy.dispatch.overloaded(proxy.app.ledger.by_connection()[asking])


ENDS = {
    "reply": (True, reply(b"done"), b"done"),
    "reply with effects": (True, reply(b"done", effects=[frames.Broadcast(b"x", True)]), b"done"),
    "part that is the end": (True, reply(b"part", more=True), b"part"),
    "bad reply": (True, reply(b"bad"), Reason.BAD_REPLY),
    "bad part": (True, reply(b"bad", more=True), Reason.BAD_REPLY),
    "failure": (True, says(frames.Failure, status=418, message="tea"), Reason.NODE_ERROR),
    "no failure": (True, says(frames.Failure, status=200, message="?"), Reason.BAD_REPLY),
    "its time is over": (True, lambda proxy, asking, node: proxy.tick(5.0), Reason.DEADLINE_EXCEEDED),
    "no node in its time": (False, lambda proxy, asking, node: proxy.tick(5.0), Reason.NO_NODE),
    "too many nodes are lost": (True, two_are_lost, Reason.QUARANTINED),
    "gone": (True, goes, Reason.CLIENT_LEFT),
    "gone, parked": (False, goes, Reason.CLIENT_LEFT),
    "gone with its node": (True, goes_and_its_node_too, Reason.CLIENT_LEFT),
    "gone, then sent": (False, goes_before_there_is_a_node, Reason.CLIENT_LEFT),
    "overload": (True, overloads, Reason.OVERLOADED),
    "the proxy leaves": (True, lambda proxy, asking, node: proxy.dispatch.leave("bye"), Reason.DRAINING),
    "the proxy leaves, parked": (False, lambda proxy, asking, node: proxy.dispatch.leave("bye"), Reason.DRAINING),
}


@pytest.mark.parametrize(("has_node", "end", "told"), ENDS.values(), ids=ENDS)
async def test_the_end_of_each_request_is_told_once(has_node, end, told):
    with still() as proxy:
        node = proxy.join(takes=["publish"]) if has_node else None
        asking = Asking()
        asks(proxy, asking)
        end(proxy, asking, node)
        proxy.hear()
        proxy.settle()
        proxy.tick(100.0)
        proxy.dispatch.abandon()
        assert asking.ends == [told]
        assert (len(proxy.app.ledger), proxy.app.ledger.held_bytes, proxy.app.ledger.parked_count) == (0, 0, 0)
        assert all(node.in_flight == 0 for node in proxy.app.directory)


@pytest.mark.parametrize("limit", ["max_in_flight", "max_parked"])
async def test_so_is_that_there_is_no_room(limit):
    with still(request={limit: 1}) as proxy:
        first, second = Asking(), Asking()
        asks(proxy, first)
        asks(proxy, second)
        assert (first.ends, second.ends) == ([], [Reason.PARKING_FULL])
        assert len(proxy.app.ledger) == 1


def asked(proxy, node, count, to, timeout=60_000):
    node.say(*(frames.Ask(number, to, b"?", True, timeout) for number in range(count)))
    proxy.hear()


async def test_an_asker_that_is_lost_while_it_is_told_that_time_is_over(monkeypatch):
    """What is left of that is the next turns': it found nobody's count, and the proxy ended."""
    monkeypatch.setattr(expired, "ANSWERED_PER_TURN", 2)
    with still() as proxy:
        peer = proxy.join("asker")
        [node] = proxy.app.directory
        asked(proxy, peer, 5, "nobody")
        proxy.app.dispatch.expire(proxy.app.reactor.now + 60.0)
        assert (len(proxy.dispatch.expired), node.questions) == (3, 3)
        peer.vanish()
        proxy.hear()
        while proxy.dispatch.expired:
            proxy.dispatch.expired.add([])  # as in the next turn
        assert node.questions == 0


async def test_who_asks_is_answered_in_time_though_others_leave():
    """Of 10,000 that are open the next one is refused: one that was forgotten counted for ever."""
    with still() as proxy:
        asker, node = proxy.join("asker"), proxy.join("node", takes=["ask"])
        asked(proxy, asker, 3, "node", timeout=100)
        assert len(taken(node, frames.Call)) == 3
        proxy.app.reactor.now += 0.2
        proxy.dispatch.abandon()  # as when any client has left
        proxy.tick()
        assert [each.status for each in taken(asker, frames.Answered)] == [504] * 3
        assert [each.questions for each in proxy.app.directory] == [0, 0]

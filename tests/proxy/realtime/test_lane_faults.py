"""Faults of ours in a lane: what crashes is not done, and costs nobody else anything."""

import pytest

from holdfast.balancer.remembered import Remembered
from holdfast.protocols.nodes import frames
from holdfast.proxy.nodes.dispatch import Dispatch
from holdfast.proxy.process.build import is_compiled
from holdfast.proxy.realtime import lanes
from holdfast.proxy.realtime.channels import Channels
from holdfast.proxy.realtime.mutes import Mutes
from tests.proxy.still import StillProxy, taken, tell


@pytest.fixture
async def proxy():
    proxy = StillProxy(request={"timeout": 5.0})
    yield proxy
    proxy.close()


class Faulty:
    """Replies that crash in one place, for the payload b"bad"."""

    def __init__(self, dispatch, where):
        self._dispatch = dispatch
        self._where = where

    def __getattr__(self, name):
        method = getattr(self._dispatch, name)

        def call(node, frame, *entry):
            if name == self._where and frame.payload == b"bad":
                raise RuntimeError("a fault of ours")
            return method(node, frame, *entry)

        return call if name == self._where else method


def fail_on(monkeypatch, kind, name, is_bad):
    """Have a method crash for these arguments."""
    method = getattr(kind, name)

    def faulty(self, *arguments):
        if is_bad(*arguments):
            raise RuntimeError("a fault of ours")
        return method(self, *arguments)

    monkeypatch.setattr(kind, name, faulty)


waits = pytest.mark.parametrize("waits", [False, True], ids=["at once", "after others"])
changes_methods = pytest.mark.skipif(is_compiled(), reason="changes a method")


@changes_methods
@waits
async def test_effects_whose_beginning_crashes_are_not_done_and_acknowledged(proxy, monkeypatch, waits):
    fail_on(monkeypatch, Remembered, "add", lambda home, request, part: request == 13)
    client, node = proxy.client(), proxy.join()
    proxy.lanes._budget = 0 if waits else lanes.SLICE
    node.say(
        frames.Effects(1, [tell("bad")], "p", 13, 1),
        frames.Effects(2, [tell("good")], "p", 14, 1),
        frames.Effects(3, [], "p", 13, 2),
    )
    proxy.settle()
    assert client.heard == ["* good"]
    assert taken(node, frames.Ack)[-1].number == 3
    lane = proxy.lane()
    assert (lane.frames, lane.bytes, lane.is_busy, proxy.lanes.busy) == (0, 0, False, 0)


def two_replies(proxy, where, waits, one, other, then):
    """The first reply crashes at `where`. With each is told a text, and another by effects that follow. The clients."""
    proxy.lanes.replies = Faulty(proxy.dispatch, where)
    clients, node = [proxy.client(), proxy.client()], proxy.join()
    for client in clients:
        client.ask("go")
    proxy.turn()
    first, second = taken(node, frames.Request)
    proxy.lanes._budget = 0 if waits else lanes.SLICE
    node.say(
        frames.Reply(first.id, 1, b"bad", True, False, [tell(one)]),
        frames.Reply(second.id, 1, b"good", True, False, [tell(other)]),
        frames.Effects(1, [tell(then)]),
    )
    proxy.settle()
    assert taken(node, frames.Ack)[-1].number == 1
    assert (proxy.lane().answer_bytes, proxy.lanes.busy, proxy.dispatch.late) == (0, 0, {})
    return clients


@waits
async def test_a_reply_that_crashes_before_it_is_taken_is_not_done_and_its_request_has_its_deadline(proxy, waits):
    clients = two_replies(proxy, "take", waits, "not done", "done", "after")
    assert clients[0].heard == ["* done", "* after"]
    assert clients[1].heard == ["* done", "good", "* after"]
    proxy.tick(seconds=6.0)
    assert clients[0].heard[-1] == "error deadline_exceeded"


@waits
async def test_a_reply_that_crashes_at_its_end_holds_up_nothing(proxy, waits):
    clients = two_replies(proxy, "finish", waits, "1", "2", "3")
    assert clients[1].heard == ["* 1", "* 2", "good", "* 3"]


@changes_methods
@pytest.mark.parametrize("with_effects", [False, True])
@pytest.mark.parametrize("fails", [False, True])
async def test_a_fault_after_a_reply_costs_nobody_the_reply(proxy, monkeypatch, with_effects, fails):
    """What is ours comes when the client has its answer: who waits for a node, and how well this one is."""
    client, node = proxy.client(), proxy.join(capacity=1)
    client.ask("go")
    client.ask("wait")
    proxy.turn()
    [request] = taken(node, frames.Request)
    fail_on(monkeypatch, Dispatch, "unpark", lambda: True)
    if with_effects:
        node.say(frames.Reply(request.id, 1, b"part", True, True, [tell("x")]))
    if fails:
        node.say(frames.Failure(request.id, 1, 500, "broken"))
    else:
        node.say(frames.Reply(request.id, 1, b"done", True, False, [] if with_effects else None))
    proxy.settle()
    assert client.heard[-1] == ("error node_error" if fails else "done")


@changes_methods
async def test_what_crashes_takes_its_turns_too(proxy, monkeypatch):
    fail_on(monkeypatch, Channels, "join", lambda client, channel: True)
    client, node = proxy.client(), proxy.join()
    node.say(frames.Effects(1, [*[frames.Join(client.id, "x")] * 40, tell("end")], "home"))
    assert proxy.settle() >= 40 * lanes.CRASH_UNITS // lanes.SLICE
    assert client.heard == ["* end"]
    assert taken(node, frames.Ack)[-1].number == 1


@changes_methods
async def test_what_was_done_before_a_crash_counts(proxy, monkeypatch):
    fail_on(monkeypatch, Channels, "join", lambda client, channel: True)
    monkeypatch.setattr(lanes, "CRASH_UNITS", 0)
    node = proxy.join()
    effects = [frames.Leave(5, "x")] * 99
    node.say(*(frames.Effects(number, [*effects, frames.Join(5, "x")], "home") for number in range(1, 11)))
    assert proxy.settle() >= 1000 // lanes.SLICE


@changes_methods
async def test_one_acknowledgement_that_crashes_costs_no_other(proxy, monkeypatch):
    nodes = [proxy.join(id) for id in ("a", "bad", "c")]
    fail_on(monkeypatch, Mutes, "mute", lambda node, vain: node.id == "bad")
    proxy.lanes._budget = 0
    for node in nodes:
        node.say(frames.Effects(1, [frames.Notify(b"", True, ["nobody's"])]))
    with pytest.raises(RuntimeError):  # the reactor's guard takes it
        proxy.turn()
    proxy.settle()
    assert all(taken(node, frames.Ack) for node in nodes if node is not nodes[1])
    monkeypatch.undo()
    nodes[1].say(frames.Effects(2, []))
    proxy.settle()
    assert taken(nodes[1], frames.Ack)[-1].number == 2

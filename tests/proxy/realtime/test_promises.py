"""What docs/topics/delivery.md promises of requests and of what waits, turn by turn."""

import pytest

from holdfast.protocols.nodes import frames
from holdfast.proxy.realtime import lanes
from tests.proxy.still import StillProxy, taken, tell


@pytest.fixture
async def proxy():
    proxy = StillProxy()
    yield proxy
    proxy.close()


def payloads(node):
    return [frame.payload.decode() for frame in taken(node, frames.Request)]


async def test_requests_of_a_connection_are_handed_out_in_their_order(proxy):
    client = proxy.client()
    for number in range(3):
        client.ask(f"parked {number}")
    node = proxy.join()
    for number in range(3):
        client.ask(f"at once {number}")
    proxy.turn()
    proxy.hear()
    assert payloads(node) == ["parked 0", "parked 1", "parked 2", "at once 0", "at once 1", "at once 2"]


async def test_nothing_else_waits_for_effects_that_do(proxy, monkeypatch):
    """Heartbeats, replies without effects, requests, and what other nodes do."""
    monkeypatch.setattr(lanes, "SLICE", 4)
    clients, busy, idle = [proxy.client() for _ in range(10)], proxy.join("busy"), proxy.join("idle")
    clients[0].ask("one")
    clients[1].ask("two")
    proxy.turn()
    proxy.hear()
    proxy.lanes._budget = 0
    busy.say(frames.Effects(1, [tell(f"{number}") for number in range(100)]))
    for node in (busy, idle):
        node.say(*(frames.Reply(each.id, 1, b"reply", True) for each in taken(node, frames.Request)))
        node.say(frames.Heartbeat(7.0))
    idle.say(frames.Effects(1, [tell("from another")]))
    clients[2].ask("three")
    for _ in range(5):
        proxy.turn()
    proxy.hear()
    assert proxy.lanes.busy
    assert sorted(payloads(busy) + payloads(idle)) == ["one", "three", "two"]
    assert [frame.stamp for node in (busy, idle) for frame in taken(node, frames.Heartbeat)] == [7.0, 7.0]
    assert "reply" in clients[0].heard
    assert "reply" in clients[1].heard
    assert "* from another" in clients[0].heard
    proxy.settle()
    assert [line for line in clients[9].heard if line != "* from another"] == [f"* {number}" for number in range(100)]


async def test_a_client_that_leaves_undoes_the_reply_that_waits(proxy):
    leaving, staying, node = proxy.client(), proxy.client(), proxy.join()
    leaving.ask("go")
    proxy.turn()
    proxy.hear()
    [request] = taken(node, frames.Request)
    proxy.lanes._budget = 0
    node.say(frames.Reply(request.id, 1, b"done", True, False, [tell("not done")]))
    proxy.hear()
    leaving.connection.lost()
    proxy.dispatch.abandon()
    proxy.settle()
    assert staying.heard == []
    assert taken(node, frames.Cancel) == [frames.Cancel(request.id, 1)]
    assert proxy.dispatch.late == {}


async def test_a_request_of_whose_reply_a_part_has_come_is_not_sent_again(proxy):
    client, node, other = proxy.client(), proxy.join("a"), proxy.join("b")
    client.ask("go")
    proxy.turn()
    proxy.hear()
    if not taken(node, frames.Request):
        node, other = other, node
    [request] = taken(node, frames.Request)
    node.say(frames.Reply(request.id, 1, b"part", True, True))
    node.vanish()
    proxy.settle()
    assert client.heard == ["part", "error node_lost"]
    assert taken(other, frames.Request) == []


async def test_a_request_that_never_left_is_sent_to_another_node_in_any_case():
    proxy = StillProxy(request={"redelivery": "never"})
    try:
        client, node = proxy.client(), proxy.join("a")
        proxy.app.directory.nodes["a"].link.is_blocked = True
        client.ask("go")
        proxy.turn()
        node.vanish()
        other = proxy.join("b")
        proxy.settle()
        assert [(frame.payload, frame.attempt) for frame in taken(other, frames.Request)] == [(b"go", 1)]
        assert client.heard == []
    finally:
        proxy.close()

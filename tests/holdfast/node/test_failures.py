"""What clients can have the author's functions do wrong at will is few lines of a node's log, and a count."""

import pytest
import structlog

from holdfast import Node, masses
from holdfast.kuzzle import Api
from holdfast.masses import MOST
from holdfast.protocols.nodes import frames
from tests.holdfast.node.fake_proxy import client, linked
from tests.waiting import until

MORE = 5


@pytest.fixture
def one_interval(monkeypatch):
    monkeypatch.setattr(masses, "INTERVAL", 1e6)
    return lambda: monkeypatch.setattr(masses, "INTERVAL", 0.0)


def fails(request):
    raise RuntimeError("as often as somebody asks")


def with_handler(node):
    node.on_request(fails)


def with_action(node):
    Api(node).add("taxi", "fail", fails)


@pytest.mark.parametrize(("make", "event"), [(with_handler, "handler_failed"), (with_action, "action_failed")])
async def test_what_requests_can_cause_at_will(make, event, one_interval):
    node = Node("test")
    make(node)
    answers = []
    async with linked(node, clients=[client()]) as session:
        with structlog.testing.capture_logs() as logs:
            for _ in range(MOST + MORE):
                session.request(b'{"controller": "taxi", "action": "fail"}')
                answers.append(await session.take(frames.Failure if make is with_handler else frames.Reply))
            one_interval()
            node.failures.tick()
    assert len(answers) == MOST + MORE, "each is answered all the same"
    lines = [line for line in logs if line["event"] in (event, "lines_left_out")]
    assert [line["event"] for line in lines] == [event] * MOST + ["lines_left_out"]
    assert (lines[-1]["of"], lines[-1]["count"]) == (event, MORE)


@pytest.mark.parametrize("inline", [True, False])
async def test_what_coming_and_going_can_cause(inline, one_interval):
    node, calls = Node("test"), []

    @node.on_close(inline=inline)
    def gone(client):
        calls.append(client.id)
        raise RuntimeError("with everyone who goes")

    ids = range(1, MOST + MORE + 1)
    async with linked(node, clients=[client(id) for id in ids]) as session:
        with structlog.testing.capture_logs() as logs:
            session.say(frames.Changes(1, [frames.Closed(id, "client_left") for id in ids]))
            await until(lambda: len(calls) == len(ids) and node.statistics().callbacks == 0)
    assert [line["event"] for line in logs].count("callback_failed") == MOST


async def test_the_node_says_by_itself_how_many_were_left_out(one_interval, monkeypatch):
    monkeypatch.setattr("holdfast.node.node.HOUSEKEEPING_INTERVAL", 0.01)
    node = Node("test")
    with_handler(node)
    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client()]) as session:
            for _ in range(MOST + 1):
                session.request()
                await session.take(frames.Failure)
            one_interval()
            await until(lambda: [line["count"] for line in logs if line["event"] == "lines_left_out"] == [1])

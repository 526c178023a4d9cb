"""What a node of asyncio's shares with others around its handlers: the order of a client's messages, and what is seen
of each request."""

import asyncio

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast import Reply, RequestError, log_context
from holdfast.asyncio import Node
from holdfast.node import tracing
from holdfast.node.measuring import Meter
from holdfast.protocols.nodes import frames
from tests.holdfast.asyncio.guest import within_asyncio
from tests.holdfast.node.fake_proxy import client, linked
from tests.waiting import until

REQUESTS = "holdfast_node_request_seconds_count"


@within_asyncio
async def test_messages_of_one_client_are_handled_and_answered_in_order():
    """Some wait, some not, and some have effects, for which their replies wait."""
    node, seen = Node("test", order="client"), {7: [], 8: []}

    @node.on_request
    async def handle(request):
        number = len(request.payload)
        if number % 3:
            await asyncio.sleep(0)
        if number % 2:
            await node.notify(b"seen", clients=[request.client])
        seen[request.client.id].append(number)
        return str(number)

    async with linked(node, clients=[client(7), client(8)]) as session:
        ids = {7: [], 8: []}
        for number in range(60):
            for id in (7, 8):
                ids[id].append(session.request(b"x" * number, client=id))
        replies = [(await session.take(frames.Reply)).request for _ in range(120)]
    assert seen == {7: list(range(60)), 8: list(range(60))}
    for id in (7, 8):
        assert [reply for reply in replies if reply in ids[id]] == ids[id]


@within_asyncio
async def test_the_next_one_begins_when_the_former_one_has_ended_however():
    node, begun, ended, gates = Node("test", order="client"), [], [], {}

    @node.on_request
    async def handle(request):
        begun.append(request.payload)
        try:
            await gates.setdefault(request.payload, asyncio.Event()).wait()
            raise RequestError(400, "no")
        finally:
            ended.append(request.payload)

    async with linked(node, clients=[client(7), client(8)]) as session:
        ids = [session.request(b"%d" % number) for number in range(4)]
        session.request(b"other", client=8)
        await until(lambda: len(begun) == 2)
        assert sorted(begun) == [b"0", b"other"]
        for number in (1, 0):  # one that waits, and the one that has begun
            session.say(frames.Cancel(ids[number], 1))
        await until(lambda: len(begun) == 3)
        assert (begun[-1], ended) == (b"2", [b"0"])
        gates[b"2"].set()
        assert (await session.take(frames.Failure)).request == ids[2]
        await until(lambda: begun[-1] == b"3")


@pytest.mark.parametrize("order", ["", "client"])
@within_asyncio
async def test_requests_are_measured(order):
    node = Node("test", order=order)
    node.meter = meter = Meter(node)
    context = []

    @node.on_message("type", "move")
    async def move(request):
        context.append(log_context())
        await node.notify(b"moved", clients=[request.client])
        return "moved"

    @node.on_request
    async def rest(request):
        await asyncio.sleep(0)
        match request.payload:
            case b"refuse":
                raise RequestError(403, "no")
            case b"fail":
                raise ValueError("secret")
            case b"status":
                return Reply("gone", status=404)
            case b"sleep":
                await asyncio.Event().wait()
        return ""

    async with linked(node, clients=[client()]) as session:
        number = session.request(b'{"type": "move"}')
        assert (await session.take(frames.Reply)).payload == b"moved"
        for payload, kind in (
            (b"refuse", frames.Failure),
            (b"fail", frames.Failure),
            (b"status", frames.Reply),
            (b"", frames.Reply),
        ):
            session.request(payload)
            await session.take(kind)
        slow = session.request(b"sleep")
        await until(lambda: node.statistics().in_flight == 1 and node.statistics().waiting == 0)
        session.say(frames.Cancel(slow, 1))
        await until(lambda: node.statistics().in_flight == 0)
    counts = {}
    for line in meter.exposition()[0].decode().splitlines():
        if line.startswith(REQUESTS):
            labels, count = line.removeprefix(REQUESTS).split()
            function, outcome, route = (part.split('"')[1] for part in labels.split(","))
            counts[function.rpartition(".")[2], outcome, route] = float(count)
    assert counts == {
        ("move", "ok", "type=move"): 1,
        ("rest", "ok", ""): 1,
        ("rest", "refused", ""): 2,
        ("rest", "failed", ""): 1,
        ("rest", "cancelled", ""): 1,
    }
    assert context[0]["request"] == number
    assert node.statistics().handled == 3


@pytest.mark.parametrize("order", ["", "client"])
@within_asyncio
async def test_spans_are_around_what_runs_in_asyncio(order, monkeypatch):
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "tracer", lambda: tracing.Tracer(provider.get_tracer("holdfast")))
    node = Node("test", order=order)

    @node.on_request("/rooms/{id}")
    async def room(request, id: int):
        await asyncio.sleep(0)
        with provider.get_tracer("mine").start_as_current_span("within"):
            await node.broadcast("seen")
        if id == 8:
            raise ValueError("secret")
        return str(id)

    async with linked(node) as session:
        for id in (7, 8):
            session.http(target=f"/rooms/{id}")
            await session.take(frames.HttpReply if id == 7 else frames.Failure)
        await until(lambda: len(exporter.get_finished_spans()) == 4)
    within, whole, _, failed = exporter.get_finished_spans()
    assert (within.name, whole.name, failed.name) == ("within", "GET /rooms/{id}", "GET /rooms/{id}")
    assert within.parent.span_id == whole.context.span_id
    assert (whole.status.is_unset, failed.attributes["error.type"]) == (True, "ValueError")

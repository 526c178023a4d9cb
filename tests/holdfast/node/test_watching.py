"""What is measured, and traced, of requests where somebody wants that; and that nothing is where nobody does."""

import logging
import sys

import httpx
import msgspec
import pytest
import trio
import trio.lowlevel
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from websockets.trio.client import connect

import holdfast.testing
from holdfast import Node, Reply, RequestError, log_context
from holdfast.node import tracing
from holdfast.node.measuring import Meter, table
from holdfast.protocols.nodes import frames
from tests.holdfast.node.fake_proxy import client, linked
from tests.waiting import PATIENCE, until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


def application():
    node = Node("test")

    @node.on_request("/rooms/{id}", method="POST")
    async def room(request, id: int):
        return str(id)

    @node.on_message("type", "move")
    async def move(request):
        return "moved"

    @node.on_request
    async def rest(request):
        match request.payload:
            case b"refuse":
                raise RequestError(403, "no")
            case b"fail":
                raise ValueError("secret")
            case b"status":
                return Reply("gone", status=404)
            case b"failed":
                return Reply("half done", failed=True)
            case b"sleep":
                await trio.sleep_forever()
            case b"thread":
                return await trio.to_thread.run_sync(lambda: str(log_context()))
            case b"stream":

                async def parts():
                    yield "a"
                    yield str(log_context())

                return Reply(parts())
        return msgspec.json.encode(log_context())

    return node


async def ask_all(node):
    """One request of each kind."""
    async with linked(node, clients=[client()]) as session:
        for target, headers, status in (
            ("/rooms/5", [("traceparent", TRACEPARENT), ("tracestate", "x=1")], 200),
            ("/rooms/five", [], 400),
        ):
            session.http("POST", target, headers=headers)
            reply = await session.take(frames.HttpReply if status == 200 else frames.Failure)
            assert reply.status == status
        session.http("BREW", "/")
        assert (await session.take(frames.HttpReply)).status == 200
        session.request(b'{"type": "move"}')
        assert (await session.take(frames.Reply)).payload == b"moved"
        for payload, kind in (
            (b"refuse", frames.Failure),
            (b"fail", frames.Failure),
            (b"status", frames.Reply),
            (b"failed", frames.Reply),
        ):
            session.request(payload)
            await session.take(kind)
        number = session.request(b"sleep")
        await until(lambda: node.statistics().in_flight == 1 and node.statistics().waiting == 0)
        session.say(frames.Cancel(number, 1))
        await until(lambda: node.statistics().in_flight == 0)


def samples(meter):
    text, kind = meter.exposition()
    assert kind.startswith("text/plain")
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_a_meter_has_each_route_and_what_came_of_it():
    node = application()
    node.meter = meter = Meter(node)
    await ask_all(node)
    values = samples(meter)
    counts = {
        name.partition("_count")[2]: value
        for name, value in values.items()
        if name.startswith("holdfast_node_request_seconds_count")
    }
    rest, room, move = (
        f'function="{function}",outcome="%s",route="{route}"'
        for function, route in (("rest", ""), ("room", "/rooms/{id}"), ("move", "type=move"))
    )
    assert {name.replace("application.<locals>.", ""): value for name, value in counts.items()} == {
        f"{{{room % 'ok'}}}": 1,
        f"{{{room % 'refused'}}}": 1,  # a value of its path that does not fit
        f"{{{move % 'ok'}}}": 1,
        f"{{{rest % 'ok'}}}": 1,
        f"{{{rest % 'refused'}}}": 2,
        f"{{{rest % 'failed'}}}": 2,
        f"{{{rest % 'cancelled'}}}": 1,
    }
    assert values["holdfast_node_request_wait_seconds_count"] == 9
    assert values["holdfast_node_handled_total"] == 5
    assert values["holdfast_node_failed_total"] == 3
    assert values["holdfast_node_cancelled_total"] == 1
    assert values["holdfast_node_capacity"] == 256
    told = {name.partition("{")[0].removesuffix("_bucket").removesuffix("_count") for name in values}
    assert {name for name, *_ in table()} <= told


async def test_calls_have_their_kind():
    node = Node("test")
    node.meter = meter = Meter(node)

    @node.on_ask
    async def answer(question):
        return "yes"

    async with linked(node) as session:
        session.say(frames.Call(5, 1, 10_000, "ask", b"?", False))
        await session.take(frames.Reply)
    name = 'holdfast_node_request_seconds_count{function="ask",outcome="ok",route=""}'
    assert samples(meter)[name] == 1


async def test_without_a_meter_there_is_no_watch():
    node = application()
    async with linked(node, clients=[client()]) as session:
        session.request()
        await session.take(frames.Reply)
        assert node._parts.dispatch._watch is None
        assert node._router.tell is None
    node.meter = Meter(node)
    async with linked(node, clients=[client()]) as session:
        assert node._parts.dispatch._watch is not None
    node.meter = None
    async with linked(node, clients=[client()]) as session:
        session.request()
        await session.take(frames.Reply)
        assert node._router.tell is None


# --- traces -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("came", "ids"),
    [
        (TRACEPARENT, (TRACE, SPAN)),
        (f"cc-{TRACE}-{SPAN}-01-what-is-later", (TRACE, SPAN)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"00-{TRACE}-{SPAN}-01-", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (TRACEPARENT.upper(), None),
        (TRACEPARENT + "\n", None),
        ("", None),
    ],
)
async def test_a_traceparent_is_told_if_it_is_one(came, ids):
    node, told = Node("test"), []

    @node.on_request
    async def handle(request):
        told.append((request.traceparent, log_context()))

    async with linked(node, clients=[client(headers=[("traceparent", came)])]) as session:
        session.request()
        await session.take(frames.Reply)
        session.http(headers=[("traceparent", came)])
        await session.take(frames.HttpReply)
    for traceparent, context in told:
        assert traceparent == (came if ids else None)
        assert (context.get("trace_id"), context.get("span_id")) == (ids or (None, None))


async def test_a_real_proxy_passes_it_on():
    node, told = Node("test"), []

    @node.on_request
    async def handle(request):
        told.append((request.traceparent, request.client.headers.get("tracestate")))
        return "done"

    headers = {"traceparent": TRACEPARENT, "tracestate": "x=1"}
    with trio.fail_after(3 * PATIENCE):
        async with holdfast.testing.proxy() as proxy, proxy.node(node):
            async with httpx.AsyncClient() as asking:
                await asking.get(proxy.http_url, headers=headers)
            async with connect(proxy.url, additional_headers=headers) as asking:
                await asking.send("hello")
                await asking.recv()
    assert told == [(TRACEPARENT, "x=1")] * 2


@pytest.fixture(scope="module")
def provider():
    """OpenTelemetry takes one for a process; others must not see it."""
    made = TracerProvider()
    yield made
    made.shutdown()


@pytest.fixture
def spans(provider, monkeypatch):
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter.get_finished_spans


async def test_a_span_for_each_request(spans):
    await ask_all(application())
    room, wrong, other, move, refused, failed, status, half, cancelled = spans()
    assert room.name == "POST /rooms/{id}"
    assert room.kind is trace.SpanKind.SERVER
    assert f"{room.context.trace_id:032x}" == TRACE
    assert f"{room.parent.span_id:016x}" == SPAN
    assert room.context.trace_state.get("x") == "1"
    attributes = dict(room.attributes)
    assert attributes.pop("code.function.name").endswith("room")
    assert attributes == {
        "http.request.method": "POST",
        "http.route": "/rooms/{id}",
        "http.response.status_code": 200,
        "url.path": "/rooms/5",
        "client.address": "192.0.2.9",
        "network.protocol.name": "http",
        "holdfast.request": "1",
        "holdfast.attempt": 1,
        "holdfast.outcome": "ok",
    }
    assert wrong.attributes["http.response.status_code"] == 400
    assert wrong.status.status_code is trace.StatusCode.UNSET
    assert (other.name, other.attributes["http.request.method"]) == ("HTTP", "_OTHER")
    assert (move.name, move.attributes["holdfast.route"]) == ("websocket type=move", "type=move")
    assert (refused.attributes["holdfast.outcome"], status.attributes["holdfast.outcome"]) == ("refused", "refused")
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert failed.attributes["error.type"] == "ValueError"
    assert [event.name for event in failed.events] == ["exception"]
    assert half.attributes["error.type"] == "500"
    assert cancelled.attributes["holdfast.outcome"] == "cancelled"
    assert len({span.context.span_id for span in spans()}) == 9


@pytest.mark.parametrize("payload", [b"context", b"thread", b"stream"])
async def test_log_lines_are_of_the_span(spans, payload):
    node = application()
    async with linked(node, clients=[client(headers=[("traceparent", TRACEPARENT)])]) as session:
        session.request(payload)
        said = b""
        while (reply := await session.take(frames.Reply)).payload is not None:
            said += reply.payload
            if not reply.more:
                break
    [span] = spans()
    assert TRACE in said.decode()
    assert f"{span.context.span_id:016x}" in said.decode()


async def test_what_a_handler_traces_is_within_its_span(spans):
    node = Node("test")

    @node.on_request
    async def handle(request):
        with trace.get_tracer_provider().get_tracer("mine").start_as_current_span("query"):
            await trio.lowlevel.checkpoint()

    async with linked(node, clients=[client()]) as session:
        session.request()
        session.request()
        await session.take(frames.Reply)
        await session.take(frames.Reply)
    inner = [span for span in spans() if span.name == "query"]
    outer = {span.context.span_id for span in spans() if span.name == "websocket"}
    assert {span.parent.span_id for span in inner} == outer
    assert len(outer) == 2


def test_a_process_without_a_provider_makes_no_spans(monkeypatch):
    assert tracing.tracer() is None  # OpenTelemetry is imported here, and nobody has set a provider
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setenv(tracing.PROVIDER, "sdk_tracer_provider")
    assert tracing.tracer() is None  # not installed


async def test_nothing_is_logged_of_contexts_that_are_left(spans, caplog):
    """OpenTelemetry logs an error for each context that is left elsewhere than it was entered."""
    with caplog.at_level(logging.WARNING):
        await ask_all(application())
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []

import pytest
import trio
import zmq

from holdfast import Client, ConfigError, Curve, Headers, Node, Request, RequestError
from holdfast.protocols.nodes import frames
from tests.holdfast.node.fake_proxy import client, fake_proxy, linked
from tests.waiting import PATIENCE, until


def test_decorators_return_the_function():
    node = Node("test")

    async def function(*arguments):
        return None

    for register in (node.on_request, node.on_open, node.on_close, node.on_master, node.on_state):
        assert register(function) is function


def test_one_function_for_requests():
    node = Node("test")

    def first(request): ...

    node.on_request(first)
    with pytest.raises(ConfigError, match=r"first \(test_node.py, line \d+\) is registered already: print can't"):
        node.on_request(print)


def test_ids_differ():
    assert Node("chat").id != Node("chat").id
    assert Node("chat").id.startswith("chat-")
    assert Node("chat", id="mine").id == "mine"


async def test_on_close_takes_a_reason_or_not():
    node = Node("test")
    told = []

    @node.on_close
    def one(client):
        told.append(("one", client.id))

    @node.on_close
    def two(client, reason):
        told.append(("two", client.id, reason))

    @node.on_close
    async def three(client):
        told.append(("three", client.id))

    @node.on_close
    async def four(client, reason):
        told.append(("four", client.id, reason))

    async with linked(node, clients=[client(7)]) as session:
        session.close(7, "idle")
        await until(lambda: len(told) == 4)
    assert told == [("one", 7), ("two", 7, "idle"), ("three", 7), ("four", 7, "idle")]


async def test_an_inline_on_open_comes_before_any_request_of_that_client():
    node = Node("test")
    known = set()
    node.on_open(lambda client: known.add(client.id), inline=True)

    @node.on_request
    def handle(request):
        return [request.client.id in known]

    async with linked(node) as session:
        session.open(client(3))
        session.request(client=3)
        assert (await session.take(frames.Reply)).payload == b"[true]"


async def test_it_runs_once_at_a_time():
    node = Node("test")
    async with linked(node):
        with pytest.raises(RuntimeError, match="running already"):
            await node.run(["tcp://127.0.0.1:1"])


@pytest.mark.parametrize("how", ["asked for", "on_open", "on_close"])
async def test_who_wants_clients_is_told_of_them(how):
    node = Node("test", clients=how == "asked for")
    if how != "asked for":
        getattr(node, how)(lambda client: None)
    async with linked(node, clients=[client(1)]) as session:
        assert session.hello.wants_clients
        session.open(client(2))
        await until(lambda: 2 in node.clients)
        assert node.clients[1].address == "192.0.2.7"


async def test_who_wants_none_is_told_what_to_do():
    node = Node("test")
    async with linked(node, clients=[client()]) as session:
        assert not session.hello.wants_clients
        with pytest.raises(ConfigError, match=r"Node\(\.\.\., clients=True\)"):
            _ = node.clients


async def test_statistics():
    node = Node("test", clients=True)
    node.on_request(lambda request: request.payload)
    assert node.statistics().proxies == 0
    async with linked(node, clients=[client()]) as session:
        session.request()
        await session.take(frames.Reply)
        statistics = node.statistics()
    assert (statistics.proxies, statistics.clients, statistics.handled, statistics.failed) == (1, 1, 1, 0)


async def test_a_handler_can_be_called_without_a_node():
    node = Node("test")

    @node.on_request
    async def handle(request):
        return request.payload

    client = Client(1, "websocket", "192.0.2.1", "/", Headers())
    assert await handle(Request(b"x", False, client)) == b"x"


async def test_curve():
    server_public, server_secret = zmq.curve_keypair()
    node = Node("test", curve=Curve(server_public, *zmq.curve_keypair()))
    stranger = Node("stranger", curve=Curve(zmq.curve_keypair()[0], *zmq.curve_keypair()))
    with trio.fail_after(PATIENCE):
        async with fake_proxy(curve=(server_public, server_secret)) as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(stranger.run, [proxy.address])
            nursery.start_soon(Node("open").run, [proxy.address])
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.join()
            assert session.hello.name == "test"
            assert len(proxy.sessions) == 1
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "options",
    [
        {"capacity": 0},
        {"capacity": 2.5},
        {"weight": 0.0},
        {"weight": float("inf")},
        {"weight": 5e-324},
        {"weight": 1001.0},
        {"labels": {"rack": 5}},
        {"token": b"bytes"},
        {"name": ""},
        {"name": "two\nlines"},
        {"name": "\ud800"},
        {"id": "n" * 257},
        {"id": "\x1b[31m"},
        {"labels": ["a"]},
        {"labels": "zone=a"},
        {"labels": {"": "x"}},
        {"labels": {"rack": "\x00"}},
        {"labels": {"rack": "r" * 257}},
        {"labels": {str(number): "" for number in range(65)}},
        {"drain_timeout": -1},
        {"drain_timeout": float("nan")},
        {"drain_timeout": "5"},
        {"weight": "heavy"},
        {"threads": 0},
        {"threads": 2.5},
    ],
)
async def test_what_a_proxy_could_not_read_is_refused_here(options):
    with pytest.raises(ConfigError), trio.fail_after(PATIENCE):
        await Node(**({"name": "test"} | options)).run(["tcp://127.0.0.1:1"])


async def test_how_many_are_in_a_channel_is_asked_again_when_the_session_ends():
    node = Node("test")
    counts = []

    async def count():
        counts.append(await node.count("room"))

    async with linked(node) as session, trio.open_nursery() as nursery:
        nursery.start_soon(count)
        assert (await session.take(frames.AskCount)).channel == "room"
        session.proxy.say_raw(session.identity, b"\xc1")
        session = await session.proxy.join()
        question = await session.take(frames.AskCount)
        session.say(frames.Counted(question.ask + 1, 7), frames.Counted(question.ask, 12))
    assert counts == [12]


async def test_a_count_that_is_refused_is_an_error_and_no_empty_channel():
    node = Node("test")
    refusals = []

    async def count():
        with pytest.raises(RequestError) as refused:
            await node.count("room")
        refusals.append(refused.value.status)

    async with linked(node) as session, trio.open_nursery() as nursery:
        nursery.start_soon(count)
        question = await session.take(frames.AskCount)
        session.say(frames.Counted(question.ask, 0, refused=True))
    assert refusals == [503]

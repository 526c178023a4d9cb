"""A node without a proxy: what its functions do is what comes out, by its own code."""

import msgspec
import pytest
import trio
import trio.testing

from examples.chat_node import node as chat
from holdfast import NO_REPLY, HoldfastError, Node, Reply, RequestError, StateConflict, StateRefused
from holdfast.testing import Broadcast, Close, Failure, Join, Leave, Notify, alone, client


def replying(function, **made_with):
    node = Node("test", **made_with)
    node.on_request(function)
    return node


async def test_a_reply_and_what_was_done():
    async def handle(request):
        await node.join(request.client, "room", version=7)
        await node.notify({"a": 1}, channels=["room"], exclude=[request.client])
        await node.broadcast(b"\x00")
        await node.leave(request.client, "room")
        await node.close(request.client, "bye", code=4001)
        return {"said": request.text}

    node, ada = replying(handle), client("/rooms/7?token=x", headers={"Cookie": "a=b"})
    async with alone(node) as steps:
        result = await steps.call("hello", client=ada)
        assert result.json() == {"said": "hello"}
        assert (result.messages, result.status, result.headers) == (['{"said":"hello"}'], 200, [])
        assert result.effects == [
            Join(ada, "room", version=7),
            Notify({"a": 1}, channels=["room"], exclude=[ada]),
            Broadcast(b"\x00"),
            Leave(ada, "room"),
            Close(ada, "bye", code=4001),
        ]
        assert steps.effects == result.effects


@pytest.mark.parametrize("payload", ["text", b"binary", {"j": "son"}, 7])
async def test_the_kind_of_a_message(payload):
    async with alone(replying(lambda request: [request.is_text, request.text])) as steps:
        said = payload if isinstance(payload, str) else msgspec.json.encode(payload).decode()
        expected = [False, "binary"] if payload == b"binary" else [True, said]
        assert (await steps.call(payload)).json() == expected
        assert (await steps.call(b"x", text=True)).json() == [True, "x"]


@pytest.mark.parametrize("wants_clients", [False, True])
async def test_the_client_is_as_the_test_says(wants_clients):
    async def handle(request):
        whose = request.client
        return [whose.id, whose.protocol, whose.address, request.path, request.query["token"], request.cookies["a"]]

    ada = client("/rooms/7?token=x", headers={"Cookie": "a=b"}, address="192.0.2.7:1")
    async with alone(replying(handle, clients=wants_clients)) as steps:
        result = await steps.call(client=ada)
        assert result.json() == [ada.id, "websocket", "192.0.2.7:1", "/rooms/7", "x", "b"]


async def test_clients_have_ids_of_their_own():
    assert len({client(), client(), client()}) == 3


async def test_an_http_request():
    async def handle(request):
        assert request.client.protocol == "http"
        return Reply([request.http.method, request.path, request.query["dry"], request.json()], 201, {"x-a": "b"})

    async with alone(replying(handle)) as steps:
        result = await steps.call({"a": 1}, http="POST /rooms/7?dry=1", headers={"X-Test": "1"})
        assert (result.status, result.headers.get("x-a")) == (201, "b")
        assert result.json() == ["POST", "/rooms/7", "1", {"a": 1}]
        for wrong in ({"http": "/rooms"}, {"http": "GET /", "client": client()}, {"http": "GET /", "text": True}):
            with pytest.raises(ValueError, match=r"HTTP|method"):
                await steps.call(**wrong)


async def test_the_body_of_an_http_request_that_is_json_says_so():
    node = replying(lambda request: request.http.headers.get("content-type"))
    async with alone(node) as steps:
        assert (await steps.call({}, http="POST /")).text == "application/json"
        assert (await steps.call({}, http="POST /", headers=[("Content-Type", "text/x")])).text == "text/x"
        assert (await steps.call(b"{}", http="POST /")).messages == []


async def test_nothing_is_said():
    async with alone(replying(lambda request: NO_REPLY)) as steps:
        result = await steps.call("x")
        assert (result.messages, result.body, result.failure) == ([], b"", None)
        assert (await steps.call(http="GET /")).status == 204


@pytest.mark.parametrize("http", [None, "GET /"])
async def test_a_reply_in_parts_however_long(http):
    async def parts():
        for number in range(40):
            await node.join(1, str(number))
            yield b"x" * (64 << 10)

    node = replying(lambda request: Reply(parts()))
    async with alone(node) as steps:
        result = await steps.call(http=http)
        assert [len(said) for said in result.messages] == [64 << 10] * 40
        assert len(result.body) == 40 * (64 << 10)
        assert result.effects == [Join(1, str(number)) for number in range(40)]


async def test_a_request_error_is_a_value_and_nothing_is_done():
    async def handle(request):
        await node.broadcast("flushed")
        await request.flush()
        await node.broadcast("dropped")
        raise RequestError(403, "not yours")

    node = replying(handle)
    async with alone(node) as steps:
        result = await steps.call("x")
        assert (result.failure, result.status) == (Failure(403, "not yours"), 403)
        assert result.effects == [Broadcast("flushed")]
        with pytest.raises(HoldfastError, match="403 not yours"):
            result.json()


@pytest.mark.parametrize("inline", [False, True])
async def test_what_a_handler_raises_is_raised_and_not_logged(inline, capsys):
    def fails(request):
        raise KeyError("of the author's")

    node = Node("test")
    node.on_request(fails, inline=inline)
    async with alone(node) as steps:
        with pytest.raises(KeyError, match="of the author's") as info:
            await steps.call("x")
        assert info.traceback[-1].name == "fails"
    assert "handler_failed" not in capsys.readouterr().out


async def test_so_is_what_is_wrong_with_its_reply():
    async with alone(replying(lambda request: object())) as steps:
        with pytest.raises(TypeError, match="expected bytes, str, or for JSON"):
            await steps.call("x")


async def test_a_plain_function_in_its_thread():
    def handle(request):
        trio.from_thread.run(node.join, request.client, "room")
        trio.from_thread.run(request.flush)
        return trio.from_thread.run(node.count, "room")

    node, ada = replying(handle), client()
    async with alone(node) as steps:
        result = await steps.call(client=ada)
        assert (result.json(), result.effects) == (1, [Join(ada, "room")])
        assert steps.channels == {"room": {ada.id}}


async def test_one_that_takes_too_long_is_cancelled(autojump_clock):
    ended = []

    async def handle(request):
        try:
            await trio.sleep(60)
        finally:
            ended.append(trio.current_time())

    async with alone(replying(handle)) as steps:
        started = trio.current_time()
        result = await steps.call("x", timeout=5)
        assert result.failure == Failure(504, "no reply within 5 s")
        await trio.testing.wait_all_tasks_blocked()
        assert ended == [started + 5]


async def test_a_redelivered_request():
    async with alone(replying(lambda request: [request.attempt, request.redelivered])) as steps:
        assert (await steps.call()).json() == [1, False]
        assert (await steps.call(attempt=2)).json() == [2, True]


async def test_state_of_all_steps():
    async def handle(request):
        return await node.state.update("n", lambda n: n + 1)

    node = replying(handle)
    async with alone(node, state={"n": 1, "other": [None]}) as steps:
        assert (await steps.call()).state == {"n": 2, "other": [None]}
        assert (await steps.call()).json() == 3
        assert steps.state == {"n": 3, "other": [None]}
        assert node.state["other"] == [None]
        with pytest.raises(StateConflict):
            await node.state.set("n", 0, if_version=1)
        with pytest.raises(StateRefused):
            await node.state.set("x" * 10_000, 0)
    with pytest.raises(ValueError, match="a key has at most"):
        async with alone(node, state={"x" * 10_000: 0}):
            pass


async def test_an_entry_is_value_and_version_of_one_moment():
    node, ada = Node("test"), client()

    @node.on_request
    def read(request):
        entry = node.state.entry("key")
        assert node.state.entry("nothing") is None
        return [entry.value, entry.version == node.state.version("key"), entry.owner]

    async with alone(node, clients=[ada]) as steps:
        version = await node.state.set("key", [1], ada)
        assert (await steps.call()).json() == [[1], True, ada.id]
        await node.state.set("key", [2], if_version=node.state.entry("key").version)
        with pytest.raises(StateConflict) as caught:
            await node.state.set("key", [3], if_version=version)
        assert (caught.value.expected, caught.value.found) == (version, node.state.version("key"))
        assert (await steps.call()).json() == [[2], True, 0]


async def test_what_a_client_owns_ends_with_it():
    async def handle(request):
        await node.state.set(f"here/{request.client.id}", 1, owner=request.client)

    node, ada = replying(handle), client()
    async with alone(node) as steps:
        await steps.call(client=ada)
        assert steps.state == {f"here/{ada.id}": 1}
        assert (await steps.close(ada)).state == {}


async def test_who_was_there_before():
    node, ada, bob = Node("test", clients=True), client(), client()

    @node.on_request
    async def handle(request):
        return [len(node.clients), await node.count("room"), await node.count("nobody")]

    async with alone(node, clients=[ada], channels={"room": [ada, bob]}) as steps:
        assert (await steps.call(client=ada)).json() == [2, 2, 0]
        assert (await steps.call()).json() == [3, 2, 0]


@pytest.mark.parametrize("kind", ["async", "thread", "inline"])
async def test_who_comes_and_goes(kind):
    node, ada = Node("test"), client("/kitchen")

    if kind == "async":

        @node.on_open
        async def opened(client):
            await node.join(client, client.path)

        @node.on_close
        async def closed(client, reason):
            await node.broadcast(reason)
    else:

        @node.on_open(inline=kind == "inline")
        def opened(client):
            return node.join(client, client.path)

        @node.on_close(inline=kind == "inline")
        def closed(client, reason):
            return node.broadcast(reason)

    @node.on_request
    async def handle(request):
        return await node.count("/kitchen")

    async with alone(node) as steps:
        assert (await steps.open(ada)).effects == [Join(ada, "/kitchen")]
        result = await steps.call(client=ada)
        assert (result.json(), result.effects) == (1, [])
        bob = client("/kitchen")
        result = await steps.call(client=bob)  # it has come before it asks
        assert (result.json(), result.effects) == (2, [])
        assert (await steps.close(ada, "kicked")).effects == [Broadcast("kicked")]
        assert steps.channels == {"/kitchen": {bob.id}}
        assert list(node.clients) == [bob.id]


async def test_a_client_that_the_node_closes_has_gone():
    node, ada = Node("test"), client()
    gone = []
    node.on_close(lambda client, reason: gone.append((client, reason)))
    node.on_request(lambda request: node.close(request.client, "bye"))
    async with alone(node) as steps:
        assert (await steps.call(client=ada)).effects == [Close(ada, "bye")]
        await steps._settle()
        assert gone == [(ada, "kicked")]


async def test_what_on_open_raises_is_raised_by_the_step():
    node = Node("test")

    @node.on_open
    async def opened(client):
        raise KeyError("of the author's")

    async with alone(node) as steps:
        with pytest.raises(KeyError, match="of the author's"):
            await steps.open(client())
    with pytest.raises(KeyError, match="of the author's"):
        async with alone(node, clients=[client()]):
            pass


async def test_as_master():
    node = Node("test")

    @node.on_master
    async def act():
        await node.broadcast("i am")
        await trio.sleep_forever()

    node.on_request(lambda request: node.is_master)
    async with alone(node, master=True) as steps:
        assert (await steps.call()).json() is True
        await steps._settle()
        assert steps.effects == [Broadcast("i am")]
    async with alone(node) as steps:
        assert (await steps.call()).json() is False


async def test_steps_at_the_same_time():
    """Each has its own reply; and the handler that waits for the other is not in its way."""
    first_is_here = trio.Event()

    async def handle(request):
        if request.text == "first":
            first_is_here.set()
            await trio.sleep_forever()
        await first_is_here.wait()
        return request.text

    async with alone(replying(handle)) as steps, trio.open_nursery() as nursery:
        nursery.start_soon(steps.call, "first")
        assert (await steps.call("second")).text == "second"
        nursery.cancel_scope.cancel()


async def test_a_node_runs_once():
    node = replying(lambda request: b"")
    async with alone(node):
        with pytest.raises(RuntimeError, match="is running already"):
            async with alone(node):
                pass
    async with alone(node) as steps:
        assert (await steps.call()).body == b""


async def test_what_could_not_cross_a_wire_does_not_cross_this():
    async with alone(replying(lambda request: b"x" * (16 << 20))) as steps:
        with pytest.raises(HoldfastError, match="at most"):
            await steps.call()


async def test_the_example_of_the_tutorial():
    ada, bob = client("/kitchen"), client("/kitchen")
    async with alone(chat, clients=[ada, bob]) as steps:
        assert steps.channels == {"/kitchen": {ada.id, bob.id}}
        result = await steps.call("hello", client=ada)
        assert result.text.endswith(": hello")
        assert result.effects == [Notify(result.text, channels=["/kitchen"], exclude=[ada])]


def told(function, **how):
    node = Node("test")
    node.on_open(function, **how)
    node.on_close(function, **how)
    return node


@pytest.mark.parametrize("kind", ["async", "plain", "begun", "begun inline"])
async def test_what_others_do_meanwhile_is_not_of_those_who_come_and_go(kind):
    """A job of the node said something just then: it was among the effects of one run in two."""
    has_spoken = trio.Event()

    async def another():
        await node.broadcast("another's")
        has_spoken.set()

    async def tell(client):
        node.start_soon(another)
        await has_spoken.wait()
        await node.notify("mine", clients=[client])

    def plain(client):
        trio.from_thread.run(tell, client)

    how = {"async": tell, "plain": plain}.get(kind, lambda client: tell(client))
    node, ada = told(how, inline=kind == "begun inline"), client()
    async with alone(node) as steps:
        for step in (steps.open, steps.close):
            has_spoken = trio.Event()
            assert (await step(ada)).effects == [Notify("mine", clients=[ada])]
        assert [type(effect) for effect in steps.effects] == [Broadcast, Notify] * 2


async def test_steps_at_the_same_time_have_each_their_own():
    node, clients = told(lambda client: node.broadcast(client.user)), [client(user=str(number)) for number in range(9)]
    results = {}

    async def take(one):
        results[one.user] = (await steps.open(one)).effects

    async with alone(node) as steps:
        async with trio.open_nursery() as nursery:
            for one in clients:
                nursery.start_soon(take, one)
    assert results == {one.user: [Broadcast(one.user)] for one in clients}


@pytest.mark.parametrize("attempt", [1, 2])
async def test_what_a_task_does_meanwhile_is_not_of_the_request(attempt):
    has_spoken = trio.Event()

    async def another():
        await node.broadcast("another's")
        has_spoken.set()

    async def handle(request):
        await node.broadcast("flushed")
        await request.flush()
        node.start_soon(another)
        await has_spoken.wait()
        await node.broadcast("mine")

    node = replying(handle)
    async with alone(node) as steps:
        result = await steps.call("x", attempt=attempt)
        assert result.effects == [Broadcast("flushed"), Broadcast("mine")]
        assert len(steps.effects) == 3


async def test_a_node_is_as_it_was_when_its_test_is_over():
    node = told(lambda client: None)
    begin = node._on_open[0].begin
    async with alone(node):
        assert node._on_open[0].begin != begin
    assert node._on_open[0].begin == begin


async def test_what_a_redelivered_request_does_is_its_own():
    """It goes out before its reply: not as that of another one that is under way."""
    is_done = trio.Event()

    async def handle(request):
        if request.text == "wait":
            await is_done.wait()
        await node.broadcast(request.text)

    async def wait():
        results.append(await steps.call("wait", attempt=2))

    node, results = replying(handle), []
    async with alone(node) as steps:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert (await steps.call("go", attempt=2)).effects == [Broadcast("go")]
            is_done.set()
        assert results[0].effects == [Broadcast("wait")]

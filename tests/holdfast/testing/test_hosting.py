"""Where a node runs that is tested: whosever functions it has, in a test that is sync, Trio's or asyncio's."""

import asyncio  # noqa: TID251 - as somebody's tests have it
import threading

import pytest
import trio

import holdfast
import holdfast.asyncio
from holdfast import Refused, RequestError, Session
from holdfast.testing import Broadcast, Failure, Join, alone, ask, call, client, close, connect, open

KINDS = [(holdfast.Node, trio.sleep), (holdfast.asyncio.Node, asyncio.sleep)]


@pytest.fixture(params=KINDS, ids=["trio", "asyncio"])
def kind(request):
    return request.param


@pytest.fixture
def node(kind):
    made, sleep = kind
    node = made("test")

    @node.on_request
    async def handle(request):
        await sleep(0)
        match request.text:
            case "fail":
                raise KeyError("mine")
            case "hang":
                await sleep(60)
        await node.broadcast("done")
        return [await node.count("all"), threading.get_ident()]

    @node.on_connect
    async def admit(client):
        await sleep(0)
        if client.query == "no":
            raise Refused(403, "no", close_code=4403)
        return Session(user="ada")

    @node.on_open
    async def opened(client):
        await sleep(0)
        await node.join(client, "all")

    @node.on_close(once=True)
    async def closed(client, reason):
        await sleep(0)
        await node.broadcast(reason)

    @node.on_ask
    async def answer(question):
        await sleep(0)
        return question.text

    return node


def test_an_async_answer_is_of_the_library_of_the_node(kind):
    made, sleep = kind
    node = made("test")

    @node.on_request
    async def pay(request):
        return (await node.ask("billing", request.text)).json()

    async def charge(question):
        await sleep(0)
        if question.text == "much":
            raise RequestError(402, "not that much")
        assert question.text == "little"
        return {"paid": 5}

    class Charge:
        async def __call__(self, question):
            return await charge(question)

    for answer in (charge, Charge(), lambda question: charge(question)):
        assert call(node, "little", answers={"billing": answer}).json() == {"paid": 5}
        assert call(node, "much", answers={"billing": answer}).failure == Failure(402, "not that much")
        with pytest.raises(AssertionError):
            call(node, "nothing", answers={"billing": answer})


def test_what_a_task_does_meanwhile_is_not_of_who_comes(kind):
    made, sleep = kind
    node, spoken = made("test"), []

    async def another():
        await node.broadcast("another's")
        spoken.append(True)

    @node.on_open
    async def opened(client):
        node.start_soon(another)
        while not spoken:
            await sleep(0)
        await node.join(client, "all")

    ada = client()
    assert open(node, ada).effects == [Join(ada, "all")]


def check(node):
    """Each step by itself. Gives the thread in which handlers ran."""
    result = call(node, "x")
    count, thread = result.json()
    assert (count, result.effects) == (1, [Broadcast("done")])
    with pytest.raises(KeyError, match="mine"):
        call(node, "fail")
    assert call(node, "hang", timeout=0.05).failure.status == 504
    ada = client()
    assert connect(node, ada).client.user == "ada"
    assert connect(node, client("/?no")).failure == Failure(403, "no", 4403)
    assert open(node, ada).effects == [Join(ada, "all")]
    assert close(node, ada, "kicked").effects == [Broadcast("kicked")]
    assert ask(node, "who?").text == "who?"
    return thread


async def check_alone(node):
    """Several steps in one world. Gives the thread."""
    ada, bob = client(), client()
    async with alone(node, channels={"all": [bob]}) as steps:
        assert (await steps.connect(ada)).session == Session("ada", channels=[])
        count, thread = (await steps.call("x", client=ada)).json()
        assert count == 2
        assert steps.channels["all"] >= {ada.id}
        with pytest.raises(KeyError, match="mine"):
            await steps.call("fail", client=ada)
        assert (await steps.ask("who?")).text == "who?"
        await steps.close(ada, "kicked")
        assert steps.effects == [Join(bob, "all"), Join(ada, "all"), Broadcast("done"), Broadcast("kicked")]
    with pytest.raises(ZeroDivisionError):
        async with alone(node) as steps:
            1 / 0  # noqa: B018
    with pytest.raises(RuntimeError, match="running already"):
        async with alone(node), alone(node):
            pass
    return thread


def test_from_a_test_without_a_loop(node):
    assert check(node) == threading.get_ident()


async def test_from_a_test_of_trio(node, kind):
    assert check(node) != threading.get_ident()
    is_here = kind[0] is holdfast.Node
    assert (await check_alone(node) == threading.get_ident()) is is_here


def test_from_a_test_of_asyncio(node):
    async def test():
        assert check(node) != threading.get_ident()
        assert await check_alone(node) == threading.get_ident()
        await asyncio.sleep(0)

    asyncio.run(test())


def test_a_handler_may_use_what_belongs_to_the_loop_of_the_test():
    node = holdfast.asyncio.Node("test")

    async def test():
        gate = asyncio.Event()

        @node.on_request
        async def handle(request):
            await gate.wait()
            return "well"

        async with alone(node) as steps, asyncio.TaskGroup() as group:
            calling = group.create_task(steps.call())
            await asyncio.sleep(0)
            gate.set()
            assert (await calling).text == "well"

    asyncio.run(test())


async def test_what_a_node_in_a_thread_waits_for_is_left_with_the_test():
    node = holdfast.asyncio.Node("test")
    ended, begun = [], threading.Event()

    @node.on_request
    async def handle(request):
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    with trio.fail_after(20):
        async with alone(node) as steps:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(steps.call)
                    await trio.to_thread.run_sync(begun.wait)
                    scope.cancel()
    assert ended == [True]


@pytest.mark.parametrize("is_asyncio", [False, True])
async def test_a_node_that_can_not_begin_says_why(is_asyncio):
    node = holdfast.asyncio.Node("test")

    @node.lifespan
    async def around():
        raise OSError("no database")
        yield

    async def test():
        async with alone(node):
            pass

    async def test_from_asyncio():
        await trio.to_thread.run_sync(asyncio.run, test())

    with pytest.raises(holdfast.LifespanError, match="no database"):
        await (test_from_asyncio() if is_asyncio else test())


@pytest.mark.parametrize("status", [401, 503])
def test_an_error_with_headers_is_a_failure_over_http_too(kind, status):
    node, headers = kind[0]("test"), {"WWW-Authenticate": "Bearer"}

    @node.on_request
    async def handle(request):
        raise RequestError(status, "no", headers)

    result = call(node, http="GET /")
    assert result.failure == Failure(status, "no", headers=[*headers.items()])
    assert (result.status, result.messages) == (status, [])
    assert result.headers.get("www-authenticate") == "Bearer"
    assert call(node).failure == Failure(status, "no")  # a message has none

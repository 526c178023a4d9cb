import pytest
from msgspec.structs import replace

from holdfast import ConfigError, Node, Reply, RequestError
from holdfast.protocols.nodes import frames
from tests.holdfast.node.asking import ask
from tests.holdfast.node.fake_proxy import client, linked


def around(node, name, told):
    @node.middleware
    async def middleware(request, call_next):
        told.append(f"{name} begins")
        try:
            return [name, await call_next(request)]
        finally:
            told.append(f"{name} ends")


@pytest.mark.parametrize("kind", ["async", "inline", "thread"])
async def test_the_first_one_is_the_outermost(kind):
    node, told = Node("test"), []

    def plain(request):
        told.append("handler")
        return "reply"

    async def handle(request):
        return plain(request)

    around(node, "first", told)
    node.on_request(handle if kind == "async" else plain, inline=kind == "inline")
    around(node, "second", told)
    assert await ask(node) == ["first", ["second", "reply"]]
    assert told == ["first begins", "second begins", "handler", "second ends", "first ends"]


async def test_it_may_answer_itself_and_change_the_request_and_sees_what_is_raised():
    node = Node("test")

    @node.middleware
    async def guard(request, call_next):
        if request.payload == b"no":
            raise RequestError(401, "who are you?", headers={"www-authenticate": "Bearer"})
        if request.payload == b"cached":
            return "from the cache"
        try:
            return await call_next(replace(request, payload=request.payload.upper()))
        except RequestError as error:
            return Reply(f"{error.status}")

    @node.on_request("/")
    async def handle(request):
        return request.payload

    assert await ask(node, b"hello") == b"HELLO"
    assert await ask(node, b"cached") == "from the cache"
    assert (await ask(node, b"hello", "/other")).body == "404"
    async with linked(node, clients=[client()]) as session:
        session.http("GET", "/", b"no", [])
        reply = await session.take(frames.HttpReply)
        assert (reply.status, dict(reply.headers)["www-authenticate"]) == (401, "Bearer")


async def test_what_it_does_through_the_node_travels_with_the_reply():
    node = Node("test")

    @node.middleware
    async def tell(request, call_next):
        await node.join(request.client, "room")
        return await call_next(request)

    @node.on_request
    async def handle(request):
        return b"done"

    async with linked(node, clients=[client()]) as session:
        session.request(b"x")
        reply = await session.take(frames.Reply)
        assert reply.effects == [frames.Join(7, "room", 0)]


@pytest.mark.parametrize("function", [lambda request, call_next: None, lambda request: None, "text"])
def test_what_can_t_be_around_others_is_refused(function):
    with pytest.raises(ConfigError):
        Node("test").middleware(function)


def test_alone_it_takes_no_requests():
    node = Node("test")
    around(node, "alone", [])
    assert node._handler() is None

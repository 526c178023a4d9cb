"""on_subscribe and on_publish: which function is asked, with what, and what comes of what it gives."""

import msgspec
import pytest

from holdfast import NO_REPLY, ConfigError, Node, Refused, RequestError, Subscription
from holdfast import asyncio as holdfast_asyncio
from holdfast.testing import Failure, Join, Notify, client, publish, subscribe

KINDS = [Node, holdfast_asyncio.Node]


class Wish(msgspec.Struct):
    colour: str


@pytest.fixture(params=KINDS, ids=["trio", "asyncio"])
def node(request):
    node = request.param("test")

    @node.on_subscribe("room:{id}")
    async def may(request, id: int):
        if request.client.user != "ada":
            raise Refused(403, f"room {id} is Ada's")
        await node.join(request.client, "lobby")
        return Subscription({"room": id, "token": request.token}, recover=id != 7, expires=60)

    @node.on_subscribe("room:secret")
    def may_not(request):
        return request.payload == b"please"

    @node.on_subscribe("all:*")
    async def all_of_it(request, body: Wish | None = None):
        return True if body is not None and body.colour == "red" else None

    @node.on_subscribe("odd")
    def odd(request):
        return "yes"

    @node.on_publish("room:{id}")
    async def said(request, id: int):
        if request.text == "loud":
            raise RequestError(422, "not so loud")
        if request.text == "hidden":
            await node.notify("seen", channels=["audit"])
            return NO_REPLY
        return {"room": id, "text": request.text} if id else None

    @node.on_publish("raw:{id}")
    def raw(request, id):
        return bytes(reversed(request.payload))

    return node


ADA, EVE = client(user="ada"), client(user="eve")


def test_it_may_and_what_it_did_is_done(node):
    result = subscribe(node, "room:5", client=ADA, token="t")
    assert result.subscription == Subscription({"room": 5, "token": "t"}, expires=60)
    assert (result.failure, result.effects) == (None, [Join(ADA, "lobby")])
    assert subscribe(node, "room:7", client=ADA).subscription == Subscription({"room": 7, "token": ""}, False, 60)


def test_it_may_not(node):
    assert subscribe(node, "room:5", client=EVE).failure == Failure(403, "room 5 is Ada's")
    assert subscribe(node, "room:secret", "x").failure == Failure(403, "not allowed")
    assert subscribe(node, "all:x").failure == Failure(403, "not allowed")
    assert subscribe(node, "room:x", client=ADA).failure.status == 400
    assert subscribe(node, "all:x", {"colour": 3}).failure.status == 400
    assert subscribe(node, "lobby").failure == Failure(403, "no on_subscribe here takes lobby")
    assert subscribe(Node("none"), "lobby").failure == Failure(403, "no node with on_subscribe is there")


def test_more_specific_ones_are_asked_first(node):
    assert subscribe(node, "room:secret", "please").failure is None
    assert subscribe(node, "all:x:y", {"colour": "red"}).failure is None


def test_what_is_no_word_of_it_is_the_function_s_fault(node):
    with pytest.raises(
        TypeError, match=r"expected True, False or a Subscription of on_subscribe, got str of node.*odd \("
    ):
        subscribe(node, "odd")


@pytest.mark.parametrize(
    ("pattern", "channel", "is_taken"),
    [
        ("a/{x}/*", "a/b/#", True),
        ("a/{x}/*", "a/+/b", False),
        ("a/{x}/*", "a/b/+/c", True),
        ("a/{x}", "a/#", False),
        ("a/#", "a/#", True),
        ("*", "#", True),
    ],
)
def test_a_filter_is_taken_by_what_stands_for_many(pattern, channel, is_taken):
    node = Node("test")

    @node.on_subscribe(pattern)
    def may(request, **names):
        return request.is_filter

    assert (subscribe(node, channel, is_filter=True).failure is None) is is_taken


def sent(result):
    return [(effect.payload, effect.channels, effect.sender) for effect in result.effects]


def test_what_is_published(node):
    sender = {"client": f"{ADA.id:016x}", "user": "ada"}
    result = publish(node, "room:5", "hello", client=ADA)
    assert (result.failure, result.messages) == (None, [])
    assert sent(result) == [('{"room":5,"text":"hello"}', ("room:5",), sender)]
    assert sent(publish(node, "room:0", "as it came", client=ADA)) == [("as it came", ("room:0",), sender)]
    assert sent(publish(node, "raw:1", b"abc", client=ADA)) == [(b"cba", ("raw:1",), sender)]
    assert sent(publish(node, "raw:1", "abc", client=ADA)) == [("cba", ("raw:1",), sender)]


def test_what_is_not_published(node):
    assert publish(node, "room:5", "loud").failure == Failure(422, "not so loud")
    assert publish(node, "lobby", "x").failure == Failure(403, "no on_publish here takes lobby")
    assert publish(Node("none"), "lobby", "x").failure == Failure(403, "no node with on_publish is there")
    hidden = publish(node, "room:5", "hidden")
    assert (hidden.failure, hidden.effects) == (None, [Notify("seen", channels=["audit"])])


def test_text_that_is_none_is_published_to_nobody():
    node = Node("test")

    @node.on_publish("a")
    def said(request):
        return b"\xff"

    with pytest.raises(UnicodeDecodeError):
        publish(node, "a", "x")


@pytest.mark.parametrize("name", ["on_subscribe", "on_publish"])
def test_what_can_not_be_registered(name):
    node = Node("test")
    register = getattr(node, name)
    for pattern, why in (("a{b}", "stands between"), ("", "a pattern of channels"), (may, "has a pattern of channels")):
        with pytest.raises(ConfigError, match=why):
            register(pattern)
    with pytest.raises(ConfigError, match="must take a request, id="):
        register("room:{id}")(lambda request: True)
    register("room:{id}")(lambda request, id: True)
    with pytest.raises(ConfigError, match=rf"one {name} takes room:{{name}}"):
        register("room:{name}")(lambda request, name: True)


def may():
    """In place of a pattern."""


@pytest.mark.parametrize(
    ("more", "why"),
    [({"info": float("nan")}, None), ({"info": object()}, "info of a Subscription"), ({"expires": 0}, "expires")],
)
def test_what_no_subscription_is(more, why):
    if why is None:
        assert Subscription(**more)._granted().info == b"null"
        return
    with pytest.raises(ValueError, match=why):
        Subscription(**more)

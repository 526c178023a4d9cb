"""What an error says of whose it is: which function, for which route, where the traceback can't."""

import gc
import re
import warnings
from functools import partial
from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import pytest
import structlog

from holdfast import Node, Reply
from holdfast.asyncio import Node as AsyncioNode
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import ASK, CONNECT
from tests.holdfast.node.fake_proxy import client, encoded, linked
from tests.waiting import until


async def unawaited():
    pass


class Frozen(Exception):
    def __setattr__(self, name, value):
        raise AttributeError(name)


async def breaks():
    yield "x"
    raise FROZEN


FROZEN = Frozen("mine")
RETURNED = [
    (lambda request: {1}, "got set"),
    (lambda request: unawaited, "got function unawaited: is it to be called?"),
    (lambda request: request.json, "got method Content.json: is it to be called?"),
    (lambda request: Reply("x", status=99), "the status of a reply is 200 to 599, got 99"),
    (lambda request: Reply("x", headers={"a": 5}), "expected str, got int"),
    (lambda request: {"a": object()}, "Encoding objects of type object is unsupported"),
    (lambda request: "\ud800", "surrogates not allowed"),
    (lambda request: "x" * (17 << 20), "bytes"),
    (lambda request: Reply(breaks()), "mine"),
]


@pytest.mark.parametrize("kind", [Node, AsyncioNode])
@pytest.mark.parametrize("how", ["rest", "path", "middleware"])
@pytest.mark.parametrize(("handle", "error"), RETURNED)
def test_what_a_handler_returns_wrongly_names_it(handle, error, how, kind):
    """All frames of the traceback are the library's."""
    node = kind("test")
    if how == "rest":
        node.on_request(handle)
    else:
        node.on_request("/chat")(handle)
    if how == "middleware":

        @node.middleware
        async def around(request, call_next):
            return await call_next(request)

    async def fail_twice():
        async with linked(node) as session:
            for _ in range(2):
                session.http(target="/chat")
                while not isinstance(await session.take(object), frames.Failure):
                    pass

    with structlog.testing.capture_logs() as logs:
        node._start(fail_twice)
    lines = [line for line in logs if line["event"] == "handler_failed"]
    function = rf"<lambda> \(test_whose.py, line {handle.__code__.co_firstlineno}\)"
    for line in lines:
        assert re.fullmatch(function, line["function"])
        assert line["route"] == ("" if how == "rest" else "/chat")
        assert error in line["exception"]
    assert len(lines) == 2
    if error != "mine":
        by = {
            "rest": "",
            "path": ", for /chat",
            "middleware": r" or .*around \(test_whose.py, line \d+\), for /chat",
        }
        assert re.search(f"\nreturned by {function}{by[how]}$", lines[1]["exception"])


async def test_what_was_not_awaited_is_said():
    node = Node("test")

    @node.on_request
    async def handle(request):
        return node.count("x")

    with structlog.testing.capture_logs() as logs, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Python says so too, somewhere
        async with linked(node, clients=[client()]) as session:
            session.request()
            await session.take(frames.Failure)
        gc.collect()
    [line] = [line for line in logs if line["event"] == "handler_failed"]
    assert "got coroutine of Actions.count: is an `await` missing?" in line["exception"]


async def test_which_function_failed_is_said_of_those_that_answer_others():
    node = Node("test")

    @node.on_ask
    async def answer(question):
        return {1}

    @node.on_connect
    async def admit(client):
        raise KeyError("mine")

    with structlog.testing.capture_logs() as logs:
        async with linked(node) as session:
            session.say(frames.Call(1, 1, 10_000, ASK, b"", sender="other"))
            await session.take(frames.Failure)
            session.say(frames.Call(2, 1, 10_000, CONNECT, b"", client=7, info=encoded(client())))
            await session.take(frames.Failure)
    lines = [line for line in logs if line["event"] == "handler_failed"]
    assert [(line["route"], line["function"].partition(" ")[0].rpartition(".")[2]) for line in lines] == [
        ("ask", "answer"),
        ("connect", "admit"),
    ]
    assert "returned by" in lines[0]["exception"]
    assert "returned by" not in lines[1]["exception"]


@pytest.mark.parametrize("put", [{"payload": None}, {"payload": "text"}, {"client": None}, {"http": 5}, {"client": 7}])
async def test_whatever_an_author_has_put_into_a_request_costs_that_request(put):
    node = Node("test")

    @node.on_message("type", "chat")
    async def handle(request):
        for name, value in put.items():
            setattr(request, name, value)
        raise KeyError("mine")

    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client()]) as session:
            for _ in range(2):
                session.request(b'{"type":"chat"}')
                assert (await session.take(frames.Failure)).status == 500
    assert ["mine" in line["exception"] for line in logs if line["event"] == "handler_failed"] == [True, True]


async def as_it_is(request):
    pass


@pytest.mark.parametrize("spec", [None, as_it_is])
@pytest.mark.parametrize("does", [{"side_effect": ValueError("v")}, {"return_value": object()}])
def test_a_stand_in_is_named_as_far_as_it_can_be(spec, does):
    node = Node("test")
    node.on_request(AsyncMock(spec=spec, **does))

    async def fail():
        async with linked(node, clients=[client()]) as session:
            session.request()
            assert (await session.take(frames.Failure)).status == 500

    node._start(fail)


class Lazy:
    """What makes up its attributes, and can't just now."""

    def __getattr__(self, name):
        raise RuntimeError(f"lazy {name}")

    async def __call__(self, *arguments):
        raise ValueError("mine")


class Loose(Lazy):
    """What makes up attributes that none of these can be."""

    def __getattr__(self, name):
        return self


class Commands(dict):
    """Empty, so it is as good as False."""

    async def __call__(self, *arguments):
        raise ValueError("mine")


class Doubtful(Lazy):
    def __bool__(self):
        raise RuntimeError("maybe")


class Shy(Lazy):
    """What says of itself what it is only while it is registered."""

    is_asked = True

    @property
    def __class__(self):
        if Shy.is_asked:
            return Lazy
        raise RuntimeError("lazy")


def plain(request):
    pass


ODD = {
    "lazy": Lazy(),
    "shy": Shy(),
    "loose": Loose(),
    "empty": Commands(),
    "doubtful": Doubtful(),
    "spec": Mock(spec=plain),
    "set": Mock(spec_set=plain),
    "magic": MagicMock(spec=plain),
    "autospec": create_autospec(plain),
    "autospec of a partial": create_autospec(partial(plain)),
}


ANY = {name: odd for name, odd in ODD.items() if name != "autospec"}  # that takes one argument, and no more


@pytest.mark.parametrize("odd", ANY.values(), ids=ANY)
@pytest.mark.parametrize("kind", [Node, AsyncioNode])
def test_an_object_of_any_kind_may_be_registered_for_anything(kind, odd):
    node = kind("test")
    for register in (node.on_request, node.on_open, node.on_close, node.on_connect, node.on_ask, node.on_master):
        register(odd)
    node.on_open(odd, once=True)
    node.on_close(odd, once=True)
    node.on_state(odd)
    node.on_message("type", "x")(odd)
    node.every(1.0)(odd)
    if type(odd) in (Lazy, Shy, Doubtful, Commands):
        for functions in (node._on_open, node._on_close, node._on_master, [node._on_connect, node._on_ask]):
            assert all(each.is_async for each in functions)
            name = type(odd).__name__
            assert {re.sub(r"\d+", "N", each.said) for each in functions} == {f"{name} (test_whose.py, line N)"}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_what_is_registered_may_be_an_object_of_any_kind(odd, monkeypatch):
    """It is not looked into where that raises; nor where it has failed, which would end the node."""
    node = Node("test")
    node.on_request(odd)
    node.on_open(Lazy())
    node.every(0.01)(Shy())
    monkeypatch.setattr(Shy, "is_asked", False)
    with structlog.testing.capture_logs() as logs:
        async with linked(node, clients=[client()]) as session:
            session.request()
            assert (await session.take(frames.Failure)).status == 500
            await until(lambda: any(line["event"] == "task_failed" for line in logs))
            session.request()
            await session.take(frames.Failure)
    [name] = {line["function"] for line in logs if line["event"] == "task_failed"}
    assert re.fullmatch(r"Shy \(test_whose.py, line \d+\)", name)

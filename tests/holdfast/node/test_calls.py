"""What a node is asked besides requests: what its functions may say, before anything is sent."""

import re

import pytest
import structlog

from holdfast import Node, Refused, Session
from holdfast.node.calls import Calls
from holdfast.node.channel_functions import ChannelFunctions
from holdfast.node.function import Function
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import CLOSE, MAX_JOINED, OPEN
from holdfast.protocols.nodes.names import MAX_NAME
from holdfast.testing import client, connect
from tests.holdfast.node.fake_proxy import client as framed
from tests.holdfast.node.fake_proxy import encoded, linked


def admits(session):
    node = Node("doorman")

    @node.on_connect
    async def admit(client):
        return session

    return node


@pytest.mark.parametrize(
    ("said", "error", "why"),
    [
        ({"user": 5}, TypeError, "user of a Session: expected str, got int"),
        ({"user": "\ud800"}, ValueError, "user of a Session: .*surrogates not allowed"),
        ({"user": "a" * (MAX_NAME + 1)}, ValueError, "user of a Session: .* at most 256 characters, got 257"),
        (
            {"channels": "lobby"},
            TypeError,
            "channels of a Session: expected a list of channels, got the string 'lobby'",
        ),
        ({"channels": [5]}, TypeError, "channels of a Session: expected str, got int"),
        ({"channels": 5}, TypeError, "channels of a Session: 'int' object is not iterable"),
        ({"channels": ["c"] * (MAX_JOINED + 1)}, ValueError, "at most 10000 channels from the beginning, got 10001"),
        ({"expires": "1h"}, TypeError, "expires of a Session: expected a number of seconds above 0, or None.* '1h'"),
        ({"expires": 0}, ValueError, "expires of a Session: expected a number of seconds above 0, or None.* got 0"),
        ({"expires": float("nan")}, ValueError, "expires of a Session: .*nan"),
        ({"data": object()}, ValueError, "data of a client is JSON: .*object"),
        ({"data": "a" * 20_000}, ValueError, "bytes"),
    ],
)
def test_what_no_proxy_would_take_is_refused_where_it_is_said(said, error, why):
    """And so in the line of the author's that says it."""
    with pytest.raises(error, match=why):
        Session(**said)


def test_what_has_become_too_much_since_is_not_sent():
    session = Session(data=[])
    session.data.append("a" * 20_000)
    with pytest.raises(ValueError, match="bytes"):
        connect(admits(session), client())


async def test_channels_may_be_said_one_after_the_other():
    session = Session("ada", channels=(name for name in ("a", "b")))
    assert connect(admits(session), client()).session.channels == ["a", "b"]


@pytest.mark.parametrize("result", [True, "ada", Session, Refused()])
def test_what_is_no_answer_of_on_connect_names_who_gave_it(result):
    with pytest.raises(
        TypeError, match=r"a Session of on_connect, got \w+ of admits\..*admit \(test_calls.py, line \d+\)"
    ):
        connect(admits(result), client())


def test_as_much_as_that_is_sent():
    session = Session("a" * MAX_NAME, channels=["c"] * MAX_JOINED)
    assert connect(admits(session), client()).session.user == session.user


@pytest.mark.parametrize(("payload", "reason"), [(b"", "unknown"), (b"kicked", "kicked")])
async def test_a_close_that_says_no_reason_is_told_as_one_whose_nobody_knows(payload, reason):
    """As those are whose proxy was lost."""
    told = []
    ada = client()
    calls = Calls(
        None,
        [],
        [Function(lambda *what: told.append(what), inline=True)],
        None,
        ChannelFunctions(""),
        ChannelFunctions(""),
        None,
    )
    await calls.begin(
        frames.Call(1, 1, 1000, CLOSE, payload, True, ada.id, b"Ada"), ada, 0.0, lambda function, *what: function(*what)
    )
    assert told == [(ada, reason)]


@pytest.mark.parametrize("comes_first", [False, True])
@pytest.mark.parametrize(("register", "kind"), [("on_open", OPEN), ("on_close", CLOSE)])
async def test_each_of_several_is_told_once_whatever_those_before_it_raise(register, kind, comes_first):
    """As beside it those that every node's are; and what those that raise have done through the node is not done."""
    node, told = Node("test"), []

    async def first(client):
        await node.broadcast("first")

    async def raises(client):
        await node.broadcast("of one that fails")
        raise SystemExit("mail server away")

    def second(client):
        told.append(client.id)
        raise ValueError("also away")

    async def last(client):
        told.append(client.id)
        await node.broadcast("last")

    for function in [raises, second, last] if comes_first else [first, raises, second, last]:
        getattr(node, register)(function, once=True)
    with structlog.testing.capture_logs() as logs:
        async with linked(node) as session:
            session.say(frames.Call(1, 1, 10_000, kind, b"", client=7, info=encoded(framed())))
            reply = await session.take(frames.Reply)
    assert told == [7, 7]
    kept = [effect.payload for effect in reply.effects]
    assert kept == ([b"last"] if comes_first else [b"first", b"last"])
    said = [line["function"] for line in logs if line["event"] == "callback_failed"]
    failed = [re.search(r"(\w+) \(test_calls.py, line \d+\)$", each)[1] for each in said]
    assert failed == ["raises", "second"]

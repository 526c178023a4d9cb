"""What a node is asked besides requests: what its functions may say, before anything is sent."""

import pytest

from holdfast import Node, Session
from holdfast.node.calls import Calls
from holdfast.node.function import Function
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import CLOSE, MAX_JOINED
from holdfast.protocols.nodes.names import MAX_NAME
from holdfast.testing import client, connect


def admits(session):
    node = Node("doorman")

    @node.on_connect
    async def admit(client):
        return session

    return node


@pytest.mark.parametrize(
    ("session", "why"),
    [
        (Session("a" * (MAX_NAME + 1)), "a user has at most 256 characters, got 257"),
        (Session(channels=["c"] * (MAX_JOINED + 1)), "at most 10000 channels from the beginning, got 10001"),
    ],
)
def test_what_no_proxy_would_take_is_its_author_s_fault_and_is_not_sent(session, why):
    with pytest.raises(ValueError, match=why):
        connect(admits(session), client())


def test_as_much_as_that_is_sent():
    session = Session("a" * MAX_NAME, channels=["c"] * MAX_JOINED)
    assert connect(admits(session), client()).session.user == session.user


@pytest.mark.parametrize(("payload", "reason"), [(b"", "unknown"), (b"kicked", "kicked")])
async def test_a_close_that_says_no_reason_is_told_as_one_whose_nobody_knows(payload, reason):
    """As those are whose proxy was lost."""
    told = []
    ada = client()
    calls = Calls(None, [], [Function(lambda *what: told.append(what), inline=True)], None, None)
    await calls.begin(frames.Call(1, 1, 1000, CLOSE, payload, True, ada.id, b"Ada"), ada, 0.0)
    assert told == [(ada, reason)]

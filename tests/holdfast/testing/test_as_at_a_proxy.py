"""What a proxy would not do is not done in a test either, and what is likely to be meant is said."""

import asyncio  # noqa: TID251 - of those who take the wrong node

import pytest

from holdfast import ConfigError, Node, Reply
from holdfast.node.plain import type_of
from holdfast.testing import call


@pytest.mark.parametrize("value", ["a\r\nX-B: c", "\u20ac", "a\0"])
def test_a_header_that_can_not_be_sent_is_502(value):
    node = Node("test")
    node.on_request(lambda request: Reply("x", headers={"X-A": value}))
    result = call(node, http="GET /")
    assert (result.failure.status, result.failure.message) == (502, "a reply's header 'X-A' can't be sent")
    assert (result.status, result.messages, list(result.headers)) == (502, [], [])


def test_who_waits_by_asyncio_is_told_of_its_node():
    node = Node("test")

    @node.on_request
    async def handle(request):
        await asyncio.sleep(0.01)

    with pytest.raises(RuntimeError, match="no running event loop") as failure:
        call(node, "x")
    assert failure.value.__notes__ == [
        "asyncio's functions work in async functions of a node `from holdfast.asyncio import Node`"
    ]


def test_a_time_to_wait_for_an_answer_is_a_number():
    node = Node("test")

    @node.on_request
    async def handle(request):
        return await node.ask("billing", "x", timeout="5")

    with pytest.raises(TypeError, match=r"^timeout: expected a number of seconds, got str$"):
        call(node, "x")


def test_on_message_alone_says_what_it_takes():
    for wrong in (lambda request: None, print):
        with pytest.raises(
            ConfigError, match=r'^on_message has a field and its value: @node.on_message\("type", "move"\)$'
        ):
            Node("test").on_message(wrong)
    with pytest.raises(ConfigError, match="a message goes by a field and its text"):
        Node("test").on_message("type")


def test_what_was_given_in_place_of_something_has_its_article():
    assert [type_of(value) for value in (5, {}, AttributeError())] == ["an int", "a dict", "an AttributeError"]

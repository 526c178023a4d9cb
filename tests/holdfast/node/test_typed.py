"""Bodies that are decoded and checked before the function is called. Annotations are strings here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec
import pytest

from holdfast import ConfigError, Node, RequestError
from tests.holdfast.node.asking import ask

if TYPE_CHECKING:
    from holdfast import Request  # not there when it is looked up: no one needs it


class Move(msgspec.Struct):
    x: int
    y: Annotated[int, msgspec.Meta(ge=0)] = 0


@dataclass
class Point:
    x: int


class Place(TypedDict):
    x: int


class Odd: ...


Anything = Any


def taking(node):
    """Registers what returns its body."""

    def register(kind, inline=False):
        async def handle(request: Request, body):
            return body

        handle.__annotations__["body"] = kind
        node.on_request(handle)

    return register


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("Move", b'{"x": 1, "y": 2, "z": 3}', Move(1, 2)),
        ("Point", b'{"x": 1}', Point(1)),
        ("Place", b'{"x": 1}', {"x": 1}),
        ("list[Move]", b'[{"x": 1}]', [Move(1)]),
        ("dict[str, int]", b'{"a": 1}', {"a": 1}),
        ("Move | None", b"null", None),
        ("Anything", b"[1]", [1]),
    ],
)
async def test_a_body_is_of_its_type(kind, payload, expected):
    node = Node("test")
    taking(node)(kind)
    assert await ask(node, payload) == expected
    assert await ask(node, payload, "/", "POST") == expected


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b'{"x": "1"}', "body: Expected `int`, got `str` - at `$.x`"),
        (b"{}", "body: Object missing required field `x`"),
        (b'{"x": 1, "y": -1}', "body: Expected `int` >= 0 - at `$.y`"),
        (b"[]", "body: Expected `object`, got `array`"),
        (b"", "body: expected JSON"),
        (b"\xff", "body: expected JSON"),
        (b'{"z": ' + b"[" * 100_000, "body: expected JSON"),
    ],
)
async def test_a_body_that_does_not_fit_is_400_and_says_where(payload, text):
    node = Node("test")
    taking(node)("Move")
    with pytest.raises(RequestError) as caught:
        await ask(node, payload)
    assert (caught.value.status, str(caught.value)) == (400, text)


async def test_a_body_with_a_default_may_be_missing():
    node = Node("test")

    @node.on_request("/{id}")
    def handle(request: Request, id: int, body: Move | None = None):
        return id, body

    assert await ask(node, b"", "/5") == (5, None)
    assert await ask(node, b'{"x": 1}', "/5") == (5, Move(1))


async def test_a_body_without_an_annotation_is_any_json_and_one_of_the_path_is_its():
    node = Node("test")

    @node.on_request("/any")
    async def handle(request, *, body):
        return body

    @node.on_request("/of/{body}")
    async def named(request, body):
        return body

    assert await ask(node, b'{"x": 1}', "/any") == {"x": 1}
    assert await ask(node, b'{"x": 1}', "/of/path") == "path"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("bytes", "are request.payload"),
        ("Odd", "does not know"),
        ("Nowhere", "can't be looked up in its module: name 'Nowhere' is not defined"),
        ("Move | Point", "does not take"),
    ],
)
def test_what_can_t_be_decoded_is_refused_when_it_is_registered(kind, text):
    with pytest.raises(ConfigError, match=text) as caught:
        taking(Node("test"))(kind)
    assert "handle (test_typed.py, line " in str(caught.value)


def test_a_body_must_be_taken_by_its_name():
    def handle(request, body, /): ...

    with pytest.raises(ConfigError, match="must take a request, body="):
        Node("test").on_request(handle)


def test_keywords_are_no_body():
    async def handle(request, **body): ...

    node = Node("test")
    node.on_request(handle)
    assert node._handler() is handle

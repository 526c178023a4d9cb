"""Likely mistakes of a test, and what is told of them."""

import pytest

import holdfast.asyncio
from holdfast import Node
from holdfast.testing import alone, ask, call, client, close, connect, open


@pytest.fixture(params=[Node, holdfast.asyncio.Node])
def node(request):
    node = request.param("test")

    @node.on_request
    async def echo(request):
        return request.payload

    return node


A_CLIENT = "expected a client, as holdfast.testing.client() makes one, got"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda node: call("chat:node", "x"),
         "node: expected a Node, got 'chat:node': import it, as `from chat import node`"),
        (lambda node: call(None, "x"), "node: expected a Node, got None"),
        (lambda node: call(Node, "x"), "node: expected a Node, got a type"),
        (lambda node: ask("chat:node", "x"),
         "node: expected a Node, got 'chat:node': import it, as `from chat import node`"),
        (lambda node: call(node, "x", client="ada"), f"client: {A_CLIENT} 'ada'"),
        (lambda node: call(node, "x", client=5), f"client: {A_CLIENT} 5"),
        (lambda node: open(node, "ada"), f"client: {A_CLIENT} 'ada'"),
        (lambda node: close(node, None), f"clients: {A_CLIENT} None"),
        (lambda node: connect(node, 5), f"client: {A_CLIENT} 5"),
        (lambda node: call(node, "x", clients=client()),
         "clients: expected several clients, as [client()], got a Client"),
        (lambda node: call(node, "x", clients="ada"), "clients: expected several clients, as [client()], got 'ada'"),
        (lambda node: call(node, "x", clients=["ada"]), f"clients: {A_CLIENT} 'ada'"),
        (lambda node: close(node, client(), clients=5), "clients: expected several clients, as [client()], got 5"),
        (lambda node: call(node, "x", channels={"a": "ada"}),
         "channels['a']: expected several clients, as [client()], got 'ada'"),
        (lambda node: call(node, "x", channels=["a"]), "channels: expected a dict, got a list"),
        (lambda node: call(node, "x", state=["a"]), "state: expected a dict, got a list"),
        (lambda node: call(node, "x", state={1: "a"}), "state: expected keys that are str, got 1"),
        (lambda node: call(node, "x", answers=["billing"]), "answers: expected a dict, got a list"),
        (lambda node: call(node, "x", client=client(), headers={"a": "b"}),
         "headers: expected none beside a client, which has those of its handshake"),
        (lambda node: call(node, "x", headers=["ab", "c"]), "headers: expected a dict of str, or pairs, got a list"),
        (lambda node: call(node, "x", http="GET /", headers={"a": 1}),
         "headers: expected a dict of str, or pairs, got a dict"),
        (lambda node: call(node, "x", attempt=0), "attempt is 1 to 65535, got 0"),
        (lambda node: ask(node, "x", attempt="2"), "attempt is a whole number, got str"),
        (lambda node: client("kitchen"), "path: expected one that begins with a slash, as /kitchen, got 'kitchen'"),
        (lambda node: client("?token=x"), "path: expected one that begins with a slash, as /?token=x, got '?token=x'"),
        (lambda node: client(5), "path: expected str, got 5"),
    ],
)  # fmt: skip
def test_what_can_not_be_meant(node, wrong, told):
    with pytest.raises((TypeError, ValueError)) as failure:
        wrong(node)
    assert str(failure.value) == told


async def test_steps_are_looked_at_too(node):
    async with alone(node) as steps:
        for wrong in (
            lambda: steps.call("x", client="ada"),
            lambda: steps.open("ada"),
            lambda: steps.open(client(), attempt=0),
            lambda: steps.close("ada"),
            lambda: steps.connect("ada"),
            lambda: steps.ask("x", attempt=0),
        ):
            with pytest.raises((TypeError, ValueError), match=r"^(client: expected|attempt is)"):
                await wrong()
        assert (await steps.call("x", headers={"a": "b"})).text == "x"
        assert (await steps.call("x", headers=[("a", "b")], attempt=2)).text == "x"

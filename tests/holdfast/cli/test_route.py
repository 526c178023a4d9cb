import json
import re

import pytest

from tests.harness import ScriptedNode, running

ROUTES = """
[client]
subprotocols = ["v2"]
[[route]]
name = "rooms"
path = "/rooms/{id}"
method = "POST"
nodes = "chat"
[[route]]
name = "moves"
field = {type = "move"}
subprotocol = "v2"
labels = {version = "2"}
[[route]]
name = "hosts"
host = "*.a.org"
header = "X-A: 1"
share = 10
redirect = "/there"
"""


@pytest.fixture
def route(holdfast, tmp_path):
    file = tmp_path / "routes.toml"
    file.write_text(ROUTES)

    def route(*arguments):
        status, out, err = holdfast("route", *arguments, "--config", file)
        assert (status, err) == (0, "")
        return [re.split(r"  +", line) for line in out.splitlines()[1:]]

    return route


def test_a_route_by_path(route):
    assert route("post", "http://a.org/rooms/5?x") == [["rooms", "yes", "nodes chat"]]


def test_why_others_do_not_take_it(route):
    assert route("/rooms/5", "--header", "host: b.a.org", "--header=x-a:1") == [
        ["rooms", "no", "the method is GET, not POST"],
        ["moves", "no", "a field is one of a message, and this is an HTTP request"],
        ["hosts", "10 % of clients", "redirect to /there, status 307"],
        ["(no route)", "yes", "every node"],
    ]


def test_a_message(route):
    message = '{"type":"move"}'
    steps = route("ws://a.org/x", "--message", message, "--header", "Sec-WebSocket-Protocol: v1, v2")
    assert steps[-1] == ["moves", "yes", "nodes with version=2"]
    steps = route("ws://a.org/x", "--message", message)
    assert steps[1][-1] == "the subprotocol is none, not v2"


def test_why_a_message_has_no_fields(route):
    head = ["ws://a.org/x", "--header", "Sec-WebSocket-Protocol: v2", "--message"]
    assert route(*head, "{type: move}")[1][-1] == "the message is no JSON object, and has no fields"
    assert route(*head, '["move"]')[1][-1] == "the message is no JSON object, and has no fields"
    assert route(*head, '{"type": "go"}')[1][-1] == 'the message has not the field "type":"move"'
    long = "the message has 70000 bytes, and fields are looked for up to 65536"
    assert route(*head, "x" * 70_000)[1][-1] == long


def test_without_routes_and_as_json(holdfast):
    [step] = json.loads(holdfast("route", "/", "--json").out)["steps"]
    assert (step["number"], step["target"], step["takes"], step["available"]) == (0, "every node", 100.0, None)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["x"], "expected a URL, or a path as /rooms/5, got x"),
        (["ws://a", "--protocol", "http"], "a message is of another protocol than http"),
        (["ws://a", "--protocol", "ws"], "nobody speaks ws here, but http, websocket; client.protocols has others"),
        (["GET", "/x", "--message", "{}"], "a message has no method, got GET"),
        (["/", "--admin", "127.0.0.1:1", "--set", "log.level=info"],
         "--admin asks a proxy that has its own configuration: not with --config and --set"),
        (["/", "--header", "x"], "argument --header: expected NAME:VALUE, got x"),
    ],
)  # fmt: skip
def test_what_has_to_be_written_otherwise(holdfast, arguments, line):
    status, out, err = holdfast("route", *arguments)
    assert (status, out) == (2, "")
    assert line in err


async def test_a_running_proxy_says_who_is_there(holdfast_async):
    routes = [{"name": "mail", "path": "/mail", "nodes": "mail"}, {"name": "chat", "nodes": "chat"}]
    async with running(route=routes) as proxy:
        with ScriptedNode(proxy.node, name="chat", node="chat-1") as node:
            await node.join()
            status, out, err = await holdfast_async("route", "/x", "--admin", proxy.admin)
            assert (status, err) == (0, "")
            assert out.splitlines()[-1].split() == ["chat", "yes", "nodes", "chat", "chat-1"]
            _, out, _ = await holdfast_async("route", "/mail", "--admin", proxy.admin)
            assert out.splitlines()[1].split() == ["mail", "yes", "nodes", "mail", "none"]
            assert out.splitlines()[2].startswith("none is available: ")


async def test_a_running_proxy_without_routes(holdfast_async):
    async with running() as proxy:
        with ScriptedNode(proxy.node, node="n-1") as node:
            await node.join()
            [step] = json.loads((await holdfast_async("route", "/x", "--admin", proxy.admin, "--json")).out)["steps"]
            assert (step["target"], step["available"]) == ("every node", ["n-1"])

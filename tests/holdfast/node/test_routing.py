"""Which of a node's functions takes a request."""

import enum
import json
from uuid import UUID

import pytest

from holdfast import ConfigError, Node, RequestError
from holdfast.balancer.route import Handshake, Question, Rule
from holdfast.balancer.settings import RouteSettings
from holdfast.protocols.nodes import frames
from tests.holdfast.node.asking import ask
from tests.holdfast.node.fake_proxy import client, linked


def answer(text):
    async def handle(request, **values):
        return text, values

    return handle


@pytest.fixture
def node():
    node = Node("test")
    node.on_request("/rooms/{id}")(answer("any"))
    node.on_request("/rooms/{id}", method="POST")(answer("post"))
    node.on_request("/rooms/new", method="PUT")(answer("new"))
    node.on_request("/rooms/{id}/users/{user}", method=["GET", "DELETE"])(answer("user"))
    node.on_request("/ä/b c", method="GET")(answer("odd"))
    return node


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/rooms/5", ("any", {"id": "5"})),
        ("POST", "/rooms/5", ("post", {"id": "5"})),
        ("PUT", "/rooms/new", ("new", {})),
        ("POST", "/rooms/new", ("post", {"id": "new"})),  # the more specific one does not take the method
        (None, "/rooms/new", ("any", {"id": "new"})),  # a message has none
        (None, "/rooms/5", ("any", {"id": "5"})),
        ("GET", "/rooms/a%2Fb%20c", ("any", {"id": "a/b c"})),  # a slash that is escaped is in the value
        ("DELETE", "/rooms/5/users/x", ("user", {"id": "5", "user": "x"})),
        ("HEAD", "/rooms/5/users/x", ("user", {"id": "5", "user": "x"})),
        ("GET", "/%C3%A4/b%20c", ("odd", {})),
    ],
)
async def test_the_most_specific_one_that_takes_the_method_is_it(node, method, path, expected):
    assert await ask(node, b"", path, method) == expected


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/", 404, "nothing here takes /"),
        ("GET", "/rooms/", 404, "nothing here takes /rooms/"),
        ("GET", "/rooms/%ff", 400, "expected UTF-8 in the path, got /rooms/%ff"),
        ("POST", "/rooms/5/users/x", 405, "/rooms/5/users/x takes DELETE, GET, HEAD, got POST"),
        ("GET", "/" + "x" * 1000, 404, "nothing here takes /" + "x" * 79 + "..."),
        (None, "/rooms/5/users/x", 404, "nothing here takes messages of clients at /rooms/5/users/x"),
    ],
)
async def test_what_nothing_takes_is_refused_and_says_why(node, method, path, status, text):
    with pytest.raises(RequestError) as caught:
        await ask(node, b"", path, method)
    assert (caught.value.status, str(caught.value)) == (status, text)
    assert dict(caught.value.headers) == ({"allow": "DELETE, GET, HEAD"} if status == 405 else {})


async def test_a_function_without_a_path_takes_what_no_other_takes(node):
    node.on_request(answer("rest"))
    assert await ask(node, b"", "/nothing", "GET") == ("rest", {})
    assert await ask(node, b"", "/rooms/5/users/x", "POST") == ("rest", {})  # the wrong method, too
    assert await ask(node, b"", "/nothing") == ("rest", {})
    assert await ask(node, b"", "/rooms/5", "POST") == ("post", {"id": "5"})


class Kind(enum.StrEnum):
    MOVE = "move"


async def test_messages_go_by_a_field():
    node = Node("test")
    node.on_message("type", Kind.MOVE)(answer("move"))
    node.on_message("type", 1)(answer("one"))
    node.on_message("type", True)(answer("true"))
    node.on_message("type", "say", path="/rooms/{id}")(answer("say here"))
    node.on_message("type", "say")(answer("say"))
    node.on_message("a b", "c")(answer("later"))
    node.on_request("/rooms/{id}")(answer("room"))
    for message, path, expected in (
        ({"type": "move"}, "/", ("move", {})),
        ({"type": "move", "a b": "c"}, "/rooms/5", ("move", {})),  # registered first
        ({"type": "other", "a b": "c"}, "/", ("later", {})),
        ({"type": ["move"], "a b": "c"}, "/", ("later", {})),
        ({"type": 1}, "/", ("one", {})),
        ({"type": True}, "/", ("true", {})),
        ({"type": "say"}, "/rooms/5", ("say here", {"id": "5"})),
        ({"type": "say"}, "/", ("say", {})),
        ({"type": "other"}, "/rooms/5", ("room", {"id": "5"})),
        ([], "/rooms/5", ("room", {"id": "5"})),
    ):
        assert await ask(node, json.dumps(message).encode(), path) == expected
    for payload, text in (
        (b'{"type": "other"}', 'nothing here takes a message with "type": "other", "a b" missing'),
        (b'{"type": "2"}', 'nothing here takes a message with "type": "2", "a b" missing'),
        (b'{"type": 2}', 'nothing here takes a message with "type": 2, "a b" missing'),
        (b'{"type": 1.0, "a b": {}}', 'nothing here takes a message with "type": 1.0, "a b": an object'),
        (b"[]", "nothing here takes this message: expected JSON, an object"),
        (b"\xff", "nothing here takes this message: expected JSON, an object"),
        (b'{"type": ' + b"[" * 100_000, "nothing here takes this message: expected JSON, an object"),
    ):
        with pytest.raises(RequestError) as caught:
            await ask(node, payload)
        assert (caught.value.status, str(caught.value)) == (404, text)
    with pytest.raises(RequestError, match="nothing here takes /other"):
        await ask(node, b'{"type": "move"}', "/other", "POST")  # over HTTP it is no message


async def test_bytes_that_are_no_utf_8_are_taken_as_a_proxy_s_route_takes_them():
    """It had passed them on to `/static/*`, and here they were nobody's."""
    node = Node("test")
    node.on_request("/static/*")(answer("static"))
    node.on_request("/%ff")(answer("odd"))
    node.on_request(answer("rest"))
    for path, expected in (("/static/%ff", "static"), ("/%FF", "odd"), ("/%fe", "rest")):
        assert (await ask(node, b"", path))[0] == expected
        rule = Rule(0, RouteSettings(name="r", path=("/static/*", "/%ff")), None)
        assert (rule.why_not(Question(Handshake("http", "", path, ()), "GET")) == "") == (expected != "rest")


async def test_values_of_a_path_are_what_the_function_says():
    node = Node("test")

    @node.on_request("/{a}/{b}/{c}/{d}")
    async def handle(request, a: int, b: UUID, c, d: str | None = None):
        return a, b, c, d

    id = UUID(int=5)
    assert await ask(node, b"", f"/1/{id}/2/null") == (1, id, "2", "null")
    for path, text in ((f"/x/{id}/2/3", "a: Expected `int`, got `str`"), ("/1/x/2/3", "b: Invalid UUID")):
        with pytest.raises(RequestError) as caught:
            await ask(node, b"", path)
        assert (caught.value.status, str(caught.value)) == (400, text)


def register_twice(*arguments, **named):
    def register(node):
        for _ in range(2):
            node.on_request(*arguments, **named)(answer(""))

    return register


@pytest.mark.parametrize(
    ("register", "text"),
    [
        (register_twice("/rooms/{a}"), "one function takes /rooms/{a}, and "),
        (register_twice("/rooms/{a}", method="post"), "one function takes POST /rooms/{a}, and "),
        (lambda node: (node.on_request(answer("")), node.on_request()(answer(""))), "one function takes every request"),
        (lambda node: node.on_request("rooms"), "begins with a slash"),
        (lambda node: node.on_request("/a{b}"), "a whole segment"),
        (lambda node: node.on_request("/a?b=c"), "a whole segment"),
        (lambda node: node.on_request("/{a}/{a}"), "names of their own"),
        (lambda node: node.on_request("/{a b}"), "names of their own"),
        (lambda node: node.on_request(method="POST"), "has a path"),
        (lambda node: node.on_request("/{id}")(lambda request: None), "must take a request, id="),
        (lambda node: node.on_request("/{request}")(lambda request: None), "must take a request, request="),
        (lambda node: node.on_message("type", None), "text, number or bool"),
        (lambda node: node.on_message(1, "move"), "text, number or bool"),
        (lambda node: [node.on_message("t", "x")(answer("")) for _ in "12"], 'messages with "t": "x"'),
        (lambda node: node.on_request("/", method=5), "a method is a word as GET, or there is a list of such, got 5"),
        (lambda node: node.on_request("/", method=["GET", 5]), "or there is a list of such, got ['GET', 5]"),
        (lambda node: node.on_request("/", method="GET POST"), "got 'GET POST'"),
        (lambda node: node.on_request("/", method="GTE"), "no client sends GTE; did you mean GET?"),
        (lambda node: node.on_request("/", method="delet"), "no client sends delet; did you mean DELETE?"),
        (lambda node: node.on_request("/", method=["GET", "OPTION"]), "did you mean OPTIONS?"),
    ],
)
def test_mistakes_of_the_author_are_refused_in_one_line(register, text):
    with pytest.raises(ConfigError) as caught:
        register(Node("test"))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parameters_have_their_names_where_they_are_used():
    node = Node("test")
    node.on_request("/rooms/{id}", method="GET")(lambda request, id: None)
    node.on_request("/rooms/{name}", method="POST")(lambda request, name: None)
    with pytest.raises(ConfigError, match="POST"):
        node.on_request("/rooms/{other}", method=["PUT", "POST"])(lambda request, other: None)


def test_one_function_alone_is_called_without_anything_around():
    node = Node("test")

    @node.on_request
    async def handle(request): ...

    assert node._handler() is handle


async def test_what_the_proxy_gets_of_a_wrong_method():
    node = Node("test")
    node.on_request("/rooms", method="POST")(answer(""))
    async with linked(node, clients=[client()]) as session:
        session.http("GET", "/rooms", b"", [])
        reply = await session.take(frames.HttpReply)
        assert (reply.status, dict(reply.headers)) == (405, {"allow": "POST", "content-type": "application/json"})
        assert json.loads(reply.payload)["error"]["message"] == "/rooms takes POST, got GET"
        session.http("GET", "/other", b"", [])
        assert (await session.take(frames.Failure)).status == 404


def test_methods_that_only_some_know_are_methods():
    """Of the registry of RFC 9110 section 16.1."""
    rare = "ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT COPY LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE"
    rare += " ORDERPATCH PRI PROPFIND PROPPATCH QUERY REBIND REPORT SEARCH UNBIND UNLINK UNLOCK UPDATE"
    rare += " VERSION-CONTROL PURGE"
    Node("test").on_request("/", method=rare.split())

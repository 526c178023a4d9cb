import pytest

from holdfast.balancer.policies import hash_key
from holdfast.protocols.clients.events import HttpRequest, Message
from holdfast.protocols.errors import ConfigError
from holdfast.proxy.nodes.routing_key import key_of


class Client:
    id = 7


def test_client():
    assert key_of("client")(Client, Message(b"x", True)) == 7


def test_header_of_an_http_request_else_the_client():
    key = key_of("header:X-User")
    assert key(Client, HttpRequest("GET", "/", [("a", "b"), ("x-user", "anna")], b"")) == hash_key(b"anna")
    assert key(Client, HttpRequest("GET", "/", [], b"")) == 7
    assert key(Client, Message(b"x", True)) == 7


@pytest.mark.parametrize("payload", [b'{"a":1}', b"not json", b"[1]", b"\xff", b"[" * 5000, b""])
def test_field_that_is_not_there_is_the_client(payload):
    assert key_of("field:user")(Client, Message(payload, True)) == 7


def test_field():
    key = key_of("field:user")
    assert key(Client, Message(b'{"x":[{}], "user" : "anna"}', True)) == hash_key(b'"anna"')
    assert key(Client, Message(b'{"user":null}', True)) == hash_key(b"null")


@pytest.mark.parametrize("spec", ["", "client:x", "header:", "field:", "cookie:a"])
def test_other_words(spec):
    with pytest.raises(ConfigError, match="sticky_key"):
        key_of(spec)

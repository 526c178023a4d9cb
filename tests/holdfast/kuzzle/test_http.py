"""HTTP requests as Kuzzle's SDK and curl send them."""

import json

import pytest

from holdfast.kuzzle.errors import KuzzleError
from holdfast.kuzzle.http import read, response_headers
from holdfast.kuzzle.routes import NATIVE, Routes
from holdfast.kuzzle.wire import Request, fill

ROUTES = Routes()
for controller, action in NATIVE:
    ROUTES.add(controller, action)


def asked(method, target, headers=(), payload=b""):
    data = read(ROUTES, method, target, dict(headers), payload)
    assert data is not None
    request = Request("h", protocol="http")
    fill(request, data)
    return request


def test_the_url_names_action_and_arguments():
    request = asked("POST", "/taxi/yellow/_search?size=5&from=0&silent", payload=b'{"query": {}}')
    assert (request.controller, request.action, request.request_id) == ("document", "search", "h")
    assert request.args == {"index": "taxi", "collection": "yellow", "size": "5", "from": "0", "silent": ""}
    assert request.body == {"query": {}}
    assert request.integer("size") == 5
    assert request.flag("silent")


def test_arguments_cannot_pose_as_the_request_itself():
    request = asked("GET", "/_now?controller=auth&action=logout&jwt=x&body=1&volatile=2&requestId=3&a=b&a=c")
    assert (request.controller, request.action, request.jwt, request.body, request.volatile) == (
        ("server", "now", None, None, None)
    )
    assert request.request_id == "h"
    assert request.args == {"a": "c"}


def test_headers_carry_token_and_volatile_data():
    request = asked("GET", "/_now", {"authorization": "bearer t.o.k", "x-kuzzle-volatile": '{"sdkName": "js"}'})
    assert request.jwt == "t.o.k"
    assert request.volatile == {"sdkName": "js"}
    assert asked("GET", "/_now", {"authorization": "Basic x"}).jwt is None


def test_a_whole_request_as_the_body():
    body = {"controller": "server", "action": "now", "requestId": "q", "jwt": "mine", "size": 1}
    request = asked("POST", "/_query", {"authorization": "Bearer other"}, json.dumps(body).encode())
    assert (request.controller, request.action, request.request_id, request.jwt) == ("server", "now", "q", "mine")
    assert request.args == {"size": 1}


@pytest.mark.parametrize(("method", "target"), [("OPTIONS", "/taxi/yellow"), ("OPTIONS", "*"), ("HEAD", "/")])
def test_what_only_asks_what_it_may_do(method, target):
    assert read(ROUTES, method, target, {}, b"") is None


@pytest.mark.parametrize(
    ("method", "target", "headers", "payload", "id", "status"),
    [
        ("GET", "/no/such/route/here", {}, b"", "network.http.url_not_found", 404),
        ("GET", "http://elsewhere/_now", {}, b"", "network.http.url_not_found", 404),
        ("HEAD", "/_now", {}, b"", "network.http.unsupported_verb", 400),
        ("TRACE", "/", {}, b"", "network.http.unsupported_verb", 400),
        ("POST", "/i/c/_create", {}, b"{", "network.http.body_parse_failed", 400),
        ("POST", "/i/c/_create", {}, b"[" * 5000, "network.http.body_parse_failed", 400),
        (
            "POST",
            "/i/c/_create",
            {"content-type": "text/html; charset=utf-8"},
            b"x",
            "network.http.unsupported_content",
            400,
        ),
        (
            "POST",
            "/i/c/_create",
            {"content-type": "application/json; charset=utf-8"},
            b'"x"',
            "api.assert.invalid_type",
            400,
        ),
        ("GET", "/_now", {"x-kuzzle-volatile": "{"}, b"", "network.http.volatile_parse_failed", 400),
        ("GET", "/_now", {"x-kuzzle-volatile": "[]"}, b"", "network.http.volatile_parse_failed", 400),
        ("POST", "/_query", {}, b"", "api.assert.body_required", 400),
        ("POST", "/_query", {}, b"[]", "api.assert.body_required", 400),
    ],
)
def test_what_is_refused(method, target, headers, payload, id, status):
    with pytest.raises(KuzzleError) as caught:
        asked(method, target, headers, payload)
    assert (caught.value.id, caught.value.status) == (id, status)


def test_response_headers_name_request_and_node_and_let_pages_read():
    headers = dict(response_headers("r7", "n", None))
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Kuzzle-Request-Id"] == "r7"
    assert headers["X-Kuzzle-Node"] == "n"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in headers
    assert "X-Kuzzle-Volatile" in headers["Access-Control-Allow-Headers"]
    headers = dict(response_headers("r7", "n", "https://app.example"))
    assert headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert headers["Vary"] == "Origin"

"""Kuzzle's JSON: requests as clients write them, responses and notifications as the SDK reads them."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kuzzle import wire
from holdfast.kuzzle.errors import KuzzleError, error
from holdfast.kuzzle.wire import Request


def parsed(**data):
    request = Request("r1")
    wire.fill(request, data)
    return request


def test_a_request_of_the_sdk():
    payload = b"""{"controller": "document", "action": "create", "index": "i", "collection": "c", "_id": "7",
        "body": {"a": 1}, "volatile": {"sdkName": "js@7.17.1"}, "jwt": "t", "requestId": "r",
        "silent": true, "size": 5}"""
    data = wire.decode(payload, "network.websocket.unexpected_error")
    request = Request()
    wire.fill(request, data)
    assert (request.controller, request.action, request.request_id) == ("document", "create", "r")
    assert (request.index, request.collection, request.document_id) == ("i", "c", "7")
    assert request.object_body() == {"a": 1}
    assert request.volatile == {"sdkName": "js@7.17.1"}
    assert request.jwt == "t"
    assert request.flag("silent")
    assert not request.flag("refresh")
    assert request.integer("size", 10) == 5
    assert request.integer("from", 0) == 0


def id_of(call, *args):
    with pytest.raises(KuzzleError) as caught:
        call(*args)
    return caught.value.id


@pytest.mark.parametrize("payload", [b"", b"{", b"[1]", b'"x"', b"null", b"\xff", b"[" * 5000, b'{"a": NaN}'])
def test_what_is_no_object_is_refused(payload):
    assert id_of(wire.decode, payload, "network.websocket.unexpected_error") == "network.websocket.unexpected_error"


@pytest.mark.parametrize(
    "wrong",
    [{"body": "x"}, {"body": 1}, {"volatile": []}, {"controller": 1}, {"action": {}}, {"jwt": 1}, {"requestId": 7}],
)
def test_attributes_have_types(wrong):
    assert id_of(lambda: parsed(**wrong)) == "api.assert.invalid_type"


@pytest.mark.parametrize("given_id", [None, ""])
def test_a_request_id_that_says_nothing_is_replaced(given_id):
    assert parsed(requestId=given_id).request_id == "r1"


def test_a_refused_request_keeps_its_id():
    request = Request("r1")
    assert id_of(wire.fill, request, {"requestId": "mine", "controller": "c", "action": "a", "body": 1}) == (
        "api.assert.invalid_type"
    )
    assert (request.request_id, request.controller, request.action) == ("mine", "c", "a")


def test_arguments_are_checked():
    request = parsed(index=1, _id="_x", size="ten", flag="yes", body=[1])
    assert id_of(lambda: request.index) == "api.assert.invalid_type"
    assert id_of(lambda: request.collection) == "api.assert.missing_argument"
    assert id_of(lambda: request.document_id) == "api.assert.invalid_id"
    assert id_of(request.integer, "size") == "api.assert.invalid_type"
    assert id_of(request.integer, "from") == "api.assert.missing_argument"
    assert id_of(request.flag, "flag") == "api.assert.invalid_type"
    assert id_of(request.object_body) == "api.assert.invalid_type"
    assert id_of(parsed().object_body) == "api.assert.body_required"
    assert id_of(parsed(body={}).body_string, "roomId") == "api.assert.missing_argument"
    assert id_of(parsed(body={"roomId": 1}).body_string, "roomId") == "api.assert.invalid_type"
    assert id_of(parsed(size=True).integer, "size") == "api.assert.invalid_type"
    assert id_of(parsed(size=1.5).integer, "size") == "api.assert.invalid_type"
    assert parsed(size=2.0).integer("size") == 2
    assert id_of(parsed().require_login) == "security.rights.unauthorized"


def test_arguments_of_a_url_are_strings():
    request = Request("r", protocol="http", args={"size": "5", "from": "x", "silent": "", "source": "false"})
    assert request.integer("size") == 5
    assert id_of(request.integer, "from") == "api.assert.invalid_type"
    assert request.flag("silent")
    assert request.flag("source")
    assert not request.flag("refresh")


def test_the_response_has_what_the_sdk_reads():
    request = parsed(controller="c", action="a", index="i", collection="k", volatile={"x": [1]}, size=1)
    request.status = 201
    assert json.loads(wire.response(request, "node-1", {"answer": 42})) == {
        "action": "a",
        "collection": "k",
        "controller": "c",
        "error": None,
        "index": "i",
        "node": "node-1",
        "requestId": "r1",
        "result": {"answer": 42},
        "room": "r1",
        "status": 201,
        "volatile": {"x": [1]},
    }


def test_a_failure_takes_the_place_of_the_result():
    request = parsed(controller="c", action="a")
    content = json.loads(wire.response(request, "n", error("api.assert.missing_argument", "index")))
    assert content["status"] == content["error"]["status"] == 400
    assert content["error"]["id"] == "api.assert.missing_argument"
    assert content["result"] is None


def test_over_http_there_is_no_room():
    assert "room" not in json.loads(wire.response(Request("r", protocol="http"), "n", {}))


@pytest.mark.parametrize(
    ("action", "event"),
    [("publish", "publish"), ("delete", "delete"), ("create", "write"), ("update", "write"), ("replace", "write")],
)
def test_a_document_notification(action, event):
    request = parsed(controller="document", action=action, index="i", collection="c", volatile={"v": 1})
    request.timestamp = 1700000000000
    base = wire.document_notification(request, "n", "in", action, {"_id": "7", "_source": {"a": 1}})
    assert json.loads(b"room-311".join(wire.for_channels(base))) == {
        "type": "document",
        "status": 200,
        "action": action,
        "scope": "in",
        "result": {"_id": "7", "_source": {"a": 1}},
        "node": "n",
        "event": event,
        "requestId": "r1",
        "timestamp": 1700000000000,
        "volatile": {"v": 1},
        "index": "i",
        "collection": "c",
        "controller": "document",
        "protocol": "websocket",
        "room": "room-311",
    }


@pytest.mark.parametrize(("user", "action"), [("in", "subscribe"), ("out", "unsubscribe")])
def test_a_user_notification(user, action):
    base = wire.user_notification(user, 3, "i", "c", {"name": "Ada"}, "n", 1700000000000)
    content = json.loads(b"room-111".join(wire.for_channels(base)))
    assert content == {
        "type": "user",
        "status": 200,
        "user": user,
        "result": {"count": 3},
        "node": "n",
        "timestamp": 1700000000000,
        "volatile": {"name": "Ada"},
        "index": "i",
        "collection": "c",
        "controller": "realtime",
        "action": action,
        "protocol": "websocket",
        "room": "room-111",
    }


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


names = st.sampled_from(["controller", "action", "body", "volatile", "jwt", "requestId", "index", "size"])


@given(st.dictionaries(names, json_values))
def test_whatever_is_parsed_can_be_answered(data):
    request, outcome = Request("r"), data
    try:
        wire.fill(request, wire.decode(json.dumps(data).encode(), "network.websocket.unexpected_error"))
    except KuzzleError as refused:
        outcome = refused
    content = json.loads(wire.response(request, "n", outcome))
    given_id = data.get("requestId")
    assert content["room"] == (given_id if isinstance(given_id, str) and given_id else "r")
    assert (content["status"], content["result"]) in [(200, data), (400, None)]


@pytest.mark.parametrize(
    "made", [lambda levels: "[" * levels + "]" * levels, lambda levels: '{"a":' * levels + "1" + "}" * levels]
)
def test_what_is_nested_too_deeply_is_refused(made):
    wire.decode_any(made(wire.MAX_LEVELS).encode(), "network.websocket.unexpected_error")
    for levels in (wire.MAX_LEVELS + 1, 700, 900, 5000):
        with pytest.raises(KuzzleError) as refused:
            wire.decode_any(made(levels).encode(), "network.websocket.unexpected_error")
        assert (refused.value.status, refused.value.id) == (400, "network.websocket.unexpected_error")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r'"half \ud83d of it"', "half \ufffd of it"),
        (r'"\udE00\uD83D"', "\ufffd\ufffd"),
        (r'"whole \ud83d\ude00, and \ud83d"', "whole \U0001f600, and \ufffd"),
        (r'"\\ud83d"', r"\ud83d"),
        ("1" + 400 * "0", sys.float_info.max),
        ("-1" + 400 * "0", -sys.float_info.max),
        ("1" + 20 * "0", 1e20),
        (5000 * "9", sys.float_info.max),
        ("-" + 5000 * "9", -sys.float_info.max),
        ("1e400", sys.float_info.max),
        ("-1.5E+400", -sys.float_info.max),
        (5000 * "9" + ".5", sys.float_info.max),
        (r'["\ud83d\\ud83d\n", 1e400, -9223372036854775808]', ["\ufffd\\ud83d\n", sys.float_info.max, -(2**63)]),
    ],
)
def test_what_javascript_writes_is_read(written, read):
    """A message that could not be would be answered without its id, and its sender would wait for ever."""
    data = wire.decode(
        b'{"requestId": "r", "body": {"it": %s}}' % written.encode(), "network.websocket.unexpected_error"
    )
    assert data == {"requestId": "r", "body": {"it": read}}
    wire.response(Request("r"), "n", data)


def test_half_a_character_in_what_is_no_json_is_refused():
    for payload in (
        rb'{"a": "\ud83d"',
        rb'{"a": NaN, "b": "\ud83d"}',
        rb'{"a": -Infinity, "b": 1e400}',
        rb'{"a": "\ud8x"}',
    ):
        with pytest.raises(KuzzleError):
            wire.decode(payload, "network.websocket.unexpected_error")


def test_what_is_wide_is_not_deep():
    assert wire.decode(b'{"a": [%b{}], "b": "%b"}' % (b"{}, " * 300, b"[" * 300), "network.websocket.unexpected_error")
    assert wire.decode_any(b'"%b"' % (b"[" * 300), "network.websocket.unexpected_error")

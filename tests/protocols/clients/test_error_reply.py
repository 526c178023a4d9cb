"""Error replies: the client's request id is found wherever there is one, and nothing else is looked at."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.clients.error_reply import MAX_ID, error_reply
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError


def reply(payload, error=None):
    return json.loads(error_reply(payload, error or HoldfastError("no node is ready", Reason.NO_NODE)))


def test_the_whole_reply():
    assert reply(b'{"controller": "server", "action": "now", "requestId": "abc"}') == {
        "requestId": "abc",
        "room": "abc",
        "status": 503,
        "error": {"id": "holdfast.no_node", "status": 503, "message": "no node is ready", "retryable": True},
        "result": None,
    }


@pytest.mark.parametrize("request_id", ["", "grüße", 'a"b\\c', "ü" * MAX_ID, 0, -1, 1 << 64, None])
def test_the_request_id_comes_back_as_it_came(request_id):
    body = reply(json.dumps({"requestId": request_id, "controller": 7, "deep": {"requestId": "no"}}).encode())
    assert body["requestId"] == body["room"] == request_id


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"\xff\xfe\x00",
        b"[]",
        b'"requestId"',
        b"{}",
        b'{"requestId": "a"',
        b'{"requestId": 1.5}',
        b'{"requestId": true}',
        b'{"requestId": ["a"]}',
        b'{"requestId": "\xff"}',
        b'{"requestId": "\\ud800"}',
        pytest.param(b'{"a":' + b"[" * 100_000, id="deep"),
        pytest.param(b'{"requestId":' + b"9" * 5000 + b"}", id="a number of 5000 digits"),
        pytest.param(b'{"requestId":"' + b"a" * (MAX_ID + 1) + b'"}', id="too long"),
        pytest.param(
            b'{"requestId":"' + b"a" * (MAX_ID + 1) + b'","t":"\\ud83d"}', id="too long, with half a character"
        ),
    ],
)
def test_a_request_without_a_usable_id_gets_a_null_one(payload):
    body = reply(payload)
    assert body["requestId"] is None
    assert body["room"] is None
    assert body["status"] == 503


@pytest.mark.parametrize(
    ("payload", "request_id"),
    [
        (b'{"requestId":"r5","t":"\\ud83d"}', "r5"),  # half an emoji, as JavaScript writes it
        (b'{"t":"\\uDe00","requestId":5}', 5),
        (b'{"requestId":"r\\ud83d\\ude00","t":"\\ud83d"}', "r\U0001f600"),
        (b'{"requestId":"r5","t":"' + b"x" * (64 << 10) + b'\\ud83d"}', None),  # it would take too long
        (b'["\\ud83d"]', None),
        pytest.param(b"[" * 60_000 + b"\\ud83d", None, id="deep"),
    ],
)
def test_half_a_character_elsewhere_does_not_hide_the_id(payload, request_id):
    assert reply(payload)["requestId"] == request_id


@pytest.mark.parametrize("id", [b'"' + b"\\u0001" * (1 << 20) + b'"', b"9" * 4300, b"9" * (1 << 20)])
def test_an_error_is_never_as_large_as_what_it_refuses(id):
    assert len(error_reply(b'{"requestId":' + id + b"}", HoldfastError("no", Reason.NO_NODE))) < 16 << 10


def test_retry_after_is_told_if_the_error_has_it():
    error = HoldfastError("parking is full", Reason.PARKING_FULL)
    error.retry_after = 1.5
    assert reply(b"{}", error)["error"]["retryAfter"] == 1.5


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_is_told_as_the_table_says(reason):
    body = reply(b'{"requestId": 1}', ProtocolError("why", reason))
    assert body["status"] == body["error"]["status"] == reason.http
    assert body["error"]["id"] == f"holdfast.{reason.value}"
    assert body["error"]["retryable"] is reason.retryable


@given(st.one_of(st.binary(max_size=100), st.binary(max_size=20).map(lambda tail: b'{"requestId":' + tail)))
def test_no_request_makes_it_raise(payload):
    assert reply(payload)["error"]["message"] == "no node is ready"

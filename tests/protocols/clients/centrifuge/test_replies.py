"""Replies: JSON on one line, whatever a node says."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.clients.base import Begun, Subscribed
from holdfast.protocols.clients.centrifuge import replies
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Position, Publication


def line(said):
    assert b"\n" not in said
    assert b"\r" not in said
    return json.loads(said)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"a": 1}', b'{"a": 1}'),
        (b' [1,\n  "x y"]\r\n', b'[1,"x y"]'),
        (b'"a\\nb"', b'"a\\nb"'),
        (b"1e400", b"1e400"),
        (b"hello", b'"hello"'),
        (b"", b'""'),
        (b'a "quote"\n', b'"a \\"quote\\"\\n"'),
        (b"{} {}", b'"{} {}"'),
        (b'"\\ud83d"', b'"\\ud83d"'),
        (b'{"a":\n"\\ud83d"}', b'{"a":"\\ud83d"}'),
        (b'{"a":NaN,"b":"\\ud83d"}', b'"{\\"a\\":NaN,\\"b\\":\\"\\\\ud83d\\"}"'),
    ],
)
def test_text_is_the_json_that_it_is_or_else_a_string(payload, expected):
    assert replies.embed(payload, is_text=True) == expected


def test_json_that_is_too_deep_for_a_decoder_is_a_string():
    deep = b"[" * 50_000 + b"]" * 50_000
    assert json.loads(replies.embed(deep, is_text=True)) == deep.decode()


def test_bytes_are_base64_also_those_that_look_like_json():
    assert replies.embed(b"\x00\xff", is_text=False) == b'"AP8="'
    assert json.loads(replies.embed(b"{}", is_text=False)) == base64.b64encode(b"{}").decode()


@given(st.one_of(st.text(), st.text(alphabet='{}[]",:\\ud8\n\r 0123')))
def test_no_text_breaks_a_line(text):
    said = replies.message(text.encode(), is_text=True)
    line(said)


def test_a_session_that_never_ends_and_is_in_no_channel():
    told = line(replies.connected(1, Begun(0xABC), 25))
    assert told == {
        "id": 1,
        "connect": {"client": "0000000000000abc", "version": "holdfast", "ping": 25, "pong": True},
    }


def test_a_session_that_ends_and_is_in_channels():
    told = line(replies.connected(9, Begun(1, ["a", "b"], 60.5), 0))["connect"]
    assert told["subs"] == {"a": {}, "b": {}}
    assert (told["expires"], told["ttl"]) == (True, 50)
    assert "ping" not in told


@pytest.mark.parametrize(("expires", "ttl"), [(3600, 3590), (20, 10), (8, 4), (1, 1), (0, 1), (1e300, (1 << 31) - 1)])
def test_a_client_is_told_to_come_with_a_new_token_before_the_end(expires, ttl):
    assert line(replies.refreshed(2, "refresh", expires))["refresh"] == {"expires": True, "ttl": ttl}


def test_what_never_expires_is_an_empty_result():
    assert line(replies.refreshed(2, "sub_refresh", None)) == {"id": 2, "sub_refresh": {}}


def test_a_subscription_to_a_channel_without_history():
    assert line(replies.subscribed(4, Subscribed("c"))) == {"id": 4, "subscribe": {}}


def test_a_subscription_that_has_recovered():
    missed = [Publication(b'{"n": 1}', True, 6), Publication(b"text", True, 7, b'{"user":"ada"}')]
    said = Subscribed("c", Position("e", 7), True, missed, info=b'{"role": "x"}', expires=100)
    assert line(replies.subscribed(4, said))["subscribe"] == {
        "expires": True,
        "ttl": 90,
        "recoverable": True,
        "positioned": True,
        "epoch": "e",
        "offset": 7,
        "was_recovering": True,
        "recovered": True,
        "publications": [
            {"data": {"n": 1}, "offset": 6},
            {"data": "text", "offset": 7, "info": {"user": "ada"}},
        ],
        "data": {"role": "x"},
    }


def test_a_subscription_that_could_not_recover():
    told = line(replies.subscribed(4, Subscribed("c", Position("e", 7), False)))["subscribe"]
    assert (told["was_recovering"], told["recovered"]) == (True, False)
    assert "publications" not in told


def test_an_error_says_why_and_whether_it_may_be_asked_again():
    assert line(replies.error(5, HoldfastError("no node", Reason.NO_NODE))) == {
        "id": 5,
        "error": {"code": 100, "message": "no node", "temporary": True},
    }
    assert line(replies.error(5, HoldfastError("not you", Reason.REFUSED)))["error"] == {
        "code": 103,
        "message": "not you",
    }


def test_pushes():
    assert line(replies.publication('a"b', Publication(b"1", True, 3))) == {
        "push": {"channel": 'a"b', "pub": {"data": 1, "offset": 3}}
    }
    assert line(replies.unsubscribe("c", 2500, "gone")) == {
        "push": {"channel": "c", "unsubscribe": {"code": 2500, "reason": "gone"}}
    }
    assert line(replies.message(b'{"x":1}', is_text=True)) == {"push": {"message": {"data": {"x": 1}}}}
    assert line(replies.push("c", "subscribe")) == {"push": {"channel": "c", "subscribe": {}}}

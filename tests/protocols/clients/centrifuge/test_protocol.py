"""One connection: each command, and what is refused."""

import json
from math import inf

import pytest

from holdfast.protocols.clients.base import UNITS_PER_CALL, Begun, Limits, Subscribed
from holdfast.protocols.clients.centrifuge.protocol import CentrifugeProtocol
from holdfast.protocols.clients.events import (
    Finished,
    Message,
    Opened,
    Output,
    Publish,
    Refresh,
    Silent,
    Subscribe,
    Unsubscribe,
)
from holdfast.protocols.clients.within import Handshake
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError, RequestError
from holdfast.protocols.positions import Position, Publication

LIMITS = Limits(ping_interval=25.0, ping_timeout=20.0, handshake_timeout=10.0, max_header_bytes=1000)
SHAKE = Handshake("/connection/websocket", (("host", "h"), ("cookie", "c=1")), "192.0.2.1:5", "v=2")


def new(limits=LIMITS, shake=SHAKE):
    return CentrifugeProtocol(limits, shake, 100.0)


def connected(limits=LIMITS):
    """One that has been let in."""
    protocol = new(limits)
    (opened,) = protocol.receive_message(b'{"id":1,"connect":{}}', True, 101.0, UNITS_PER_CALL)
    assert protocol.begun(opened, Begun(0x1F))
    return protocol


def take(protocol, *commands, now=102.0):
    return list(protocol.receive_message("\n".join(map(json.dumps, commands)).encode(), True, now, UNITS_PER_CALL))


def one(protocol, command):
    (event,) = take(protocol, command)
    return event


def said(data):
    return json.loads(data)


# --- connect --------------------------------------------------------------------------------------------------


def test_connect_opens_a_session_with_what_the_handshake_brought():
    protocol = new()
    (opened,) = take(protocol, {"id": 1, "connect": {"token": "t.o.k", "data": {"a": [1, 2]}, "name": "js"}})
    assert isinstance(opened, Opened)
    assert (opened.protocol, opened.path, opened.address, opened.query) == (
        "centrifuge", "/connection/websocket", "192.0.2.1:5", "v=2",
    )  # fmt: skip
    assert opened.headers == [
        ("host", "h"),
        ("cookie", "c=1"),
        ("authorization", "Bearer t.o.k"),
        ("centrifuge-data", '{"a": [1, 2]}'),
        ("centrifuge-name", "js"),
    ]
    assert said(protocol.begun(opened, Begun(0x1F, ["news"], 600.0))) == {
        "id": 1,
        "connect": {
            "client": "000000000000001f",
            "version": "holdfast",
            "expires": True,
            "ttl": 590,
            "subs": {"news": {}},
            "ping": 25,
            "pong": True,
        },
    }


def test_a_token_takes_the_place_of_the_header_and_the_header_is_none_of_the_others():
    shake = Handshake(
        "/", [("authorization", "Bearer old"), ("centrifuge-data", "{}"), ("x", "1"), ("centrifuge-name", "n")]
    )
    (opened,) = take(new(shake=shake), {"id": 1, "connect": {"token": "new"}})
    assert opened.headers == [("x", "1"), ("authorization", "Bearer new")]
    (opened,) = take(new(shake=shake), {"id": 1, "connect": {}})
    assert opened.headers == [("authorization", "Bearer old"), ("x", "1")]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (HoldfastError("who are you?", Reason.UNAUTHORIZED), {"code": 101, "message": "who are you?"}),
        (HoldfastError("old", Reason.EXPIRED), {"code": 109, "message": "old", "temporary": True}),
        (HoldfastError("none", Reason.NO_NODE), {"code": 100, "message": "none", "temporary": True}),
        (RequestError("pay", Reason.REFUSED, None, 402), {"code": 402, "message": "pay"}),
    ],
)
def test_who_may_not_come_in_is_told_why_in_the_reply_to_connect(error, expected):
    (opened,) = take(new(), {"id": 5, "connect": {}})
    assert said(opened.refuse(error)) == {"id": 5, "error": expected}


@pytest.mark.parametrize(
    "commands",
    [
        [{"id": 1, "subscribe": {"channel": "c"}}],
        [{"send": {"data": 1}}],
        [{"id": 1}],
        [{"connect": {}}],
        [{"id": 1, "connect": {"token": "a\nb"}}],
        [{"id": 1, "connect": {"name": "a\x7f"}}],
        [{}, {"id": 1, "rpc": {}}],
    ],
)
def test_nothing_but_a_good_connect_is_first(commands):
    protocol = new()
    (finished,) = take(protocol, *commands)
    assert isinstance(finished, Finished)
    assert finished.reason is Reason.BAD_REQUEST
    assert protocol.deadline == inf


def test_a_pong_before_connect_does_nothing():
    protocol = new()
    assert take(protocol, {}, {}) == []
    assert protocol.eventless == 2


def test_connect_brings_no_more_than_headers_may_hold():
    for data, is_taken in (("x" * 998, True), ("x" * 999, False), ("é" * 500, False)):
        (event,) = (
            take(new(), {"id": 1, "connect": {"name": data}})
            if is_taken
            else take(new(), {"id": 1, "connect": {"data": data}})
        )
        assert isinstance(event, Opened) == is_taken
        assert is_taken or event.reason is Reason.HEADERS_TOO_LARGE


def test_connect_comes_once():
    protocol = connected()
    assert one(protocol, {"id": 2, "connect": {}}).reason is Reason.BAD_REQUEST


def test_what_follows_connect_in_the_same_message_comes_after_it():
    protocol = new()
    events = take(protocol, {"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": "c"}})
    assert [type(event) for event in events] == [Opened, Subscribe]


def test_who_does_not_connect_is_closed_in_time():
    protocol = new()
    assert protocol.deadline == 110
    assert protocol.on_deadline(109.9) == ()
    (finished,) = protocol.on_deadline(110.0)
    assert finished.reason is Reason.TOO_SLOW
    assert protocol.deadline == inf


# --- requests -------------------------------------------------------------------------------------------------


def test_rpc_is_a_request_whose_reply_has_its_data():
    protocol = connected()
    event = one(protocol, {"id": 7, "rpc": {"method": 'a"b', "data": {"x": 1}}})
    assert isinstance(event, Message)
    assert event.is_text
    assert json.loads(event.payload) == {"method": 'a"b', "data": {"x": 1}}
    assert said(protocol.reply(event, None, b'{"y":\n 2}', True, False)) == {"id": 7, "rpc": {"data": {"y": 2}}}
    assert said(protocol.reply(event, None, b"", True, False)) == {"id": 7, "rpc": {"data": ""}}
    assert said(protocol.reply(event, None, None, True, False)) == {"id": 7, "rpc": {}}


def test_rpc_without_a_method_is_its_data():
    protocol = connected()
    assert one(protocol, {"id": 7, "rpc": {"data": {"controller": "server"}}}).payload == b'{"controller": "server"}'
    assert one(protocol, {"id": 8, "rpc": {}}).payload == b"null"
    assert one(protocol, {"id": 9, "rpc": {"method": "m"}}).payload == b'{"method":"m","data":null}'


def test_an_error_of_an_rpc():
    protocol = connected()
    event = one(protocol, {"id": 7, "rpc": {"method": "m"}})
    told = said(protocol.error(event, RequestError("no such thing", Reason.NODE_ERROR, None, 404)))
    assert told == {"id": 7, "error": {"code": 404, "message": "no such thing"}}


def test_a_reply_in_parts_can_not_be_said():
    protocol = connected()
    event = one(protocol, {"id": 7, "rpc": {"method": "m"}})
    with pytest.raises(ProtocolError, match="part") as raised:
        protocol.reply(event, None, b"1", True, True)
    assert raised.value.reason is Reason.BAD_REPLY


def test_send_is_a_request_without_an_answer():
    protocol = connected()
    event = one(protocol, {"send": {"data": {"type": "move"}}})
    assert (type(event), event.payload, event.is_text) == (Message, b'{"type": "move"}', True)
    assert protocol.reply(event, None, b"1", True, False) == b""
    assert protocol.reply(event, None, b"1", True, True) == b""
    assert protocol.error(event, HoldfastError("no")) == b""
    assert one(protocol, {"id": 5, "send": {}}).payload == b"null"


def test_subscribe():
    protocol = connected()
    event = one(protocol, {"id": 2, "subscribe": {"channel": "c", "token": "t", "data": {"a": 1}}})
    assert (event.channel, event.since, event.payload, event.token, event.is_filter) == (
        "c",
        None,
        b'{"a": 1}',
        "t",
        False,
    )
    assert said(protocol.subscribed(event, Subscribed("c"))) == {"id": 2, "subscribe": {}}
    assert said(protocol.error(event, HoldfastError("no", Reason.REFUSED)))["error"]["code"] == 103


def test_subscribe_with_a_position():
    protocol = connected()
    event = one(protocol, {"id": 2, "subscribe": {"channel": "c", "recover": True, "epoch": "e", "offset": 5}})
    assert event.since == Position("e", 5)
    told = said(protocol.subscribed(event, Subscribed("c", Position("e", 6), True, [Publication(b"1", True, 6)])))
    assert told["subscribe"]["publications"] == [{"data": 1, "offset": 6}]
    assert one(protocol, {"id": 3, "subscribe": {"channel": "c", "epoch": "e", "offset": 5}}).since is None


def test_unsubscribe():
    protocol = connected()
    event = one(protocol, {"id": 2, "unsubscribe": {"channel": "c"}})
    assert isinstance(event, Unsubscribe)
    assert said(protocol.unsubscribed(event)) == {"id": 2, "unsubscribe": {}}


def test_publish():
    protocol = connected()
    event = one(protocol, {"id": 2, "publish": {"channel": "c", "data": [1]}})
    assert (type(event), event.channel, event.payload, event.is_text) == (Publish, "c", b"[1]", True)
    assert said(protocol.published(event)) == {"id": 2, "publish": {}}


def test_refresh_and_sub_refresh():
    protocol = connected()
    event = one(protocol, {"id": 2, "refresh": {"token": "new"}})
    assert (type(event), event.token) == (Refresh, "new")
    assert said(protocol.refreshed(event, 100.0)) == {"id": 2, "refresh": {"expires": True, "ttl": 90}}
    assert said(protocol.not_refreshed(event, HoldfastError("no", Reason.UNAUTHORIZED)))["error"]["code"] == 101
    event = one(protocol, {"id": 3, "sub_refresh": {"channel": "c", "token": "new"}})
    assert (type(event), event.channel, event.token, event.since) == (Subscribe, "c", "new", None)
    assert said(protocol.subscribed(event, Subscribed("c", expires=100.0))) == {
        "id": 3,
        "sub_refresh": {"expires": True, "ttl": 90},
    }


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ({"ping": {}}, {"ping": {}}),
        ({}, 104),
        ({"fly": {}}, 104),
        ({"subscribe": {}}, 107),
        ({"publish": {"data": 1}}, 107),
        ({"unsubscribe": {}}, 107),
        ({"sub_refresh": {"token": "t"}}, 107),
        ({"presence": {"channel": "c"}}, 108),
        ({"presence_stats": {"channel": "c"}}, 108),
        ({"history": {"channel": "c", "limit": 5, "since": {"offset": 1, "epoch": "e"}}}, 108),
    ],
)
def test_what_is_answered_here(command, expected):
    event = one(connected(), {"id": 9} | command)
    assert isinstance(event, Output)
    told = said(event.data)
    assert told.pop("id") == 9
    assert (told["error"]["code"] if isinstance(expected, int) else told) == expected


@pytest.mark.parametrize("request_", [{"rpc": {}}, {"subscribe": {"channel": "c"}}, {"refresh": {}}, {"ping": {}}])
def test_a_command_with_a_reply_has_an_id(request_):
    assert one(connected(), request_).reason is Reason.BAD_REQUEST


def test_what_is_no_command_ends_the_connection_after_what_came_before_it():
    protocol = connected()
    events = protocol.receive_message(b'{"id":2,"ping":{}}\nnonsense\n{"id":3,"ping":{}}', True, 102.0, UNITS_PER_CALL)
    assert [type(event) for event in events] == [Output, Finished]
    assert events[1].reason is Reason.BAD_REQUEST
    assert "nonsense" not in events[1].detail
    assert protocol.receive_message(b'{"id":4,"ping":{}}', True, 103.0, UNITS_PER_CALL) == ()


def test_a_binary_message_is_json_too_if_it_is_utf8():
    protocol = connected()
    (event,) = protocol.receive_message('{"id":2,"rpc":{"data":"é"}}'.encode(), False, 102.0, UNITS_PER_CALL)
    assert event.is_text
    assert event.payload == '"é"'.encode()
    (event,) = protocol.receive_message(b'{"id":2,"rpc":{"data":"\xff"}}', False, 102.0, UNITS_PER_CALL)
    assert event.reason is Reason.NOT_UTF8


# --- how much at once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [b'{"id":2,"ping":{}}', b"{}", b"", b"  "])
def test_a_call_takes_no_more_than_its_share(line):
    protocol = connected()
    payload = b"\n".join([line] * 1000) + b"\n"
    events = list(protocol.receive_message(payload, True, 102.0, UNITS_PER_CALL))
    taken, calls = len(events) + protocol.eventless, 1
    assert taken == UNITS_PER_CALL
    while protocol.has_more:
        assert 0 < protocol.held_bytes < len(payload)
        more = protocol.resume(103.0, UNITS_PER_CALL)
        events += more
        calls += 1
        assert len(events) + protocol.eventless - taken <= UNITS_PER_CALL
        taken = len(events) + protocol.eventless
    assert taken == 1000
    assert calls == -(-1000 // UNITS_PER_CALL)
    assert protocol.held_bytes == 0


def test_the_end_drops_what_is_left():
    protocol = connected()
    protocol.receive_message(b"{}\n" * 1000, True, 102.0, UNITS_PER_CALL)
    assert protocol.held_bytes
    protocol.finish()
    assert (protocol.held_bytes, protocol.has_more, protocol.deadline) == (0, False, inf)
    assert protocol.resume(103.0, UNITS_PER_CALL) == []


def test_a_call_takes_less_if_its_share_is_less():
    protocol = connected()
    assert len(protocol.receive_message(b'{"id":2,"ping":{}}\n' * 10, True, 102.0, 3)) == 3
    assert len(protocol.resume(103.0, 5)) == 5
    assert len(protocol.resume(103.0, 5)) == 2


def test_who_speaks_protobuf_is_told_so_and_stays_away():
    shake = Handshake("/", [("sec-websocket-protocol", "centrifuge-protobuf")])
    (finished,) = new(shake=shake).receive_message(b"\x04\x08\x01\x22\x00", False, 101.0, UNITS_PER_CALL)
    assert finished.reason is Reason.UNSUPPORTED_ENCODING
    assert "Protobuf" in finished.detail


# --- pings ----------------------------------------------------------------------------------------------------


def test_pings_begin_with_the_session_and_whatever_comes_answers_them():
    protocol = connected()
    assert protocol.deadline == 126  # 25 s after connect
    assert protocol.on_deadline(126.0) == [Output(b"{}")]
    protocol.receive_message(b"{}", True, 127.0, UNITS_PER_CALL)
    assert protocol.on_deadline(146.0) == ()
    assert protocol.on_deadline(151.0) == [Output(b"{}")]
    (silent,) = protocol.on_deadline(171.0)
    assert isinstance(silent, Silent)
    assert protocol.deadline > 171


def test_who_waits_to_be_let_in_is_not_pinged():
    protocol = new()
    (opened,) = take(protocol, {"id": 1, "connect": {}}, now=101.0)
    for now in (126.0, 151.0, 176.0):
        assert protocol.on_deadline(now) == ()
        assert protocol.deadline > now
    assert protocol.begun(opened, Begun(1))
    assert protocol.on_deadline(protocol.deadline) == [Output(b"{}")]


def test_without_an_interval_there_are_no_pings_and_the_client_expects_none():
    protocol = new(Limits(ping_interval=0))
    (opened,) = take(protocol, {"id": 1, "connect": {}})
    assert "ping" not in said(protocol.begun(opened, Begun(1)))["connect"]
    assert protocol.deadline == inf


# --- after the end --------------------------------------------------------------------------------------------


def test_after_the_end_nothing_is_said_to_it_alone():
    protocol = connected()
    rpc = one(protocol, {"id": 7, "rpc": {"method": "m"}})
    subscribe = one(protocol, {"id": 8, "subscribe": {"channel": "c"}})
    protocol.finish()
    assert protocol.reply(rpc, None, b"1", True, False) == b""
    assert protocol.error(rpc, HoldfastError("no")) == b""
    assert protocol.subscribed(subscribe, Subscribed("c")) == b""
    assert protocol.dropped("c", HoldfastError("no")) == b""
    # These are encoded once, by one for all.
    assert protocol.notification(b"1", True)
    assert said(protocol.publication("c", "", Publication(b"1", True)))["push"]["pub"] == {"data": 1}


def test_a_subscription_that_ends_by_itself():
    protocol = connected()
    told = said(protocol.dropped("c", HoldfastError("a gap", Reason.OVERLOADED)))
    assert told == {"push": {"channel": "c", "unsubscribe": {"code": 2500, "reason": "a gap"}}}

"""A protocol of messages within WebSocket: shares, ends, and what is said in frames."""

import json
import zlib
from math import inf

import pytest

from holdfast.protocols.clients.base import (
    UNITS_PER_CALL,
    Begun,
    ClientProtocol,
    ClosesWithCode,
    KnowsChannels,
    KnowsSession,
    Limits,
)
from holdfast.protocols.clients.centrifuge.protocol import CentrifugeProtocol
from holdfast.protocols.clients.deflate import Deflate
from holdfast.protocols.clients.events import Finished, Message, Opened, Output
from holdfast.protocols.clients.websocket_frames import data_frame
from holdfast.protocols.clients.within import Handshake, WithinWebSocket, limits_within
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Publication

LIMITS = Limits(max_message_bytes=200_000, close_timeout=5, body_timeout=30, ping_interval=25, ping_timeout=20)
TEXT, BINARY, PING, PONG, CLOSE = 0x81, 0x82, 0x89, 0x8A, 0x88


def frame(payload, first=TEXT):
    """As a client sends it, with a mask of zeros."""
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 1 << 16:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes((first,)) + length + bytes(4) + payload


def new(deflate=None):
    inner = CentrifugeProtocol(LIMITS, Handshake("/"), 100.0)
    return WithinWebSocket(limits_within(LIMITS), inner, 100.0, deflate=deflate)


def connected(deflate=None):
    protocol = new(deflate)
    (opened,) = protocol.receive_data(frame(b'{"id":1,"connect":{}}'), 101.0)
    assert protocol.begun(opened, Begun(1))
    return protocol


def said(data):
    """The JSON of a frame of the server."""
    assert data[0] == TEXT
    return json.loads(data[2:] if data[1] < 126 else data[4:])


def closed(data):
    """Code and text of a close frame."""
    assert data[0] == CLOSE
    return int.from_bytes(data[2:4], "big"), data[4:].decode()


def test_it_is_what_the_proxy_looks_for():
    protocol = new()
    for seam in (ClientProtocol, ClosesWithCode, KnowsSession, KnowsChannels):
        assert isinstance(protocol, seam)
    assert protocol.name == "centrifuge"


def test_what_comes_in_frames_are_messages_and_what_is_said_are_frames():
    protocol = new()
    opened, ping = protocol.receive_data(frame(b'{"id":1,"connect":{}}\n{"id":2,"ping":{}}'), 101.0)
    assert isinstance(opened, Opened)
    assert said(protocol.begun(opened, Begun(15)))["connect"]["client"] == "000000000000000f"
    assert said(ping.data) == {"id": 2, "ping": {}}
    (rpc,) = protocol.receive_data(frame(b'{"id":3,"rpc":{"data":[]}}'), 101.0)
    assert said(protocol.reply(rpc, None, b"{}", True, False)) == {"id": 3, "rpc": {"data": {}}}
    assert said(protocol.error(rpc, HoldfastError("no")))["error"]["message"] == "no"
    assert said(protocol.publication("c", "", Publication(b"1", True)))["push"]["pub"] == {"data": 1}
    assert protocol.notification(b'"x"', True) == data_frame(TEXT, b'{"push":{"message":{"data":"x"}}}')


def test_frames_of_websocket_s_own_are_answered_in_their_place():
    protocol = connected()
    events = protocol.receive_data(
        frame(b'{"id":2,"ping":{}}') + frame(b"x", PING) + frame(b'{"id":3,"ping":{}}'), 102.0
    )
    assert [event.data[0] for event in events] == [TEXT, PONG, TEXT]


def test_there_are_no_pings_but_the_inner_protocol_s():
    protocol = connected()
    assert protocol.deadline == 126
    assert protocol.on_deadline(126.0) == [Output(data_frame(TEXT, b"{}"))]


def test_a_message_that_does_not_end_is_too_slow():
    protocol = connected()
    assert protocol.receive_data(frame(b'{"id":2,"ping":{}}')[:-1], 102.0) == []
    assert protocol.on_deadline(126.0) == [Output(data_frame(TEXT, b"{}"))]
    output, finished = protocol.on_deadline(132.0)
    assert closed(output.data)[0] == Reason.TOO_SLOW.websocket
    assert finished.reason is Reason.TOO_SLOW
    assert (protocol.deadline, protocol.held_bytes) == (inf, 0)


# --- shares -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [1, 3, 50, 64, 65, 200])
@pytest.mark.parametrize("line", [b"{}", b'{"id":2,"ping":{}}', b'{"send":{"data":1}}'])
def test_a_call_takes_no_more_than_its_share_whatever_is_in_a_frame(lines, line):
    protocol = connected()
    data = b"".join(frame(b"\n".join([line] * lines)) + frame(b"", PONG) for _ in range(100))
    done, took = [], []

    def take(events):
        """Units: what was done since the last call."""
        done.extend(events)
        took.append(len(done) + protocol.eventless - sum(took))

    take(protocol.receive_data(data, 102.0))
    while protocol.has_more:
        assert protocol.paused
        assert protocol.held_bytes > 0
        take(protocol.resume(103.0))
    assert sum(took) == 100 * lines + 100
    assert max(took) <= UNITS_PER_CALL
    assert protocol.held_bytes == 0
    assert len(done) == (0 if line == b"{}" else 100 * lines)


def test_what_waits_is_held_and_is_dropped_at_the_end():
    protocol = connected()
    protocol.receive_data(frame(b"{}\n" * 30_000) + frame(b'{"id":2,"rpc":{}}'), 102.0)
    assert 89_000 < protocol.held_bytes < 91_000
    protocol.close(Reason.KICKED, "", 103.0)
    assert protocol.held_bytes == 0
    assert not protocol.has_more
    assert protocol.resume(104.0) == ()


def test_an_end_of_the_client_comes_after_what_it_has_said():
    protocol = connected()
    data = frame(b'{"send":{"data":1}}\n' * 100) + frame(b"\x03\xe8bye", CLOSE)
    events = list(protocol.receive_data(data, 102.0))
    while protocol.has_more:
        events += protocol.resume(102.0)
    assert [type(event) for event in events] == [Message] * 100 + [Output, Finished]
    assert events[-1].reason is Reason.CLIENT_LEFT
    assert protocol.receive_data(b"more", 103.0) == ()


# --- ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "code"), [(Reason.DRAINING, 3001), (Reason.KICKED, 3503), (Reason.EXPIRED, 3005), (Reason.IDLE, 3012)]
)
def test_it_is_closed_with_the_inner_protocol_s_code(reason, code):
    protocol = connected()
    (rpc,) = protocol.receive_data(frame(b'{"id":3,"rpc":{}}'), 101.0)
    assert closed(protocol.close(reason, "why", 102.0)) == (code, "why")
    assert protocol.close(reason, "why", 103.0) == b""
    assert protocol.reply(rpc, None, b"1", True, False) == b""
    assert protocol.deadline == 107
    (finished,) = protocol.receive_data(frame(code.to_bytes(2, "big"), CLOSE), 104.0)
    assert finished.reason is reason


def test_a_client_that_does_not_answer_our_close_is_waited_for_only_so_long():
    protocol = connected()
    protocol.close(Reason.KICKED, "", 102.0)
    (finished,) = protocol.on_deadline(107.0)
    assert finished.reason is Reason.KICKED


def test_a_code_of_a_node_is_its_own():
    assert closed(connected().close_with(4123, Reason.KICKED, "bye", 102.0)) == (4123, "bye")


@pytest.mark.parametrize("detail", ["42", "{}", '"text"', "true"])
def test_text_that_is_json_is_no_advice_to_the_client(detail):
    """centrifuge (npm) parses the text of a close frame, and would stay away whatever the code."""
    code, text = closed(connected().close_with(4123, Reason.KICKED, detail, 102.0))
    assert code == 4123
    assert text == f"it was: {detail}"
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(text)


def test_what_the_inner_protocol_refuses_ends_the_connection_at_once():
    protocol = connected()
    output, finished = protocol.receive_data(frame(b"nonsense") + frame(b'{"id":2,"ping":{}}'), 102.0)
    assert closed(output.data)[0] == 3501
    assert finished.reason is Reason.BAD_REQUEST
    assert (protocol.deadline, protocol.held_bytes, protocol.paused) == (inf, 0, False)
    assert protocol.close(Reason.KICKED, "", 103.0) == b""


def test_a_frame_that_breaks_a_rule_ends_it_with_websocket_s_code():
    output, finished = connected().receive_data(b"\x81\x05hello", 102.0)
    assert closed(output.data)[0] == 1002
    assert finished.reason is Reason.PROTOCOL_ERROR


def test_who_is_refused_is_told_so_and_then_closed():
    (opened,) = new().receive_data(frame(b'{"id":1,"connect":{}}'), 101.0)
    data = opened.refuse(HoldfastError("who are you?", Reason.UNAUTHORIZED))
    size = 2 + data[1]
    assert said(data[:size]) == {"id": 1, "error": {"code": 101, "message": "who are you?"}}
    assert closed(data[size:]) == (3500, "who are you?")


def test_an_end_of_file_is_the_client_s():
    protocol = connected()
    (finished,) = protocol.receive_data(b"", 102.0)
    assert finished.reason is Reason.CLIENT_LEFT
    assert protocol.deadline == inf


# --- formats ----------------------------------------------------------------------------------------------------


def test_what_is_compressed_is_another_format():
    plain, one, two = new(), new(Deflate(15)), new(Deflate(15))
    assert plain.wire_format == "centrifuge"
    assert one.wire_format == two.wire_format != plain.wire_format
    data = one.publication("c", "", Publication(b'"%b"' % (b"x" * 2000), True))
    assert data[0] == 0xC1
    inflated = zlib.decompressobj(-15).decompress(data[2:] + b"\x00\x00\xff\xff")
    assert json.loads(inflated)["push"]["pub"]["data"] == "x" * 2000

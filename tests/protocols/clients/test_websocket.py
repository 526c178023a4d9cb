"""WebSocket: one example for each rule of RFC 6455 and of our own limits."""

import gc
import json
import tracemalloc
from math import inf

import pytest

from holdfast.protocols.clients.base import ClientProtocol, Limits
from holdfast.protocols.clients.events import Finished, Message, Output, Silent
from holdfast.protocols.clients.websocket import WIRE_FORMAT, WebSocketProtocol, accept_key
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80
MASK = b"\x37\xfa\x21\x3d"
LIMITS = Limits(max_message_bytes=1000, ping_interval=25, ping_timeout=20, close_timeout=5, body_timeout=30)


def frame(opcode, payload=b"", *, fin=True, rsv=0, mask=MASK):
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 1 << 16:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes(((FIN if fin else 0) | rsv | opcode,)) + length + mask + masked


def adapter(limits=LIMITS, now=0.0):
    return WebSocketProtocol(limits, "192.0.2.1", now)


def receive(data, limits=LIMITS):
    return list(adapter(limits).receive_data(data, 1.0))


def failure(events):
    """The code of our close frame and the reason, when `events` are exactly a failed connection's."""
    output, finished = events
    assert isinstance(output, Output)
    assert isinstance(finished, Finished)
    assert output.data[0] == FIN | CLOSE
    assert output.data[1] == len(output.data) - 2
    code = int.from_bytes(output.data[2:4], "big")
    assert code == finished.reason.websocket
    assert output.data[4:].decode() == finished.detail[:123]
    return code, finished.reason


# --- the handshake's part, and the seam -----------------------------------------------------------------------


def test_accept_key_is_the_example_of_rfc_6455_section_1_3():
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_it_is_a_client_protocol():
    protocol = adapter()
    assert isinstance(protocol, ClientProtocol)
    assert protocol.name == "websocket"
    assert protocol.wire_format == WIRE_FORMAT
    assert protocol.paused is False
    assert list(protocol.resume(1.0)) == []


# --- messages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_each_length_encoding(opcode, size):
    payload = (b"0123456789" * 7001)[:size]
    limits = Limits(max_message_bytes=70000)
    data = frame(opcode, payload)
    assert receive(data, limits) == [Message(payload, opcode == TEXT)]
    protocol = adapter(limits)
    assert [*protocol.receive_data(data[:-1], 1.0), *protocol.receive_data(data[-1:], 1.0)] == receive(data, limits)


def test_several_messages_in_one_read_keep_their_order():
    data = frame(TEXT, b"one") + frame(BINARY, b"\xff\x00") + frame(TEXT, "drei € 3".encode()) + frame(TEXT)
    assert receive(data) == [
        Message(b"one", True),
        Message(b"\xff\x00", False),
        Message("drei € 3".encode(), True),
        Message(b"", True),
    ]


def test_a_read_may_cut_frames_anywhere():
    data = frame(TEXT, b"x" * 200) + frame(PING, b"p") + frame(BINARY, b"y" * 3)
    whole = receive(data)
    for cut in range(1, len(data)):
        protocol = adapter()
        assert [*protocol.receive_data(data[:cut], 1.0), *protocol.receive_data(data[cut:], 2.0)] == whole


def test_fragments_make_one_message_with_control_frames_between_them():
    data = (
        frame(TEXT, "ein süßer Gr".encode()[:6], fin=False)
        + frame(PING, b"are you there")
        + frame(CONTINUATION, "ein süßer Gr".encode()[6:], fin=False)
        + frame(PONG, b"unasked")
        + frame(CONTINUATION, b"", fin=False)
        + frame(CONTINUATION, "uß".encode())
        + frame(BINARY, b"next")
    )
    assert receive(data) == [
        Output(b"\x8a\x0dare you there"),
        Message("ein süßer Gruß".encode(), True),
        Message(b"next", False),
    ]


def test_a_large_message_in_tiny_pieces_holds_only_its_own_bytes():
    size = 1 << 18
    limits = Limits(max_message_bytes=size)
    data = frame(BINARY, b"z" * size)
    pieces = [data[at : at + 16] for at in range(0, len(data), 16)]
    protocol = adapter(limits)
    tracemalloc.start()
    try:
        events = [event for piece in pieces[:-1] for event in protocol.receive_data(piece, 1.0)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert events == []
    assert held < size * 1.25
    assert list(protocol.receive_data(pieces[-1], 1.0)) == [Message(b"z" * size, False)]


def test_a_header_reserves_no_memory():
    limits = Limits(max_message_bytes=1 << 30)
    header = frame(BINARY)[:1] + b"\xff" + (1 << 30).to_bytes(8, "big") + MASK
    protocol = adapter(limits)
    tracemalloc.start()
    try:
        assert list(protocol.receive_data(header + b"x", 1.0)) == []
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 < held <= peak < 4096


def test_an_idle_connection_has_no_buffers():
    data = frame(TEXT, b"a", fin=False) + frame(PING) + frame(CONTINUATION, b"b") + frame(TEXT, b"c" * 200)
    gc.collect()
    tracemalloc.start()
    try:
        protocols = [adapter(now=float(number)) for number in range(1000)]
        fresh, _ = tracemalloc.get_traced_memory()
        for number, protocol in enumerate(protocols):
            for piece in (data[:5], data[5:30], data[30:]):
                protocol.receive_data(piece, number + 0.5)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert fresh < 1000 * 200
    assert used < fresh + 1000 * 32  # a float for the deadline, which a message under way had moved


# --- what RFC 6455 forbids ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x81\x02hi", id="unmasked"),
        pytest.param(b"\x81\x00", id="unmasked and empty"),
        pytest.param(b"\x81\x7e\x01\x00" + b"x" * 256, id="unmasked 16-bit length"),
        pytest.param(frame(TEXT, b"hi", rsv=0x40), id="RSV1 without compression"),
        pytest.param(frame(TEXT, b"hi", rsv=0x20), id="RSV2"),
        pytest.param(frame(BINARY, b"hi", rsv=0x10), id="RSV3"),
        pytest.param(frame(PING, b"hi", rsv=0x40), id="RSV1 on a ping"),
        pytest.param(frame(PING, fin=False), id="fragmented ping"),
        pytest.param(frame(CLOSE, fin=False), id="fragmented close"),
        pytest.param(frame(PING, b"x" * 126), id="ping over 125 bytes"),
        pytest.param(frame(CLOSE, b"\x03\xe8" + b"x" * 124), id="close over 125 bytes"),
        pytest.param(frame(CONTINUATION, b"hi"), id="continuation of nothing"),
        pytest.param(frame(CONTINUATION, b"hi", fin=False), id="unfinished continuation of nothing"),
        pytest.param(b"\x82\xfe\x00\x7d" + MASK + b"x" * 125, id="16-bit length for 125"),
        pytest.param(b"\x82\xff" + (65535).to_bytes(8, "big") + MASK, id="64-bit length for 65535"),
        pytest.param(b"\x82\xff" + (1 << 63).to_bytes(8, "big") + MASK, id="64-bit length with its high bit"),
    ],
)
def test_a_broken_frame_fails_the_connection(data):
    assert failure(receive(data)) == (1002, Reason.PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_unknown_opcodes_fail_the_connection(opcode):
    assert failure(receive(frame(opcode, b"x"))) == (1002, Reason.PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_new_message_inside_a_fragmented_one_fails_the_connection(opcode):
    data = frame(TEXT, b"one", fin=False) + frame(opcode, b"two")
    assert failure(receive(data)) == (1002, Reason.PROTOCOL_ERROR)


def test_two_bytes_are_enough_to_refuse_a_frame():
    assert failure(receive(frame(PING, b"x" * 126)[:2])) == (1002, Reason.PROTOCOL_ERROR)


def test_what_came_before_the_fault_is_delivered_and_what_comes_after_it_is_not():
    protocol = adapter()
    events = list(protocol.receive_data(frame(TEXT, b"good") + b"\x81\x00" + frame(TEXT, b"late"), 1.0))
    assert events[0] == Message(b"good", True)
    assert failure(events[1:]) == (1002, Reason.PROTOCOL_ERROR)
    assert list(protocol.receive_data(frame(TEXT, b"later"), 2.0)) == []
    assert list(protocol.receive_data(b"", 3.0)) == []
    assert protocol.close(Reason.DRAINING, "", 4.0) == b""
    assert protocol.deadline == inf
    assert list(protocol.on_deadline(1e9)) == []


# --- UTF-8 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [b"\xff", b"good \xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", "κόσ".encode()[:-1]],
)
def test_text_that_is_not_utf8_fails_the_connection(payload):
    assert failure(receive(frame(TEXT, payload))) == (1007, Reason.NOT_UTF8)
    assert receive(frame(BINARY, payload)) == [Message(payload, False)]
    fragmented = frame(TEXT, payload[:1], fin=False) + frame(CONTINUATION, payload[1:])
    assert failure(receive(fragmented)) == (1007, Reason.NOT_UTF8)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("κόσμε".encode() + b"\xf4", b"\x90"),  # Autobahn 6.4: over U+10FFFF, known at the second byte
        (b"\xed", b"\xa0"),  # a surrogate
        (b"\xe0", b"\x9f"),  # overlong
        (b"\xf0", b"\x8f"),
        (b"abc", b"\xc1"),
        (b"\xe2\x82", b"a"),
    ],
)
def test_invalid_text_is_refused_at_its_first_impossible_byte(good, bad):
    whole = frame(TEXT, good + bad + b"never sent")
    sent = len(whole) - len(b"never sent")
    protocol = adapter()
    assert list(protocol.receive_data(whole[: sent - 1], 1.0)) == []
    assert failure(protocol.receive_data(whole[sent - 1 : sent], 1.0)) == (1007, Reason.NOT_UTF8)

    protocol = adapter()
    assert list(protocol.receive_data(frame(TEXT, good, fin=False), 1.0)) == []
    assert failure(protocol.receive_data(frame(CONTINUATION, bad, fin=False), 1.0)) == (1007, Reason.NOT_UTF8)


# --- sizes ----------------------------------------------------------------------------------------------------


def test_a_message_of_exactly_the_limit_is_delivered():
    assert receive(frame(BINARY, b"x" * 1000)) == [Message(b"x" * 1000, False)]
    fragmented = frame(BINARY, b"x" * 999, fin=False) + frame(CONTINUATION, b"x")
    assert receive(fragmented) == [Message(b"x" * 1000, False)]


@pytest.mark.parametrize("size", [1001, 65536, (1 << 63) - 1])
def test_a_message_over_the_limit_is_refused_by_its_header(size):
    length = b"\xfe" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xff" + size.to_bytes(8, "big")
    assert failure(receive(b"\x82" + length + MASK)) == (1009, Reason.MESSAGE_TOO_LARGE)


def test_fragments_over_the_limit_in_all_are_refused_by_the_header_that_shows_it():
    data = frame(TEXT, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 401)[:-401]
    assert failure(receive(data)) == (1009, Reason.MESSAGE_TOO_LARGE)


def test_a_limit_below_the_short_lengths_holds_in_the_fast_path_too():
    limits = Limits(max_message_bytes=4)
    assert receive(frame(TEXT, b"1234"), limits) == [Message(b"1234", True)]
    assert failure(receive(frame(TEXT, b"12345"), limits)) == (1009, Reason.MESSAGE_TOO_LARGE)


# --- ping and pong --------------------------------------------------------------------------------------------


def test_a_ping_is_answered_with_its_payload_and_a_pong_is_taken():
    data = frame(PING) + frame(PING, b"\x00" * 125) + frame(PONG, b"x")
    assert receive(data) == [Output(b"\x8a\x00"), Output(b"\x8a\x7d" + b"\x00" * 125)]


@pytest.mark.parametrize("text", ['{"p":1}', '{"p": 1}', ' {\n\t"p" : 1\r\n} '])
def test_an_application_ping_is_answered_and_not_delivered(text):
    assert receive(frame(TEXT, text.encode())) == [Output(b'\x81\x07{"p":2}')]
    fragmented = frame(TEXT, text.encode()[:3], fin=False) + frame(CONTINUATION, text.encode()[3:])
    assert receive(fragmented) == [Output(b'\x81\x07{"p":2}')]


@pytest.mark.parametrize(
    "text", ['{"p":2}', '{"p":1,"q":1}', '{"p":10}', '{"p":1.0}', '{"P":1}', '[{"p":1}]', '{"p":1']
)
def test_what_only_looks_like_an_application_ping_is_delivered(text):
    assert receive(frame(TEXT, text.encode())) == [Message(text.encode(), True)]


def test_application_ping_is_for_text_and_can_be_turned_off():
    assert receive(frame(BINARY, b'{"p":1}')) == [Message(b'{"p":1}', False)]
    assert receive(frame(TEXT, b'{"p":1}'), Limits(application_ping=False)) == [Message(b'{"p":1}', True)]


# --- the client closes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_legal_close_is_echoed_and_ends_the_connection(code):
    payload = code.to_bytes(2, "big") + "tschüß".encode()
    data = frame(TEXT, b"last words") + frame(CLOSE, payload) + frame(TEXT, b"ignored") + frame(PING)
    message, output, finished = receive(data)
    assert message == Message(b"last words", True)
    assert output == Output(bytes((0x88, len(payload))) + payload)
    assert finished == Finished(Reason.CLIENT_LEFT, f"client closed with code {code}")


def test_a_close_without_a_code_is_answered_without_a_code():
    output, finished = receive(frame(CLOSE))
    assert output == Output(b"\x88\x00")
    assert finished.reason is Reason.CLIENT_LEFT


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65535])
def test_a_close_with_a_code_that_may_not_be_sent_fails_the_connection(code):
    assert failure(receive(frame(CLOSE, code.to_bytes(2, "big")))) == (1002, Reason.PROTOCOL_ERROR)


def test_a_close_with_half_a_code_or_a_reason_that_is_not_utf8_fails_the_connection():
    assert failure(receive(frame(CLOSE, b"\x03"))) == (1002, Reason.PROTOCOL_ERROR)
    assert failure(receive(frame(CLOSE, b"\x03\xe8\xce\xba\xe1"))) == (1007, Reason.NOT_UTF8)


def test_a_close_may_come_inside_a_fragmented_message():
    output, finished = receive(frame(TEXT, b"half", fin=False) + frame(CLOSE, b"\x03\xe9"))
    assert output == Output(b"\x88\x02\x03\xe9")
    assert finished.reason is Reason.CLIENT_LEFT


def test_end_of_file_without_a_close_is_the_client_leaving():
    protocol = adapter()
    protocol.receive_data(frame(TEXT, b"half", fin=False), 1.0)
    (finished,) = protocol.receive_data(b"", 2.0)
    assert isinstance(finished, Finished)
    assert finished.reason is Reason.CLIENT_LEFT
    assert list(protocol.receive_data(b"", 3.0)) == []


# --- we close -------------------------------------------------------------------------------------------------


def closing(before=b""):
    protocol = adapter()
    protocol.receive_data(before, 0.5) if before else None
    assert protocol.close(Reason.DRAINING, "moving", 1.0) == b"\x88\x08\x03\xf4moving"
    return protocol


def test_after_our_close_the_clients_close_ends_the_connection_for_our_reason():
    protocol = closing()
    assert protocol.deadline == 6.0
    data = frame(TEXT, b"crossed") + frame(PING) + frame(TEXT, b"frag", fin=False)
    assert list(protocol.receive_data(data, 2.0)) == []
    assert protocol.deadline == 6.0
    assert list(protocol.receive_data(frame(CLOSE, b"\x03\xf4"), 3.0)) == [Finished(Reason.DRAINING, "moving")]
    assert list(protocol.receive_data(frame(CLOSE), 4.0)) == []
    assert protocol.deadline == inf


def test_after_our_close_end_of_file_ends_the_connection_for_our_reason():
    assert list(closing().receive_data(b"", 2.0)) == [Finished(Reason.DRAINING, "moving")]


def test_after_our_close_a_silent_client_is_given_close_timeout():
    protocol = closing()
    assert list(protocol.on_deadline(5.9)) == []
    assert list(protocol.on_deadline(6.0)) == [Finished(Reason.DRAINING, "moving")]
    assert list(protocol.on_deadline(7.0)) == []


@pytest.mark.parametrize("data", [b"\x81\x00", frame(3), frame(CLOSE, b"\x03"), frame(CLOSE, b"\x03\xee")])
def test_after_our_close_a_fault_ends_the_connection_without_a_second_close_frame(data):
    assert list(closing().receive_data(data, 2.0)) == [Finished(Reason.DRAINING, "moving")]


def test_after_our_close_the_rest_of_a_message_is_stepped_over_whatever_is_in_it():
    half = frame(TEXT, "ü".encode() * 300)
    protocol = closing(half[:501])
    rest = half[501:] + frame(TEXT, b"\xff" * 400, fin=False) + frame(CONTINUATION, b"y" * 100_000)
    assert [event for at in range(0, len(rest), 999) for event in protocol.receive_data(rest[at : at + 999], 2.0)] == []
    assert list(protocol.receive_data(frame(CLOSE), 3.0)) == [Finished(Reason.DRAINING, "moving")]


def test_after_our_close_half_a_character_is_no_fault():
    protocol = closing(frame(TEXT, b"\xe2\x82", fin=False))
    assert list(protocol.receive_data(frame(CONTINUATION), 2.0)) == []
    assert list(protocol.receive_data(frame(CLOSE), 3.0)) == [Finished(Reason.DRAINING, "moving")]


def test_close_timeout_is_not_shortened_by_a_message_under_way():
    protocol = adapter()
    protocol.receive_data(frame(TEXT, b"x", fin=False), 0.0)
    protocol.close(Reason.DRAINING, "", 29.0)
    assert list(protocol.receive_data(frame(CONTINUATION, b"x", fin=False), 29.5)) == []
    assert protocol.deadline == 34.0


def test_close_happens_once_and_nothing_is_sent_after_it():
    protocol = closing()
    request = Message(b"{}", True)
    assert protocol.close(Reason.KICKED, "", 2.0) == b""
    assert protocol.reply(request, None, b"late", True, False) == b""
    assert protocol.error(request, HoldfastError("late")) == b""


def test_the_detail_of_a_close_is_cut_between_characters():
    data = adapter().close(Reason.KICKED, "ü" * 100, 1.0)
    assert data == b"\x88\x7c" + (1008).to_bytes(2, "big") + "ü".encode() * 61


@pytest.mark.parametrize("reason", Reason)
def test_no_reason_closes_with_a_code_that_sdks_take_for_the_users_wish(reason):
    data = adapter().close(reason, "", 1.0)
    assert data == b"\x88\x00" if reason is Reason.CLIENT_LEFT else data[2:] == reason.websocket.to_bytes(2, "big")
    assert data[2:] not in (b"\x03\xe8", b"\x03\xed", b"\x03\xee")


# --- time -----------------------------------------------------------------------------------------------------


def test_a_client_that_does_not_answer_a_ping_is_told_of_once_in_each_ping_timeout():
    protocol = adapter(now=100.0)
    assert protocol.deadline == 125.0
    assert list(protocol.on_deadline(124.9)) == []
    assert list(protocol.on_deadline(125.0)) == [Output(b"\x89\x00")]
    assert protocol.deadline == 145.0
    assert list(protocol.on_deadline(144.9)) == []
    silent = Silent("nothing came within 20 seconds of a ping")
    assert list(protocol.on_deadline(145.0)) == [silent]
    assert protocol.deadline == 165.0
    assert list(protocol.on_deadline(165.0)) == [silent]
    protocol.receive_data(frame(10), 170.0)
    assert list(protocol.on_deadline(185.0)) == []
    assert protocol.deadline == 195.0


def test_reading_does_not_move_the_deadline_and_on_deadline_makes_up_for_it():
    protocol = adapter()
    for now in (1.0, 10.0, 20.0):
        protocol.receive_data(frame(TEXT, b"x"), now)
        assert protocol.deadline == 25.0
    assert list(protocol.on_deadline(25.0)) == []
    assert protocol.deadline == 45.0
    assert list(protocol.on_deadline(45.0)) == [Output(b"\x89\x00")]


def test_anything_that_comes_after_a_ping_keeps_the_connection():
    protocol = adapter()
    assert list(protocol.on_deadline(25.0)) == [Output(b"\x89\x00")]
    assert list(protocol.receive_data(frame(PONG), 25.0)) == []  # in the same turn
    assert list(protocol.on_deadline(45.0)) == []
    assert list(protocol.on_deadline(50.0)) == [Output(b"\x89\x00")]


def test_ping_interval_0_never_pings():
    protocol = adapter(Limits(ping_interval=0))
    assert protocol.deadline == inf
    protocol.receive_data(frame(TEXT, b"hi")[:3], 1.0)
    assert protocol.deadline == 31.0
    protocol.receive_data(frame(TEXT, b"hi")[3:], 2.0)
    assert list(protocol.on_deadline(31.0)) == []
    assert protocol.deadline == inf


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(frame(TEXT)[:1], id="one byte"),
        pytest.param(frame(BINARY, b"x" * 500)[:300], id="part of a frame"),
        pytest.param(frame(TEXT, b"x", fin=False), id="a fragment"),
        pytest.param(frame(PING, b"x")[:5], id="part of a ping"),
    ],
)
def test_a_message_must_end_within_body_timeout(begin):
    protocol = adapter()
    assert list(protocol.receive_data(frame(TEXT, b"before") + begin, 10.0)) == [Message(b"before", True)]
    assert protocol.deadline == 25.0
    assert list(protocol.on_deadline(25.0)) == []
    assert protocol.deadline == 35.0
    assert failure(protocol.on_deadline(40.0)) == (1008, Reason.TOO_SLOW)


@pytest.mark.parametrize("ping_interval", [0, 25])
def test_a_trickle_of_fragments_and_pings_does_not_extend_body_timeout(ping_interval):
    protocol = adapter(Limits(ping_interval=ping_interval))
    protocol.receive_data(frame(TEXT, b"x", fin=False), 10.0)
    for now in (20.0, 30.0, 39.9):
        protocol.receive_data(frame(CONTINUATION, b"x", fin=False) + frame(PING), now)
        assert list(protocol.on_deadline(now)) == []
        assert protocol.deadline <= 40.0
    assert failure(protocol.on_deadline(40.0)) == (1008, Reason.TOO_SLOW)


def test_a_ping_in_the_middle_of_a_slow_message_does_not_extend_body_timeout():
    protocol = adapter()
    protocol.receive_data(frame(TEXT, b"x", fin=False), 10.0)
    assert list(protocol.on_deadline(35.0)) == [Output(b"\x89\x00")]
    assert protocol.deadline == 40.0
    assert failure(protocol.on_deadline(40.0)) == (1008, Reason.TOO_SLOW)


def test_each_message_has_its_own_time():
    protocol = adapter(Limits(ping_interval=0))
    half = frame(TEXT, b"hello")
    protocol.receive_data(half[:4], 10.0)
    assert list(protocol.receive_data(half[4:] + half[:4], 30.0)) == [Message(b"hello", True)]
    assert list(protocol.on_deadline(40.0)) == []
    assert protocol.deadline == 60.0
    assert failure(protocol.on_deadline(60.0)) == (1008, Reason.TOO_SLOW)


# --- what we send ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x00"),
        (125, b"\x7d"),
        (126, b"\x7e\x00\x7e"),
        (65535, b"\x7e\xff\xff"),
        (65536, b"\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_replies_and_notifications_are_unmasked_frames_of_the_shortest_length_form(size, head):
    protocol = adapter()
    payload = b"x" * size
    request = Message(b"", False)
    assert protocol.reply(request, None, payload, True, False) == b"\x81" + head + payload
    assert protocol.reply(request, None, payload, False, False) == b"\x82" + head + payload
    assert protocol.notification(payload, True) == b"\x81" + head + payload
    assert protocol.notification(payload, False) == b"\x82" + head + payload


def test_each_part_of_a_reply_is_a_message_of_its_own():
    protocol = adapter()
    request = Message(b"", True)
    parts = [protocol.reply(request, None, b"one", True, True), protocol.reply(request, None, b"two", True, False)]
    assert parts == [b"\x81\x03one", b"\x81\x03two"]


def test_text_that_is_not_utf8_never_leaves():
    protocol = adapter()
    with pytest.raises(ProtocolError) as caught:
        protocol.reply(Message(b"", True), None, b"ok \xff", True, False)
    assert caught.value.reason is Reason.BAD_REPLY
    with pytest.raises(ProtocolError) as caught:
        protocol.notification(b"\xed\xa0\x80", True)
    assert caught.value.reason is Reason.BAD_REPLY
    assert protocol.reply(Message(b"", True), None, b"ok \xff", False, False) == b"\x82\x04ok \xff"
    assert protocol.reply(Message(b"", True), None, "grün".encode(), True, False) == b"\x81\x05gr\xc3\xbcn"


def test_a_notification_is_encoded_for_all_even_by_a_connection_that_is_closing():
    assert closing().notification(b"news", True) == adapter().notification(b"news", True) == b"\x81\x04news"


def test_an_error_is_a_text_message_with_the_clients_request_id():
    request = Message(b'{"requestId": "r-1", "controller": "server"}', True)
    data = adapter().error(request, HoldfastError("no node is ready", Reason.NO_NODE))
    assert data[0] == 0x81
    body = json.loads(data[data.index(b"{") :])
    assert body["requestId"] == "r-1"
    assert body["error"]["id"] == "holdfast.no_node"

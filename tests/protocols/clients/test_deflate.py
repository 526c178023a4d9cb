"""permessage-deflate: negotiation, the codec and its limits, and the WebSocket adapter with it."""

import random
import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.headers import parse_extension

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.deflate import MAX_COMPRESSED_BYTES, MIN_COMPRESSED_BYTES, Inflater, negotiate
from holdfast.protocols.clients.events import Finished, Message, Output
from holdfast.protocols.clients.websocket import WIRE_FORMAT, WebSocketProtocol
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError

LIMITS = Limits(compression=True, max_message_bytes=100_000)
NO_CONTEXT = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
TEXT = b'{"controller":"realtime","action":"publish","index":"chat","collection":"rooms","body":{"text":"Hello"}}' * 5


def deflate(data, *, final=False):
    stream = zlib.compressobj(wbits=-15)
    if final:
        return stream.compress(data) + stream.flush()
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frame(first, payload):
    """A client's frame. The mask is zero: masking is tested elsewhere."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    if size >= 1 << 16:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes((first,)) + length + b"\0\0\0\0" + payload


def adapter(limits=LIMITS, offer="permessage-deflate"):
    _, codec = negotiate(offer, LIMITS)
    return WebSocketProtocol(limits, "192.0.2.1", 0.0, deflate=codec)


def failure(events):
    output, finished = events
    assert isinstance(output, Output)
    assert isinstance(finished, Finished)
    assert int.from_bytes(output.data[2:4], "big") == finished.reason.websocket
    return finished.reason


# --- negotiation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offers", "response"),
    [
        ("permessage-deflate", NO_CONTEXT),
        ("Permessage-Deflate ; client_max_window_bits", NO_CONTEXT),
        ("permessage-deflate; client_max_window_bits=8; client_no_context_takeover", NO_CONTEXT),
        ("permessage-deflate; server_no_context_takeover", NO_CONTEXT),
        ("permessage-deflate; server_max_window_bits=10", f"{NO_CONTEXT}; server_max_window_bits=10"),
        ('permessage-deflate; server_max_window_bits = "9"', f"{NO_CONTEXT}; server_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=15", f"{NO_CONTEXT}; server_max_window_bits=15"),
        ("x-webkit-deflate-frame, permessage-deflate", NO_CONTEXT),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", NO_CONTEXT),
    ],
)
def test_an_offer_that_can_be_met_is_taken(offers, response):
    header, _ = negotiate(offers, LIMITS)
    assert header == response


@pytest.mark.parametrize(
    "offers",
    [
        "",
        ",;=",
        "permessage-bzip2",
        "permessage-deflate; server_max_window_bits=8",  # zlib has no such raw window
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=" + "9" * 5000,
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; mystery",
        "permessage-deflate;",
    ],
)
def test_an_offer_that_cannot_be_met_is_declined(offers):
    assert negotiate(offers, LIMITS) is None


def test_compression_is_off_unless_configured():
    assert negotiate("permessage-deflate", Limits()) is None


@given(st.text(max_size=80))
def test_no_header_makes_negotiation_raise(offers):
    assert negotiate("permessage-deflate;" + offers, LIMITS) is None or offers.strip(" \t") != ""


@pytest.mark.parametrize("server_bits", [None, 9, 12, 15])
@pytest.mark.parametrize("client_bits", [None, True, 9, 15])
def test_the_response_is_one_that_websockets_takes_for_its_own_offer(server_bits, client_bits):
    client = ClientPerMessageDeflateFactory(server_max_window_bits=server_bits, client_max_window_bits=client_bits)
    offer = "; ".join(
        [
            "permessage-deflate",
            *(name if value is None else f"{name}={value}" for name, value in client.get_request_params()),
        ]
    )
    header, codec = negotiate(offer, LIMITS)
    ((_, parameters),) = parse_extension(header)
    extension = client.process_response_params(parameters, [])
    assert extension.remote_no_context_takeover
    assert extension.local_no_context_takeover
    assert codec.window_bits <= extension.remote_max_window_bits


# --- what we send ---------------------------------------------------------------------------------------------


def test_a_message_is_compressed_with_rsv1_and_is_smaller():
    data = adapter().notification(TEXT, True)
    assert data[0] == 0xC1
    assert len(data) < len(TEXT) / 2
    payload = data[2:] if data[1] < 126 else data[4:]
    assert zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff") == TEXT
    assert adapter().reply(Message(b"", False), None, TEXT, False, False)[0] == 0xC2


def test_equal_wire_formats_give_equal_bytes_whatever_was_sent_before():
    one, other, plain = (
        adapter(),
        adapter(offer="permessage-deflate; client_max_window_bits"),
        WebSocketProtocol(LIMITS, "", 0),
    )
    small = adapter(offer="permessage-deflate; server_max_window_bits=9")
    one.notification(b"something else " * 20, True)
    assert one.wire_format == other.wire_format
    assert one.notification(TEXT, True) == other.notification(TEXT, True)
    assert isinstance(one.wire_format, tuple)
    assert len({one.wire_format, small.wire_format, plain.wire_format}) == 3
    assert plain.wire_format == WIRE_FORMAT


def test_what_deflate_would_not_make_smaller_is_sent_as_it_is():
    noise = random.Random(1).randbytes(1000)
    assert adapter().notification(noise, False) == b"\x82\x7e\x03\xe8" + noise
    short = b"x" * (MIN_COMPRESSED_BYTES - 1)
    assert adapter().notification(short, True)[0] == 0x81
    assert adapter().notification(short + b"x", True)[0] == 0xC1


def test_a_long_message_is_sent_as_it_is():
    """A call of zlib can't be cut in two: a reply of 6 MiB held the reactor up for 25 to 157 ms."""
    longest = b"x" * MAX_COMPRESSED_BYTES
    assert adapter().notification(longest, True)[0] == 0xC1
    assert adapter().notification(longest + b"x", True) == b"\x81\x7f" + (65537).to_bytes(8, "big") + longest + b"x"
    assert adapter().reply(Message(b"", False), None, bytes(6 << 20), False, False)[0] == 0x82


def test_control_frames_and_closes_are_not_compressed():
    protocol = adapter()
    assert list(protocol.receive_data(frame(0x89, b"p" * 125), 1.0)) == [Output(b"\x8a\x7d" + b"p" * 125)]
    assert protocol.close(Reason.DRAINING, "x" * 123, 1.0)[0] == 0x88


# --- what we receive ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload", [b"", b"x", TEXT, "grüße €".encode() * 50, random.Random(2).randbytes(70_000).hex().encode()[:100_000]]
)
def test_a_compressed_message_is_delivered_inflated(payload):
    data = frame(0xC1, deflate(payload))
    assert list(adapter().receive_data(data, 1.0)) == [Message(payload, True)]
    protocol = adapter()
    assert [event for byte in data for event in protocol.receive_data(bytes((byte,)), 1.0)] == [Message(payload, True)]


def test_fragments_are_cut_anywhere_in_the_compressed_bytes():
    compressed = deflate(TEXT)
    for cut in range(len(compressed) + 1):
        data = frame(0x41, compressed[:cut]) + frame(0x89, b"?") + frame(0x80, compressed[cut:])
        assert list(adapter().receive_data(data, 1.0)) == [Output(b"\x8a\x01?"), Message(TEXT, True)]


def test_messages_that_are_not_compressed_are_taken_too():
    data = frame(0x81, b"plain") + frame(0xC2, deflate(b"packed")) + frame(0x82, b"plain")
    expected = [Message(b"plain", True), Message(b"packed", False), Message(b"plain", False)]
    assert list(adapter().receive_data(data, 1.0)) == expected


@pytest.mark.parametrize(
    "compressed",
    [
        pytest.param(b"", id="no data at all"),
        pytest.param(b"\x00", id="RFC 7692 7.2.3.6"),
        pytest.param(b"\x02\x00", id="an empty fixed block"),
        pytest.param(deflate(b"", final=True), id="an empty final block"),
    ],
)
def test_each_form_of_the_empty_message_is_taken(compressed):
    assert list(adapter().receive_data(frame(0xC1, compressed), 1.0)) == [Message(b"", True)]


@pytest.mark.parametrize(
    "compressed",
    [
        bytes.fromhex("f248cdc9c90700"),  # RFC 7692 7.2.3.1
        bytes.fromhex("000500faff48656c6c6f00"),  # 7.2.3.3: a stored block
        bytes.fromhex("f348cdc9c9070000"),  # 7.2.3.4: a final block
        bytes.fromhex("f24805000000ffffcac9c90700"),  # 7.2.3.5: two blocks
    ],
)
def test_the_examples_of_rfc_7692(compressed):
    assert list(adapter().receive_data(frame(0xC1, compressed), 1.0)) == [Message(b"Hello", True)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frame(0xC1, b"\xff\xff\xff"), id="not deflate"),
        pytest.param(frame(0xC1, deflate(TEXT)[:-10]), id="ends inside a block"),
        pytest.param(frame(0xC1, b"\x00\x14\x00\xeb\xffHello"), id="ends inside a stored block"),
        pytest.param(frame(0xC1, deflate(TEXT, final=True) + b"more"), id="goes on after the final block"),
        pytest.param(frame(0xC1, deflate(b"a", final=True) + deflate(b"b")), id="a second stream"),
        pytest.param(frame(0x41, deflate(TEXT)) + frame(0xC0, b"\x00"), id="RSV1 on a continuation"),
        pytest.param(frame(0x01, b"a") + frame(0xC0, b"\x00"), id="RSV1 on a continuation of a plain message"),
        pytest.param(frame(0xC9, b""), id="RSV1 on a ping"),
        pytest.param(frame(0xE1, deflate(TEXT)), id="RSV2"),
    ],
)
def test_what_is_not_permessage_deflate_fails_the_connection(data):
    assert failure(adapter().receive_data(data, 1.0)) is Reason.PROTOCOL_ERROR


def test_rsv1_without_negotiation_fails_the_connection():
    protocol = WebSocketProtocol(LIMITS, "192.0.2.1", 0.0)
    assert failure(protocol.receive_data(frame(0xC1, deflate(TEXT)), 1.0)) is Reason.PROTOCOL_ERROR


def test_inflated_text_must_be_utf8():
    assert failure(adapter().receive_data(frame(0xC1, deflate(b"a\xff")), 1.0)) is Reason.NOT_UTF8
    assert failure(adapter().receive_data(frame(0xC1, deflate(b"a\xe2\x82")), 1.0)) is Reason.NOT_UTF8
    assert list(adapter().receive_data(frame(0xC2, deflate(b"a\xff")), 1.0)) == [Message(b"a\xff", False)]


# --- limits ---------------------------------------------------------------------------------------------------


def test_the_limit_counts_inflated_bytes():
    fits, over = deflate(b"x" * 100_000), deflate(b"x" * 100_001)
    assert list(adapter().receive_data(frame(0xC2, fits), 1.0)) == [Message(b"x" * 100_000, False)]
    assert failure(adapter().receive_data(frame(0xC2, over), 1.0)) is Reason.MESSAGE_TOO_LARGE
    fragmented = frame(0x42, over[:50]) + frame(0x80, over[50:])
    assert failure(adapter().receive_data(fragmented, 1.0)) is Reason.MESSAGE_TOO_LARGE


def test_what_grows_when_compressed_may_still_be_sent_up_to_the_limit():
    noise = random.Random(3).randbytes(1000)
    compressed = deflate(noise)
    assert len(compressed) > 1000
    limits = Limits(compression=True, max_message_bytes=1000)
    assert list(adapter(limits).receive_data(frame(0xC2, compressed), 1.0)) == [Message(noise, False)]


def test_a_frame_far_over_the_limit_is_refused_by_its_header():
    header = b"\xc2\xff" + (1 << 40).to_bytes(8, "big") + b"\0\0\0\0"
    assert failure(adapter().receive_data(header, 1.0)) is Reason.MESSAGE_TOO_LARGE


def test_endless_blocks_that_inflate_to_nothing_are_refused():
    protocol = adapter()
    empty_blocks = b"\x00\x00\x00\xff\xff" * 1000
    events = list(protocol.receive_data(frame(0x42, empty_blocks), 1.0))
    while not events:
        events = list(protocol.receive_data(frame(0x00, empty_blocks), 1.0))
    assert failure(events) is Reason.MESSAGE_TOO_LARGE


def test_a_zip_bomb_is_never_inflated():
    bomb = frame(0xC2, deflate(b"\0" * 50_000_000))
    protocol = adapter()
    tracemalloc.start()
    try:
        events = list(protocol.receive_data(bomb, 1.0))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert failure(events) is Reason.MESSAGE_TOO_LARGE
    assert peak < 1_000_000


def test_after_our_close_compressed_messages_are_stepped_over():
    protocol = adapter()
    begun = frame(0xC1, deflate(TEXT))
    protocol.receive_data(begun[:20], 1.0)
    protocol.close(Reason.DRAINING, "", 2.0)
    assert list(protocol.receive_data(begun[20:] + frame(0xC1, b"\xff\xff\xff"), 3.0)) == []
    assert list(protocol.receive_data(frame(0x88, b""), 3.0)) == [Finished(Reason.DRAINING, "")]


def inflate(compressed, cuts, limit):
    """What an Inflater makes of `compressed`, cut at `cuts`, and the reason for which it refused it, or None."""
    inflater = Inflater(limit)
    made = b""
    try:
        for start, end in pairwise(sorted({0, len(compressed), *(min(cut, len(compressed)) for cut in cuts)})):
            made += inflater.inflate(compressed[start:end])
        made += inflater.finish()
    except ProtocolError as error:
        return made, error.reason
    return made, None


@given(st.binary(max_size=300), st.booleans(), st.lists(st.integers(0, 300), max_size=5), st.integers(0, 400))
def test_an_inflater_gives_the_message_or_refuses_it_for_its_size(data, final, cuts, limit):
    made, refused = inflate(deflate(data, final=final), cuts, limit)
    if len(data) > limit:
        assert refused is Reason.MESSAGE_TOO_LARGE
        assert data.startswith(made)
        assert len(made) <= limit
    else:
        assert (made, refused) == (data, None)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5), st.integers(0, 400))
def test_an_inflater_makes_no_more_than_its_limit_of_anything(data, cuts, limit):
    made, refused = inflate(data, cuts, limit)
    assert len(made) <= limit
    assert refused in (None, Reason.PROTOCOL_ERROR, Reason.MESSAGE_TOO_LARGE)


# --- the oracle -----------------------------------------------------------------------------------------------


payloads = st.one_of(st.text(max_size=200).map(str.encode), st.text("ab€", min_size=100, max_size=1500).map(str.encode))


@given(st.lists(st.tuples(payloads, st.lists(st.integers(0, 1500), max_size=3)), max_size=4), st.integers(1, 300))
def test_websockets_and_we_understand_each_other(messages, step):
    theirs = PerMessageDeflate(True, True, 15, 15)
    ours = adapter()
    sent = b""
    for payload, cuts in messages:
        ends = sorted({0, len(payload), *(min(cut, len(payload)) for cut in cuts)}) if payload else [0, 0]
        for number, (start, end) in enumerate(pairwise(ends)):
            opcode = Opcode.CONT if number else Opcode.TEXT
            sent += Frame(opcode, payload[start:end], fin=end == len(payload)).serialize(mask=True, extensions=[theirs])
    events = [event for at in range(0, len(sent), step) for event in ours.receive_data(sent[at : at + step], 1.0)]
    assert events == [Message(payload, True) for payload, _ in messages]

    for payload, _ in messages:
        data = ours.reply(Message(b"", True), None, payload, True, False)
        body = data[2:] if data[1] < 126 else data[4:]
        answer = theirs.decode(Frame(Opcode.TEXT, body, rsv1=bool(data[0] & 0x40)))
        assert bytes(answer.data) == payload

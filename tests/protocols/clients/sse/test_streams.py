"""Streams of events at a door, from the request to the last event."""

import pytest

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.events import Closed, Finished, Opened
from holdfast.protocols.clients.exchange import MAX_PIPELINED_BYTES
from holdfast.protocols.clients.http_doors import HttpWithDoors
from holdfast.protocols.clients.sse import door, ids
from holdfast.protocols.clients.sse.asking import MAX_CHANNELS, NOWHERE
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Position, Publication
from tests.protocols.clients.sse.asked import ADDRESS, LIMITS, Asked, blocks, get, is_ended

ACCEPT = "Accept: text/event-stream"


def stream(target="/events?channel=a", *headers, limits=LIMITS, **grant):
    asked = Asked(get(target, ACCEPT, *headers), limits=limits)
    while asked.waiting:
        asked.grant(**grant)
    return asked


def at(**positions):
    return ids.write({channel: Position("epoch", offset) for channel, offset in positions.items()})


# --- the beginning ----------------------------------------------------------------------------------------------------


def test_the_answer_begins_when_all_channels_are_granted():
    asked = Asked(get("/events?channel=a&channel=b%20c&token=t", "Authorization: Bearer u", ACCEPT))
    assert (asked.opened.protocol, asked.opened.path) == ("sse", "/events")
    assert (asked.opened.query, asked.opened.address) == ("channel=a&channel=b%20c&token=t", ADDRESS)
    assert ("authorization", "Bearer u") in asked.opened.headers
    assert [request.channel for request in asked.waiting] == ["a", "b c"]
    asked.grant()
    assert asked.said == b""
    asked.grant()
    assert asked.status == 200
    assert asked.header("Content-Type") == "text/event-stream"
    assert asked.header("Cache-Control") == "no-store"
    assert not asked.protocol.paused  # its end is to be seen


@pytest.mark.parametrize(
    ("target", "channels"),
    [
        ("/events?channel=a&channel=b&channel=a", ["a", "b"]),
        ("/in/a%2Fb%3A1", ["a/b:1"]),
        ("/in/x?channel=y", ["x", "y"]),
        ("/events?channel=a+b%2B", ["a b+"]),
    ],
)
def test_channels_are_in_the_path_or_in_the_query(target, channels):
    assert [request.channel for request in Asked(get(target)).waiting] == channels


@pytest.mark.parametrize("path", ["/in/", "/in", "/in/a/b", "/event", "/events/"])
def test_elsewhere_a_request_is_a_node_s(path):
    asked = Asked(get(f"{path}?channel=a"))
    assert [event.target for event in asked.events] == [f"{path}?channel=a"]


@pytest.mark.parametrize(
    "target",
    [
        "/events",
        "/events?channel=%ff",
        "/in/%ff",
        "/events?" + "&".join(f"channel={n}" for n in range(MAX_CHANNELS + 1)),
        "/events?channel=a" + "&x=1" * 100,
        "/events?channel=a&poll=x",
        "/events?channel=a&poll=-1",
        "/events?channel=a&poll=nan",
    ],
)
def test_what_asks_for_nothing_is_refused_without_a_session_and_the_connection_goes_on(target):
    asked = Asked(get(target) + get("/other"))
    assert asked.status == 400
    assert [getattr(event, "target", None) for event in asked.events] == ["/other"]


@pytest.mark.parametrize("reason", [Reason.REFUSED, Reason.UNAUTHORIZED, Reason.BAD_REQUEST])
def test_one_channel_that_is_refused_refuses_all_with_its_status(reason):
    asked = Asked(get("/events?channel=a&channel=b&channel=c") + get("/other"))
    asked.grant()
    asked.refuse(reason)
    assert asked.said == b""
    asked.grant()
    assert asked.status == reason.http
    assert asked.told[:2] == [Opened, Closed]
    assert asked.events[2].target == "/other"


def test_what_may_work_in_a_moment_is_a_stream_that_ends_since_no_browser_comes_back_after_a_status():
    asked = Asked(get("/events?channel=a"))
    asked.refuse(Reason.NO_NODE, "none")
    assert asked.status == 200
    retry, closed = blocks(asked.body)
    assert 1000 <= int(retry["retry"]) <= 3000
    assert closed == {
        "event": "closed",
        "data": '{"reason":"no_node","retryable":true,"message":"none"}',
    }
    assert asked.told == [Opened, Closed]


@pytest.mark.parametrize(("reason", "status"), [(Reason.UNAUTHORIZED, 401), (Reason.OVERLOADED, 200)])
def test_a_session_that_may_not_begin_is_told_so_and_the_connection_ends(reason, status):
    asked = Asked(get("/events?channel=a"))
    asked.said += asked.opened.refuse(HoldfastError("no", reason))
    assert asked.status == status
    assert asked.header("Connection") == "close"


def test_clients_come_back_at_different_times():
    asked = [Asked(limits=LIMITS) for _ in range(20)]
    for port, each in enumerate(asked):
        each.protocol = HttpWithDoors(LIMITS, f"192.0.2.1:{port}", 0.0)
        each.receive(get("/events?channel=a"))
        each.grant()
    assert len({blocks(each.body)[0]["retry"] for each in asked}) > 10


# --- ids --------------------------------------------------------------------------------------------------------------


def test_a_client_has_an_id_before_the_first_message():
    asked = stream(position=5)
    assert blocks(asked.body)[1:] == [{"id": at(a=5)}]


def test_of_a_channel_without_history_there_is_none():
    asked = stream()
    asked.publish("a", b"x")
    assert blocks(asked.body)[1:] == [{"data": "x"}]


def test_each_event_of_one_channel_has_its_own_and_is_the_same_for_all_streams():
    one, other = stream(position=5), stream(position=2)
    assert one.protocol.wire_format == other.protocol.wire_format
    for asked in (one, other):
        asked.publish("a", b"x", 6)
    assert blocks(one.body)[-1] == blocks(other.body)[-1] == {"id": at(a=6), "data": "x"}


@pytest.mark.parametrize(
    ("target", "version"), [("/events?channel=b", "1.1"), ("/events?channel=a&envelope=1", "1.1"), ("/in/a", "1.0")]
)
def test_what_is_not_the_same_has_another_wire_format(target, version):
    other = Asked(get(target, version=version))
    other.grant(position=1)
    assert other.protocol.wire_format not in (None, stream(position=1).protocol.wire_format)


def test_what_a_node_has_a_client_hear_of_another_channel_does_not_move_its_position():
    asked = stream(position=5)
    asked.publish("b", b"x", 9)
    asked.said += asked.protocol.notification(b"y", True)
    assert blocks(asked.body)[2:] == [{"data": "x"}, {"data": "y"}]


def test_with_several_channels_an_id_says_where_all_of_them_are():
    asked = Asked(get("/events?channel=a&channel=b&channel=c"))
    asked.grant(position=1)
    asked.grant()
    asked.grant(position=3)
    asked.publish("a", b"x", 2)
    asked.publish("b", b"y")
    asked.publish("c", b"z", 4)
    assert blocks(asked.body)[1:] == [
        {"id": at(a=1, c=3)},
        {"id": at(a=2, c=3), "data": "x"},
        {"data": "y"},
        {"id": at(a=2, c=4), "data": "z"},
    ]
    assert asked.protocol.wire_format is None


@pytest.mark.parametrize("how", ["header", "query", "both"])
def test_who_comes_back_says_where_it_was(how):
    query = f"&last_event_id={at(a=1, b=1) if how == 'both' else at(a=5, b=6)}" if how != "header" else ""
    headers = [f"Last-Event-ID: {at(a=5, b=6)}"] if how != "query" else []
    asked = Asked(get(f"/events?channel=a&channel=b&channel=c{query}", *headers))
    since = [request.since for request in asked.waiting]
    assert since == [Position("epoch", 5), Position("epoch", 6), None]


def test_what_was_missed_comes_first_with_ids_that_recover_from_its_middle():
    asked = Asked(get(f"/events?channel=a&channel=b&last_event_id={at(a=5, b=6)}"))
    asked.grant(position=7, recovered=True, missed=[Publication(b"a6", True, 6), Publication(b"a7", True, 7)])
    asked.publish("a", b"a8", 8)  # while the other one is waited for
    asked.grant(position=7, recovered=True, missed=[Publication(b"b7", True, 7)])
    asked.publish("b", b"b8", 8)
    assert blocks(asked.body)[1:] == [
        {"id": at(a=6, b=6), "data": "a6"},
        {"id": at(a=7, b=6), "data": "a7"},
        {"id": at(a=7, b=7), "data": "b7"},
        {"id": at(a=7, b=7)},
        {"id": at(a=8, b=7), "data": "a8"},
        {"id": at(a=8, b=8), "data": "b8"},
    ]


def test_what_can_t_be_had_is_told():
    asked = Asked(get(f"/events?channel=a&channel=b&last_event_id={at(a=5, b=6)}"))
    asked.grant(position=9, recovered=False, detail="too old")
    asked.grant(position=6, recovered=True)
    assert blocks(asked.body)[1:] == [
        {"event": "unrecovered", "data": '{"channel":"a","message":"too old"}'},
        {"id": at(a=9, b=6)},
    ]


@pytest.mark.parametrize("id", ["nonsense", "1", "A" * 10_000])
def test_an_id_that_is_none_of_ours_is_no_position_so_that_its_client_is_told(id):
    limits = Limits(doors=LIMITS.doors, max_target_bytes=64 << 10, max_header_bytes=64 << 10)
    asked = Asked(get(f"/events?channel=a&last_event_id={id}"), limits=limits)
    assert [request.since for request in asked.waiting] == [NOWHERE]


def test_what_a_node_says_of_a_subscription_is_told():
    asked = stream(info=b'{"x": 1}')
    assert blocks(asked.body)[1:] == [{"event": "subscribed", "data": '{"channel":"a","info":{"x": 1}}'}]


def test_a_token_for_channels_is_in_the_query():
    asked = Asked(get("/events?channel=a&channel=b&channel_token=xyz"))
    assert [request.token for request in asked.waiting] == ["xyz", "xyz"]


# --- what is said -----------------------------------------------------------------------------------------------------


def test_messages_say_their_channel_in_an_envelope():
    asked = stream("/events?channel=a&envelope=1", position=1)
    asked.publish("a", b'{"x":1}', 2, sender=b'{"user":"u"}')
    assert blocks(asked.body)[-1]["data"] == '{"channel":"a","data":{"x":1},"offset":2,"sender":{"user":"u"}}'


def test_text_that_is_none_comes_to_nobody_and_the_rest_does():
    missed = [Publication(b"\xff", True, 6), Publication(b"ok", True, 7)]
    asked = stream(f"/events?channel=a&last_event_id={at(a=5)}", position=7, recovered=True, missed=missed)
    asked.publish("a", b"\xff", 8)
    assert [each.get("data") for each in blocks(asked.body)] == [None, "ok", None]


def test_a_silent_stream_says_something_now_and_then():
    asked = stream()
    before = len(asked.said)
    asked.pass_time(9.0)
    assert len(asked.said) == before
    for _ in range(2):
        asked.pass_time(10.0)
    assert asked.said[before:] == b"3\r\n:\n\n\r\n" * 2


def test_without_a_ping_interval_it_says_nothing():
    asked = stream(limits=Limits(doors=LIMITS.doors, ping_interval=0.0))
    before = asked.said
    asked.pass_time(1e6)
    assert asked.said == before


def test_more_than_may_wait_before_the_answer_begins_is_told_in_place_of_a_hole():
    asked = Asked(get("/events?channel=a&channel=b"))
    asked.grant(position=1)
    for number in range(2, 7):
        asked.publish("a", b"x" * (door.MAX_KEPT_BYTES // 4), number)
    asked.grant()
    assert [each.get("event") for each in blocks(asked.body)] == [None, "closed"]
    assert '"reason":"overloaded","retryable":true' in blocks(asked.body)[1]["data"]


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_channel_that_is_over_is_told_and_the_others_go_on():
    asked = Asked(get("/events?channel=a&channel=b") + get("/other"))
    asked.grant()
    asked.grant()
    asked.drop("a", Reason.KICKED)
    asked.publish("b", b"x")
    assert blocks(asked.body)[1:] == [
        {"event": "dropped", "data": '{"channel":"a","reason":"kicked","retryable":false,"message":"so it is"}'},
        {"data": "x"},
    ]
    assert asked.told == [Opened]
    asked.drop("b", Reason.EXPIRED)
    assert is_ended(asked.said)
    assert blocks(asked.body)[-1]["event"] == "dropped"
    assert asked.told[:2] == [Opened, Closed]
    assert asked.events[2].target == "/other"  # on the same connection


def test_a_channel_that_it_may_have_again_ends_the_stream_so_that_its_client_comes_back_for_all():
    asked = stream("/events?channel=a&channel=b", position=1)
    asked.drop("a", Reason.INTERRUPTED)
    assert is_ended(asked.said)
    assert asked.protocol.wire_format is None
    assert asked.told == [Opened, Closed]


def test_one_that_is_over_before_the_answer_begins():
    asked = Asked(get("/events?channel=a&channel=b"))
    asked.grant(position=1)
    asked.drop("a", Reason.INTERRUPTED)
    asked.grant()
    assert asked.status == 200
    assert blocks(asked.body)[-1]["event"] == "dropped"
    assert is_ended(asked.said)


@pytest.mark.parametrize("reason", [Reason.DRAINING, Reason.KICKED, Reason.SLOW_CONSUMER])
def test_why_it_is_closed_is_told(reason):
    asked = stream()
    asked.close(reason)
    assert blocks(asked.body)[-1]["event"] == "closed"
    assert f'"reason":"{reason.value}"' in blocks(asked.body)[-1]["data"]
    assert is_ended(asked.said)
    assert asked.events[-1] == Finished(reason, "it is over")


@pytest.mark.parametrize(("reason", "status"), [(Reason.DRAINING, 200), (Reason.KICKED, 403)])
def test_so_it_is_before_the_answer_begins(reason, status):
    asked = Asked(get("/events?channel=a"))
    request = asked.waiting[0]
    asked.close(reason)
    assert asked.status == status
    assert asked.events[-1].reason is reason
    assert asked.protocol.error(request, HoldfastError("late")) == b""


def test_whoever_closes_his_side_has_gone():
    asked = stream()
    asked.receive(b"")
    assert asked.told == [Opened, Finished]


def test_what_comes_behind_a_stream_is_kept_and_has_a_limit():
    asked = stream()
    asked.receive(b"x" * MAX_PIPELINED_BYTES)
    assert asked.protocol.held_bytes == MAX_PIPELINED_BYTES
    asked.receive(b"x")
    assert asked.events[-1].reason is Reason.PROTOCOL_ERROR
    assert asked.protocol.held_bytes == 0


def test_http_1_0_has_no_chunks_and_its_stream_ends_with_the_connection():
    asked = Asked(get("/events?channel=a", "Connection: keep-alive", version="1.0"))
    asked.grant()
    assert asked.header("Transfer-Encoding") is None
    assert asked.header("Connection") == "close"
    asked.publish("a", b"x")
    assert asked.said.endswith(b"\n\ndata: x\n\n")
    asked.drop("a", Reason.KICKED)
    assert asked.told == [Opened, Finished]


def test_who_asks_for_the_connection_s_end_has_it():
    asked = stream("/events?channel=a", "Connection: close")
    asked.drop("a", Reason.KICKED)
    assert asked.told == [Opened, Finished]


def test_a_head_has_the_headers_and_no_session():
    asked = Asked(get("/events?channel=a", method="HEAD") + get("/other"))
    assert asked.status == 200
    assert asked.header("Content-Type") == "text/event-stream"
    assert asked.body == b""
    assert [event.target for event in asked.events] == ["/other"]


# --- pages of other origins -------------------------------------------------------------------------------------------

OURS = Limits(doors=LIMITS.doors, origins=("https://app.example",))


def test_a_page_of_an_allowed_origin_may_read_it_with_its_visitor_s_cookies():
    asked = stream("/events?channel=a", "Origin: https://app.example", limits=OURS)
    assert asked.header("Access-Control-Allow-Origin") == "https://app.example"
    assert asked.header("Access-Control-Allow-Credentials") == "true"
    assert asked.header("Vary") == "Origin"


def test_so_it_may_the_status_of_a_refusal():
    asked = Asked(get("/events?channel=a", "Origin: https://app.example"), limits=OURS)
    asked.refuse(Reason.REFUSED)
    assert (asked.status, asked.header("Access-Control-Allow-Origin")) == (403, "https://app.example")


def test_another_one_is_refused_and_nobody_is_asked():
    asked = Asked(get("/events?channel=a", "Origin: https://evil.example"), limits=OURS)
    assert asked.status == 403
    assert asked.header("Access-Control-Allow-Origin") is None
    assert asked.told == []


def test_a_page_of_our_own_origin_names_none():
    assert stream("/events?channel=a", limits=OURS).status == 200


def test_where_anybody_may_no_page_may_use_its_visitor_s_cookies():
    asked = stream("/events?channel=a", "Origin: https://any.example")
    assert asked.header("Access-Control-Allow-Origin") == "*"
    assert asked.header("Access-Control-Allow-Credentials") is None


def test_a_preflight_says_what_a_page_may_send():
    asked = Asked(get("/events?channel=a", "Origin: https://app.example", method="OPTIONS"), limits=OURS)
    assert asked.status == 204
    assert asked.header("Access-Control-Allow-Methods") == "GET, HEAD, OPTIONS"
    assert "Last-Event-ID" in asked.header("Access-Control-Allow-Headers")
    assert asked.told == []


def test_other_methods_are_none():
    asked = Asked(get("/events?channel=a", "Content-Length: 0", method="POST"))
    assert (asked.status, asked.header("Allow")) == (405, "GET, HEAD, OPTIONS")

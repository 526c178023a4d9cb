"""HTTP/1.1: a connection's life, what nodes get of a request, and the answer to each limit."""

import gzip
import json
import tracemalloc
from math import inf

import h11
import pytest

from holdfast.protocols.clients.base import ClientProtocol, Limits, ReplyHead
from holdfast.protocols.clients.events import Finished, HttpRequest, Output, Silent
from holdfast.protocols.clients.http import HttpProtocol
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError

PEER = "192.0.2.1:5000"
LIMITS = Limits(
    max_header_bytes=1000,
    max_headers=10,
    max_target_bytes=200,
    max_body_bytes=2000,
    handshake_timeout=10,
    body_timeout=30,
    keepalive_timeout=75,
)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
BUSY = HoldfastError("no node", Reason.NO_NODE)


def connect(limits=LIMITS, address=PEER):
    return HttpProtocol(limits, address, 0.0)


def request_of(data, limits=LIMITS, address=PEER):
    (event,) = take(connect(limits, address), data)
    assert isinstance(event, HttpRequest)
    return event


def take(adapter, data, now=1.0):
    """Events of these bytes, those of the turns that follow included."""
    events = [*adapter.receive_data(data, now)]
    while adapter.has_more:
        events += adapter.resume(now)
    return events


def sent(*lines, body=b""):
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def read(said, method="GET"):
    """The reply as an independent client reads it: status, headers, body."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(said)
    response, body = client.next_event(), b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    return response.status_code, [(n.decode(), v.decode("latin-1")) for n, v in response.headers], body


def refused(events):
    """The status and reason of a refusal, which is an answer and the end."""
    output, finished = events
    assert isinstance(finished, Finished)
    status, headers, body = read(output.data)
    assert ("connection", "close") in headers
    assert json.loads(body)["error"]["message"] == finished.detail
    return status, finished.reason


def test_is_a_client_protocol():
    adapter = connect()
    assert isinstance(adapter, ClientProtocol)
    assert (adapter.name, adapter.wire_format, adapter.notification(b"x", True)) == ("http", None, b"")


# --- what a node gets ------------------------------------------------------------------------------------------


def test_request_without_body():
    assert request_of(GET) == HttpRequest("GET", "/", [("host", "x")], b"", PEER)


def test_header_names_are_lower_case_and_order_and_repetition_stay():
    request = request_of(
        sent(
            "GET /a?b=c%20d HTTP/1.1",
            "HOST: x",
            "Cookie: a=1",
            "X-B: 1",
            "cookie: b=2",
            "X-A: \t caf\xe9  1 \t",
            "X-C:",
        )
    )
    assert request.target == "/a?b=c%20d"
    assert request.headers == [
        ("host", "x"), ("cookie", "a=1"), ("x-b", "1"), ("cookie", "b=2"), ("x-a", "caf\xe9  1"), ("x-c", "")
    ]  # fmt: skip


def test_headers_of_this_hop_and_of_the_body_s_form_stay_here():
    request = request_of(
        sent(
            "POST / HTTP/1.1", "Host: x", "Connection: keep-alive, X-Mine", "X-Mine: 1", "Keep-Alive: 5", "TE: x",
            "Proxy-Authorization: y", "Upgrade: h2c", "Content-Length: 5", "Content-Encoding: identity",
            "Authorization: z", body=b"hello",
        ),
        Limits(),
    )  # fmt: skip
    assert request.headers == [("host", "x"), ("authorization", "z")]
    assert request.payload == b"hello"


def test_chunked_body_is_whole_and_its_trailers_are_dropped():
    head = sent("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: Chunked", "Trailer: X-Sum")
    request = request_of(head + b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n")
    assert request == HttpRequest("POST", "/", [("host", "x")], b"abcde", PEER)


def test_encoded_body_is_decoded():
    body = gzip.compress(gzip.compress(b"hello"))
    head = sent("POST / HTTP/1.1", "Host: x", "Content-Encoding: gzip, GZIP", f"Content-Length: {len(body)}")
    assert request_of(head + body) == HttpRequest("POST", "/", [("host", "x")], b"hello", PEER)


def test_what_is_inflated_is_held_as_it_grows():
    body = gzip.compress(bytes(1 << 20))
    head = sent("POST / HTTP/1.1", "Host: x", "Content-Encoding: gzip", f"Content-Length: {len(body)}")
    adapter = connect(Limits())
    assert adapter.receive_data(head + body, 1.0) == []
    held = [adapter.held_bytes]
    while not adapter.resume(1.0):
        held.append(adapter.held_bytes)
    assert held == sorted(set(held))
    assert held[-1] > 3 << 18
    assert adapter.held_bytes == 0


@pytest.mark.parametrize("method", ["PURGE", "get", "M-SEARCH", "TRACE"])
def test_methods_are_the_node_s_affair(method):
    assert request_of(GET.replace(b"GET", method.encode())).method == method


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("GET http://example.org:80/a?b HTTP/1.1", "/a?b"),
        ("GET http://example.org:80 HTTP/1.1", "/"),
        ("GET http://example.org:80?b=/c HTTP/1.1", "/?b=/c"),
        ("OPTIONS http://example.org:80 HTTP/1.1", "*"),
        ("OPTIONS http://example.org:80/ HTTP/1.1", "/"),
    ],
)
def test_target_may_be_absolute_and_its_host_counts(line, target):
    """What is left of it is a path, as everybody's is who comes without a proxy."""
    request = request_of(sent(line, "Accept: */*", "Host: other"))
    assert request.target == target
    assert request.headers == [("host", "example.org:80"), ("accept", "*/*")]


def test_options_may_ask_for_the_whole_server():
    assert request_of(GET.replace(b"GET /", b"OPTIONS *")).target == "*"


def test_one_empty_line_before_a_request_is_forgiven():
    adapter = connect()
    assert adapter.receive_data(b"\r", 1.0) == []
    assert adapter.receive_data(b"\n", 1.0) == []
    assert adapter.deadline == 10  # not the beginning of a request
    (request,) = adapter.receive_data(GET, 2.0)
    assert request.method == "GET"
    assert refused(connect().receive_data(b"\r\n\r\n" + GET, 1.0)) == (400, Reason.PROTOCOL_ERROR)


def test_a_host_may_be_empty():
    """RFC 9112 section 3.2: so says a client whose target has none."""
    assert request_of(sent("GET / HTTP/1.1", "Host:")).headers == [("host", "")]


def test_http_10_needs_no_host():
    assert request_of(b"GET / HTTP/1.0\r\n\r\n").headers == []


TRUSTED = ("10.0.0.0/8", "::1")


@pytest.mark.parametrize(
    ("peer", "entries", "address", "is_passed_on"),
    [
        ("192.0.2.1:5000", ["203.0.113.9"], None, False),
        ("10.0.0.1:5000", [], None, True),
        ("10.0.0.1:5000", ["203.0.113.9"], "203.0.113.9", True),
        ("10.0.0.1:5000", ["6.6.6.6, 203.0.113.9", "10.0.0.2"], "203.0.113.9", True),
        ("[::1]:5000", ["203.0.113.9"], "203.0.113.9", True),
    ],
)
def test_forwarded_for_is_believed_from_trusted_peers_only(peer, entries, address, is_passed_on):
    lines = [f"X-Forwarded-For: {entry}" for entry in entries]
    request = request_of(sent("GET / HTTP/1.1", "Host: x", *lines), Limits(trusted_peers=TRUSTED), peer)
    assert request.address == (address or peer)
    passed_on = [value for name, value in request.headers if name == "x-forwarded-for"]
    assert passed_on == (entries if is_passed_on else [])


def test_all_claims_about_the_client_go_with_forwarded_for():
    claims = [
        *("Forwarded", "X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-User", "X-Forwarded-Email"),
        *("X-Forwarded-Client-Cert", "True-Client-IP", "X-Client-IP", "Client-Cert", "X-Auth-Request-User"),
    ]
    data = sent("GET / HTTP/1.1", "Host: x", *(f"{name}: 1.2.3.4" for name in claims))
    assert request_of(data, Limits()).headers == [("host", "x")]
    assert len(request_of(data, Limits(trusted_peers=TRUSTED), "10.0.0.1:5000").headers) == 1 + len(claims)
    for name in claims:
        odd = sent("GET / HTTP/1.1", "Host: x", f"{name.replace('-', '_', 1)}: 1.2.3.4")
        if "-" in name:
            assert refused(connect().receive_data(odd, 1.0))[0] == 400


def test_a_client_can_not_have_a_trusted_proxy_s_claims_removed():
    options = "Connection: X-Forwarded-For, X-Mine, close"
    data = sent("GET / HTTP/1.1", "Host: x", options, "X-Mine: a", "X-Forwarded-For: 203.0.113.9")
    request = request_of(data, Limits(trusted_peers=TRUSTED), "10.0.0.1:5000")
    assert request.headers == [("host", "x"), ("x-forwarded-for", "203.0.113.9")]


# --- one request at a time -------------------------------------------------------------------------------------


def test_pipelined_requests_come_one_by_one():
    adapter = connect()
    (first,) = adapter.receive_data(GET.replace(b"/ ", b"/1 ") + POST + GET[:9], 1.0)
    assert (first.target, adapter.paused, adapter.deadline) == ("/1", True, inf)
    assert adapter.receive_data(GET[9:], 2.0) == []
    assert read(adapter.reply(first, None, b"one", True, False))[2] == b"one"
    assert not adapter.paused
    (second,) = adapter.resume(3.0)
    assert (second.payload, adapter.paused) == (b"hello", True)
    assert adapter.resume(3.5) == []  # not its turn
    adapter.error(second, BUSY)
    (third,) = adapter.resume(4.0)
    adapter.reply(third, None, b"", False, False)
    assert adapter.resume(5.0) == []
    assert (adapter.paused, adapter.deadline) == (False, 5.0 + 75)


def test_data_between_reply_and_resume_resumes():
    adapter = connect()
    (first,) = adapter.receive_data(GET, 1.0)
    adapter.reply(first, None, b"", True, False)
    (second,) = adapter.receive_data(POST, 2.0)
    assert second.payload == b"hello"
    assert adapter.resume(2.0) == []


def test_what_comes_behind_a_waiting_request_is_bounded():
    adapter = connect()
    (request,) = adapter.receive_data(GET + bytes(64 << 10), 1.0)
    assert adapter.receive_data(bytes(64 << 10), 1.0) == []
    (finished,) = adapter.receive_data(b"x", 1.0)
    assert finished.reason is Reason.PROTOCOL_ERROR
    assert adapter.error(request, BUSY) == b""


def test_a_request_is_answered_once_and_no_other_in_its_place():
    adapter = connect()
    (request,) = adapter.receive_data(GET, 1.0)
    other = request_of(GET)
    with pytest.raises(ProtocolError) as caught:
        adapter.reply(other, None, b"", True, False)
    assert caught.value.reason is Reason.BAD_REPLY
    assert adapter.error(other, BUSY) == b""
    assert adapter.reply(request, None, b"once", True, False)
    with pytest.raises(ProtocolError):
        adapter.reply(request, None, b"twice", True, False)
    assert adapter.error(request, BUSY) == b""


def test_error_may_follow_a_reply_that_can_not_be_said():
    adapter = connect()
    (request,) = adapter.receive_data(GET, 1.0)
    with pytest.raises(ProtocolError) as caught:
        adapter.reply(request, ReplyHead(99), b"", True, False)
    assert caught.value.reason is Reason.BAD_REPLY
    assert adapter.paused
    status, headers, body = read(adapter.error(request, caught.value))
    assert (status, json.loads(body)["error"]["id"]) == (502, "holdfast.bad_reply")
    assert "connection" not in dict(headers)
    assert adapter.resume(2.0) == []


def test_a_reply_that_is_broken_off_ends_the_connection():
    adapter = connect()
    (request,) = adapter.receive_data(GET + GET, 1.0)
    assert b"Transfer-Encoding: chunked" in adapter.reply(request, None, b"half", True, True)
    assert adapter.paused
    assert adapter.error(request, HoldfastError("the node died", Reason.NODE_LOST)) == b""
    assert not adapter.paused
    assert adapter.resume(2.0) == [Finished(Reason.NODE_LOST, "the reply was broken off: the node died", True)]


# --- the end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "connection", "ends"),
    [
        (GET, None, False),
        (sent("GET / HTTP/1.1", "Host: x", "Connection: Keep-Alive"), None, False),
        (sent("GET / HTTP/1.1", "Host: x", "Connection: foo", "Connection: bar, Close"), "close", True),
        (sent("GET / HTTP/1.0"), "close", True),
        (sent("GET / HTTP/1.0", "Connection: Keep-Alive"), "keep-alive", False),
        (sent("GET / HTTP/1.0", "Connection: keep-alive, close"), "close", True),
    ],
)
def test_who_keeps_the_connection_alive(data, connection, ends):
    for answer in ("reply", "error"):
        adapter = connect()
        (request,) = adapter.receive_data(data + GET, 1.0)
        said = adapter.reply(request, None, b"x", True, False) if answer == "reply" else adapter.error(request, BUSY)
        assert dict(read(said)[1]).get("connection") == connection
        (event,) = adapter.resume(2.0)
        assert (type(event) is Finished and event.reason is Reason.CLIENT_LEFT) == ends


def test_end_of_file_between_requests():
    adapter = connect()
    assert adapter.receive_data(b"", 1.0) == [Finished(Reason.CLIENT_LEFT)]
    assert (adapter.deadline, adapter.receive_data(GET, 2.0), adapter.on_deadline(1e9)) == (inf, [], [])


@pytest.mark.parametrize("data", [GET[:-1], POST[:-1]])
def test_end_of_file_within_a_request(data):
    adapter = connect()
    assert adapter.receive_data(data, 1.0) == []
    assert adapter.receive_data(b"", 1.0) == [Finished(Reason.CLIENT_LEFT, "in the middle of a request")]


def test_client_may_close_its_side_and_wait_for_replies():
    adapter = connect()
    (first,) = adapter.receive_data(GET + POST, 1.0)
    assert adapter.receive_data(b"", 1.0) == []
    assert adapter.reply(first, None, b"", True, False)
    (second,) = adapter.resume(2.0)
    assert adapter.reply(second, None, b"", True, False)
    assert adapter.resume(3.0) == [Finished(Reason.CLIENT_LEFT)]


def test_close_of_an_idle_connection_says_nothing():
    adapter = connect()
    (request,) = adapter.receive_data(GET, 1.0)
    adapter.reply(request, None, b"", True, False)
    adapter.resume(2.0)
    assert adapter.close(Reason.DRAINING, "going", 3.0) == b""
    assert adapter.deadline == 3.0
    assert adapter.on_deadline(3.0) == [Finished(Reason.DRAINING, "going")]


def test_close_of_a_new_connection_when_draining_says_nothing_and_data_ends_it_too():
    adapter = connect()
    assert adapter.close(Reason.DRAINING, "going", 3.0) == b""
    assert adapter.receive_data(GET, 3.0) == [Finished(Reason.DRAINING, "going")]


def test_close_lets_a_request_with_a_node_be_answered():
    adapter = connect()
    (request,) = adapter.receive_data(GET + GET, 1.0)
    assert adapter.close(Reason.DRAINING, "going", 2.0) == b""
    assert adapter.close(Reason.KICKED, "again", 2.0) == b""
    assert adapter.deadline == inf
    assert ("connection", "close") in read(adapter.reply(request, None, b"x", True, False))[1]
    assert adapter.resume(3.0) == [Finished(Reason.DRAINING, "going")]


def test_close_between_reply_and_resume():
    adapter = connect()
    (request,) = adapter.receive_data(GET + GET, 1.0)
    adapter.reply(request, None, b"", True, False)
    assert adapter.close(Reason.DRAINING, "going", 2.0) == b""
    assert adapter.resume(2.0) == [Finished(Reason.DRAINING, "going")]
    assert adapter.close(Reason.DRAINING, "going", 2.0) == b""


@pytest.mark.parametrize("had", [POST[:5], POST[:-2]])
def test_draining_lets_a_request_arrive_that_has_begun(had):
    adapter = connect()
    adapter.receive_data(had, 1.0)
    assert adapter.close(Reason.DRAINING, "going", 2.0) == b""
    (request,) = adapter.receive_data(POST[len(had) :], 3.0)
    assert ("connection", "close") in read(adapter.reply(request, None, b"x", True, False))[1]
    assert adapter.resume(3.0) == [Finished(Reason.DRAINING, "going")]


@pytest.mark.parametrize("had", [POST[:5], POST[:-2]])
def test_that_it_still_has_not_is_answered_when_the_time_is_up(had):
    adapter = connect()
    adapter.receive_data(had, 1.0)
    adapter.close(Reason.DRAINING, "going", 2.0)
    status, headers, _ = read(adapter.close(Reason.DRAINING, "going", 3.0))
    assert status == 503
    assert ("connection", "close") in headers
    assert adapter.close(Reason.DRAINING, "going", 3.0) == b""
    assert adapter.on_deadline(3.0) == [Finished(Reason.DRAINING, "going")]


@pytest.mark.parametrize("had", [b"", POST[:5], POST[:-2]])
def test_close_for_another_reason_answers_who_waits_or_will(had):
    adapter = connect()
    adapter.receive_data(had, 1.0) if had else None
    status, headers, body = read(adapter.close(Reason.TOO_MANY_CONNECTIONS, "full", 2.0))
    assert (status, json.loads(body)["error"]["message"]) == (503, "full")
    assert ("connection", "close") in headers
    assert adapter.on_deadline(2.0) == [Finished(Reason.TOO_MANY_CONNECTIONS, "full")]


# --- time ------------------------------------------------------------------------------------------------------


def test_new_connection_that_stays_silent():
    adapter = connect()
    assert (adapter.deadline, adapter.on_deadline(9.9)) == (10, [])
    assert refused(adapter.on_deadline(10)) == (408, Reason.TOO_SLOW)
    assert adapter.deadline == inf


@pytest.mark.parametrize(("data", "limit"), [(GET[:-1], 10), (POST[:-1], 30)])
def test_slow_sender_is_not_saved_by_single_bytes(data, limit):
    adapter = connect()
    adapter.receive_data(data[:-2], 5.0)
    assert adapter.deadline == 5 + limit
    adapter.receive_data(data[-2:-1], 6.0)
    adapter.receive_data(data[-1:], 7.0)
    assert adapter.deadline == 5 + limit
    assert adapter.on_deadline(4.9 + limit) == []
    assert refused(adapter.on_deadline(5.0 + limit)) == (408, Reason.TOO_SLOW)


def test_connection_without_a_next_request_is_closed_silently():
    adapter = connect()
    (request,) = adapter.receive_data(GET, 1.0)
    adapter.reply(request, None, b"", True, False)
    adapter.resume(2.0)
    assert adapter.on_deadline(76.9) == []
    assert adapter.on_deadline(77) == [Silent("no request within 75 s")]
    assert adapter.deadline == 152
    assert adapter.close(Reason.IDLE, "no request within 75 s", 77) == b""
    assert adapter.on_deadline(77) == [Finished(Reason.IDLE, "no request within 75 s")]


def test_half_a_pipelined_request_has_the_time_of_a_head():
    adapter = connect()
    (request,) = adapter.receive_data(GET + GET[:-1], 1.0)
    adapter.reply(request, None, b"", True, False)
    assert adapter.resume(20.0) == []
    assert adapter.deadline == 30


# --- 100-continue ----------------------------------------------------------------------------------------------


def expecting(*lines, version="1.1"):
    return sent(f"POST / HTTP/{version}", "Host: x", "Expect: 100-Continue", *lines)


@pytest.mark.parametrize("framing", ["Content-Length: 3", "Transfer-Encoding: chunked"])
def test_wanted_body_is_asked_for(framing):
    adapter = connect()
    assert adapter.receive_data(expecting(framing), 1.0) == [Output(b"HTTP/1.1 100 Continue\r\n\r\n")]
    body = b"abc" if "Length" in framing else b"3\r\nabc\r\n0\r\n\r\n"
    assert adapter.receive_data(body, 1.0) == [HttpRequest("POST", "/", [("host", "x")], b"abc", PEER)]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Content-Length: 2001"], 413),
        (["Content-Length: 3", "Content-Encoding: br"], 415),
        (["Content-Length: 3", "Upgrade: websocket", "Connection: upgrade"], 400),
    ],
)
def test_unwanted_body_is_refused_instead(lines, status):
    assert refused(connect().receive_data(expecting(*lines), 1.0))[0] == status


def test_nothing_is_asked_of_who_has_no_body_or_speaks_http_10():
    assert request_of(expecting("Content-Length: 0"))
    assert connect().receive_data(expecting("Content-Length: 3", version="1.0"), 1.0) == []


# --- limits ----------------------------------------------------------------------------------------------------

CHUNKED = sent("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked")
BOMB = gzip.compress(bytes(1 << 20))


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (sent("GET / HTTP/1.1", "Host: x", "X: " + "y" * 1000), 431, Reason.HEADERS_TOO_LARGE),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200, 431, Reason.HEADERS_TOO_LARGE),
        (sent("GET / HTTP/1.1", "Host: x", *["X: y"] * 10), 431, Reason.HEADERS_TOO_LARGE),
        (sent(f"GET /{'y' * 200} HTTP/1.1", "Host: x"), 414, Reason.TARGET_TOO_LONG),
        (b"GET /" + b"y" * 1000, 414, Reason.TARGET_TOO_LONG),
        (sent("POST / HTTP/1.1", "Host: x", "Content-Length: 2001"), 413, Reason.MESSAGE_TOO_LARGE),
        (sent("POST / HTTP/1.1", "Host: x", f"Content-Length: {'9' * 500}"), 413, Reason.MESSAGE_TOO_LARGE),
        (CHUNKED + b"7d1\r\n", 413, Reason.MESSAGE_TOO_LARGE),
        (CHUNKED + b"7d0\r\n" + b"y" * 2000 + b"\r\n1\r\n", 413, Reason.MESSAGE_TOO_LARGE),
        (CHUNKED + b"0\r\n" + b"X: y\r\n" * 200, 431, Reason.HEADERS_TOO_LARGE),
        (
            sent("PUT / HTTP/1.1", "Host: x", "Content-Encoding: gzip", f"Content-Length: {len(BOMB)}", body=BOMB),
            413,
            Reason.MESSAGE_TOO_LARGE,
        ),
        (sent("PUT / HTTP/1.1", "Host: x", "Content-Encoding: br"), 415, Reason.UNSUPPORTED_ENCODING),
        (
            sent("PUT / HTTP/1.1", "Host: x", "Content-Encoding: gzip, gzip, gzip, gzip"),
            415,
            Reason.UNSUPPORTED_ENCODING,
        ),
        (
            sent("PUT / HTTP/1.1", "Host: x", "Content-Encoding: gzip", "Content-Length: 4", body=b"junk"),
            400,
            Reason.PROTOCOL_ERROR,
        ),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, Reason.VERSION_NOT_SUPPORTED),
        (sent("GET / HTTP/1.2", "Host: x"), 505, Reason.VERSION_NOT_SUPPORTED),
        (sent("GET / HTTP/3", "Host: x"), 505, Reason.VERSION_NOT_SUPPORTED),
        (sent("CONNECT x:80 HTTP/1.1", "Host: x"), 501, Reason.NOT_IMPLEMENTED),
        (b"\x16\x03\x01\x02\x00", 400, Reason.PROTOCOL_ERROR),
    ],
)
def test_what_fits_in_no_limit_has_a_clear_answer(data, status, reason):
    assert len(BOMB) < LIMITS.max_body_bytes
    adapter = connect()
    assert refused(take(adapter, data)) == (status, reason)
    adapter = connect()  # byte by byte it is the same
    events = [event for at in range(len(data)) for event in take(adapter, data[at : at + 1])]
    assert refused(events) == (status, reason)


def test_exactly_the_limits_are_allowed():
    head = sent("POST /" + "y" * 199 + " HTTP/1.1", "Host: x", "Content-Length: 2000", *["X: y"] * 7, "Pad: ")
    head = head.replace(b"Pad: ", b"Pad: " + b"y" * (1000 - len(head)))
    assert len(head) == 1000
    assert len(request_of(head + b"y" * 2000).payload) == 2000


def test_415_tells_what_is_accepted():
    output, _ = connect().receive_data(sent("PUT / HTTP/1.1", "Host: x", "Content-Encoding: br"), 1.0)
    assert ("accept-encoding", "gzip, deflate") in read(output.data)[1]


def test_an_idle_connection_is_small():
    adapters = [connect() for _ in range(10)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        adapters = [connect() for _ in range(1000)]
        for adapter in adapters:
            (request,) = adapter.receive_data(POST, 1.0)
            adapter.reply(request, None, b"x", True, False)
            adapter.resume(2.0)
        del request
        each = (tracemalloc.get_traced_memory()[0] - before) / len(adapters)
    finally:
        tracemalloc.stop()
    assert each < 800


def test_long_headers_are_not_kept_by_an_idle_connection():
    data = sent("GET / HTTP/1.1", "Host: x", *[f"X-{number}: {'y' * 100}" for number in range(30)])
    adapters = []
    for _ in range(2):  # the first time for what is kept once for all
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(100):
                adapter = connect(Limits())
                (request,) = adapter.receive_data(data, 1.0)
                adapter.reply(request, None, b"x", True, False)
                adapter.resume(2.0)
                adapters.append(adapter)
            del request
            each = (tracemalloc.get_traced_memory()[0] - before) / 100
        finally:
            tracemalloc.stop()
    assert each < 800


def test_headers_that_are_said_again_and_then_others():
    adapter = connect()
    for wanted in (["1"], ["1"], ["2"], ["2", "3"], ["1"]):
        data = sent(
            "POST /a HTTP/1.1", "Host: x", *(f"X: {value}" for value in wanted), "Content-Length: 2", body=b"hi"
        )
        (request,) = adapter.receive_data(data, 1.0)
        assert request == HttpRequest("POST", "/a", [("host", "x"), *(("x", value) for value in wanted)], b"hi", PEER)
        request.headers.clear()  # a request's own
        adapter.reply(request, None, b"", True, False)
        assert adapter.resume(1.0) == []

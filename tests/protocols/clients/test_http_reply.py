"""What an HTTP connection says, as an independent client reads it."""

import json

import h11
import pytest

from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.http_reply import ReplyWriter
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError, RequestError


def writer(method="GET", *, is_http10=False, keeps_alive=True):
    return ReplyWriter(method == "HEAD", is_http10, keeps_alive)


def read(said, method="GET", eof=False):
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(said)
    if eof:
        client.receive_data(b"")
    response, body = client.next_event(), b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    return response.status_code, [(n.decode(), v.decode("latin-1")) for n, v in response.headers], body


@pytest.mark.parametrize(
    ("is_text", "content_type"), [(True, "text/plain; charset=utf-8"), (False, "application/octet-stream")]
)
def test_reply_without_a_head(is_text, content_type):
    status, headers, body = read(writer().write(None, b"hello", is_text, more=False))
    assert (status, body) == (200, b"hello")
    assert headers == [("content-type", content_type), ("server", "holdfast"), ("content-length", "5")]


def test_headers_of_a_node_stay_as_they_are():
    head = ReplyHead(201, [("Set-Cookie", "a=1"), ("X-Cafe", "\xe9\t1"), ("Set-Cookie", "b=2")])
    said = writer().write(head, b"", is_text=True, more=False)
    assert said.startswith(b"HTTP/1.1 201 Created\r\nSet-Cookie: a=1\r\nX-Cafe: \xe9\t1\r\nSet-Cookie: b=2\r\n")
    own = [("server", "holdfast"), ("content-length", "0")]
    assert read(said)[1] == [("set-cookie", "a=1"), ("x-cafe", "\xe9\t1"), ("set-cookie", "b=2"), *own]


def test_framing_and_this_hop_are_not_the_node_s_to_say():
    head = ReplyHead(
        200,
        [("Content-Length", "999"), ("Transfer-Encoding", "gzip"), ("Connection", "close, X-Mine"), ("X-Mine", "1"),
         ("Keep-Alive", "1"), ("Upgrade", "h2c"), ("Trailer", "X"), ("Proxy-Authenticate", "x"), ("TE", "x")],
    )  # fmt: skip
    assert read(writer().write(head, b"hello", is_text=True, more=False)) == (
        200, [("server", "holdfast"), ("content-length", "5")], b"hello"
    )  # fmt: skip


def test_a_node_may_name_its_own_server():
    said = writer().write(ReplyHead(200, [("server", "mine")]), b"", is_text=True, more=False)
    assert [value for name, value in read(said)[1] if name == "server"] == ["mine"]


def test_a_status_without_a_known_phrase():
    assert read(writer().write(ReplyHead(299), b"x", is_text=True, more=False))[0] == 299


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("more", [False, True])
def test_statuses_that_have_no_body(status, more):
    said = writer().write(ReplyHead(status, [("Content-Length", "3")]), b"abc", is_text=True, more=more)
    assert read(said) == (status, [("server", "holdfast")], b"")


@pytest.mark.parametrize("more", [False, True])
def test_reset_content_has_no_body_and_says_so(more):
    reply = writer()
    said = reply.write(ReplyHead(205, [("Content-Length", "3")]), b"abc", is_text=True, more=more)
    if more:
        said += reply.write(None, b"def", is_text=True, more=False)
    assert read(said) == (205, [("server", "holdfast"), ("content-length", "0")], b"")


@pytest.mark.parametrize(
    ("headers", "payload", "length"),
    [
        ([], b"hello", "5"),
        ([("Content-Length", "9")], b"hello", "5"),
        ([("Content-Length", "9")], b"", "9"),
        ([("Content-Length", "0")], b"", "0"),
        ([("Content-Length", "x")], b"", None),
        ([], b"", None),
    ],
)
def test_head_tells_the_length_if_it_is_known_and_has_no_body(headers, payload, length):
    said = writer("HEAD").write(ReplyHead(200, headers), payload, is_text=True, more=False)
    told = [] if length is None else [("content-length", length)]
    assert read(said, "HEAD") == (200, [("server", "holdfast"), *told], b"")


def in_parts(to, *parts):
    return [to.write(None, part, is_text=True, more=more) for part, more in parts]


def test_reply_in_parts_is_chunked():
    said = in_parts(writer(), (b"hello", True), (b"", True), (b" world", True), (b"!", False))
    assert said[1:] == [b"", b"6\r\n world\r\n", b"1\r\n!\r\n0\r\n\r\n"]
    status, headers, body = read(b"".join(said))
    assert (status, dict(headers)["transfer-encoding"], body) == (200, "chunked", b"hello world!")
    assert "content-length" not in dict(headers)


def test_reply_in_parts_to_an_http_10_client_ends_with_the_connection():
    to = writer(is_http10=True)
    _, headers, body = read(b"".join(in_parts(to, (b"a", True), (b"b", False))), eof=True)
    assert body == b"ab"
    assert not {"transfer-encoding", "content-length"} & set(dict(headers))
    assert dict(headers)["connection"] == "close"
    assert not to.keeps_alive


def test_reply_in_parts_to_head_is_its_head():
    to = writer("HEAD")
    first, last = in_parts(to, (b"a", True), (b"b", False))
    assert ("transfer-encoding", "chunked") in read(first, "HEAD")[1]
    assert (last, to.keeps_alive) == (b"", True)


@pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 600, 1000, -1])
def test_status_that_is_no_reply_s(status):
    to = writer()
    with pytest.raises(ProtocolError) as caught:
        to.write(ReplyHead(status), b"", is_text=True, more=False)
    assert caught.value.reason is Reason.BAD_REPLY
    assert read(to.error(caught.value, b""))[0] == 502


@pytest.mark.parametrize(
    "header",
    [
        ("X", "secret\r\nSet-Cookie: b"), ("X", "secret\nb"), ("X", "secret\rb"), ("X", "secret\x00"),
        ("X", "secret\x7f"), ("X", "secret\u0141"), ("X\r\nY", "secret"), ("X Y", "secret"), ("X:", "secret"),
        ("", "secret"), ("\xe9", "secret"), ("Content-Length", "1\r\nsecret: y"),
    ],
)  # fmt: skip
def test_header_that_can_not_be_sent(header):
    to = writer()
    with pytest.raises(ProtocolError) as caught:
        to.write(ReplyHead(200, [("X-Good", "1"), header]), b"", is_text=True, more=False)
    assert caught.value.reason is Reason.BAD_REPLY
    assert "secret" not in str(caught.value)
    assert read(to.error(caught.value, b""))[0] == 502


class Busy(HoldfastError):
    reason = Reason.NO_NODE
    retry_after = 1.2


def test_typed_error():
    status, headers, body = read(writer().error(Busy("no node is ready"), b'{"requestId":"r1"}'))
    assert status == 503
    own = [("server", "holdfast"), ("retry-after", "2"), ("content-length", str(len(body)))]
    assert headers == [("content-type", "application/json"), *own]
    told = json.loads(body)
    assert (told["requestId"], told["error"]["message"]) == ("r1", "no node is ready")


def test_typed_error_to_head_and_to_who_must_close():
    assert read(writer("HEAD").error(Busy("x"), b""), "HEAD")[2] == b""
    assert ("connection", "close") in read(writer(keeps_alive=False).error(Busy("x"), b""))[1]
    assert ("connection", "keep-alive") in read(writer(is_http10=True).error(Busy("x"), b""))[1]


def test_every_reason_has_a_reply():
    for reason in Reason:
        assert read(writer().error(HoldfastError("x", reason), b""))[0] == reason.http


def challenges(error):
    return [value for name, value in read(writer().error(error, b""))[1] if name == "www-authenticate"]


def test_who_is_not_known_is_told_how_to_say_who_he_is():
    """RFC 9110 section 15.5.2: each 401 has a challenge, whoever says it."""
    error = HoldfastError("x", Reason.UNAUTHORIZED)
    assert challenges(error) == ['Bearer realm="holdfast"']
    error.challenge = 'error="invalid_token"'
    assert challenges(error) == ['Bearer realm="holdfast", error="invalid_token"']
    assert challenges(RequestError("x", Reason.NODE_ERROR, status=401)) == ['Bearer realm="holdfast"']
    assert challenges(RequestError("x", Reason.UNAUTHORIZED, status=403)) == []


def test_error_after_the_first_part_can_only_break_off():
    to = writer()
    begun = in_parts(to, (b"hello", True))[0]
    assert to.error(Busy("x"), b"") == b""
    assert not to.keeps_alive
    with pytest.raises(h11.RemoteProtocolError):
        read(begun, eof=True)

"""Requests on which a proxy in front and this one might disagree: one line each, and none reaches a node."""

import h11
import pytest

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.events import Finished, HttpRequest
from holdfast.protocols.clients.http import HttpProtocol

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
TE = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"

HEADS = {
    "CL and TE": (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "TE and CL": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
    "CL differs": (POST + b"Content-Length: 0\r\nContent-Length: 33\r\n\r\n", 400),
    "CL twice": (POST + b"Content-Length: 0\r\nX: y\r\ncontent-length: 0\r\n\r\n", 400),
    "CL list": (POST + b"Content-Length: 0, 0\r\n\r\n", 400),
    "CL list with a hole": (POST + b"Content-Length: ,0\r\n\r\n", 400),
    "CL plus": (POST + b"Content-Length: +0\r\n\r\n", 400),
    "CL minus": (POST + b"Content-Length: -0\r\n\r\n", 400),
    "CL space within": (POST + b"Content-Length: 0 0\r\n\r\n", 400),
    "CL hexadecimal": (POST + b"Content-Length: 0x0\r\n\r\n", 400),
    "CL exponent": (POST + b"Content-Length: 0e0\r\n\r\n", 400),
    "CL underscore": (POST + b"Content-Length: 0_0\r\n\r\n", 400),
    "CL empty": (POST + b"Content-Length:\r\n\r\n", 400),
    "CL other digits": (POST + b"Content-Length: \xb2\r\n\r\n", 400),
    "CL vertical tab": (POST + b"Content-Length: \x0b0\r\n\r\n", 400),
    "CL quoted": (POST + b'Content-Length: "0"\r\n\r\n', 400),
    "CL too long for 64 bits": (POST + b"Content-Length: 18446744073709551616\r\n\r\n", 413),
    "TE identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
    "TE gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "TE chunked, identity": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
    "TE chunked, chunked": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501),
    "TE twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "TE twice, one other": (POST + b"Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n0\r\n\r\n", 400),
    "TE xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "TE quoted": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501),
    "TE parameter": (POST + b"Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", 501),
    "TE trailing comma": (POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 501),
    "TE empty": (POST + b"Transfer-Encoding:\r\n\r\n", 501),
    "TE vertical tab": (POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "TE no-break space": (POST + b"Transfer-Encoding:\xa0chunked\r\n\r\n0\r\n\r\n", 501),
    "TE folded": (POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    "TE space before colon": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "TE in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "CL space before colon": (POST + b"Content-Length : 0\r\n\r\n", 400),
    "CL tab before colon": (POST + b"Content-Length\t: 0\r\n\r\n", 400),
    "CL alias": (POST + b"Content_Length: 33\r\n\r\n", 400),
    "TE alias": (POST + b"transfer_encoding: chunked\r\n\r\n", 400),
    "forwarded alias": (GET + b"X_Forwarded_For: 127.0.0.1\r\n\r\n", 400),
    "forwarded alias, half": (GET + b"X-Forwarded_For: 127.0.0.1\r\n\r\n", 400),
    "websocket alias": (GET + b"Sec_WebSocket_Key: x\r\n\r\n", 400),
    "proxy alias": (GET + b"Proxy_Authorization: x\r\n\r\n", 400),
    "fold with a space": (GET + b"X: y\r\n z: 1\r\n\r\n", 400),
    "fold with a tab": (GET + b"X: y\r\n\tz: 1\r\n\r\n", 400),
    "fold of the first header": (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "bare LF after the request line": (b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
    "bare LF after a header": (GET + b"X: y\nContent-Length: 33\r\n\r\n", 400),
    "bare LF as the end": (GET + b"\n", 400),
    "bare LF throughout": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "bare LF before the last CR LF": (GET + b"X: y\n\r\n", 400),
    "bare CR in a value": (GET + b"X: y\rContent-Length: 33\r\n\r\n", 400),
    "bare CR after a header": (GET + b"X: y\r\r\n\r\n", 400),
    "bare CR in the request line": (b"GET /\r HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "NUL in a value": (GET + b"X: y\x00z\r\n\r\n", 400),
    "NUL in a name": (GET + b"X\x00: y\r\n\r\n", 400),
    "NUL in the target": (b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "control character in a value": (GET + b"X: y\x1bz\r\n\r\n", 400),
    "DEL in a value": (GET + b"X: y\x7f\r\n\r\n", 400),
    "space before colon": (GET + b"X : y\r\n\r\n", 400),
    "space in a name": (GET + b"X Y: z\r\n\r\n", 400),
    "empty name": (GET + b": y\r\n\r\n", 400),
    "no colon": (GET + b"XY\r\n\r\n", 400),
    "name in brackets": (GET + b"(X): y\r\n\r\n", 400),
    "name beyond ASCII": (GET + b"X\xe9: y\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "Host twice": (GET + b"Host: x\r\n\r\n", 400),
    "Host twice in HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "Host list": (b"GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", 400),
    "Host with a path": (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    "Host with a user": (b"GET / HTTP/1.1\r\nHost: y@x\r\n\r\n", 400),
    "Host with a space": (b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400),
    "Host with a bad port": (b"GET / HTTP/1.1\r\nHost: x:y\r\n\r\n", 400),
    "Host with two ports": (b"GET / HTTP/1.1\r\nHost: x:1:2\r\n\r\n", 400),
    "Host half in brackets": (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    "real address alias": (GET + b"X_Real_IP: 127.0.0.1\r\n\r\n", 400),
    "two spaces in the request line": (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "tab in the request line": (b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "space at the request line's end": (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
    "space in the target": (b"GET / admin HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "space before the method": (b" GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "bytes beyond ASCII in the target": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no version": (b"GET /\r\nHost: x\r\n\r\n", 400),
    "version in lower case": (b"GET / http/1.1\r\nHost: x\r\n\r\n", 400),
    "version with more digits": (b"GET / HTTP/1.10\r\nHost: x\r\n\r\n", 400),
    "version 1.01": (b"GET / HTTP/01.1\r\nHost: x\r\n\r\n", 400),
    "target without a slash": (b"GET admin HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "target of another scheme": (b"GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "target with a user": (b"GET http://x@y/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "target without a host": (b"GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "target * for another method": (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "method with brackets": (b"G{}T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
}

BODIES = {
    "size with a sign": (b"+5\r\nhello\r\n0\r\n\r\n", 400),
    "size negative": (b"-1\r\n\r\n", 400),
    "size with 0x": (b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    "size with an underscore": (b"0_5\r\nhello\r\n0\r\n\r\n", 400),
    "size with a space before": (b" 5\r\nhello\r\n0\r\n\r\n", 400),
    "size with a space after": (b"5 \r\nhello\r\n0\r\n\r\n", 400),
    "size with a tab after": (b"5\t\r\nhello\r\n0\r\n\r\n", 400),
    "size empty": (b"\r\nhello\r\n0\r\n\r\n", 400),
    "size not hexadecimal": (b"g\r\nhello\r\n0\r\n\r\n", 400),
    "size of 65 bits": (b"10000000000000005\r\nhello\r\n0\r\n\r\n", 400),
    "size of 64 bits": (b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n", 413),
    "size of many zeros": (b"00000000000000005\r\nhello\r\n0\r\n\r\n", 400),
    "size ends in bare LF": (b"5\nhello\r\n0\r\n\r\n", 400),
    "size ends in bare CR": (b"5\rhello\r\n0\r\n\r\n", 400),
    "size ends in CR CR LF": (b"5\r\r\nhello\r\n0\r\n\r\n", 400),
    "chunk ends in bare LF": (b"5\r\nhello\n0\r\n\r\n", 400),
    "chunk ends in nothing": (b"5\r\nhello0\r\n\r\n", 400),
    "chunk ends in two other bytes": (b"5\r\nhello!!0\r\n\r\n", 400),
    "chunk is longer": (b"5\r\nhello!\r\n0\r\n\r\n", 400),
    "chunk is shorter": (b"5\r\nhell\r\n0\r\n\r\n", 400),
    "extension with bare LF": (b"5;a\nb\r\nhello\r\n0\r\n\r\n", 400),
    "extension with bare CR": (b"5;a\rb\r\nhello\r\n0\r\n\r\n", 400),
    "extension with NUL": (b"5;a\x00b\r\nhello\r\n0\r\n\r\n", 400),
    "extension without semicolon": (b"5 a\r\nhello\r\n0\r\n\r\n", 400),
    "extension too long": (b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n", 400),
    "extension without an end": (b"5;" + b"a" * 300, 400),
    "extensions that add up": (b"1;%b\r\na\r\n" % (b"a" * 200) * 100 + b"0\r\n\r\n", 400),
    "last chunk ends in bare LF": (b"0\n\r\n", 400),
    "trailers end in bare LF": (b"0\r\n\n", 400),
    "trailer ends in bare LF": (b"0\r\nX: y\n\r\n", 400),
    "trailer with bare CR": (b"0\r\nX: y\rz\r\n\r\n", 400),
    "trailer with NUL": (b"0\r\nX: \x00\r\n\r\n", 400),
    "trailer with a space before colon": (b"0\r\nX : y\r\n\r\n", 400),
    "trailer folded": (b"0\r\nX: y\r\n z\r\n\r\n", 400),
    "trailer without colon": (b"0\r\nXY\r\n\r\n", 400),
    "no empty line": (b"0\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
}

CASES = HEADS | {f"chunk {name}": (TE + body, status) for name, (body, status) in BODIES.items()}


def pieces_of(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 1 << 20], ids=["byte by byte", "at once"])
@pytest.mark.parametrize(("data", "status"), CASES.values(), ids=CASES)
def test_refused_and_closed(data, status, size):
    adapter = HttpProtocol(Limits(), "192.0.2.1:5000", 0.0)
    events = []
    for piece in pieces_of(data + SMUGGLED, size):
        events += adapter.receive_data(piece, 1.0)
        while adapter.has_more:
            events += adapter.resume(1.0)
    output, finished = events
    client = h11.Connection(h11.CLIENT)
    client.receive_data(output.data)
    response = client.next_event()
    assert response.status_code == status
    assert (b"connection", b"close") in list(response.headers)
    assert isinstance(finished, Finished)
    assert finished.reason.http == status
    assert adapter.receive_data(SMUGGLED, 2.0) == []


ALLOWED = {
    "CL with space around": POST + b"Content-Length: \t 5 \t\r\n\r\nhello",
    "CL with zeros": POST + b"Content-Length: 005\r\n\r\nhello",
    "TE in capitals": POST + b"Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "extension": TE + b'5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n',
    "extension after a space": TE + b"5 ; a\r\nhello\r\n0\r\n\r\n",
    "trailers": TE + b"5\r\nhello\r\n0\r\nX: y\r\nContent-Length: 3\r\n\r\n",
    "size with zeros": TE + b"0000000000000005\r\nhello\r\n000\r\n\r\n",
    "name with an underscore": POST + b"x_request_id: 1\r\nContent-Length: 5\r\n\r\nhello",
    "obs-text": POST + b"X: caf\xe9\r\nContent-Length: 5\r\n\r\nhello",
    "Host as IPv6": b"POST / HTTP/1.1\r\nHost: [::1]:7512\r\nContent-Length: 5\r\n\r\nhello",
    "Host with an underscore": b"POST / HTTP/1.1\r\nHost: my_node:80\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("data", ALLOWED.values(), ids=ALLOWED)
def test_what_looks_like_it_and_is_well_formed_passes(data):
    """And the connection goes on: what follows is the next request."""
    adapter = HttpProtocol(Limits(), "192.0.2.1:5000", 0.0)
    (request,) = adapter.receive_data(data + SMUGGLED, 1.0)
    assert isinstance(request, HttpRequest)
    assert request.payload == b"hello"
    adapter.reply(request, None, b"", True, False)
    (following,) = adapter.resume(1.0)
    assert following.target == "/admin"

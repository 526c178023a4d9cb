"""Publisher and AsyncPublisher: what they make of the answers of a server."""

import asyncio  # noqa: TID251 - of those who publish
import json
import math
import os
import re
import socket
import ssl
import threading
import time
from contextlib import suppress

import pytest
import trio
from msgspec import Struct

from holdfast import AsyncPublisher, ConfigError, Publisher, PublishError
from holdfast.proxy.admin import server as admin_server
from holdfast.proxy.admin.bodies import MAX_MESSAGES as MAX_SENT
from holdfast.proxy.admin.http import JSON, Request, Response, as_json
from holdfast.proxy.admin.routes import LARGE_BODY
from holdfast.proxy.views import Published
from holdfast.publisher import sockets, streams
from holdfast.publisher.attempts import ATTEMPT_TIMEOUT, LONGEST_PAUSE, Attempts
from holdfast.publisher.conversation import Conversation
from holdfast.publisher.requests import MAX_BODY_BYTES, MAX_MESSAGES, Answer, Asked, server_of
from tests.proxy.conftest import control, serve
from tests.waiting import PATIENCE

__all__ = ["control", "serve"]

ONE = "0000000000000001"
DONE = as_json(Published(1))
BUSY = Response(503, b'{"error": {"status": 503, "message": "no node"}}', headers=(("Retry-After", "0"),))


async def in_a_thread(url, function, **options):
    def call():
        with Publisher(url, **options) as publisher:
            return function(publisher)

    return await trio.to_thread.run_sync(call)


async def in_asyncio(url, function, **options):
    async def call():
        async with AsyncPublisher(url, **options) as publisher:
            return await function(publisher)

    return await trio.to_thread.run_sync(lambda: asyncio.run(call()))


async def in_trio(url, function, **options):
    async with AsyncPublisher(url, **options) as publisher:
        return await function(publisher)


@pytest.fixture(params=[in_a_thread, in_asyncio, in_trio])
def publisher(request):
    """Calls a function with a publisher of each kind."""

    async def call(url, function, **options):
        with trio.fail_after(PATIENCE):
            return await request.param(url, function, **options)

    return call


class Server:
    """Answers what it is told, one answer after another and the last one for ever; keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked: list[Request] = []

    async def __call__(self, request):
        self.asked.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_what_is_asked(publisher, serve, control):
    """By the real server: what it makes of it is in `control`."""
    closing, member = (Response(200, body) for body in (b'{"closing":true}', b'{"joined":null}'))
    server = Server(DONE, DONE, DONE, closing, member, member)
    url = f"http://{await serve(answer=server)}/"
    for function in (
        lambda p: p.publish("hü", channels=["a", "b"], clients=[1, ONE], exclude=(2,)),
        lambda p: p.broadcast(b"\0\xff", exclude=[1]),
        lambda p: p.publish_many([{"payload": None, "channels": ["a"]}, {"payload": [1.5], "everybody": True}]),
        lambda p: p.close_client(1, code=4001, reason="out"),
        lambda p: p.join(1, "a/b ü"),
        lambda p: p.leave("FFFFFFFFFFFFFFFF", "a"),
    ):
        await publisher(url, function, token="hush")
    asked = [(one.method, one.target, json.loads(one.body)) for one in server.asked]
    assert asked == [
        (
            "POST",
            "/api/publish",
            {"payload": "hü", "channels": ["a", "b"], "clients": [ONE, ONE], "exclude": [f"{2:016x}"]},
        ),
        ("POST", "/api/publish", {"base64": "AP8=", "everybody": True, "exclude": [ONE]}),
        (
            "POST",
            "/api/publish",
            {"messages": [{"payload": None, "channels": ["a"]}, {"payload": [1.5], "everybody": True}]},
        ),
        ("POST", f"/api/clients/{ONE}/close", {"code": 4001, "reason": "out"}),
        ("PUT", f"/api/clients/{ONE}/channels/a%2Fb%20%C3%BC", {}),
        ("DELETE", "/api/clients/ffffffffffffffff/channels/a", {}),
    ]
    assert {one.headers["authorization"] for one in server.asked} == {"Bearer hush"}
    assert {one.headers["content-type"] for one in server.asked} == {JSON}
    assert len({one.headers["idempotency-key"] for one in server.asked}) == len(asked)


async def test_what_the_real_server_takes(publisher, serve, control):
    address = await serve(tokens=("publish:p", "operate:o"))
    messages = [{"payload": {"n": 1}, "channels": ["a"]}, {"payload": b"\0", "clients": [1]}]
    assert await publisher(address, lambda p: p.publish_many(messages), token="p") == 2
    await publisher(address, lambda p: p.join(1, "a/b"), token="p")
    await publisher(address, lambda p: p.close_client(1, code=4001), token="o")
    assert [len(effects) for effects in control.published] == [2, 1, 1]
    for token, status in (("p", 403), ("", 401)):
        with pytest.raises(PublishError) as refused:
            await publisher(address, lambda p: p.close_client(1), token=token)
        assert refused.value.status == status
    assert "scope operate" in str(refused.value) or status == 401


async def test_it_is_sent_again_with_its_key_while_it_can_not_be_done(publisher, serve):
    under_way = Response(409, b'{"error": {"status": 409, "message": "under way"}}')
    server = Server(BUSY, under_way, DONE)
    await publisher(await serve(answer=server), lambda p: p.publish(1, channels=["a"]))
    assert len(server.asked) == 3
    assert len({(one.headers["idempotency-key"], one.body) for one in server.asked}) == 1


async def test_until_time_is_up(publisher, serve):
    server = Server(BUSY)
    with pytest.raises(PublishError, match=r"^no node$") as failure:
        await publisher(await serve(answer=server), lambda p: p.publish(1, channels=["a"]), timeout=1.5)
    assert failure.value.status == 503
    assert len(server.asked) > 1


@pytest.mark.parametrize("status", [400, 403, 422, 500, 504])
async def test_what_would_not_help_is_not_tried(publisher, serve, status):
    server = Server(Response(status, b'{"error": {"status": 0, "message": "why"}}'))
    with pytest.raises(PublishError, match=r"^why$") as failure:
        await publisher(await serve(answer=server), lambda p: p.publish(1, channels=["a"]))
    assert (failure.value.status, len(server.asked)) == (status, 1)


OF_CLIENTS = b'{"requestId": null, "room": null, "status": 503, "error": {"status": 503, "message": "no node"}}'


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b"<html>", "status 404"), (200, b"[]", "status 200"), (200, b'{"messages": 1}', "status 200"),
        (404, b'{"error": {"status": 404, "message": "nothing here"}}', "status 404"), (409, b"{}", "status 409"),
        (503, OF_CLIENTS, "clients connect there"),
    ],
)  # fmt: skip
async def test_somebody_else_is_there(publisher, serve, monkeypatch, status, body, said):
    """And is asked once: what it answers is not of what it was asked."""
    monkeypatch.setattr(admin_server, "MARK", ("Server", "nginx"))
    server = Server(Response(status, body, "text/html"))
    address = await serve(answer=server)
    with pytest.raises(PublishError, match=f"^http://{address} is no admin server of Holdfast: {said}$"):
        await publisher(address, lambda p: p.publish_many([{"payload": 1, "everybody": True}]))
    assert len(server.asked) == 1


async def test_what_stands_before_an_admin_server_that_is_away(publisher, serve, monkeypatch):
    monkeypatch.setattr(admin_server, "MARK", ("Server", "nginx"))
    server = Server(Response(503, b"<html>", "text/html"))
    url = await serve(answer=server)
    with pytest.raises(PublishError, match=r"is no admin server of Holdfast: status 503$"):
        await publisher(url, lambda p: p.broadcast(1), timeout=0.4)
    assert len(server.asked) > 1


async def test_a_connection_that_is_lost_before_the_answer(publisher, nursery):
    """Twice, once of them in the middle of it: the third attempt bears the same key."""
    keys = []
    answer = b"HTTP/1.1 200 OK\r\nHoldfast-Admin: 1\r\nContent-Length: 15\r\n\r\n"
    lost = [b"", answer + b'{"messages"', answer + b'{"messages": 1}']

    async def lose(stream):
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some(1 << 16)
        keys.append(head.lower().partition(b"idempotency-key: ")[2].partition(b"\r")[0])
        await stream.send_all(lost.pop(0))
        await stream.aclose()

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, lose, [listener])
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    assert await publisher(url, lambda p: p.publish_many([{"payload": 1, "everybody": True}])) == 1
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert keys[0]


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nX", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"])
async def test_who_sends_a_byte_now_and_then_has_no_more_time(publisher, nursery, begin):
    """The whole call has it, and not each byte."""

    async def drip(stream):
        with suppress(trio.BrokenResourceError):
            await stream.send_all(begin)
            while True:
                await stream.send_all(b"x")
                await trio.sleep(0.02)

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, drip, [listener])
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    with pytest.raises(PublishError, match=f"^{url} was reached, and has not answered within 0.3 s") as failure:
        await publisher(url, lambda p: p.publish(1, channels=["a"]), timeout=0.3)
    assert failure.value.status == 0
    nursery.cancel_scope.cancel()


async def test_what_is_no_admin_server_has_done_nothing(publisher, serve):
    """Where clients connect a node may say 200 to anything."""
    for said in (b"hello", b'{"messages":"many"}', b"[]", b""):
        url = await serve(answer=Server(Response(200, said)))
        for function in (
            lambda p: p.publish(1, channels=["a"]),
            lambda p: p.publish_many([GOOD]),
            lambda p: p.close_client(1),
            lambda p: p.join(1, "a"),
            lambda p: p.leave(1, "a"),
        ):
            with pytest.raises(PublishError, match=r"is no admin server of Holdfast: status 200$"):
                await publisher(url, function)


async def test_the_server_is_told_how_long_the_answer_is_waited_for(publisher, serve):
    """So that it says before then why there is none, and does nothing after it, though it is asked again meanwhile."""
    server = Server(DONE)
    url = await serve(answer=server)
    for timeout in (5.0, 30.0):
        await publisher(url, lambda p: p.publish(1, channels=["a"]), timeout=timeout)
    [short, long] = server.asked
    assert 4.0 < short.wait <= 4.5
    assert 29.0 < long.wait <= 29.5
    for seconds, told in ((15.0, 14.5), (5.0, 4.5), (2.0, 1.8), (1.0, 0.85), (0.4, 0.25), (0.2, 0.1), (0.0001, 0.001)):
        attempts = attempts_of(seconds)
        attempts.begin(100.0)
        head = Conversation(server_of("host:1", None)).ask(Asked("POST", "/", b"", {}, Struct), attempts.reached(100.0))
        headers = dict(line.lower().split(": ") for line in head.decode().splitlines()[1:-1])
        assert Request("POST", "/", headers).wait == told


async def test_who_answers_without_end(publisher, nursery):
    async def flood(stream):
        with suppress(trio.BrokenResourceError):
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
            while True:
                await stream.send_all(bytes(1 << 16))

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, flood, [listener])
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    with pytest.raises(PublishError, match=f"^{url} is no admin server of Holdfast: more than 1048576 bytes"):
        await publisher(url, lambda p: p.publish(1, channels=["a"]))
    nursery.cancel_scope.cancel()


async def test_a_name_that_is_looked_up_for_ever(monkeypatch):
    """Of a thread: the two libraries leave a lookup that is called off."""
    is_over = threading.Event()
    real = socket.getaddrinfo

    def look_up(host, *args, **options):
        if not options["flags"]:
            is_over.wait(PATIENCE)
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        with trio.fail_after(PATIENCE), pytest.raises(PublishError, match="the name is still being looked up"):
            await in_a_thread("http://slow.example:1", lambda p: p.broadcast(1), timeout=0.2)
    finally:
        is_over.set()


def test_a_name_that_nobody_knows():
    with pytest.raises(PublishError, match=r"^no admin server answers at http://name\.invalid:1: ") as failure:
        Publisher("http://name.invalid:1", timeout=0.1).broadcast(1)
    assert failure.value.status == 0


async def test_each_address_of_a_name_is_tried(serve, monkeypatch):
    server = Server(DONE)
    port = int((await serve(answer=server)).rpartition(":")[2])
    there = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
    nobody = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))
    monkeypatch.setattr(sockets, "_look_up", lambda host, port, flags=0: [(one[0], one[4]) for one in (nobody, there)])
    with trio.fail_after(PATIENCE):
        await in_a_thread(f"http://both.example:{port}", lambda p: p.broadcast(1))
    assert len(server.asked) == 1


async def test_nobody_there(publisher):
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    await listener.aclose()
    with pytest.raises(PublishError, match=f"^no admin server answers at {url}: ") as failure:
        await publisher(url, lambda p: p.publish(1, channels=["a"]), timeout=0.2)
    assert failure.value.status == 0


@pytest.mark.parametrize("kind", [Publisher, AsyncPublisher])
def test_what_is_no_server_and_no_token(kind):
    for url in (
        "", "ftp://x", "http://", "http://x:y", "http://[", f"http://{64 * 'a'}", "http://a..b", "::1:5", "a b:1",
        "http://-", "http://$HOST:1", "http://{host}", "http://h%41st", "http://a\\b", "http://a,b", "http://*",
        "a\0:1", "http://h\nost", " http://host", "http://host:0", "http://host?a=b", "http://host#a",
        "http://host/a b", "http://host/\xfc", "http://[::1::2]:5", "http://\ud800:1", "http://user:hush@host",
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="expected HOST:PORT") as info:
            kind(url)
        assert "hush" not in str(info.value).encode().decode()
    for url, host in (
        ("LOCALHOST:5", "localhost"), ("http://a_b:5", "a_b"), ("[::1]:5", "::1"),
        ("http://[fe80::1%eth0]", "fe80::1%eth0"),
        ("http://b\xfccher.example./x", "xn--bcher-kva.example."), ("1.2.3.4:5", "1.2.3.4"),
    ):  # fmt: skip
        assert kind(url)._requests.server.host == host
    for timeout in ("5", 0, -1, float("nan"), None, True, [5]):
        with pytest.raises(ConfigError, match=r"^timeout: expected a number of seconds above 0, got "):
            kind("http://127.0.0.1", timeout=timeout)
    for timeout in (1, 0.5, float("inf"), 10**400):
        assert 0 < kind("http://127.0.0.1", timeout=timeout)._requests.timeout <= 1e9
    with pytest.raises(ConfigError, match=r"^url: expected text, got None: is its environment variable set"):
        kind(None)
    with pytest.raises(ConfigError, match=r"^token: expected text, got None: is its environment variable set"):
        kind("http://127.0.0.1", None)
    with pytest.raises(ConfigError, match=r"^token: expected text, got bytes$"):
        kind("http://127.0.0.1", b"hush")
    for token in ("ü", "a b", "a\nb"):
        with pytest.raises(ConfigError, match="printable ASCII"):
            kind("http://127.0.0.1", token)


def test_what_can_not_be_sent():
    publisher = Publisher("127.0.0.1:1", timeout=0.1)
    for wrong in (
        lambda: publisher.publish(1, channels="kitchen"),
        lambda: publisher.publish(1, clients=ONE),
        lambda: publisher.publish(1, clients=[1.5]),
        lambda: publisher.publish(1, clients=[True]),
        lambda: publisher.publish(object(), channels=["a"]),
        lambda: publisher.close_client(None),
        lambda: publisher.join(5, 7),
        lambda: publisher.leave(5, None),
    ):
        with pytest.raises(TypeError):
            wrong()
    for client in (-1, 2**64, "1", "x" * 16, "-000000000000001"):
        with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
            publisher.join(client, "a")
    with pytest.raises(ValueError, match="expected a number that JSON has, got nan"):
        publisher.broadcast(math.nan)
    with pytest.raises(PublishError) as failure:
        publisher.broadcast("x" * MAX_BODY_BYTES)
    assert failure.value.status == 413
    assert MAX_BODY_BYTES == LARGE_BODY


GOOD = {"payload": 1, "channels": ["a"]}


@pytest.mark.parametrize(
    ("messages", "kind", "told"),
    [
        ([], ValueError, "expected 1 to 1000 messages, got 0"),
        ([GOOD] * 1001, ValueError, "expected 1 to 1000 messages, got 1001"),
        ([GOOD, {"payload": 1, "channel": ["a"]}], ValueError, "messages[1]: expected payload, channels, clients, "),
        ([GOOD, {"payload": 1, "channel": ["a"]}], ValueError, "everybody, got channel"),
        ([GOOD, GOOD, {"channels": ["a"]}], ValueError, "messages[2]: expected a payload"),
        ([GOOD, {"payload": 1, "clients": ["1"]}], ValueError, "messages[1]: expected a client's id"),
        ([{"payload": 1, "channels": "a"}], TypeError, "messages[0]: expected a list"),
        ([{"payload": object(), "channels": ["a"]}], TypeError, "messages[0]: Encoding objects of type object"),
        ([GOOD, "a"], TypeError, "messages[1]: expected a dict, got str"),
        ("a", TypeError, "expected a list"),
    ],
)
def test_what_of_many_can_not_be_sent(messages, kind, told):
    with pytest.raises(kind, match=re.escape(told)):
        Publisher("127.0.0.1:1", timeout=0.1).publish_many(messages)
    assert MAX_SENT == MAX_MESSAGES


async def test_the_server_says_which_of_many_it_does_not_take(publisher, serve, control):
    for wrong in ({"payload": 1}, GOOD | {"everybody": True}):
        with pytest.raises(PublishError, match=r"^messages\[1\]: expected .*everybody") as refused:
            await publisher(await serve(), lambda p, wrong=wrong: p.publish_many([GOOD, wrong]))
        assert refused.value.status == 400
    assert control.published == []


def test_pauses_grow_and_end_with_the_time():
    attempts = attempts_of(10.0)
    assert attempts.begin(100.0) == 10.0
    assert attempts.reached(100.5) == 9.0
    long = attempts_of(100.0)
    assert (long.begin(100.0), long.reached(100.0)) == (ATTEMPT_TIMEOUT, 99.5), "whichever of them has it"
    assert (long.begin(200.0 - ATTEMPT_TIMEOUT), long.reached(199.0)) == (ATTEMPT_TIMEOUT, 0.85)
    now, pauses = 100.0, []
    attempts.failed(ConnectionRefusedError(111, "refused"))

    def give_up():
        nonlocal now
        while True:
            pauses.append(attempts.pause(now))
            now += pauses[-1]

    with pytest.raises(PublishError, match=r"^no admin server answers at http://host:1: refused$"):
        give_up()
    assert pauses[:3] == [0.05, 0.1, 0.2]
    assert max(pauses) == LONGEST_PAUSE
    assert 110.0 - LONGEST_PAUSE <= now < 110.0
    attempts.answered(Answer(503, BUSY.body, 3.0))
    assert attempts.pause(105.0) == 3.0
    attempts.failed(ConnectionResetError())
    assert attempts.pause(105.0) == LONGEST_PAUSE  # what the server has said before is over
    attempts.answered(Answer(503, BUSY.body, 5.0))
    with pytest.raises(PublishError, match=r"^no node$"):
        attempts.pause(105.0)


def attempts_of(timeout):
    return Attempts(server_of("host:1", None), timeout, 100.0, lambda: 1.0)


def test_what_a_request_has_come_to():
    attempts, whose = attempts_of(10.0), ssl.SSLCertVerificationError(1, "whose?")
    whose.verify_message = "whose?"
    assert attempts.answered(Answer(200, b"", 0.0))
    with pytest.raises(PublishError, match=r"^no node$"):
        attempts.answered(Answer(400, BUSY.body, 0.0))
    with pytest.raises(PublishError, match=r"^http://host:1: whose\?$"):
        attempts.failed(whose)
    attempts.failed(ConnectionResetError(), is_kept=True)
    assert attempts.pause(1000.0) == 0.0  # however late: it is the first attempt still
    assert not attempts.answered(Answer(503, BUSY.body, 0.0))
    attempts.failed(TimeoutError())
    with pytest.raises(PublishError, match=r"^no node$"):  # and not that time was up before it could be asked again
        attempts.pause(1000.0)


def test_what_is_under_way_is_asked_for_until_the_end():
    """It is our own: of the attempt whose connection was lost. What has become of it nobody knows then."""
    attempts, now, count = attempts_of(3.0), 100.5, 0
    attempts.failed(ConnectionResetError())
    attempts.pause(now)
    late = r"^http://host:1 was reached, and has not answered within 3 s: perhaps it is done$"

    def go_on():
        nonlocal now, count
        while not attempts.answered(Answer(409, b'{"error": {"message": "under way"}}', 0.0)):
            now, count = now + attempts.pause(now), count + 1

    with pytest.raises(PublishError, match=late) as failure:
        go_on()
    assert failure.value.status == 0
    assert 102.8 <= now < 103.0
    assert count < 30


def test_an_attempt_that_is_late_may_be_done_whatever_the_one_before_has_said():
    attempts = attempts_of(10.0)
    assert not attempts.answered(Answer(503, BUSY.body, 0.0))
    attempts.begin(109.0)
    attempts.reached(109.0)
    attempts.failed(TimeoutError())
    with pytest.raises(PublishError, match=r"was reached, .* perhaps it is done$"):
        attempts.pause(1000.0)


def test_who_was_reached_and_is_late_is_not_said_to_be_away():
    attempts = attempts_of(10.0)
    attempts.begin(100.0)
    attempts.reached(100.0)
    attempts.failed(TimeoutError("timed out"))
    late = r"^http://host:1 was reached, and has not answered within 10 s: perhaps it is done$"
    with pytest.raises(PublishError, match=late) as failure:
        attempts.pause(1000.0)
    assert failure.value.status == 0
    attempts.begin(100.0)
    attempts.failed(TimeoutError("timed out"))  # of the next attempt, which has found nobody
    with pytest.raises(PublishError, match=r"^no admin server answers at http://host:1: timed out$"):
        attempts.pause(1000.0)


def test_each_address_of_a_name_has_its_share_of_the_time(monkeypatch):
    """One that is silent leaves time for those after it."""
    had = []

    class Silent(socket.socket):
        def connect(self, address):
            had.append(self.gettimeout())
            raise TimeoutError("timed out")

    nobody = (socket.AF_INET, ("127.0.0.1", 1))
    monkeypatch.setattr(sockets, "_look_up", lambda host, port, flags=0: [nobody] * 3)
    monkeypatch.setattr(socket, "socket", Silent)
    with pytest.raises(TimeoutError):
        sockets.connect("three.example", 1, None, time.monotonic() + 30_000)
    assert had == [pytest.approx(share, rel=0.01) for share in (10_000, 15_000, 30_000)]


async def test_connections_are_kept_and_one_that_has_gone_is_no_failure(serve, nursery):
    """By threads, each of which may come while others wait."""
    connections = []

    async def answer(stream):
        connections.append(stream)
        try:
            for _ in range(2):
                head = b""
                while not head.endswith(b"}"):
                    head += await stream.receive_some(1 << 16)
                await stream.send_all(
                    b"HTTP/1.1 200 OK\r\nHoldfast-Admin: 1\r\nContent-Length: 15\r\n\r\n" + b'{"messages": 1}'
                )
        finally:
            await stream.aclose()

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer, [listener])
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"

    async def awaited(publisher):
        for _ in range(5):
            await publisher.broadcast(1)

    def called(publisher):
        for _ in range(5):
            publisher.broadcast(1)

    for kind, function in ((in_a_thread, called), (in_asyncio, awaited), (in_trio, awaited)):
        connections.clear()
        with trio.fail_after(PATIENCE):
            await kind(url, function)
        assert len(connections) == 3
    nursery.cancel_scope.cancel()


async def test_a_process_that_was_forked_has_connections_of_its_own(serve):
    server = Server(DONE)
    publisher = Publisher(f"http://{await serve(answer=server)}")

    def fork():
        publisher.broadcast("parent")
        [(_, kept)] = publisher._idle
        mine = kept.socket.getsockname()
        child = os.fork()
        if not child:
            try:
                publisher.broadcast("child")
                [(_, own)] = publisher._idle
                os._exit(0 if own.socket.getsockname() != mine else 3)
            finally:
                os._exit(4)
        _, status = os.waitpid(child, 0)
        publisher.broadcast("parent again")
        [(_, kept)] = publisher._idle
        publisher.close()
        return os.waitstatus_to_exitcode(status), kept.socket.fileno() == -1

    with trio.fail_after(PATIENCE):
        assert await trio.to_thread.run_sync(fork) == (0, True)
    assert len(server.asked) == 3


def test_what_tls_says_is_behind_trio_s_own():
    untrusted = ssl.SSLCertVerificationError(1, "self-signed certificate")
    error = trio.BrokenResourceError()
    error.__cause__ = untrusted
    assert streams._lost(error) is untrusted
    assert isinstance(streams._lost(trio.BrokenResourceError()), ConnectionResetError)


@pytest.mark.parametrize("what", ["send", "receive"])
async def test_no_error_is_among_its_own_causes(what):
    """Who shows all of them would find no end."""

    class Broken:
        async def send_all(self, data):
            raise trio.BrokenResourceError from ssl.SSLCertVerificationError(1, "self-signed certificate")

        async def receive_some(self, count):
            await self.send_all(b"")

    stream = streams._TrioStream(None, Broken())
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        await (stream.send(b"") if what == "send" else stream.receive())
    error, seen = caught.value, []
    while error is not None:
        assert error not in seen
        seen.append(error)
        error = error.__cause__ or error.__context__

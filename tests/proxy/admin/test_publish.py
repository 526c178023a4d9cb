"""What callers may have done to clients, and who may."""

import base64
import json
import math
from math import inf

import httpx
import msgspec
import pytest
import trio

from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, RequestError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import decode_effects
from holdfast.protocols.nodes.effects import Broadcast, CloseClient, Join, Leave, Notify, pack_ids
from holdfast.proxy.admin.api import Api
from holdfast.proxy.admin.bodies import MAX_MESSAGES, MAX_NAMED
from holdfast.proxy.admin.http import HttpError, Request, Response
from holdfast.proxy.admin.idempotency import KEY, MAX_KEY, SECONDS, Idempotency
from holdfast.proxy.config.sections import AdminSettings
from tests.harness import ScriptedNode, client_ids, running, websocket
from tests.proxy.admin.test_api import Caller
from tests.waiting import PATIENCE

JSON = {"content-type": "application/json"}
ONE = "0000000000000001"
LAST = "ffffffffffffffff"


@pytest.fixture
def publish(control):
    call = Caller(control)

    def publish(body):
        return call("POST", "/api/publish", JSON, body if isinstance(body, bytes) else json.dumps(body).encode())[:2]

    return publish


def test_a_message_to_channels_and_clients(publish, control):
    body = {"channels": ["a", "ü"], "clients": [ONE, LAST.upper()], "exclude": [ONE], "payload": {"x": 1.50}}
    assert publish(body) == (200, {"messages": 1})
    expected = Notify(b'{"x": 1.5}', True, ["a", "ü"], pack_ids([1, 2**64 - 1]), pack_ids([1]))
    assert control.published == [[expected]]


@pytest.mark.parametrize(
    ("fields", "payload", "is_text"),
    [
        (b'"payload": "h\\u00fc\\n"', "hü\n".encode(), True),
        (b'"payload": ""', b"", True),
        (b'"payload": null', b"null", True),
        (b'"payload": 12345678901234567890.10', b"12345678901234567890.10", True),
        (b'"payload": [1 ,{"a":"b"}]', b'[1 ,{"a":"b"}]', True),
        (b'"base64": "/wA="', b"\xff\0", False),
        (b'"base64": ""', b"", False),
    ],
)
def test_what_a_payload_is(publish, control, fields, payload, is_text):
    assert publish(b'{"everybody": true, ' + fields + b"}")[0] == 200
    assert control.published == [[Broadcast(payload, is_text)]]


def test_a_batch_is_one_thing_in_its_order(publish, control):
    messages = [{"channels": [str(number)], "payload": str(number)} for number in range(MAX_MESSAGES)]
    assert publish({"messages": messages}) == (200, {"messages": MAX_MESSAGES})
    assert [effect.payload for effect in control.published[0]] == [b"%d" % number for number in range(MAX_MESSAGES)]
    assert len(control.published) == 1


TO = {"channels": ["a"]}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"payload": 1},
        TO,
        TO | {"payload": 1, "base64": "AAAA"},
        TO | {"payload": 1, "everybody": True},
        {"clients": ["1"], "payload": 1},
        {"clients": [ONE + "0"], "payload": 1},
        {"clients": [ONE + "\n"], "payload": 1},
        {"clients": [1], "payload": 1},
        {"channels": [""], "payload": 1},
        {"channels": "a", "payload": 1},
        TO | {"base64": "A"},
        TO | {"payload": 1, "channel": "b"},
        {"messages": []},
        {"messages": [TO | {"payload": 1}] * (MAX_MESSAGES + 1)},
        {"messages": [TO | {"payload": 1}], "payload": 1},
        {"messages": [TO | {"payload": 1}], "everybody": True},
        {"messages": [{"messages": []}]},
        {"messages": [TO | {"payload": 1}, {}]},
        {"channels": ["a"] * (MAX_NAMED + 1), "payload": 1},
        {"messages": [{"clients": [ONE] * MAX_NAMED, "payload": 1}, TO | {"payload": 1}]},
        b'{"channels": ["a"], "payload": "\xff"}',
        b'{"channels": ["a"], "payload": ["\xff"]}',
        b'{"channels": ["a"], "payload": "\\ud800"}',
        b'{"channels": ["a"], "payload": ' + b"[" * 60_000,
        b"[",
        b"",
    ],
    ids=lambda body: str(body)[:60],
)
def test_what_can_not_be_meant(publish, control, body):
    status, content = publish(body)
    assert status == 400
    assert len(content["error"]["message"]) <= 200
    assert "xpected" in content["error"]["message"]
    assert control.published == []


def test_as_many_names_as_there_may_be(publish, control):
    assert publish({"channels": ["a"] * MAX_NAMED, "payload": 1})[0] == 200


def test_closing_a_client(control):
    call = Caller(control)
    path = f"/api/clients/{ONE}/close"
    assert call("POST", path, JSON, b'{"code": 4001, "reason": "out"}')[:2] == (200, {"client": ONE, "closing": True})
    assert call("POST", path)[0] == 200
    assert control.published == [[CloseClient(1, "out", 4001)], [CloseClient(1)]]
    for body in (b'{"code": 3999}', b'{"code": 5000}', b'{"code": "4000"}', b'{"reason": "%s"}' % (b"x" * 124)):
        assert call("POST", path, JSON, body)[0] == 400
    assert call("POST", "/api/clients/1/close")[0] == 400
    assert len(control.published) == 2


def test_joining_and_leaving(control):
    call = Caller(control)
    path = f"/api/clients/{ONE}/channels/the%20%2F"
    assert call("PUT", path)[:2] == (200, {"client": ONE, "channel": "the /", "joined": True})
    assert call("DELETE", path)[:2] == (200, {"client": ONE, "channel": "the /", "joined": False})
    assert control.published == [[Join(1, "the /")], [Leave(1, "the /")]]
    for name in ("", "%ff", "a%ed%a0%80", "%C3"):  # none, and what is no name in UTF-8
        assert call("PUT", f"/api/clients/{ONE}/channels/{name}")[0] == 400
        assert call("GET", f"/api/channels/{name or '%ff'}")[0] == 400
    assert len(control.published) == 2
    status, _, headers = call("GET", path)
    assert (status, headers["Allow"]) == (405, "PUT, DELETE")


def test_who_was_not_put_into_a_channel_is_not_said_to_be_in_it(control):
    call = Caller(control)
    status, content, _ = call("PUT", f"/api/clients/{ONE}/channels/{'x' * 17}")
    assert (status, content["error"]["message"]) == (400, "expected a channel's name of at most 16 bytes, got 17")
    assert control.published == []
    assert call("PUT", f"/api/clients/{LAST}/channels/a")[:2] == (200, {"client": LAST, "channel": "a", "joined": None})
    control.members = {1: False}
    status, content, _ = call("PUT", f"/api/clients/{ONE}/channels/a")
    assert status == 422
    assert "client.max_channels or realtime.max_channels" in content["error"]["message"]
    assert call("DELETE", f"/api/clients/{ONE}/channels/a")[1]["joined"] is False


@pytest.mark.parametrize("name", ["%ff", "%ed%a0%80", "a%c3"])
def test_a_channel_s_name_is_utf8(control, name):
    """Else it would be another channel than was meant."""
    status, content, _ = Caller(control)("PUT", f"/api/clients/{ONE}/channels/{name}")
    assert (status, control.published) == (400, [])
    assert "UTF-8" in content["error"]["message"]


async def test_a_client_that_is_in_as_many_channels_as_it_may_be_in():
    async with (
        running(client={"max_channels": 2}) as proxy,
        websocket(proxy),
        httpx.AsyncClient(base_url=f"http://{proxy.admin}") as http,
    ):
        with ScriptedNode(proxy.node, takes=["publish"]) as node:
            await node.join()
            (client,) = client_ids(proxy)
            answers = []

            async def put(channel):
                answers.append(await http.put(f"/api/clients/{client:016x}/channels/{channel}"))

            for channel in "abac":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(put, channel)
                    call = await node.take(frames.Call)
                    node.say(frames.Reply(call.id, call.attempt, b"", False, False, decode_effects(call.payload)))
            assert [answer.status_code for answer in answers] == [200, 200, 200, 422]
            assert answers[0].json() == {"client": f"{client:016x}", "channel": "a", "joined": True}


def test_a_page_of_another_site_may_do_none_of_it(control):
    call = Caller(control)
    for method in ("PUT", "DELETE"):
        headers = {"origin": "https://evil.example"}
        assert call(method, f"/api/clients/{ONE}/channels/a", headers)[0] == 403
    assert call("POST", "/api/publish", {"content-type": "text/plain"}, b"{}")[0] == 415
    assert control.published == []


def test_while_there_is_no_node(publish, control):
    call = Caller(control)
    control.fault = RequestError("no node became available", Reason.NO_NODE, 2.4)
    status, content, headers = call("POST", "/api/publish", JSON, b'{"everybody": true, "payload": 1}')
    assert (status, content["error"]["message"]) == (503, "no node became available")
    assert headers["Retry-After"] == "2"
    control.fault = HoldfastError("slow", Reason.DEADLINE_EXCEEDED)
    status, _, headers = call("POST", "/api/publish", JSON, b'{"everybody": true, "payload": 1}')
    assert (status, headers) == (504, {})


@pytest.mark.parametrize(
    ("prefer", "timeout"),
    [
        ("wait=4", 4.0), ("respond-async, WAIT = 12", 12.0), ("wait=4; foo", 4.0), ("a;b,wait=4,wait=5", 4.0),
        ("", inf), ("wait", inf), ("wait=", inf), ("wait=0", inf), ("wait=-4", inf), ("wait=4.5", 4.5),
        ("wait=4.000000", 4.0), ("wait=0.5", 0.5), ("wait=0.0", inf), ("wait=.5", inf), ("wait=1e3", inf),
        ("await=4", inf), ("x=wait=4", inf), ("wait=9999999", inf), ("wait=\xb2", inf), ("wait=4 wait=5", inf),
        ('wait="4"', 4.0), ('wait="4', inf), ('wait=4"', inf),
    ],
)  # fmt: skip
def test_who_says_how_long_is_answered_by_then(control, prefer, timeout):
    """What is no preference is passed over, as RFC 7240 has it."""
    call = Caller(control)
    headers = JSON | ({"prefer": prefer} if prefer else {})
    for method, path, body in (
        ("POST", "/api/publish", b'{"everybody": true, "payload": 1}'),
        ("POST", f"/api/clients/{ONE}/close", b"{}"),
        ("PUT", f"/api/clients/{ONE}/channels/a", b""),
        ("DELETE", f"/api/clients/{ONE}/channels/a", b""),
    ):
        assert call(method, path, headers, body)[0] == 200
    assert control.timeouts == [timeout] * 4


async def test_only_some_may_wait_for_a_node(control, nursery):
    """Or they would have all connections, and a probe none."""
    api = Api(control, AdminSettings(), max_publishing=1)
    waits, goes_on = trio.Event(), trio.Event()

    async def wait(effects, timeout):
        waits.set()
        await goes_on.wait()

    control.publish = wait
    request = Request("PUT", f"/api/clients/{ONE}/channels/a", {})
    nursery.start_soon(api.answer, request)
    await waits.wait()
    refused = await api.answer(request)
    assert (refused.status, refused.headers) == (503, (("Retry-After", "1"),))
    assert control.limits == ["admin.publishing"]
    assert (await api.answer(Request("GET", "/ready", {}))).status == 200
    goes_on.set()
    await trio.testing.wait_all_tasks_blocked()
    assert (await api.answer(request)).status == 200


async def test_who_leaves_waits_for_what_nodes_are_doing_and_takes_no_more(control, nursery):
    api = Api(control, AdminSettings())
    waits, goes_on, has_left = trio.Event(), trio.Event(), trio.Event()

    async def wait(effects, timeout):
        waits.set()
        await goes_on.wait()

    async def leave():
        await api.leave()
        has_left.set()

    control.publish = wait
    answers = []
    request = Request("PUT", f"/api/clients/{ONE}/channels/a", {})

    async def ask():
        answers.append(await api.answer(request))

    nursery.start_soon(ask)
    await waits.wait()
    nursery.start_soon(leave)
    await trio.testing.wait_all_tasks_blocked()
    refused = await api.answer(request)
    assert (refused.status, refused.headers) == (503, (("Retry-After", "1"),))
    assert not has_left.is_set()
    assert (await api.answer(Request("GET", "/ready", {}))).status == 200
    goes_on.set()
    await has_left.wait()
    assert [answer.status for answer in answers] == [200]


# --- tokens -------------------------------------------------------------------------------------------------------

SCOPED = ("read:r", "publish:p", "operate:o", "*:all", "read:both", "publish:both")
ASKED = {
    "read": ("GET", "/api/status"),
    "publish": ("PUT", f"/api/clients/{ONE}/channels/a"),
    "operate": ("POST", f"/api/clients/{ONE}/close"),
}


@pytest.mark.parametrize(
    ("token", "may"),
    [
        ("r", ["read"]),
        ("p", ["publish"]),
        ("o", ["operate"]),
        ("both", ["read", "publish"]),
        ("all", list(ASKED)),
        ("root", list(ASKED)),
    ],
)
def test_a_token_may_what_its_scope_says(control, token, may):
    call = Caller(control, "root", tokens=SCOPED)
    for scope, asked in ASKED.items():
        status, content, headers = call(*asked, {"authorization": f"Bearer {token}"})
        assert status == (200 if scope in may else 403)
        if scope not in may:
            assert content["error"]["message"] == f"this token may not: it takes one of the scope {scope}"
        assert "WWW-Authenticate" not in headers


def test_without_a_token_of_ours(control):
    call = Caller(control, tokens=("publish:p",))
    none = "expected the header Authorization: Bearer TOKEN with admin.token, or one of admin.tokens"
    other = f"{none}, got one without Bearer"
    wrong = "the token that was given is neither admin.token nor one of admin.tokens"
    for authorization, told in (
        ("", none), ("Bearer", none), ("Bearer ", none), ("Basic p", other), ("p", other),
        ("Bearer pp", wrong), ("bearer p:p", wrong), ("Bearer p:", wrong), ("Bearer publish", wrong),
        # by its form alone: the same for a secret that is right
        ("Bearer publish:p", f"{wrong}; without its scope: of publish:TOKEN there, TOKEN"),
        ("Bearer publish:x", f"{wrong}; without its scope: of publish:TOKEN there, TOKEN"),
        ("Bearer *:", f"{wrong}; without its scope: of *:TOKEN there, TOKEN"),
    ):  # fmt: skip
        status, content, headers = call(*ASKED["publish"], {"authorization": authorization})
        assert (status, "WWW-Authenticate" in headers) == (401, True)
        assert content["error"]["message"] == told
    assert call("GET", "/ready")[0] == call("GET", "/api/openapi.json")[0] == 200
    assert call(*ASKED["publish"], {"authorization": "Bearer p"})[0] == 200


async def test_a_large_body_is_for_those_who_may(control, serve):
    """Of strangers it is not even read."""
    body = json.dumps({"everybody": True, "payload": "x" * 200_000}).encode()
    address = await serve(tokens=("publish:p", "read:r"))
    for token, path, status in (
        ("p", "/api/publish", 200),
        ("r", "/api/publish", 413),
        ("", "/api/publish", 413),
        ("p", f"/api/clients/{ONE}/channels/a", 413),
    ):
        assert await post(address, path, token, body) == status
    assert await post(address, "/api/publish", "p", b" " * (1 << 20) + body) == 413


async def post(address, path, token, body):
    host, port = address.split(":")
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            head += f"Authorization: Bearer {token}\r\n" if token else ""
            try:
                await stream.send_all(head.encode() + b"\r\n" + body)
            except trio.BrokenResourceError:
                pass  # it does not read on
            return int((await stream.receive_some(20)).split()[1])


# --- idempotency keys ---------------------------------------------------------------------------------------------


class Once:
    """An Idempotency, its clock, and what is answered."""

    def __init__(self, **options):
        self.now = 0.0
        self.idempotency = Idempotency(lambda: self.now, **options)
        self.done = 0
        self.status = 200

    async def __call__(self, key, body=b"", target="/"):
        async def answer():
            self.done += 1
            return Response(self.status, b"%d" % self.done)

        return await self.idempotency.once(
            Request("POST", target, {} if key is None else {KEY.lower(): key}, body), answer
        )


async def test_the_same_request_again_is_answered_again_and_not_done():
    once = Once()
    assert (await once("k", b"x")).body == (await once("k", b"x")).body == b"1"
    assert (await once("other", b"x")).body == b"2"
    assert (await once(None, b"x")).body == b"3"
    for body, target in ((b"y", "/"), (b"x", "/y")):
        with pytest.raises(HttpError, match="another request") as refused:
            await once("k", body, target)
        assert refused.value.status == 422


async def test_a_key_is_forgotten_after_ten_minutes():
    once = Once()
    await once("k")
    once.now = math.nextafter(SECONDS, 0)
    assert (await once("k")).body == b"1"
    once.now = SECONDS
    assert (await once("k", b"another")).body == b"2"


async def test_after_a_failure_it_is_tried_again():
    once = Once()
    once.status = 503
    assert (await once("k")).status == 503
    once.status = 200
    assert (await once("k")).body == b"2"


async def test_while_it_is_under_way(nursery):
    idempotency, goes_on, answers = Idempotency(trio.current_time), trio.Event(), []

    async def answer():
        await goes_on.wait()
        return Response(200, b"done")

    async def ask(body):
        answers.append(await idempotency.once(Request("POST", "/", {KEY.lower(): "k"}, body), answer))

    nursery.start_soon(ask, b"")
    await trio.testing.wait_all_tasks_blocked()
    for body, status in ((b"", 409), (b"another", 422)):
        with pytest.raises(HttpError) as refused:
            await ask(body)
        assert refused.value.status == status
    goes_on.set()
    await trio.testing.wait_all_tasks_blocked()
    await ask(b"")
    assert [answer.body for answer in answers] == [b"done", b"done"]


async def test_of_too_many_keys_the_oldest_goes():
    once = Once(max_kept=2)
    for key in "abc":
        await once(key)
    assert (await once("b")).body == b"2"
    assert (await once("c")).body == b"3"
    assert (await once("a")).body == b"4"


@pytest.mark.parametrize("key", ["", "x" * (MAX_KEY + 1), "ü", "a\tb"])
async def test_a_key_that_is_none(key):
    with pytest.raises(HttpError) as refused:
        await Once()(key)
    assert refused.value.status == 400


async def test_keys_count_for_all_that_changes_something(control):
    api = Api(control, AdminSettings())
    for method, path in (("POST", f"/api/clients/{ONE}/kick"), ("PUT", f"/api/clients/{ONE}/channels/a")):
        request = Request(method, path, {KEY.lower(): path})
        assert await api.answer(request) == await api.answer(request)
    assert control.kicked == [(1, "")]
    assert control.published == [[Join(1, "a")]]


def test_binary_as_others_write_it(publish, control):
    data = bytes(range(256))
    assert publish({"clients": [ONE], "base64": base64.b64encode(data).decode()})[0] == 200
    assert control.published == [[Notify(data, False, [], pack_ids([1]))]]
    assert msgspec.json.encode(data) == b'"' + base64.b64encode(data) + b'"'

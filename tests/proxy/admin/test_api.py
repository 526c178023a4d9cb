import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.proxy.admin.api import Api
from holdfast.proxy.admin.http import Request
from holdfast.proxy.config.sections import AdminSettings
from holdfast.proxy.views import format_client_id, parse_client_id

KICK = "/api/clients/0000000000000001/kick"


def outcome(answer):
    """Of a coroutine that waits for nothing."""
    with pytest.raises(StopIteration) as ended:
        answer.send(None)
    return ended.value.value


class Caller:
    """Calls an Api as HTTP would, headers as given."""

    def __init__(self, control, token="", loopback=True, tokens=(), **options):
        self.api = Api(control, AdminSettings("127.0.0.1:0" if loopback else "0.0.0.0:0", token, tokens), **options)

    def __call__(self, method, target, headers=(), body=b""):
        headers = {"host": "127.0.0.1:7513"} | dict(headers)
        response = outcome(self.api.answer(Request(method, target, headers, body)))
        content = msgspec.json.decode(response.body) if response.content_type == "application/json" else response.body
        return response.status, content, dict(response.headers)


@pytest.fixture
def call(control):
    return Caller(control)


def test_health_does_not_depend_on_readiness(call, control):
    control.is_ready = False
    assert call("GET", "/health")[:2] == (200, {"status": "ok"})


def test_readiness_is_a_status_and_a_reason(call, control):
    assert call("GET", "/ready")[:2] == (200, {"ready": True, "reason": ""})
    control.is_ready = False
    assert call("GET", "/ready")[:2] == (503, {"ready": False, "reason": "draining"})


def test_metrics_are_prometheus_text(call, control):
    response = outcome(call.api.answer(Request("GET", "/metrics", {})))
    assert response.content_type.startswith("text/plain; version=")
    assert response.body == control.metrics()


def test_status(call):
    status, content, _ = call("GET", "/api/status")
    assert status == 200
    assert (content["ready"], content["clients"], content["in_flight"], content["parked"]) == (True, 3, 9, 0)
    assert content["master"] == {"node": "n-1", "epoch": 3}
    assert (
        content["nodes"][0] | {"id": "n-1", "name": "chat", "state": "ready", "in_flight": 3, "pid": 11}
        == (content["nodes"][0])
    )


def test_nodes(call):
    assert [node["id"] for node in call("GET", "/api/nodes")[1]["nodes"]] == ["n-1", "n-2", "n/3 ü"]


def test_clients_come_in_pages_and_every_client_once(call, control):
    control.client_ids = [5, 1, 3, 2, 4]
    seen, after, pages = [], "", 0
    while True:
        status, content, _ = call("GET", f"/api/clients?limit=2{after}")
        assert status == 200
        seen += [client["id"] for client in content["clients"]]
        pages += 1
        if content["next"] is None:
            break
        after = f"&after={content['next']}"
    assert seen == [f"{number:016x}" for number in (1, 2, 3, 4, 5)]
    assert pages == 3


def test_a_full_last_page_has_no_next(call):
    assert call("GET", "/api/clients?limit=3")[1]["next"] is None
    assert call("GET", "/api/clients?limit=2")[1]["next"] == "0000000000000002"


def test_whose_clients_they_are_is_told_and_how_many_others_there_are(call, control):
    content = call("GET", "/api/clients")[1]
    assert (content["proxy"], content["elsewhere"]) == ("p-1", sum(p.clients for p in control.cluster().members[1:]))
    assert content["elsewhere"]


def test_ids_of_clients_are_hexadecimal_text(call):
    assert call("GET", "/api/clients")[1]["clients"][-1]["id"] == "ffffffffffffffff"


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=٣", "limit=0000000019999999", "after=1", "after=xyz"],
)
def test_bad_pages(call, query):
    status, content, _ = call("GET", f"/api/clients?{query}")
    assert status == 400
    assert content["error"]["status"] == 400
    assert "expected" in content["error"]["message"]


def test_draining_a_node(call, control):
    assert call("POST", "/api/nodes/n-2/drain")[:2] == (202, {"node": "n-2", "state": "draining"})
    assert call("POST", "/api/nodes/n%2F3%20%C3%BC/drain")[0] == 202
    assert control.drained == ["n-2", "n/3 ü"]
    assert call("POST", "/api/nodes/nobody/drain")[0] == 404
    status, content, _ = call("POST", "/api/nodes/silent/drain")
    assert status == 503
    assert "does not say that it knows" in content["error"]["message"]


def test_kicking_a_client(call, control):
    json = {"content-type": "application/json; charset=utf-8"}
    assert call("POST", KICK, json, b'{"reason": "spam"}')[:2] == (
        200,
        {"client": "0000000000000001", "kicked": True},
    )
    assert call("POST", "/api/clients/FFFFFFFFFFFFFFFF/kick")[0] == 200
    assert control.kicked == [(1, "spam"), (0xFFFFFFFFFFFFFFFF, "")]
    assert call("POST", "/api/clients/00000000000000aa/kick")[0] == 404
    assert call("POST", "/api/clients/00000000000000ee/kick")[0] == 503


def test_members_of_a_channel(call):
    counts = {"p-1": 2, "p-3": 5}
    assert call("GET", "/api/channels/the%20kitchen")[1] == {"channel": "the kitchen", "count": 7, "proxies": counts}
    assert call("GET", "/api/channels/nobody")[1] == {"channel": "nobody", "count": 0, "proxies": {}}


def test_members_that_nobody_could_be_asked_for(call):
    """It is not the same as an empty channel."""
    status, content, _ = call("GET", "/api/channels/too%20many")
    assert (status, content["error"]["status"]) == (503, 503)


def route(call, **asked):
    status, content, _ = call("POST", "/api/route", {"content-type": "application/json"}, msgspec.json.encode(asked))
    return status, content


def test_which_route_takes_a_request(call):
    status, content = route(call, url="http://a.org/new?x")
    assert (status, [step["route"] for step in content["steps"]]) == (200, ["old", "canary", ""])
    assert content["steps"] == [
        {"route": "old", "number": 1, "takes": 0.0, "why": "the path is /new, not /old", "target": "status 410",
         "available": None},
        {"route": "canary", "number": 2, "takes": 25.0, "why": "", "target": "every node", "available": None},
        {"route": "", "number": 0, "takes": 100.0, "why": "", "target": "every node", "available": ["n-1", "n-2"]},
    ]  # fmt: skip
    [step] = route(call, url="/old", method="PUT", headers=[["Host", "a"]])[1]["steps"]
    assert (step["takes"], step["target"]) == (100.0, "status 410")
    takes = {route(call, url="/new", client=format_client_id(n))[1]["steps"][1]["takes"] for n in range(20)}
    assert takes == {0.0, 100.0}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "expected a JSON object as body: Object missing required field `url`"),
        ({"url": "/", "more": 1}, "expected a JSON object as body: Object contains unknown field `more`"),
        ({"url": "x"}, "expected a URL, or a path as /rooms/5, got x"),
        ({"url": "ws://a", "protocol": "http"}, "a message is of another protocol than http"),
        ({"url": "/", "client": "5"}, "expected a client id of 16 hexadecimal digits"),
        ({"url": "http://[/"}, "Invalid IPv6 URL"),
    ],
)
def test_what_is_no_request_to_route(call, asked, message):
    status, content = route(call, **asked)
    assert (status, content["error"]["message"]) == (400, message)


# --- as Kuzzle's cluster plugin -----------------------------------------------------------------------------------


def test_the_plugins_health(call, control):
    assert call("GET", "/_plugin/cluster/health")[:2] == (200, "ok")
    control.is_ready = False
    assert call("GET", "/_plugin/cluster/health")[:2] == (503, "ko")


def test_the_plugins_status(call):
    status, content, _ = call("GET", "/_plugin/cluster/status")
    assert status == 200
    assert content["count"] == 3
    assert content["current"] == {"pub": "tcp://p-1:7511", "router": "tcp://p-1:7510", "ready": True, "id": "p-1"}
    assert [(one["id"], one["ready"]) for one in content["pool"]] == [("p-2", True), ("p-3", False)]
    assert (content["version"], content["epoch"], content["master"], content["keeper"]) == (7, 3, "n-1", "p-1")
    assert content["fenced"] is False
    assert [one["id"] for one in content["proxies"]] == ["p-1", "p-2", "p-3"]


def test_the_plugins_status_of_one_that_is_alone(call, control):
    control.is_alone = True
    content = call("GET", "/_plugin/cluster/status")[1]
    assert (content["count"], content["current"]["id"], content["pool"]) == (1, "p-1", [])


def test_the_plugins_reset(call, control):
    assert call("POST", "/_plugin/cluster/reset")[:2] == (200, "ok")
    assert control.resets == 1
    control.is_alone = True
    status, content, _ = call("POST", "/_plugin/cluster/reset")
    assert (status, content["error"]["message"]) == (409, "this proxy is alone: store.kind is memory")


def test_the_plugins_reset_needs_what_other_changes_need(control):
    call = Caller(control, token="hush")
    assert call("POST", "/_plugin/cluster/reset")[0] == 401
    assert call("GET", "/_plugin/cluster/status")[0] == 401
    assert call("GET", "/_plugin/cluster/health")[0] == 200
    assert call("POST", "/_plugin/cluster/reset", {"authorization": "Bearer hush"})[0] == 200
    page = {"origin": "http://evil.example"}
    assert Caller(control)("POST", "/_plugin/cluster/reset", page)[0] == 403
    assert control.resets == 1


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/api/clients/1/kick", b""),
        ("/api/clients/000000000000000g/kick", b""),
        ("/api/clients/-000000000000001/kick", b""),
        (KICK, b"{"),
        (KICK, b"[]"),
        (KICK, b"\xff"),
        (KICK, b"[" * 60_000),
        (KICK, b'{"reason": 5}'),
        (KICK, b'{"reason": "' + b"x" * 124 + b'"}'),
    ],
)
def test_bad_kicks(call, control, target, body):
    status, content, _ = call("POST", target, {"content-type": "application/json"}, body)
    assert status == 400
    assert "expected" in content["error"]["message"]
    assert control.kicked == []


@pytest.mark.parametrize("target", ["/", "/api", "/api/nodes/", "/api/nodes/n-1", "//health", "", "*", "/HEALTH"])
def test_unknown_paths(call, target):
    status, content, _ = call("GET", target)
    assert (status, content["error"]["status"]) == (404, 404)


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [("POST", "/health", "GET, HEAD"), ("GET", KICK, "POST"), ("OPTIONS", "/api/nodes/n-1/drain", "POST")],
)
def test_wrong_methods(call, method, target, allow):
    status, _, headers = call(method, target)
    assert (status, headers["Allow"]) == (405, allow)


def test_head_is_get(call):
    assert call("HEAD", "/api/status")[0] == 200
    assert call("HEAD", KICK)[0] == 405


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", "Basic hush", "Bearer hushh", "Bearer ü"]
)
def test_a_wrong_token_is_refused(control, authorization):
    call = Caller(control, token="hush", loopback=False)
    headers = {} if authorization is None else {"authorization": authorization}
    for method, target in [("GET", "/metrics"), ("GET", "/api/status"), ("GET", "/api/clients"), ("POST", KICK)]:
        status, content, answer = call(method, target, headers)
        assert status == 401
        assert answer["WWW-Authenticate"].startswith("Bearer")
        assert "hush" not in content["error"]["message"]
    assert control.kicked == []


def test_the_right_token_opens_everything(control):
    call = Caller(control, token="hush", loopback=False)
    for headers in ({"authorization": "Bearer hush"}, {"authorization": "bearer  hush "}):
        assert call("GET", "/api/status", headers)[0] == 200
        assert call("POST", KICK, headers)[0] == 200


def test_probes_need_no_token(control):
    call = Caller(control, token="hush", loopback=False)
    assert call("GET", "/health")[0] == 200
    assert call("GET", "/ready")[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7513", "localhost.evil.example", "10.0.0.1", "", "[::2]:1"]
)
def test_a_name_that_only_resolves_to_loopback_is_refused(call, host):
    for target in ("/api/clients", "/health"):
        status, content, _ = call("GET", target, {"host": host})
        assert status == 403
        assert "admin.bind" in content["error"]["message"]  # what lets it in


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7513", "127.0.0.1", "127.0.0.1:1", "[::1]:7513", "[::1]"])
def test_loopback_by_any_of_its_names(call, host):
    assert call("GET", "/api/clients", {"host": host})[0] == 200


def test_any_host_where_the_server_is_not_bound_to_loopback(control):
    call = Caller(control, token="hush", loopback=False)
    headers = {"host": "proxy.example:7513", "authorization": "Bearer hush"}
    assert call("GET", "/api/status", headers)[0] == 200


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, b"", 415),
        ({"content-type": "text/plain"}, b'{"reason": "x"}', 415),
        ({"content-type": "multipart/form-data; boundary=x"}, b"x", 415),
        ({}, b'{"reason": "x"}', 415),
        ({"origin": "https://evil.example"}, b"", 403),
        ({"origin": "null"}, b"", 403),
        ({"origin": "http://127.0.0.1:8000"}, b"", 403),
        ({"sec-fetch-site": "cross-site"}, b"", 403),
        ({"sec-fetch-site": "same-site"}, b"", 403),
    ],
)
def test_what_a_page_of_another_site_can_send_is_refused(call, control, headers, body, status):
    assert call("POST", KICK, headers, body)[0] == status
    assert call("POST", "/api/nodes/n-1/drain", headers, body)[0] == status
    assert control.kicked == control.drained == []


def test_a_page_of_our_own_may(call):
    own = {"origin": "http://127.0.0.1:7513", "sec-fetch-site": "same-origin", "content-type": "application/json"}
    assert call("POST", KICK, own, b"{}")[0] == 200


def test_a_caller_with_the_token_is_no_page(control):
    call = Caller(control, token="hush")
    headers = {"authorization": "Bearer hush", "content-type": "text/plain", "origin": "https://proxy.example"}
    assert call("POST", KICK, headers)[0] == 200


def test_a_target_that_is_no_url(call):
    assert call("GET", "http://[/health")[0] == 400


@given(st.integers(0, 2**64 - 1))
def test_ids_survive_the_way_through_text(number):
    assert parse_client_id(format_client_id(number)) == number


@given(st.text(max_size=20))
def test_no_other_text_is_an_id(text):
    try:
        number = parse_client_id(text)
    except ValueError:
        return
    assert format_client_id(number) == text.lower()


def test_of_a_probe_neither_query_nor_body_is_read(call):
    """Strangers may send it."""
    assert call("GET", "/health?%41&=", {}, b"{")[0] == 200


def rules(call, **asked):
    body = msgspec.json.encode(asked)
    status, content, _ = call("POST", "/api/channel-rules", {"content-type": "application/json"}, body)
    return status, content


def test_which_rules_take_channels(call):
    status, content = rules(call, channels=["room:5", "x" * 513, "room:5"])
    kept = {"history_messages": 100, "history_bytes": 0, "history_age": 60.0, "presence": True}
    room = {"channel": "room:5", "number": 2, "match": "room:{id}", "parameters": {"id": "5"}, "why": "",
            "subscribe": "node", "publish": "never", **kept}  # fmt: skip
    assert (status, content["channels"][0], content["channels"][2]) == (200, room, room)
    long = content["channels"][1]
    assert (long["number"], long["match"], long["subscribe"], long["history_messages"]) == (0, "", "never", 0)
    assert long["why"] == "its name has 513 bytes, realtime.max_channel_name_bytes is 512"


@pytest.mark.parametrize("channels", [[], [""], ["a"] * 1001, "a", [5]])
def test_what_is_no_list_of_channels(call, channels):
    assert rules(call, channels=channels)[0] == 400

"""Which route takes a request. The compiled table says what the plain definition, `why_not`, says."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.balancer.directory import Node
from holdfast.balancer.health import Health
from holdfast.balancer.route import (
    MAX_LOOKED_INTO,
    Handshake,
    Question,
    decoder_of,
    host_of,
    path_of,
    portion,
    takes_of,
)
from holdfast.balancer.routes import Plan, Routes
from holdfast.balancer.settings import RouteSettings
from holdfast.protocols.nodes.frames import Hello
from tests.balancer.nodes import SETTINGS, KeepingLink


def routes(*settings):
    named = [RouteSettings(**{"name": f"r{number}"} | each) for number, each in enumerate(settings)]
    return Routes(named, [None] * len(named))


def http(table, target="/", method="GET", client=1, **headers):
    given = [(name.replace("_", "-"), value) for name, value in headers.items()]
    rule = table.of_request(method, target, given, client)
    return None if rule is None else rule.order


def message(table, payload=b"", path="/", client=1, protocol="websocket", host="", headers=(), subprotocol=""):
    rule = table.plan(Handshake(protocol, host, path, headers, subprotocol), client).take(payload)
    return None if rule is None else rule.order


# --- the definition, and the table ------------------------------------------------------------------------------

ODD = ["/%41", "/%2541", "/a%2Fb"]  # words that are written in another way than they are
few = {
    "path": st.lists(
        st.sampled_from(["/a", "/a/b", "/{x}", "/a/{x}", "/{x}/b", "/a/*", "/*", "/", "/%41"]), max_size=2
    ),
    "host": st.lists(st.sampled_from(["a.org", "b.a.org", "*.a.org", "*.org"]), max_size=2),
    "method": st.lists(st.sampled_from(["GET", "POST"]), max_size=1),
    "header": st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]), max_size=2),
    "protocol": st.lists(st.sampled_from(["http", "websocket", "mqtt"]), max_size=2),
    "subprotocol": st.lists(st.sampled_from(["v1", "v2"]), max_size=1),
    "field": st.dictionaries(st.sampled_from(["type", "x"]), st.sampled_from(["move", 1, True, "1"]), max_size=2),
    "share": st.sampled_from([100.0, 100.0, 50.0]),
}
OPTIONAL = st.fixed_dictionaries({}, optional=few)


@st.composite
def settings(draw):
    """Most have few conditions: else none would ever be met."""
    given = draw(OPTIONAL)
    kept = draw(st.sets(st.sampled_from(sorted(few)), max_size=3))
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items() if key in kept}


handshakes = st.builds(
    Handshake,
    st.sampled_from(["websocket", "mqtt"]),
    st.sampled_from(["", "a.org", "b.a.org", "c.b.a.org", "org"]),
    st.sampled_from(["/", "/a", "/a/b", "/a/", "/a/b/c", "/c", "/c/b", "//", "/A", "/%41", "/a%2Fb", "/a/%ff", "x"]),
    st.lists(st.tuples(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"])), max_size=2),
    st.sampled_from(["", "v1", "v2"]),
)
payloads = st.sampled_from(
    [b"", b"[]", b"{", b'{"type":"move"}', b'{"type":"m\\u006fve","x":1}', b'{"x":1.0}', b'{"x":true}', b'{"x":"1"}',
     b'{"x":{"x":1},"type":"move"}', b'{"x":[],"x":1}', b'\xff', b'{"type":"\xff","x":1}', b'{"type":null}']
)  # fmt: skip


clients = st.integers(0, 2**63)
asked = st.lists(handshakes, min_size=1, max_size=4)  # of one table, which keeps what it has made for one of them


@given(st.lists(settings(), max_size=12), asked, payloads, clients)
def test_a_message_goes_to_the_first_route_that_has_no_reason_against_it(given, handshakes, payload, client):
    table = routes(*given)
    for handshake in handshakes:
        question = Question(handshake, payload=payload, client=client)
        expected = next((rule for rule in table.rules if not rule.why_not(question)), None)
        assert table.plan(handshake, client).take(payload) is expected
        steps = table.explain(question)
        assert [rule for rule, why in steps if not why] == ([] if expected is None else [expected])


@given(st.lists(settings(), max_size=12), asked, st.sampled_from(["GET", "HEAD", "POST"]), clients)
def test_so_does_an_http_request(given, handshakes, method, client):
    table = routes(*given)
    for handshake in handshakes:
        headers = (
            [*handshake.headers, ("host", handshake.host.upper() + ":80")] if handshake.host else handshake.headers
        )
        question = Question(handshake._replace(protocol="http", headers=headers, subprotocol=""), method, client=client)
        expected = next((rule for rule in table.rules if not rule.why_not(question)), None)
        assert table.of_request(method, handshake.path + "?a=/a", headers, client) is expected


def test_domains_within_domains_are_told_apart_whoever_asks_first():
    for order in (["a.b.org", "c.org", "b.org"], ["c.org", "b.org", "a.b.org"]):
        table = routes({"host": ("*.b.org",)}, {"host": ("*.org",)}, {"host": ("b.org",), "path": ("/x",)})
        assert {host: http(table, host=host) for host in order} == {"a.b.org": 0, "c.org": 1, "b.org": 1}


@given(settings(), settings(), handshakes, payloads, st.sampled_from(["", "GET", "HEAD", "POST"]))
def test_what_covers_another_leaves_nothing_to_it(one, other, handshake, payload, method):
    one, other = routes(one, other).rules
    if method:
        handshake = handshake._replace(protocol="http")
    question = Question(handshake, method, payload)
    if one.covers(other) and not other.why_not(question):
        assert not one.why_not(question)


# --- what each condition means ------------------------------------------------------------------------------------


def test_without_routes_everything_is_for_every_node():
    assert http(routes()) is None
    assert message(routes()) is None


def test_the_first_that_fits_takes_it_and_not_the_most_specific():
    table = routes({"path": ("/a/*",)}, {"path": ("/a/b",)}, {})
    assert [http(table, path) for path in ("/a/b", "/a/", "/a", "/c")] == [0, 0, 2, 2]


def test_escapes_and_whole_urls_are_no_way_around_a_path():
    table = routes({"path": ("/admin/*", "/admin")})
    for target in ("/admin", "/%61dmin/x", "/admin/%ff", "http://a.org/admin", "http://a.org/admin/x?y", "/admin?x"):
        assert http(table, target) == 0, target
    for target in ("//admin", "/x/../admin", "/admin%2Fx", "*", "http://a.org?/admin", "http://admin"):
        assert http(table, target) is None, target


def test_a_pattern_is_written_as_a_path_is():
    table = routes({"path": ("/%2541",)}, {"path": ("/a%2Fb",)}, {"path": ("/%41",)})
    assert [http(table, path) for path in ("/%2541", "/%41", "/A", "/a%2fb", "/a/b")] == [0, 2, 2, 1, None]


def test_a_host_counts_without_its_port_and_in_any_case():
    table = routes({"host": ("example.org",)}, {"host": ("*.example.org", "[::1]")})
    for host, expected in (
        ("Example.ORG:7512", 0),
        ("example.org.", 0),
        ("a.b.example.org", 1),
        ("[::1]:80", 1),
        ("badexample.org", None),
        ("", None),
    ):
        assert http(table, host=host) == expected, host
        assert message(table, host=host_of([("host", host)])) == expected, host
    assert http(table) is None


def test_get_is_head_too_and_a_method_is_none_of_a_message():
    table = routes({"method": ("GET",)})
    assert [http(table, method=method) for method in ("GET", "HEAD", "POST")] == [0, 0, None]
    assert message(table) is None


def test_one_of_several_headers_of_a_name_is_enough_and_all_names_count():
    table = routes({"header": {"x": "1", "y": "2"}})
    assert table.of_request("GET", "/", [("x", "0"), ("x", "1"), ("y", "2")], 1) is table.rules[0]
    assert http(table, x="1") is None


def test_values_of_a_field_are_of_their_types():
    table = routes({"field": {"x": 1}}, {"field": {"x": True}}, {"field": {"x": "1"}})
    came = (1, True, "1", 1.0, None, [1], "")
    assert [message(table, json.dumps({"x": value}).encode()) for value in came] == [0, 1, 2, None, None, None, None]


def test_several_fields_are_all_wanted_and_the_first_route_counts():
    table = routes({"field": {"a": 1, "b": 2}}, {"field": {"b": 2}}, {"field": {"a": 1}}, {})
    for came, expected in (({"a": 1, "b": 2}, 0), ({"b": 2}, 1), ({"a": 1}, 2), ({"a": 1, "b": 3}, 2), ({}, 3)):
        assert message(table, json.dumps(came).encode()) == expected


def test_too_long_a_message_is_not_looked_into():
    table = routes({"field": {"type": "move"}})
    short = b'{"type":"move","rest":"%s"}'
    assert message(table, short % (b"x" * (MAX_LOOKED_INTO - len(short) + 2))) == 0
    assert message(table, short % (b"x" * (MAX_LOOKED_INTO - len(short) + 3))) is None


def test_only_the_fields_that_are_asked_for_are_read_and_no_large_one():
    read = decoder_of(["a", "b"])
    assert read(b'{"a":1,"c":2}') == {"a": (int, 1)}
    assert read(b'{"a":"%s","b":2}' % (b"x" * 5000)) == {"b": (int, 2)}
    assert read(b'{"a":"%s"}' % (b"\\u0041" * 512)) == {"a": (str, "A" * 512)}
    assert decoder_of([])(b"{}") == {}


def test_a_redirect_is_for_http_only():
    table = routes({"redirect": "https://a.org/", "status": 307})
    assert http(table) == 0
    assert message(table) is None


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a?b", "/a"),
        ("http://h/a?b", "/a"),
        ("http://h", "/"),
        ("http://h?a/b", "/"),
        ("*", "*"),
        ("/a?x://y/z", "/a"),
    ],
)
def test_the_path_of_a_target(target, path):
    assert path_of(target) == path


# --- shares ---------------------------------------------------------------------------------------------------------


def test_a_client_stays_on_its_side_and_shares_are_as_large_as_they_say():
    table = routes({"share": 10.0}, {})
    prefix = 0x1234567 << 32  # ids of one proxy only count
    taken = [message(table, client=prefix + number) for number in range(20_000)]
    assert taken == [http(table, client=prefix + number) for number in range(20_000)]
    assert 1800 < Counter(taken)[0] < 2200


def test_shares_of_two_routes_are_not_the_same_clients():
    table = routes({"share": 50.0}, {"share": 50.0}, {})
    counts = Counter(http(table, client=number) for number in range(4000))
    assert all(abs(counts[order] - expected) < 200 for order, expected in ((0, 2000), (1, 1000), (2, 1000)))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**63))
def test_everybody_is_within_a_hundred(seed, client):
    assert 0 <= portion(seed, client) <= 100


def test_clients_with_the_same_routes_share_their_plan():
    table = routes({"path": ("/a",)}, {"share": 50.0}, {})
    plans = {id(table.plan(Handshake("websocket", "", "/b", ()), client)) for client in range(100)}
    assert len(plans) == 2


def test_plans_are_bounded(monkeypatch):
    monkeypatch.setattr("holdfast.balancer.routes.MAX_PLANS", 8)
    table = routes(*[{"share": 50.0}] * 10, {})
    for client in range(200):
        assert isinstance(table.plan(Handshake("websocket", "", "/", ()), client), Plan)
        assert len(table._plans) <= 8


# --- in words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"protocol": ("http",)}, "the protocol is websocket, not http"),
        ({"method": ("GET",)}, "a method is one of an HTTP request, and this is a message"),
        ({"redirect": "/", "status": 301}, "only an HTTP request can be redirected, and this is a message"),
        ({"host": ("b.org", "*.c.org")}, "the host is a.org, not *.c.org or b.org"),
        ({"path": ("/b", "/c/*")}, "the path is /a, not /b or /c/*"),
        ({"header": {"x": "2"}}, "the header x is 1, not 2"),
        ({"header": {"z": "2"}}, "the header z is not given, not 2"),
        ({"subprotocol": ("v1",)}, "the subprotocol is none, not v1"),
        ({"field": {"type": "jump"}}, 'the message has not the field "type":"jump"'),
        ({"field": {"type": "move"}, "path": ("/a",)}, ""),
    ],
)
def test_why_a_message_is_not_taken(settings, why):
    [rule] = routes(settings).rules
    assert (
        rule.why_not(Question(Handshake("websocket", "a.org", "/a", [("x", "1")]), payload=b'{"type":"move"}')) == why
    )


def test_why_a_request_is_not_taken():
    asked = Question(Handshake("http", "", "/", ()), "POST", client=5)
    whys = [rule.why_not(asked) for rule in routes({"method": ("GET",)}, {"field": {"a": 1}}, {"share": 1.0}).rules]
    assert whys == [
        "the method is POST, not GET or HEAD",
        "a field is one of a message, and this is an HTTP request",
        "the client is not among the 1 % that it takes",
    ]


def test_an_explanation_goes_on_behind_a_share_when_no_client_is_named():
    table = routes({"path": ("/a",)}, {"share": 10.0}, {}, {})
    steps = table.explain(Question(Handshake("http", "", "/", ()), "GET"))
    assert [(rule.order, bool(why)) for rule, why in steps] == [(0, True), (1, False), (2, False)]


# --- nodes ------------------------------------------------------------------------------------------------------------


def node(id, name, **hello):
    return Node(Hello(1, id, name, 1, 4, **hello), KeepingLink(), Health(SETTINGS), 0.0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "abc"),
        ({"nodes": ("*",)}, "abc"),
        ({"nodes": ("chat", "mail")}, "ab"),
        ({"labels": {"version": "2"}}, "bc"),
        ({"nodes": ("chat",), "labels": {"version": "2"}}, "b"),
        ({"labels": {"version": "2", "zone": "x"}}, ""),
    ],
)
def test_whose_nodes_a_route_has(settings, expected):
    takes = takes_of(RouteSettings("r", **settings))
    nodes = {
        "a": node("a", "chat", labels={"version": "1"}),
        "b": node("b", "chat", labels={"version": "2"}),
        "c": node("c", "other", labels={"version": "2", "zone": "y"}),
    }
    deaf = node("d", "chat", labels={"version": "2"}, takes_requests=False)
    assert "".join(id for id, each in nodes.items() if takes(each)) == expected
    assert not takes(deaf)

"""Routes of a file: what is taken, and in which words the rest is refused."""

from http import HTTPMethod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.balancer.route import Rule
from holdfast.balancer.settings import RouteSettings
from holdfast.proxy.config import Config, examine, routes
from holdfast.proxy.config.routes import KEYS, MAX_ROUTES, as_toml, read
from holdfast.proxy.config.sections import ClientSettings
from holdfast.proxy.config.unreached import METHODS, unreachable, unreached
from tests.harness import running, websocket
from tests.proxy.config.borne import FLOATS, INTEGERS, TEXTS

A_REDIRECT = (
    "https://HOST/..., http://HOST/... or a path, with {target} for the request's path and query, from its / on"
)
A_HEADER = '"Name: value", a list of these, or {Name = "value"}'
A_HOST = "a host without scheme, port and path, as example.org or *.example.org"
A_FIELD = "a text, a whole number, true or false"
A_VALUE = "a header's value as text, of at most 1024 characters"


def one(**table):
    found = read([table])
    assert found.problems == []
    [route] = found.routes
    return route


def refused(**table):
    [problem] = read([table]).problems
    return problem.removesuffix(" (route 1)")


def test_every_key_is_told_read_and_printed():
    assert list(KEYS) == list(routes._CONVERT)
    assert sorted(KEYS) == sorted(RouteSettings.__struct_fields__)
    assert all(meaning.endswith(".") for _, meaning in KEYS.values())


def test_every_form_of_value():
    route = one(
        name="all",
        path="/rooms/{id}",
        host=["Example.org", "*.Example.org"],
        method="post",
        header={"X-A": " 1 "},
        protocol="http",
        nodes="chat",
        labels={"version": 2, "zone": "a"},
        share=12,
        policy="sticky",
        timeout="500ms",
        redelivery="never",
        max_in_flight=5,
    )
    assert route == RouteSettings(
        "all",
        path=("/rooms/{id}",),
        host=("example.org", "*.example.org"),
        method=("POST",),
        header={"x-a": "1"},
        protocol=("http",),
        nodes=("chat",),
        labels={"version": "2", "zone": "a"},
        share=12.0,
        policy="sticky",
        timeout=0.5,
        redelivery="never",
        max_in_flight=5,
    )
    assert one(header="X-A: b: c", nodes="*").header == {"x-a": "b: c"}
    assert one(header=["A: 1", "B:"], nodes="*").header == {"a": "1", "b": ""}
    assert one(field={"type": "move", "n": 1, "b": True}, subprotocol=["v1"], nodes="*").field["b"] is True
    assert one(redirect="/there").status == 307
    for redirect in (
        "/",
        "/new{target}",
        "/?from={target}",
        "/a//b{target}",
        "https://a.org{target}",
        "http://[::1]:80",
    ):
        assert one(redirect=redirect).redirect == redirect
    assert one(redirect="https://a.org:1/x?y={target}", status=308).status == 308
    assert one(status=200, body="", headers={"X-A": "1"}).headers == {"X-A": "1"}


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"pth": "/", "nodes": "a"}, "no such key pth; did you mean path?"),
        ({"path": "rooms", "nodes": "a"}, "path: the path of a route begins with a slash, as /rooms/{id}, got 'rooms'"),
        ({"path": "/a*", "nodes": "a"}, "path: a * stands for all that follows, at the end, as /static/*, got '/a*'"),
        ({"path": [], "nodes": "a"}, "path: expected text, or a list of texts, got []"),
        ({"path": {"a": 1}, "nodes": "a"}, "path: expected text, or a list of texts, got a table"),
        ({"host": "a:80", "nodes": "a"}, f'host: expected {A_HOST}, got "a:80"'),
        ({"host": "https://a.org", "nodes": "a"}, f'host: expected {A_HOST}, got "https://a.org"'),
        ({"host": "a.org/x", "nodes": "a"}, f'host: expected {A_HOST}, got "a.org/x"'),
        ({"host": "b\xfccher.de", "nodes": "a"},
         f'host: expected {A_HOST}, in ASCII, as xn--bcher-kva.example, got "b\xfccher.de"'),
        ({"host": "[1::2::3]", "nodes": "a"},
         'host: expected an address of IPv6 in brackets, as [2001:db8::1], got "[1::2::3]"'),
        ({"nodes": "x" * 300},
         "nodes: id and name of a node have 1 to 256 bytes and no control characters"),
        ({"labels": {"a": "x" * 300}},
         "labels: a label's name has 1 to 256 bytes, its value at most that, and no control characters"),
        ({"labels": {str(n): "x" for n in range(65)}}, "labels: a node has at most 64 labels, got 65"),
        ({"labels": {"version": 1.5}},
         "labels: version: expected text of 1 to 1024 characters that can be printed, got 1.5"),
        ({"header": {"A": "\u20ac"}, "nodes": "a"},
         'header: A: expected what a header can bring, characters of ISO 8859-1, got "\u20ac"'),
        ({"field": {"a": "x", "long": "x" * 600}, "nodes": "a"},
         f'field: long: expected a value of at most 512 bytes, got "{"x" * 56}...'),
        ({"headers": {"X": "a\nb"}, "status": 404}, f'headers: X: expected {A_VALUE}, got "a\\nb"'),
        ({"method": "GET,POST", "nodes": "a"}, 'method: expected a word as headers have it, got "GET,POST"'),
        ({"header": "X-A", "nodes": "a"}, f'header: expected {A_HEADER}, got "X-A"'),
        ({"header": {"a b": "1"}, "nodes": "a"}, 'header: name: expected a word as headers have it, got "a b"'),
        ({"header": {"a": "1\r\n"}, "nodes": "a"},
         f'header: a: expected {A_VALUE}, got "1\\r\\n"'),
        ({"field": {"x": 1.5}, "nodes": "a"}, f"field: x: expected {A_FIELD}, got 1.5"),
        ({"field": "type", "nodes": "a"}, 'field: expected a table, as {type = "move"}, got "type"'),
        ({"share": 0, "nodes": "a"}, "share: expected per cent, above 0 up to 100, got 0"),
        ({"share": 101, "nodes": "a"}, "share: expected per cent, above 0 up to 100, got 101"),
        ({"policy": "best"},
         'policy: expected one of failover, round-robin, least-in-flight, p2c-ewma, weighted, sticky, got "best"'),
        ({"timeout": 0}, 'timeout: expected seconds, above 0, such as 0.5, "500ms", "10s" or "2m", got 0'),
        ({"max_in_flight": -1}, "max_in_flight: expected a whole number above 0, got -1"),
        ({"labels": {}}, 'labels: expected a table, as {version = "2"}, got a table'),
        ({"status": 99}, "status: expected a status from 200 to 599, got 99"),
        ({"status": 204, "body": "x"}, "body: expected none with status 204"),
        ({"status": 200, "headers": {"a:b": "1"}}, 'headers: name: expected a word as headers have it, got "a:b"'),
        ({"status": 200, "headers": {"a": "\u20ac"}}, "headers: a reply's header 'a' can't be sent"),
        ({"redirect": "a.org"}, f'redirect: expected {A_REDIRECT}, got "a.org"'),
        ({"redirect": "https://{target}"}, f'redirect: expected {A_REDIRECT}, got "https://{{target}}"'),
        ({"redirect": "/{target}"}, f'redirect: expected {A_REDIRECT}, got "/{{target}}"'),
        ({"redirect": "{target}"}, f'redirect: expected {A_REDIRECT}, got "{{target}}"'),
        ({"redirect": "//evil.org{target}"}, f'redirect: expected {A_REDIRECT}, got "//evil.org{{target}}"'),
        ({"redirect": "/\\evil.org"}, f'redirect: expected {A_REDIRECT}, got "/\\\\evil.org"'),
        ({"redirect": "//a.org{target}"}, f'redirect: expected {A_REDIRECT}, got "//a.org{{target}}"'),
        ({"redirect": "/\\a.org"}, f'redirect: expected {A_REDIRECT}, got "/\\\\a.org"'),
        ({"redirect": "https://a.org\\@b.org/"}, f'redirect: expected {A_REDIRECT}, got "https://a.org\\\\@b.org/"'),
        ({"redirect": "/", "status": 200}, "status: expected one of 301, 302, 303, 307, 308 for a redirect, got 200"),
        ({"path": "/"},
         "nothing to do: expected one of nodes, labels, policy, timeout, redelivery, max_in_flight, status, redirect; "
         'nodes = "*" for every node'),
        ({"status": 404, "nodes": "a"}, "nodes: expected none beside status, which is an answer"),
        ({"redirect": "/", "timeout": 1}, "timeout: expected none beside redirect, which is an answer"),
        ({"nodes": "a", "body": "x"}, "body: expected status, or none of it"),
        ({"protocol": "websocket", "method": "GET", "nodes": "a"},
         "takes nothing: HTTP requests alone have method, messages alone protocol websocket"),
        ({"protocol": "http", "field": {"a": 1}, "nodes": "a"},
         "takes nothing: HTTP requests alone have protocol http, messages alone field"),
        ({"subprotocol": "a", "redirect": "/"},
         "takes nothing: HTTP requests alone have redirect, messages alone subprotocol"),
    ],
)  # fmt: skip
def test_what_is_refused(table, line):
    assert refused(**table) == line


def test_a_refusal_names_the_route():
    found = read([{"nodes": "a"}, {"name": "chat", "share": 0, "pth": 1}, {"name": "route 1", "nodes": "a"}])
    assert found.problems == [
        'share: expected per cent, above 0 up to 100, got 0 (route 2, "chat")',
        'no such key pth; did you mean path? (route 2, "chat")',
        'name: "route 1" is another route\'s, too (route 3)',
    ]


@pytest.mark.parametrize("value", [{"path": "/"}, "x", 1, [1], [[]]])
def test_routes_are_tables_in_a_list(value):
    assert read(value).problems == ["expected routes as [[route]], with two brackets"]


def test_routes_are_bounded():
    assert read([{"status": 404}] * (MAX_ROUTES + 1)).problems == ["expected at most 1000 routes, got 1001"]


def test_the_file_is_the_only_place_for_routes(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("[route]\nnodes = 1\n")
    assert examine(file, {})[1] == [f"{file}: [[route]]: expected routes as [[route]], with two brackets"]
    expected = "routes are given in the file only, as [[route]]"
    assert examine(None, {"HOLDFAST__ROUTE__NODES": "a"})[1] == [f"HOLDFAST__ROUTE__NODES: {expected}"]
    assert examine(None, {}, ["route.nodes=a"])[1] == [f"--set: {expected}"]
    file.write_text("[[routes]]\nnodes = 1\n")
    assert examine(file, {})[1] == [f"{file}: no such section [routes]; did you mean route?"]
    assert Config().route == ()


@pytest.mark.parametrize(
    ("first", "second", "is_reached"),
    [
        ({}, {"path": "/a"}, False),
        ({"path": "/a/*"}, {"path": ["/a/b", "/a/{c}/*"]}, False),
        ({"path": "/a/*"}, {"path": ["/a/b", "/b"]}, True),
        ({"share": 99}, {}, True),
        ({"method": ["GET"]}, {"method": ["HEAD"]}, False),
        ({"method": ["GET"]}, {"method": ["GET"], "field": {}}, False),
        ({"method": ["GET"]}, {}, True),
        ({"host": "*.a.org"}, {"host": ["b.a.org", "*.b.a.org"]}, False),
        ({"host": "a.org"}, {"host": "*.a.org"}, True),
        ({"header": "A: 1"}, {"header": ["A: 1", "B: 2"], "path": "/"}, False),
        ({"header": ["A: 1", "B: 2"]}, {"header": "A: 1"}, True),
        ({"field": {"a": 1}}, {"field": {"a": 1, "b": 2}}, False),
        ({"field": {"a": 1}}, {"field": {"a": True}}, True),
        ({"protocol": ["http", "websocket"]}, {"protocol": "http"}, False),
        ({"subprotocol": ["a", "b"]}, {"subprotocol": "a"}, False),
    ],
)
def test_what_is_never_reached_is_a_warning(first, second, is_reached):
    second = {key: value for key, value in second.items() if value}
    found = read([{**first, "name": "one", "nodes": "a"}, {**second, "name": "two", "status": 404}])
    assert not found.problems
    warning = "two (route 2) is never reached: one (route 1) takes all that it would"
    assert list(unreachable(found.routes)) == ([] if is_reached else [warning])


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"protocol": "ws"},
         "route 1: protocol: nobody speaks ws here, but http, websocket, mqtt; client.protocols has others"),
        ({"protocol": ["http", "websockets"], "name": "chat"},
         "chat (route 1): protocol: nobody speaks websockets here, but http, websocket, mqtt; client.protocols has "
         "others"),
        ({"protocol": ["mqtt", "websocket"], "subprotocol": "v2"}, None),
        ({"subprotocol": ["v1", "v3"]},
         "route 1: subprotocol: nobody agrees on v3 here: client.subprotocols has v1, v2"),
        ({"method": "GTE"}, "route 1: method: GTE is no registered method of HTTP; did you mean GET?"),
        ({"method": "XYZZY"}, "route 1: method: XYZZY is no registered method of HTTP"),
        ({"method": ["get", "PROPFIND", "PURGE"]}, None),
    ],
)  # fmt: skip
def test_what_nobody_can_ask_here_is_a_warning(table, line):
    found = read([{**table, "nodes": "a"}])
    assert not found.problems
    client = ClientSettings(protocols=("mqtt://127.0.0.1:1883",), subprotocols=("v1", "v2"))
    assert list(unreached(found.routes, client)) == ([] if line is None else [line])
    assert {method.value for method in HTTPMethod} <= METHODS


def test_without_preferences_the_subprotocol_is_the_client_s():
    assert list(unreached(read([{"subprotocol": "any", "nodes": "a"}]).routes, ClientSettings())) == []


def test_a_thousand_are_not_compared_with_each_other(monkeypatch):
    compared = []
    covers = Rule.covers
    monkeypatch.setattr(Rule, "covers", lambda *rules: compared.append(rules) or covers(*rules))
    table = [{"path": [f"/a/{n}/{{b}}", f"/b/{n}"], "nodes": "a"} for n in range(500)] * 2
    found = read([{**route, "name": f"r{n}"} for n, route in enumerate(table)])
    assert len(list(unreachable(found.routes))) == 500
    assert len(compared) == 500


odd = st.one_of(
    st.sampled_from(
        [*TEXTS, *INTEGERS, *FLOATS, True, False, [], {}, "GET", "/", "/{a}", "*", "a.org", "http", "sticky", "a: b"]
    ),
    st.lists(st.sampled_from(["", "/", "a", "*.a", "a:b", "{x}", 1, None]), max_size=3),
    st.dictionaries(
        st.sampled_from(["", "a", "A b", "\n", "x-\u00fc"]), st.sampled_from(["", "1", 1, True, 1.5, None, [], "\n"])
    ),
)


@given(st.dictionaries(st.sampled_from([*KEYS, "other"]), odd, max_size=6))
def test_whatever_stands_there_is_taken_or_refused_in_lines(table):
    found = read([table])
    assert bool(found.problems) != bool(found.routes) or found.problems
    assert not any("\n" in line for line in found.problems)
    assert all(len(line) < 400 for line in found.problems)


valid = st.fixed_dictionaries(
    {"nodes": st.sampled_from(["*", "a", ["a", "b"]])},
    optional={
        "path": st.sampled_from(["/", "/{a}/*", ["/a", "/\u00fc%20/{b}"]]),
        "host": st.sampled_from(["a.org", "*.a.org", "[::1]"]),
        "header": st.dictionaries(st.sampled_from(["a", "B-c"]), st.sampled_from(["", "1", '"\\']), min_size=1),
        "field": st.dictionaries(
            st.text(min_size=1, max_size=5, alphabet='a"\\ \u00e4.'), st.sampled_from([1, True, "\x7f"]), min_size=1
        ),
        "labels": st.dictionaries(st.sampled_from(["v", "a b"]), st.sampled_from(["1", "\u00fc"]), min_size=1),
        "share": st.floats(0.1, 100),
        "timeout": st.floats(0.001, 1000),
        "policy": st.sampled_from(["sticky", "weighted"]),
        "name": st.text(min_size=1, max_size=9, alphabet='x"\\ \u00e4.'),
    },
)


@given(st.lists(valid, max_size=3))
def test_what_is_printed_is_read_as_the_same(tmp_path_factory, tables):
    found = read(tables)
    if found.problems:  # two of one name
        assert all("another route's" in line for line in found.problems)
        return
    file = tmp_path_factory.mktemp("routes") / "a.toml"
    file.write_text("\n".join("\n".join(["[[route]]", *as_toml(route)]) for route in found.routes), encoding="utf-8")
    loaded, problems = examine(file, {})
    assert problems == []
    assert loaded.config.route == found.routes


async def test_a_proxy_bears_a_thousand_routes():
    table = [{"path": f"/p{number}", "nodes": "a", "timeout": 1 + number % 3} for number in range(MAX_ROUTES - 1)]
    async with running(route=[*table, {"field": {"type": "x"}, "status": 200, "body": "y"}]) as proxy:
        async with websocket(proxy) as client:
            await client.send('{"type":"x"}')
            assert await client.recv() == "y"


@given(st.lists(valid, max_size=5))
def test_all_that_is_never_reached_is_found(tables):
    tables = [{**table, "name": f"r{number}"} for number, table in enumerate(tables)]
    rules = [Rule(order, route, None) for order, route in enumerate(read(tables).routes)]
    expected = [rule for rule in rules if any(earlier.covers(rule) for earlier in rules[: rule.order])]
    found = list(unreachable([rule.settings for rule in rules]))
    assert [line.partition(" ")[0] for line in found] == [rule.name for rule in expected]

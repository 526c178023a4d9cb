"""HTTP routes: which action a URL means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import ConfigError
from holdfast.kuzzle.routes import NATIVE, Routes


@pytest.fixture
def routes():
    table = Routes()
    for controller, action in NATIVE:
        table.add(controller, action)
    return table


@pytest.mark.parametrize(
    ("verb", "path", "name", "args"),
    [
        ("GET", "/", "server:info", {}),
        ("GET", "/_now", "server:now", {}),
        ("GET", "/_now/", "server:now", {}),
        ("GET", "/_me", "auth:getCurrentUser", {}),
        ("POST", "/_login/local", "auth:login", {"strategy": "local"}),
        ("POST", "/taxi/yellow/_create", "document:create", {"index": "taxi", "collection": "yellow"}),
        ("POST", "/taxi/yellow/7/_create", "document:create", {"index": "taxi", "collection": "yellow", "_id": "7"}),
        ("GET", "/taxi/yellow/7", "document:get", {"index": "taxi", "collection": "yellow", "_id": "7"}),
        ("GET", "/taxi/yellow/_exists", "collection:exists", {"index": "taxi", "collection": "yellow"}),
        ("GET", "/taxi/_exists", "index:exists", {"index": "taxi"}),
        ("GET", "/taxi/_list", "collection:list", {"index": "taxi"}),
        ("PUT", "/taxi/yellow", "collection:create", {"index": "taxi", "collection": "yellow"}),
        ("POST", "/taxi/yellow/_publish", "realtime:publish", {"index": "taxi", "collection": "yellow"}),
        ("GET", "/a%2Fb/%E2%82%AC/x%20y", "document:get", {"index": "a/b", "collection": "€", "_id": "x y"}),
        ("GET", "/taxi//yellow/7", "document:get", {"index": "taxi", "collection": "yellow", "_id": "7"}),
    ],
)
def test_native_routes(routes, verb, path, name, args):
    route, found = routes.find(verb, path)
    assert f"{route.controller}:{route.action}" == name
    assert found == args


@pytest.mark.parametrize(
    ("verb", "path"), [("GET", "/a/b/c/d"), ("GET", "/_now/x"), ("POST", "/_now"), ("DELETE", "/"), ("GET", "/a")]
)
def test_what_is_no_route(routes, verb, path):
    assert routes.find(verb, path) is None


segments = st.text(st.characters(exclude_characters="/%?#", codec="utf-8"), min_size=1, max_size=8)


@given(segments.filter(lambda s: not s.startswith("_")), segments, segments.filter(lambda s: not s.startswith("_")))
def test_parameters_come_out_as_they_went_into_the_url(index, collection, document):
    from urllib.parse import quote

    table = Routes()
    table.add("document", "get")
    route, args = table.find("GET", "/" + "/".join(quote(part, safe="") for part in (index, collection, document)))
    assert route.action == "get"
    assert args == {"index": index, "collection": collection, "_id": document}


def test_an_action_has_its_own_routes_or_one_by_its_name():
    table = Routes()
    table.add("taxi", "callNow", http=[("POST", "/taxi/:number/call")])
    table.add("taxiFleet", "listAll")
    table.add("realtime", "subscribe", http=())
    assert table.find("POST", "/taxi/7/call")[1] == {"number": "7"}
    assert table.find("GET", "/_/taxi-fleet/list-all")[0].action == "listAll"
    assert table.public_api() == {
        "taxi": {
            "callNow": {
                "action": "callNow",
                "controller": "taxi",
                "http": [{"path": "/taxi/:number/call", "url": "/taxi/:number/call", "verb": "POST"}],
            }
        },
        "taxiFleet": {
            "listAll": {
                "action": "listAll",
                "controller": "taxiFleet",
                "http": [{"path": "/_/taxi-fleet/list-all", "url": "/_/taxi-fleet/list-all", "verb": "GET"}],
            }
        },
        "realtime": {"subscribe": {"action": "subscribe", "controller": "realtime"}},
    }


def test_a_word_wins_only_if_a_route_lies_behind_it(routes):
    routes.add("taxi", "call", http=[("POST", "/taxi/:number/call"), ("POST", "/taxi/:number/_create")])
    assert routes.find("POST", "/taxi/7/call")[0].controller == "taxi"
    assert routes.find("POST", "/taxi/7/_create")[0].controller == "taxi"
    assert routes.find("POST", "/taxi/rides/_search")[1] == {"index": "taxi", "collection": "rides"}
    assert routes.find("POST", "/taxi/rides/7/_create")[1] == {"index": "taxi", "collection": "rides", "_id": "7"}


def test_mistakes_of_the_author_are_refused():
    table = Routes()
    table.add("server", "now")
    with pytest.raises(ConfigError, match="GET /_now is a route already"):
        table.add("clock", "now", http=[("GET", "/_now")])
    with pytest.raises(ConfigError, match="a route is a pair"):
        table.add("clock", "now", http=[("FETCH", "/clock")])
    with pytest.raises(ConfigError, match="a route is a pair"):
        table.add("clock", "now", http=[("GET", "clock")])

import pytest

from holdfast import Fields, Headers, HttpInfo, Request
from tests.holdfast.node.test_request import whom


def asked(query="", headers=()):
    client = whom(path="/rooms/7", headers=headers, query=query)
    return Request(b"", True, client)


def test_a_mapping_has_the_first_of_each_name_and_get_all_has_all():
    fields = Fields([("a", "1"), ("b", "2"), ("a", "3")])
    assert (fields["a"], fields.get("b"), fields.get("c"), fields.get("c", "x")) == ("1", "2", None, "x")
    assert (fields.get_all("a"), fields.get_all("c")) == (["1", "3"], [])
    assert (dict(fields), len(fields), list(fields)) == ({"a": "1", "b": "2"}, 2, ["a", "b"])
    assert fields.pairs == (("a", "1"), ("b", "2"), ("a", "3"))
    assert "a" in fields
    with pytest.raises(KeyError):
        fields["c"]


def test_equal_are_those_with_equal_pairs():
    one = Fields([("a", "1"), ("a", "2")])
    assert one == Fields([("a", "1"), ("a", "2")])
    assert one != Fields([("a", "1"), ("a", "3")])
    assert len({one, Fields([("a", "1"), ("a", "2")])}) == 1
    assert one == {"a": "1"}
    assert repr(one) == "Fields([('a', '1'), ('a', '2')])"


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("", ()),
        ("a=1&b=%C3%A4+%2B&a=", (("a", "1"), ("b", "ä +"), ("a", ""))),
        ("flag", (("flag", ""),)),
        ("a=b=c&&=d", (("a", "b=c"), ("", "d"))),
        ("a=1;b=2", (("a", "1;b=2"),)),
        ("%ff=%zz", (("\N{REPLACEMENT CHARACTER}", "%zz"),)),
    ],
)
def test_a_query_is_read_as_a_browser_makes_it(query, pairs):
    assert asked(query).query.pairs == pairs


@pytest.mark.parametrize(
    ("headers", "pairs"),
    [
        ([], ()),
        ([""], ()),
        (["a=1; b=2"], (("a", "1"), ("b", "2"))),
        (["a=1;b=2;", "c=3"], (("a", "1"), ("b", "2"), ("c", "3"))),  # HTTP/2 splits it, some balancers leave it so
        (["token=YWJj=="], (("token", "YWJj=="),)),
        (['q="a b"; r=%20'], (("q", '"a b"'), ("r", "%20"))),
        (["a=1; alone; =; a=2"], (("a", "1"), ("", "alone"), ("a", "2"))),
    ],
)
def test_cookies_are_as_a_browser_sends_them(headers, pairs):
    assert asked(headers=[("Cookie", header) for header in headers]).cookies.pairs == pairs


def test_the_first_of_several_cookies_counts():
    """RFC 6265 section 5.4: it is the one with the longest path."""
    assert asked(headers=[("cookie", "a=near; a=far")]).cookies["a"] == "near"


def test_a_request_has_them_of_its_client_or_of_its_own_head():
    request = asked("room=7", [("cookie", "a=b")])
    assert (request.path, request.query["room"], request.cookies["a"]) == ("/rooms/7", "7", "b")
    assert request.query is request.query  # parsed once
    assert request.cookies is request.cookies
    headers = Headers([("cookie", "c=d")])
    client = whom(path="/x", headers=headers, query="y=1")
    http = Request(b"", False, client, HttpInfo("GET", "/x?y=1", headers))
    assert (http.path, http.query["y"], http.cookies["c"]) == ("/x", "1", "d")

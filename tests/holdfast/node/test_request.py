import pytest

from holdfast import Client, Headers, Request, RequestError
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.nodes import frames


def test_headers_are_pairs_and_found_in_any_case():
    headers = Headers([("host", "a"), ("Set-Cookie", "1"), ("set-cookie", "2")])
    assert headers == [("host", "a"), ("Set-Cookie", "1"), ("set-cookie", "2")]
    assert headers.get("HOST") == "a"
    assert headers.get("set-COOKIE") == "1"
    assert headers.get_all("SET-cookie") == ["1", "2"]
    assert headers.get("none") is None
    assert headers.get("none", "x") == "x"


def test_a_client_is_its_id():
    first = Client.of(frames.Client(1, "websocket", "a", "/", []))
    same = Client.of(frames.Client(1, "websocket", "b", "/x", [("a", "b")]))
    other = Client.of(frames.Client(2, "websocket", "a", "/", []))
    assert first == same
    assert first != other
    assert first != 1
    assert {first, same, other} == {first, other}


def test_a_client_has_what_its_frame_says():
    client = Client.of(frames.Client(1, "websocket", "a", "/x", [("A", "b")], "c=d"))
    assert (client.protocol, client.address, client.path, client.query) == ("websocket", "a", "/x", "c=d")
    assert client.headers.get("a") == "b"


def test_what_is_said_of_a_client_is_read_when_it_is_asked_for():
    client = Client.of(frames.Client(1, "websocket", "a", "/", [], data=b'{"a":[]}', claims=b'{"sub":"ada"}'))
    assert (client.data, client.claims) == ({"a": []}, {"sub": "ada"})
    client.data["a"].append(1)
    assert client.data == {"a": []}
    nobody = Client.of(frames.Client(1, "websocket", "a", "/", []))
    assert (nobody.data, nobody.claims) == (None, {})


@pytest.mark.parametrize("told", [b"{", b'"\xff"', b"[" * 8000])
def test_what_can_not_be_read_of_a_client_harms_only_who_reads_it(told):
    """No session may end for it, so not even a client can't be made of it."""
    client = Client.of(frames.Client(1, "websocket", "a", "/", [], data=told, claims=told))
    with pytest.raises(HoldfastError, match="can't be read"):
        _ = client.data
    with pytest.raises(HoldfastError, match="can't be read"):
        _ = client.claims


def whom(path="/", headers=(), query=""):
    return Client(1, "websocket", "a", path, Headers(headers), query)


@pytest.mark.parametrize("payload", [b"", b"{", b'"\xff"', b"[" * 100_000])
def test_what_is_no_json_is_the_client_s_mistake(payload):
    with pytest.raises(RequestError) as info:
        Request(payload, True, whom()).json()
    assert info.value.status == 400


def test_the_payload_as_text():
    assert Request("ä".encode(), False, whom()).text == "ä"
    with pytest.raises(RequestError) as info:
        Request(b"\xff", False, whom()).text  # noqa: B018
    assert info.value.status == 400


async def test_a_request_that_an_author_makes_for_a_test():
    request = Request(b"[1]", True, whom())
    assert request.json() == [1]
    assert not request.redelivered
    assert request.deadline == float("inf")
    await request.flush()


@pytest.mark.parametrize("status", [0, 200, 399, 600])
def test_the_status_of_an_error(status):
    with pytest.raises(ValueError, match="400 to 599"):
        RequestError(status, "x")

"""What an author gives and a frame can't say fails one call or one request; what is derived from str, bytes or int goes
as that. Else the link could not write it, and that is the end of the node.
"""

from decimal import Decimal
from fractions import Fraction

import pytest

from holdfast import Node, Refused, Reply, RequestError, Session
from holdfast.testing import Broadcast, Close, Failure, Join, Notify, alone, call, client, connect


class Word(str):
    __slots__ = ()


class Bytes(bytes):
    __slots__ = ()


class Number(int):
    __slots__ = ()


class Unmade(RequestError):
    def __init__(self):
        pass


class Mute(RequestError):
    def __str__(self):
        raise KeyError("mine")


def by_hand(**attributes):
    error = RequestError(400, "no")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize("http", [None, "GET /"])
@pytest.mark.parametrize(
    "error",
    [
        *(by_hand(code=code) for code in (2**70, -1, 1008, "x", None)),
        *(by_hand(status=status) for status in (2**70, 200, "x", 400.5, None)),
        *(by_hand(headers=headers) for headers in ({"a": 5}, [("a", 5)], ["abc"], [("a", "\ud800")], None)),
        Unmade(),
        Mute(400, "no"),
    ],
    ids=repr,
)
async def test_an_error_that_can_not_be_said_fails_its_own_request(error, http):
    node = Node("test")

    @node.on_request
    async def handle(request):
        if request.payload:
            raise error
        return "go on"

    async with alone(node) as steps:
        with pytest.raises((TypeError, ValueError, AttributeError, KeyError)) as info:
            await steps.call("x", http=http)
        assert error in (info.value.__context__, info.value)  # what the log has is both
        assert (await steps.call(http=http)).body == b"go on"


def test_an_error_may_be_changed_by_hand():
    for error, failure in (
        (by_hand(code=4001), Failure(400, "no", 4001)),
        (by_hand(status=Number(404)), Failure(404, "no")),
        (by_hand(headers={Word("a"): Word("b")}), Failure(400, "no", headers=[("a", "b")])),
    ):

        def refuse(request, error=error):
            raise error

        node = Node("test")
        node.on_request(refuse)
        assert call(node, http="GET /").failure == failure


@pytest.mark.parametrize("status", [200.5, "200", None, 2**70, 199, 600])
async def test_a_reply_with_a_status_that_is_none(status):
    node = Node("test")
    node.on_request(lambda request: Reply("x", status) if request.payload else "go on")
    async with alone(node) as steps:
        with pytest.raises((TypeError, ValueError), match="the status of a reply is"):
            await steps.call("x", http="GET /")
        assert (await steps.call(http="GET /")).body == b"go on"


def test_what_is_derived_from_text_bytes_and_numbers_is_that():
    node, word = Node("test"), Word("word")

    @node.on_request
    async def handle(request):
        await node.join(request.client, word)
        await node.notify(Bytes(b"x"), channels=[word])
        await node.broadcast(word)
        await node.close(request.client, word, code=Number(4001))
        await node.state.set(word, 1)
        await node.count(word)
        assert (await node.ask(word, word)).text == word
        return Reply(Bytes(b"x"), Number(201), {word: word})

    ada = client()
    result = call(node, client=ada, answers={"word": "word"})
    done = [Join(ada, "word"), Notify(b"x", channels=["word"]), Broadcast("word"), Close(ada, "word", code=4001)]
    assert (result.effects, result.state, result.messages) == (done, {"word": 1}, [b"x"])
    result = call(node, http="GET /", answers={"word": "word"})
    assert (result.status, result.headers.get("word")) == (201, "word")


def test_an_error_of_what_is_derived():
    node = Node("test")

    @node.on_request
    async def handle(request):
        raise RequestError(Number(404), Word("no"), {Word("a"): Word("b")})

    assert call(node, http="GET /").failure == Failure(404, "no", headers=[("a", "b")])


def admitting(session):
    node = Node("test")
    node.on_connect(lambda client: session)
    return node


@pytest.mark.parametrize("seconds", [Decimal(5), Fraction(5), 5, 5.0])
def test_a_session_expires_after_whatever_is_a_number(seconds):
    """A column of a database is a Decimal: the proxy had it as a text, and the client 502."""
    session = connect(admitting(Session(Word("ada"), channels=[Word("a")], expires=seconds)), client()).session
    assert session == Session("ada", channels=["a"], expires=5.0)


@pytest.mark.parametrize("seconds", ["5", 0, -1, float("nan"), float("inf"), Decimal("1e-400"), Decimal("NaN"), [5]])
def test_a_session_that_expires_after_no_number_of_seconds(seconds):
    with pytest.raises((TypeError, ValueError), match=r"number"):
        connect(admitting(Session("ada", expires=seconds)), client())


@pytest.mark.parametrize("code", [4000.0, 3999, 5000, None, "4000"])
def test_a_close_code_that_is_none(code):
    with pytest.raises((TypeError, ValueError)):
        Refused(403, "no", close_code=code)

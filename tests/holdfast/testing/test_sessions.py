"""What a node is asked besides requests, without a proxy: who may come in, and that one client came or went."""

import pytest
from msgspec import Raw

from holdfast import Node, Refused, RequestError, Session
from holdfast.testing import Broadcast, Failure, Update, alone, ask, call, client, close, connect, open


def admitting(*what):
    """One that admits as these say, in turn; what is an exception it raises."""
    node, answers = Node("test"), iter(what)

    @node.on_connect
    async def admit(client):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @node.on_request
    async def who(request):
        return [request.client.user, request.client.data]

    return node


@pytest.mark.parametrize("wants_clients", [False, True])
async def test_who_is_admitted_is_that_from_then_on(wants_clients):
    session = Session("ada", data={"level": 3}, channels=["a", "b"], expires=60.0)
    node, ada = admitting(session), client("/x")
    if wants_clients:
        node.on_open(lambda client: None)
    async with alone(node) as steps:
        result = await steps.connect(ada)
        assert (result.session, result.failure) == (session, None)
        assert steps.channels == {"a": {ada.id}, "b": {ada.id}}
        assert (await steps.call(client=ada)).json() == ["ada", {"level": 3}]


def test_nothing_said_is_anybody():
    assert connect(admitting(None), client()).session == Session(channels=[])
    assert connect(Node("test"), client(user="ada")).session == Session("ada", channels=[])  # nobody is asked


async def test_who_is_refused_does_not_come():
    node, opened = admitting(Refused(403, "not you", close_code=4403)), []
    node.on_open(opened.append)
    async with alone(node) as steps:
        result = await steps.connect(client())
        assert (result.failure, result.session) == (Failure(403, "not you", close_code=4403), None)
        assert opened == []


def test_what_on_connect_raises_is_raised():
    with pytest.raises(KeyError, match="mine"):
        connect(admitting(KeyError("mine")), client())
    with pytest.raises(TypeError, match="expected None or a Session"):
        connect(admitting("ada"), client())


def told_once():
    node, told = Node("test"), []

    @node.on_open(once=True)
    async def opened(client):
        told.append((client.user, client.redelivered))
        await node.broadcast("came")

    @node.on_close(once=True)
    async def closed(client, reason):
        told.append((client.user, client.redelivered, reason))
        await node.broadcast("went")

    return node, told


async def test_one_node_is_told_who_comes_and_goes():
    node, told = told_once()
    ada = client(user="ada")
    async with alone(node) as steps:
        assert (await steps.open(ada)).effects == [Broadcast("came")]
        assert (await steps.close(ada, "kicked")).effects == [Broadcast("went")]
        await steps.open(ada, attempt=2)
        await steps.close(ada, attempt=2)
    assert told == [("ada", False), ("ada", False, "kicked"), ("ada", True), ("ada", True, "client_left")]


def test_and_so_in_one_step():
    node, _ = told_once()
    assert open(node, client()).effects == [Broadcast("came")]
    assert close(node, client()).effects == [Broadcast("went")]


@pytest.mark.parametrize("kind", ["open", "close"])
async def test_what_those_raise_is_raised(kind):
    node = Node("test")

    @getattr(node, f"on_{kind}")(once=True)
    async def fail(client):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        (open if kind == "open" else close)(node, client())


@pytest.mark.parametrize("wants_clients", [False, True])
async def test_what_is_kept_of_a_client_changes(wants_clients):
    node = Node("test", clients=wants_clients)

    @node.on_request
    async def level(request):
        data = request.client.data
        await node.update(request.client, data=None if data == {"level": 2} else {"level": 2})
        return data

    ada = client(data={"level": 1})
    async with alone(node) as steps:
        first = await steps.call(client=ada)
        assert (first.json(), first.effects) == ({"level": 1}, [Update(ada, {"level": 2})])
        second = await steps.call(client=ada)
        assert (second.json(), second.effects) == ({"level": 2}, [Update(ada, None)])
        assert (await steps.call(client=ada)).messages == []


def deep(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: deep(65),
        lambda: deep(2000),
        lambda: "a" * 20_000,
        lambda: 2**1023,
        lambda: 10**5000,
        lambda: Raw(b"{oops"),
        lambda: "\ud800",
    ],
    ids=["deep", "very deep", "large", "a large number", "a very large number", "raw", "no text"],
)
def test_what_not_every_node_could_read_is_refused_before_it_is_sent(make):
    """A client may choose it: `data=request.json()`. The session with the proxy goes on."""
    node, refusals, data = Node("test"), [], make()

    @node.on_request
    async def keep(request):
        with pytest.raises(ValueError, match=r"deep|bytes|bits|JSON|digits|surrogates") as info:
            await node.update(request.client, data=data)
        refusals.append(info.value)
        return "go on"

    assert call(node).text == "go on"
    assert refusals
    with pytest.raises(ValueError, match=r"deep|bytes|bits|JSON|digits|surrogates"):
        Session("ada", data=data)
    with pytest.raises(ValueError, match=r"deep|bytes|bits|JSON|digits|surrogates"):
        client(data=data)


def test_what_every_node_can_read_may_be_kept():
    data = deep(64)
    assert connect(admitting(Session("ada", data=data)), client()).session.data == data


def test_a_client_with_all_that_is_known_of_it():
    node = Node("test")

    @node.on_request
    async def who(request):
        client = request.client
        return [client.user, client.data, client.claims, client.cookies["a"]]

    ada = client(user="ada", data=[1], claims={"sub": "ada"}, headers={"Cookie": "a=b; c=d"})
    assert call(node, client=ada).json() == ["ada", [1], {"sub": "ada"}, "b"]


async def test_who_was_admitted_stays_so_whatever_comes_next():
    """Who came in by `connect` and then by `open` was nobody again."""
    node, ada = admitting(Session("ada", data={"level": 3})), client("/x")
    async with alone(node) as steps:
        came = await steps.connect(ada)
        await steps.open(ada)
        assert (await steps.call(client=ada)).json() == ["ada", {"level": 3}]
    assert call(node, client=came.client).json() == ["ada", {"level": 3}]


def asking():
    node = Node("shop")

    @node.on_request
    async def buy(request):
        match request.text:
            case "all":
                return [[each.node, each.status] for each in await node.ask_all("billing", "all")]
            case "tell":
                await node.tell("billing", "told")
                return "told"
        return (await node.ask("billing", request.text, timeout=3)).text

    return node


def test_other_nodes_answer_as_the_test_says():
    node, asked = asking(), []
    for answer, text in (("paid", "paid"), ({"paid": 5}, '{"paid":5}'), (b"x", "x"), (None, "")):
        assert call(node, "pay", answers={"billing": answer}).text == text
    assert call(node, "pay", answers={"billing": lambda question: question.text * 2}).text == "paypay"
    assert call(node, "tell", answers={"billing": asked.append}).text == "told"
    assert [(each.text, each.sender, each.attempt) for each in asked] == [("told", node.id, 1)]
    assert call(node, "all", answers={"billing": "yes"}).json() == [["billing", 200]]
    assert call(node, "all").json() == []


def test_other_nodes_refuse_as_the_test_says():
    def refuse(question):
        raise RequestError(402, "not that much")

    for answer in (refuse, RequestError(402, "not that much"), lambda question: RequestError(402, "not that much")):
        assert call(asking(), "pay", answers={"billing": answer}).failure == Failure(402, "not that much")
    nobody = call(asking(), "pay", answers={"another": 5}).failure
    assert (nobody.status, "`answers`" in nobody.message) == (503, True)


def test_an_answer_that_fails_is_the_tests_failure():
    def check(question):
        assert question.text == "something else"

    with pytest.raises(AssertionError):
        call(asking(), "pay", answers={"billing": check})


def test_another_node_asks():
    node = Node("billing")

    @node.on_ask
    async def charge(question):
        if question.redelivered:
            raise RequestError(409, "again")
        await node.broadcast("charged")
        return {"by": question.sender, **question.json()}

    result = ask(node, {"amount": 5}, sender="shop-1")
    assert (result.json(), result.effects) == ({"by": "shop-1", "amount": 5}, [Broadcast("charged")])
    assert ask(node, {}, attempt=2).failure == Failure(409, "again")
    assert ask(Node("test"), "x").failure.status == 501


def test_what_another_node_answers_as_json():
    node = Node("shop")

    @node.on_request
    async def ask_for_more(request):
        return (await node.ask("billing", "")).json()

    assert call(node, answers={"billing": {"paid": [5]}}).json() == {"paid": [5]}
    for wrong in ("{oops", b"\xff", "", "[" * 100_000):
        with pytest.raises(ValueError):  # noqa: PT011 - msgspec's words, and ours for what is too deep
            call(node, answers={"billing": wrong})

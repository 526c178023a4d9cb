"""What nodes ask each other: to a name, to one of them, to all of a name; each question with what a request has."""

from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.nodes import frames
from holdfast.proxy.nodes import asks as module
from tests.harness import ScriptedNode, running, websocket


@asynccontextmanager
async def node_of(proxy, name, takes=("ask",), **hello):
    with ScriptedNode(proxy.node, name, takes=list(takes), **hello) as node:
        yield await node.join()


def ask(node, to, payload=b"how much?", timeout=5000, number=1, **more):
    node.say(frames.Ask(number, to, payload, True, timeout, **more))


async def answer(node, payload, call=None, is_text=True):
    call = call or await node.take(frames.Call)
    node.say(frames.Reply(call.id, call.attempt, payload, is_text))
    return call


async def heard(node):
    node.say(frames.Heartbeat(1.0))
    await node.take(frames.Heartbeat)


def questions(proxy):
    """How many have no answer."""
    return sum(node.questions for node in proxy.app.directory)


def missing(whom, seconds):
    return f"no node of the name or id {whom} with on_ask was available for {seconds} s"


def calls_of(node):
    return [frame for frame in node.frames if isinstance(frame, frames.Call)]


async def test_a_name_is_asked_and_one_of_its_nodes_answers():
    async with running() as proxy, node_of(proxy, "chat", ()) as asker:
        async with node_of(proxy, "billing") as one, node_of(proxy, "billing") as other:
            ask(asker, "billing", number=7)
            await proxy.until(lambda: len(proxy.app.ledger) == 1)
            await heard(one)
            await heard(other)
            ((node, call),) = [(node, call) for node in (one, other) for call in calls_of(node)]
            assert (call.kind, call.payload, call.is_text, call.sender) == ("ask", b"how much?", True, asker.id)
            assert (call.attempt, call.before, call.client, call.info) == (1, 0, 0, b"")
            assert 0 < call.timeout <= 5000
            await answer(node, b"12", call)
            assert await asker.take(frames.Answered) == frames.Answered(7, "", 200, b"12", True)
            assert not len(proxy.app.ledger)
            assert not questions(proxy)


async def test_several_questions_go_to_who_has_the_least_to_do():
    async with running() as proxy, node_of(proxy, "chat", ()) as asker:
        async with node_of(proxy, "billing") as one, node_of(proxy, "billing") as other:
            for number in range(4):
                ask(asker, "billing", number=number)
            for node in (one, other):
                for _ in range(2):
                    await answer(node, node.id.encode())
            answers = [await asker.take(frames.Answered) for _ in range(4)]
            assert sorted(each.ask for each in answers) == [0, 1, 2, 3]


async def test_a_node_is_asked_by_its_id_and_no_other_one_answers():
    async with running() as proxy, node_of(proxy, "chat") as asker:
        async with node_of(proxy, "billing") as one, node_of(proxy, "billing") as other:
            for number in range(3):
                ask(asker, other.id, number=number)
                await answer(other, b"me")
                assert (await asker.take(frames.Answered)).payload == b"me"
            assert not calls_of(one)
            ask(asker, asker.id)  # itself
            await answer(asker, b"I")
            assert (await asker.take(frames.Answered)).payload == b"I"


async def test_everyone_is_asked_and_each_answers_for_itself():
    async with running() as proxy, node_of(proxy, "chat", ()) as asker:
        async with node_of(proxy, "billing") as one, node_of(proxy, "billing") as other:
            async with node_of(proxy, "billing", ()) as deaf, node_of(proxy, "mail") as stranger:
                ask(asker, "billing", everyone=True)
                await answer(other, b"2")
                first = await asker.take(frames.Answered)
                assert (first.node, first.status, first.payload, first.left) == (other.id, 200, b"2", 1)
                call = await one.take(frames.Call)
                one.say(frames.Failure(call.id, 1, 418, "I am a teapot"))
                second = await asker.take(frames.Answered)
                assert (second.node, second.status, second.left) == (one.id, 418, 0)
                assert second.message == "I am a teapot"
                assert not calls_of(deaf)
                assert not calls_of(stranger)
                assert not questions(proxy)


async def test_everyone_of_nobody_is_answered_at_once():
    async with running() as proxy, node_of(proxy, "chat") as asker, node_of(proxy, "billing", ()):
        ask(asker, "billing", everyone=True)
        answered = await asker.take(frames.Answered)
        assert (answered.node, answered.status, answered.left) == ("", 404, 0)
        assert answered.message == "no node of the name billing with on_ask is ready"


async def test_what_nobody_can_do_names_who_is_missing():
    """Nodes of an older kind, or of another language, take no messages from outside."""
    async with running(request={"parked_timeout": 0.1}) as proxy:
        with pytest.raises(HoldfastError, match=r"^no node was available for 0.1 s"):
            await proxy.app.calls.publish([], 60.0)
        async with node_of(proxy, "old", ()):
            with pytest.raises(HoldfastError, match=r"^no node that can publish was available for 0.1 s"):
                await proxy.app.calls.publish([], 60.0)


async def test_while_nobody_is_there_a_question_waits():
    async with running() as proxy, node_of(proxy, "chat", ()) as asker:
        ask(asker, "billing")
        await proxy.until(lambda: proxy.app.ledger.parked_count == 1)
        async with node_of(proxy, "billing", ()), node_of(proxy, "billing") as node:
            await answer(node, b"late")
            assert (await asker.take(frames.Answered)).payload == b"late"


@pytest.mark.parametrize("who", ["nobody", "deaf"])
async def test_whoever_never_comes_is_a_503_that_says_who_that_is(who):
    async with (
        running(request={"parked_timeout": 0.2}) as proxy,
        node_of(proxy, "chat", ()) as asker,
        node_of(proxy, "deaf", ()),
    ):
        ask(asker, who)
        answered = await asker.take(frames.Answered)
        assert (answered.status, answered.node, answered.left) == (503, "", 0)
        assert answered.message == missing(who, 0.2)
        assert not questions(proxy)


async def test_a_question_that_waits_does_not_hold_up_clients_nor_other_questions():
    async with running() as proxy, node_of(proxy, "chat") as asker, websocket(proxy) as client:
        ask(asker, "nobody")
        await proxy.until(lambda: proxy.app.ledger.parked_count == 1)
        await client.send("x")
        await asker.reply()
        assert await client.recv() == "x"
        ask(asker, "chat", number=2)
        await answer(asker, b"here")
        assert (await asker.take(frames.Answered)).ask == 2


async def test_a_failure_is_told_with_its_status_and_message():
    async with running() as proxy, node_of(proxy, "chat", ()) as asker, node_of(proxy, "billing") as node:
        ask(asker, "billing")
        call = await node.take(frames.Call)
        node.say(frames.Failure(call.id, 1, 402, "pay first"))
        answered = await asker.take(frames.Answered)
        assert (answered.status, answered.message, answered.payload) == (402, "pay first", b"")


@pytest.mark.parametrize(
    "reply",
    [
        lambda call: frames.Reply(call.id, 1, b"part", True, more=True),
        lambda call: frames.HttpReply(call.id, 1, b"", 403),
    ],
    ids=["in parts", "of HTTP"],
)
async def test_what_is_no_answer_is_a_502(reply):
    async with running() as proxy, node_of(proxy, "chat", ()) as asker, node_of(proxy, "billing") as node:
        ask(asker, "billing")
        node.say(reply(await node.take(frames.Call)))
        assert (await asker.take(frames.Answered)).status == 502
        assert not len(proxy.app.ledger)


async def test_an_answerer_that_is_lost_leaves_it_to_another_one():
    async with running() as proxy, node_of(proxy, "chat", ()) as asker, node_of(proxy, "billing") as one:
        ask(asker, "billing", attempt=3)
        first = await one.take(frames.Call)
        assert (first.attempt, first.before) == (1, 2)  # it was asked through other proxies
        async with node_of(proxy, "billing") as other:
            one.close()
            again = await answer(other, b"12")
            assert (again.id, again.attempt, again.before) == (first.id, 2, 2)
            assert await asker.take(frames.Answered) == frames.Answered(1, "", 200, b"12", True)


async def test_one_of_everyone_that_is_lost_and_does_not_come_back_is_answered_for():
    async with running(request={"parked_timeout": 0.2}) as proxy, node_of(proxy, "chat", ()) as asker:
        async with node_of(proxy, "billing") as one, node_of(proxy, "billing") as other:
            ask(asker, "billing", everyone=True)
            await one.take(frames.Call)
            await answer(other, b"2")
            one.close()
            answers = [await asker.take(frames.Answered) for _ in range(2)]
            assert [(each.node, each.status, each.left) for each in answers] == [(other.id, 200, 1), (one.id, 503, 0)]
            assert len(calls_of(other)) == 1


@pytest.mark.parametrize("where", ["at a node", "parked"])
async def test_an_asker_that_is_lost_wants_nothing_any_more(where):
    async with running() as proxy:
        async with node_of(proxy, "billing", ("ask",) if where == "at a node" else ()) as node:
            async with node_of(proxy, "chat", ()) as asker:
                ask(asker, "billing")
                ask(asker, "billing", number=2)
                await proxy.until(lambda: len(proxy.app.ledger) == 2)
                asker.close()
                await proxy.until(lambda: not len(proxy.app.ledger))
            if where == "at a node":
                call = await node.take(frames.Call)
                assert await node.take(frames.Cancel) == frames.Cancel(call.id, 1)
                await answer(node, b"late", call)
                await proxy.until(lambda: proxy.counters.stale_replies == 1)
            else:
                async with node_of(proxy, "billing") as late:
                    await heard(late)
                    assert not calls_of(late)
            assert not questions(proxy)


async def test_an_asker_that_answers_itself_and_is_lost_leaves_nothing():
    async with running() as proxy:
        async with node_of(proxy, "chat") as node, node_of(proxy, "chat") as other:
            ask(node, node.id)
            ask(node, "chat", number=2)
            await proxy.until(lambda: len(proxy.app.ledger) == 2)
            node.close()
            await proxy.until(lambda: len(proxy.app.directory.nodes) == 1)
            assert not len(proxy.app.ledger)
            assert not questions(proxy)
            await heard(other)


async def test_a_question_has_its_own_time():
    """The answerer is told how long it is waited for, and whoever comes after that is not asked."""
    async with running() as proxy, node_of(proxy, "chat", ()) as asker:
        async with node_of(proxy, "billing") as node:
            ask(asker, "billing", timeout=300)
            assert 0 < (await node.take(frames.Call)).timeout <= 300
            ask(asker, "billing", timeout=3_600_000, number=2)
            call = await answer(node, b"x")
            assert call.timeout == 10_000  # no more than a request's
            assert (await asker.take(frames.Answered)).ask == 2
        ask(asker, "mail", timeout=100, number=3)
        answered = await asker.take(frames.Answered)
        assert (answered.ask, answered.status) == (3, 503)  # nobody was there
        async with node_of(proxy, "mail") as late:
            await heard(late)
            assert not calls_of(late)


async def test_a_question_whose_time_is_over_takes_no_place_at_who_did_not_answer():
    """Nor is that a failure of its node: who asked had little patience."""
    async with running() as proxy, node_of(proxy, "chat", takes_requests=False) as asker:
        async with node_of(proxy, "billing", capacity=1) as node, websocket(proxy) as client:
            ask(asker, "billing", timeout=100)
            call = await node.take(frames.Call)
            await client.send("x")
            answered = await asker.take(frames.Answered)
            assert (answered.ask, answered.status, answered.message) == (1, 504, "no reply within 0.1 s")
            assert await node.take(frames.Cancel) == frames.Cancel(call.id, 1)
            await node.reply()
            assert await client.recv() == "x"
            assert not proxy.app.directory.nodes[node.id].health.failures
            assert not questions(proxy)


async def test_no_answer_in_time_is_a_504():
    async with running(request={"timeout": 0.3}) as proxy, node_of(proxy, "chat", ()) as asker:
        async with node_of(proxy, "billing") as node:
            ask(asker, "billing")
            call = await node.take(frames.Call)
            assert (await asker.take(frames.Answered)).status == 504
            assert await node.take(frames.Cancel) == frames.Cancel(call.id, 1)
            assert not questions(proxy)


async def test_questions_without_an_answer_are_bounded_for_each_node(monkeypatch):
    monkeypatch.setattr(module, "MAX_ASKED", 2)
    async with running() as proxy, node_of(proxy, "chat", ()) as asker, node_of(proxy, "billing") as node:
        for number in range(3):
            ask(asker, "billing", number=number)
        answered = await asker.take(frames.Answered)
        assert (answered.ask, answered.status) == (2, 429)
        assert proxy.counters.limits_hit["node.asks"] == 1
        async with node_of(proxy, "mail", ()) as another:
            ask(another, "billing")
            for _ in range(3):
                await answer(node, b"x")
            assert (await another.take(frames.Answered)).status == 200
        ask(asker, "billing", number=3)
        await answer(node, b"x")
        assert [(await asker.take(frames.Answered)).status for _ in range(3)] == [200] * 3


async def test_names_that_are_asked_are_bounded_and_those_that_nobody_needs_are_forgotten(monkeypatch):
    monkeypatch.setattr(module, "MAX_POOLS", 3)
    monkeypatch.setattr(module, "LOOK_INTERVAL", 0.0)
    async with running(request={"parked_timeout": 0.2}) as proxy, node_of(proxy, "chat", ()) as asker:
        async with node_of(proxy, "billing") as node:
            ask(asker, "billing")
            await answer(node, b"x")
            assert (await asker.take(frames.Answered)).status == 200
            for number in range(4):
                ask(asker, f"nobody {number}", number=number)
            refused = await asker.take(frames.Answered)
            assert (refused.ask, refused.status, refused.message) == (2, 503, "too many names and ids are asked")
            for _ in range(3):
                assert (await asker.take(frames.Answered)).status == 503
            assert proxy.counters.limits_hit["node.ask_names"] == 2
            ask(asker, "nobody 5")
            assert (await asker.take(frames.Answered)).message == missing("nobody 5", 0.2)
            asks = proxy.app.calls.asks
            assert set(asks._pools) == {"billing", "nobody 5"}
            pools = {pool.name for pool in proxy.app.directory.pools}
            assert {name for name in pools if name.startswith("ask ")} == {"ask billing", "ask nobody 5"}
            ask(asker, "billing")
            await answer(node, b"still")
            assert (await asker.take(frames.Answered)).payload == b"still"


async def test_those_that_nobody_needs_are_not_looked_for_again_and_again(monkeypatch):
    """Who asks ever other names would have all of them looked through each time."""
    monkeypatch.setattr(module, "MAX_POOLS", 1)
    monkeypatch.setattr(module, "LOOK_INTERVAL", 600.0)
    async with running(request={"parked_timeout": 0.1}) as proxy, node_of(proxy, "chat", ()) as asker:
        messages = []
        for name in ("one", "two", "three"):
            ask(asker, name)
            if name != "one":
                messages.append((await asker.take(frames.Answered)).message)
            if name == "two":  # now the first one is needed no more, and a moment ago it was
                messages.append((await asker.take(frames.Answered)).message)
                await proxy.until(lambda: not len(proxy.app.ledger))
        too_many = "too many names and ids are asked"
        assert messages == [too_many, missing("one", 0.1), too_many]


async def test_what_an_answerer_does_goes_with_its_answer():
    async with running() as proxy, node_of(proxy, "chat", ()) as asker, node_of(proxy, "billing") as node:
        async with websocket(proxy) as client:
            ask(asker, "billing")
            call = await node.take(frames.Call)
            node.say(frames.Reply(call.id, 1, b"done", True, False, [frames.Broadcast(b"paid", True)]))
            assert await client.recv() == "paid"
            assert (await asker.take(frames.Answered)).payload == b"done"


@pytest.mark.parametrize("hello", [{"takes_requests": False}, {}])
async def test_who_takes_no_requests_may_take_questions(hello):
    async with running() as proxy, node_of(proxy, "chat", ()) as asker:
        async with node_of(proxy, "billing", **hello) as node:
            ask(asker, "billing")
            await answer(node, b"x")
            assert (await asker.take(frames.Answered)).status == 200


async def test_the_logs_have_lines_of_questions_as_of_requests():
    async with running(log={"access_log": True}, request={"timeout": 0.3}) as proxy:
        async with node_of(proxy, "chat", ()) as asker, node_of(proxy, "billing") as node:
            with capture_logs() as logs:
                ask(asker, "billing")
                await answer(node, b"12")
                await asker.take(frames.Answered)
                ask(asker, "billing")
                await asker.take(frames.Answered)  # in vain
    lines = [each for each in logs if each["event"] in ("request", "request_timed_out")]
    assert [(each["protocol"], each.get("status"), each["node"]) for each in lines if each["event"] == "request"] == [
        ("call", 200, node.id),
        ("call", 504, node.id),
    ]
    assert [each["protocol"] for each in lines if each["event"] == "request_timed_out"] == ["call"]

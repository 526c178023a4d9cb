"""Questions to other nodes, with sessions that are ours; and those of a node's author, through a proxy."""

import pytest
import trio
import trio.lowlevel
import trio.testing

import holdfast.testing
from holdfast import HoldfastError, Node, RequestError
from holdfast.node.asking import Asking
from holdfast.protocols.nodes.frames import Answered
from tests.waiting import PATIENCE


class Session:
    """proxy: its id. asked: what it was sent."""

    max_batch_bytes = 1 << 20

    def __init__(self, proxy, takes=("ask",)):
        self.proxy = proxy
        self.takes = takes
        self.asked = []

    def send(self, frame, size):
        self.asked.append(frame)


class Links:
    def __init__(self, *sessions):
        self.sessions = {session.proxy: session for session in sessions}

    async def wait_room(self):
        while not self.sessions:
            await trio.lowlevel.checkpoint()


async def until(condition):
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.lowlevel.checkpoint()


async def test_a_session_that_ends_has_it_asked_again_and_marked():
    first, second = Session("p1"), Session("p2")
    links = Links(first, second)
    asking, answers = Asking(links), []

    async def ask():
        answers.extend(await asking.ask("billing", {"order": 7}, 60.0, None, everyone=False))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await until(lambda: first.asked)
        del links.sessions["p1"]
        asking.lost(first)
        await until(lambda: second.asked)
        [before], [again] = first.asked, second.asked
        assert (before.attempt, again.attempt) == (1, 2)
        assert again.ask != before.ask
        assert (again.to, again.payload) == ("billing", before.payload)
        asking.answered(first, Answered(before.ask, "", 200, b"of the one that is lost", True))
        asking.answered(second, Answered(again.ask, "", 200, b"done", True))
    assert [answer.text for answer in answers] == ["done"]


async def test_answers_of_everyone_are_complete_when_none_is_left():
    session = Session("p1")
    asking, answers = Asking(Links(session)), []

    async def ask():
        answers.extend(await asking.ask("billing", "?", 60.0, None, everyone=True))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await until(lambda: session.asked)
        number = session.asked[0].ask
        asking.answered(session, Answered(number, "a", 200, b"1", True, "", 1))
        await trio.testing.wait_all_tasks_blocked()
        assert not answers
        asking.answered(session, Answered(number, "b", 503, message="gone"))
    assert [(answer.node, answer.status, answer.message) for answer in answers] == [("a", 200, ""), ("b", 503, "gone")]


async def test_an_older_proxy_is_named(autojump_clock):
    with pytest.raises(RequestError, match="p1 is older") as raised:
        await Asking(Links(Session("p1", ()))).ask("billing", "?", 1.0, None, everyone=False)
    assert raised.value.status == 501


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e17])
async def test_a_time_that_no_frame_can_say(timeout):
    with pytest.raises(ValueError, match="seconds above 0 and up to"):
        await Asking(Links(Session("a"))).ask("billing", b"", timeout, None, everyone=False)


async def test_time_that_is_up_is_a_504(autojump_clock):
    with pytest.raises(RequestError, match="no answer of billing within 3 s") as raised:
        await Asking(Links(Session("p1"))).ask("billing", "?", 3.0, None, everyone=False)
    assert raised.value.status == 504


async def test_a_question_that_no_batch_has_room_for_is_not_sent():
    session = Session("p1")
    asking = Asking(Links(session))
    with pytest.raises(HoldfastError, match="goes to a proxy at once has at most"):
        await asking.ask("billing", bytes(1 << 20), 60.0, None, everyone=False)
    assert not session.asked
    assert not any(asking._asked.values())


def billing(told):
    node = Node("billing")

    @node.on_ask
    async def answer(question):
        told.append(question.text)
        if question.text == "fail":
            raise RequestError(402, "pay first")
        return "12"

    return node


async def test_ask_gives_the_answer_and_tell_only_returns_when_it_is_done():
    told = []
    async with holdfast.testing.proxy() as proxy:
        async with proxy.node(Node("chat")) as chat, proxy.node(billing(told)):
            assert (await chat.ask("billing", "how much?")).text == "12"
            assert await chat.tell("billing", "paid") is None
            assert told == ["how much?", "paid"]
            for way in (chat.ask, chat.tell):
                with pytest.raises(RequestError, match="pay first") as raised:
                    await way("billing", "fail")
                assert raised.value.status == 402


async def test_ask_all_gives_the_answers_of_all_with_their_failures_and_of_nobody_none():
    told = []
    async with holdfast.testing.proxy() as proxy:
        async with proxy.node(Node("chat")) as chat:
            assert await chat.ask_all("billing", "how much?") == []
            async with proxy.node(billing(told)) as one, proxy.node(billing(told)) as other:
                answers = await chat.ask_all("billing", "how much?")
                assert {(each.node, each.text) for each in answers} == {(one.id, "12"), (other.id, "12")}
                failures = await chat.ask_all("billing", "fail")
                assert [(each.status, each.message) for each in failures] == [(402, "pay first")] * 2
    assert sorted(told) == ["fail"] * 2 + ["how much?"] * 2

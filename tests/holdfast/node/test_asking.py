"""Questions to other nodes, with sessions that are ours."""

import pytest
import trio
import trio.lowlevel
import trio.testing

from holdfast import RequestError
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


async def test_time_that_is_up_is_a_504(autojump_clock):
    with pytest.raises(RequestError, match="no answer of billing within 3 s") as raised:
        await Asking(Links(Session("p1"))).ask("billing", "?", 3.0, None, everyone=False)
    assert raised.value.status == 504

"""Questions to proxies: what is kept of a channel, with sessions that are ours; and those of an author, in a test."""

import pytest
import trio
import trio.testing

import holdfast.asyncio
import holdfast.testing
from holdfast import Kept, Node, Position, RequestError
from holdfast.node.questions import Questions
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.histories import MAX_PAGE, NEWEST
from tests.holdfast.node.test_asking import Links, Session, until


class Asked:
    """One question, whose answer is the test's."""

    def __init__(self, *sessions):
        self.links = Links(*sessions)
        self.questions = Questions(self.links)
        self.answers = []

    async def ask(self, *arguments):
        try:
            self.answers.append(await self.questions.history(*arguments))
        except (RequestError, TypeError, ValueError) as error:
            self.answers.append(error)


def kept(*offsets):
    return [frames.Kept(offset, b"%d" % offset, True, 1.5) for offset in offsets]


@pytest.mark.parametrize(
    ("since", "epoch", "after"),
    [
        (None, "", NEWEST),
        (0, "", 0),
        (7, "", 7),
        (Position("e", 5), "e", 5),
        (("e", 5), "e", 5),
        (Position("", 0), "", 0),
    ],
)
async def test_what_is_asked_and_what_is_told(nursery, since, epoch, after):
    session = Session("p-1", ("history",))
    asked = Asked(session)
    nursery.start_soon(asked.ask, "room", since, 3)
    await until(lambda: session.asked)
    [frame] = session.asked
    assert frame == frames.AskHistory(frame.ask, "room", after, epoch, 3)
    asked.questions.answered(session, frames.Counted(frame.ask + 1, 5))  # another's
    asked.questions.answered(session, frames.History(frame.ask, 200, "", "e", 3, 9, kept(6, 7, 8)))
    await until(lambda: asked.answers)
    [history] = asked.answers
    assert history.publications == [Kept(offset, b"%d" % offset, True, 1.5) for offset in (6, 7, 8)]
    assert (history.epoch, history.first, history.last, history.is_more) == ("e", 3, 9, True)
    assert history.position == Position("e", 8)
    assert history.is_whole is (since != 0 and since != Position("", 0))


async def test_the_end_of_a_log(nursery):
    session = Session("p-1", ("history",))
    asked = Asked(session)
    for since, answer in ((5, (1, 5, [])), (3, (1, 5, kept(4, 5))), (0, (1, 0, [])), (5, (10, 9, []))):
        nursery.start_soon(asked.ask, "room", since, 3)
        await until(lambda: session.asked)
        epoch = "e" if answer[1] else ""
        asked.questions.answered(session, frames.History(session.asked.pop().ask, 200, "", epoch, *answer))
        await trio.testing.wait_all_tasks_blocked()
    assert [history.is_more for history in asked.answers] == [False] * 4
    assert [history.is_whole for history in asked.answers] == [True, True, True, False]
    assert [history.position for history in asked.answers] == [("e", 5), ("e", 5), ("", 0), ("e", 9)]


async def test_it_is_asked_again_when_the_session_has_ended_and_of_who_takes_it(nursery):
    older, first, second = Session("p-0", ("ask",)), Session("p-1", ("history",)), Session("p-2", ("history",))
    asked = Asked(older, first)
    nursery.start_soon(asked.ask, "room", None, 3)
    await until(lambda: first.asked)
    asked.links.sessions = {"p-0": older, "p-2": second}
    asked.questions.lost(first)
    await until(lambda: second.asked)
    asked.questions.answered(second, frames.History(second.asked[0].ask, 404, "no history"))
    await until(lambda: asked.answers)
    [error] = asked.answers
    assert (error.status, str(error), older.asked) == (404, "no history", [])


async def test_proxies_that_are_all_older():
    asked = Asked(Session("p-0", ("ask",)))
    await asked.ask("room", None, 3)
    [error] = asked.answers
    assert (error.status, str(error)) == (501, "the proxy p-0 is older: it does not tell the history of channels")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((5, None, 3), "expected str"),
        (("room", None, 0), "limit is 1 to 1000"),
        (("room", None, MAX_PAGE + 1), "limit is 1 to 1000"),
        (("room", None, 1.5), "limit is a whole number"),
        (("room", -1, 3), "since is 0 to"),
        (("room", "5", 3), "since is a whole number"),
        (("room", ("e", -1), 3), "the offset of since is 0 to"),
        (("room", (5, 1), 3), "expected str"),
        (("room", ("e",), 3), "a position of an epoch and an offset"),
    ],
)
async def test_what_can_not_be_asked(arguments, told):
    asked = Asked(Session("p-1", ("history",)))
    await asked.ask(*arguments)
    assert told in str(asked.answers[0])


def test_what_a_publication_is():
    one = Kept(1, b'{"a": 1}', True, 1.5, b'{"user": "ada"}')
    assert (one.text, one.json(), one.sender) == ('{"a": 1}', {"a": 1}, {"user": "ada"})
    assert Kept(1, b"", False, 1.5).sender is None
    with pytest.raises(ValueError, match="nested too deeply"):
        Kept(1, b"[" * 100_000, True, 1.5).json()


def told(node, **world):
    return holdfast.testing.call(node, "x", **world).json()


@pytest.mark.parametrize("kind", [Node, holdfast.asyncio.Node])
def test_a_handler_is_told_what_is_kept(kind):
    node = kind("test")

    @node.on_request
    async def tell(request):
        page = await node.history("room", limit=2)
        older = await node.history("room", since=0, limit=1)
        newer = await node.history("room", since=older.position)
        offsets = [[each.offset for each in one.publications] for one in (page, older, newer)]
        return [offsets, page.publications[0].json(), page.is_more, older.is_more, newer.is_more]

    history = {"room": ["a", {"b": 1}, b"c"]}
    assert told(node, history=history) == [[[2, 3], [1], [2, 3]], {"b": 1}, False, True, False]


def test_what_the_node_publishes_is_kept_in_a_test():
    node = Node("test")

    @node.on_request
    async def tell(request):
        await node.notify("x", channels=["room", "other"], tail=b"!")
        await request.flush()
        return [each.text for each in (await node.history("room")).publications]

    assert told(node, history={"room": ["a"]}) == ["a", "xroom!"]


def test_channels_without_history_in_a_test():
    node = Node("test")

    @node.on_request
    async def tell(request):
        return (await node.history(request.text)).last

    failure = holdfast.testing.call(node, "news", history={"room": []}).failure
    assert (failure.status, "for `history` of the test" in failure.message) == (404, True)
    assert told(node, history={"x": []}) == 0
    with pytest.raises(TypeError, match=r"history\['x'\]: expected several payloads"):
        told(node, history={"x": "abc"})

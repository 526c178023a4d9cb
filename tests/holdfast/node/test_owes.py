"""Whom a node owes: proxies that may miss something if it dies now. Of those without a session that is said at once."""

import pytest
import trio

from holdfast import Node, Reply
from holdfast.node import stream
from holdfast.node.failures import Failures
from holdfast.node.streams import Streams
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import ALL, FIRST_WINDOW, MAX_OWED
from tests.holdfast.node.fake_proxy import fake_proxy
from tests.holdfast.node.test_several_proxies import linked_to_three, notifying
from tests.holdfast.node.test_streams import AT_A, Session, broadcast, owner, three
from tests.waiting import PATIENCE, until


def watched(*linked):
    """Streams, sessions, and what was told at once: of whom there was something to say."""
    made, *sessions = three(*linked)
    told = []
    made.on_owes = lambda: told.append(sorted(proxy for proxy, stream in made._streams.items() if stream.owed))
    return made, told, *sessions


async def test_what_is_sent_and_not_acknowledged_is_owed_and_not_told_at_once():
    made, told, a, *_ = watched("a", "b", "c")
    made.send(broadcast(b"1"))
    made.send([frames.Join(AT_A, "x")])
    assert sorted(made.owes()) == [("a", 2), ("b", 1), ("c", 1)]
    assert sorted(made.owes("a")) == [("b", 1), ("c", 1)], "it has, by then, what it was sent before"
    made.acknowledged(a, 2)
    assert sorted(made.owes()) == [("b", 1), ("c", 1)]
    assert told == []


async def test_what_waits_for_room_is_owed_if_others_have_it():
    made, _told, a, b, _ = watched("a", "b", "c")
    for _ in range(12):  # more than the first window
        made.send([frames.Join(AT_A, "x")])
    assert made.owes() == [("a", FIRST_WINDOW)], "nobody else has been sent more"
    made.send(broadcast(b"1"))
    made.send([frames.Join(AT_A, "x")])
    assert sorted(made.owes()) == [("a", 13), ("b", 13), ("c", 13)]
    made.acknowledged(a, 8, 100)
    made.acknowledged(b, 13)
    assert sorted(made.owes()) == [("a", 14), ("c", 13)]


def repeated(part=1):
    return stream.Origin("home", 7, part, is_repeated=True)


async def test_what_another_node_does_again_is_not_owed():
    made, told, a, *_ = watched("a", "b", "c")
    for _ in range(FIRST_WINDOW + 2):  # some have no room
        made.send(broadcast(b"1"), repeated())
    assert made.owes() == []
    made.send(broadcast(b"2"))
    made.send(broadcast(b"3"), repeated())
    assert set(made.owes()) == {(proxy, FIRST_WINDOW + 3) for proxy in "abc"}, "what comes between has come, too"
    made.acknowledged(a, FIRST_WINDOW + 3, 100)
    assert sorted(made.owes()) == [("b", FIRST_WINDOW + 3), ("c", FIRST_WINDOW + 3)]
    assert told == []


async def test_it_is_as_soon_as_no_other_node_does_it():
    made, told, a, *_ = watched("a", "b", "c")
    sent = made.send(broadcast(b"1"), repeated())
    made.send(broadcast(b"2"), repeated())
    made.acknowledged(a, 1)
    made.rest(sent)
    assert sorted(made.owes()) == [("b", 1), ("c", 1)]
    made.send([frames.Join(AT_A, "x")])
    made.rest(sent)
    assert sorted(made.owes()) == [("a", 3), ("b", 1), ("c", 1)], "and what is owed already is still"
    assert told == [], "it is told with the next heartbeat"


async def test_where_there_is_no_way_it_is_whoever_does_it():
    """The reply does not wait for that proxy any more."""
    made, told, a, *_ = watched("a", "b", "c")
    made.send(broadcast(b"1"), repeated())
    made.detach(a, for_good=False)
    assert (made.owes(), told) == ([("a", ALL)], [["a"]])
    made.attach(Session("a"), 0)
    assert made.owes() == [("a", ALL)], "until it has come"


async def test_what_was_withheld_is_owed_when_it_is_sent_since_its_request_may_have_ended():
    made, _told, a, *_ = watched("a", "b", "c")
    made.mute(a, ["x"])
    made.send([frames.Notify(b"", True, ["x"])], repeated())
    made.unmute(a, ["x"])
    assert dict(made.owes()) == {"a": 2}


async def test_while_there_is_no_way_whatever_comes_is_owed():
    made, told, a, *_ = watched("a", "b", "c")
    made.send(broadcast(b"1"))
    made.detach(a, for_good=False)
    made.send(broadcast(b"2"))
    assert dict(made.owes()) == {"a": ALL, "b": 2, "c": 2}
    assert told == [["a"]], "so it is told once"


async def test_who_can_not_be_sent_something_is_owed_and_that_is_told_once():
    made, told, _ = watched("a")
    made.send([frames.Join(AT_A, "x")])
    assert told == []
    made.send(broadcast(b"1"))
    made.send(broadcast(b"2"))
    assert sorted(told) in ([["b"], ["b", "c"]], [["b", "c"], ["c"]]), "in either order"


async def test_what_a_lost_session_has_not_acknowledged_is_owed():
    made, told, a, *_ = watched("a", "b", "c")
    made.send(broadcast(b"1"))
    made.acknowledged(a, 1)
    made.detach(a, for_good=False)
    assert told == []
    a = Session("a")
    made.attach(a, 1)
    made.send(broadcast(b"2"))
    made.detach(a, for_good=False)
    assert told == [["a"]]


async def test_what_was_withheld_is_owed_too():
    made, told, a, *_ = watched("a", "b", "c")
    made.mute(a, ["x"])
    made.send([frames.Notify(b"", True, ["x"])])
    made.detach(a, for_good=False)
    assert told == [["a"]]


async def test_nothing_is_owed_any_more_when_it_is_acknowledged_and_not_when_it_is_sent():
    made, told, a, *_ = watched("a", "b", "c")
    for number in range(12):  # more than the first window
        made.send(broadcast(b"%d" % number))
    made.detach(a, for_good=False)
    a = Session("a")
    made.attach(a, 0)
    made.send(broadcast(b"later"))
    assert dict(made.owes())["a"] == dict(made.owes("a"))["a"] == ALL
    made.acknowledged(a, 8, 100)
    assert dict(made.owes("b"))["a"] == ALL
    assert "a" not in dict(made.owes("a")), "it has, by then, what it was sent before"
    made.acknowledged(a, 12, 100)
    assert told == [["a"], []], "what came later is told with the next heartbeat: nobody says that it is done"


async def test_who_has_seen_all_is_owed_nothing():
    made, told, a, *_ = watched("a", "b", "c")
    made.send(broadcast(b"1"))
    made.detach(a, for_good=False)
    made.attach(Session("a"), 1)
    assert told == [["a"], []]


async def test_a_hole_is_owed(monkeypatch):
    monkeypatch.setattr(stream, "MAX_KEPT_BYTES", 10)
    made, told, a, *_ = watched("a", "b", "c")
    made.detach(a, for_good=False)
    made.send(broadcast(b"too much"))
    assert told == [["a"]]
    a = Session("a")
    made.attach(a, 0)
    made.acknowledged(a, 1)
    assert told == [["a"], []]


async def test_who_has_left_is_owed_nothing():
    made, _told, a, *_ = watched("a", "b", "c")
    made.send(broadcast(b"1"))
    made.detach(a, for_good=True)
    assert "a" not in dict(made.owes())


async def test_who_is_forgotten_is_owed_nothing_and_that_is_told_if_it_was():
    made, told, _ = watched("a")
    made.forget("b")
    assert told == []
    made.send(broadcast(b"1"))
    told.clear()
    made.forget("c")
    assert told == [[]]


async def test_what_two_have_and_one_waits_for_is_owed_to_it():
    made = Streams(owner, Failures())
    sessions = [Session("a"), Session("b")]
    for session in sessions:
        made.attach(session, 0)
    for _ in range(FIRST_WINDOW):
        made.send([frames.Join(AT_A, "x")])
    made.send(broadcast(b"1"))
    assert dict(made.owes()) == {"a": FIRST_WINDOW + 1, "b": FIRST_WINDOW + 1}


async def test_in_the_end_all_is_owed_that_was_not_acknowledged():
    made, told, a, *_ = watched("a", "b", "c")
    for _number in range(9):
        made.send([frames.Join(AT_A, "x")])
    made.acknowledged(a, 0, 8)
    made.close()
    assert told == [["a"]]
    assert made.owes("a") == [("a", ALL)]
    made.acknowledged(a, 1, 8)
    assert (made.owes("b"), made.owes("a")) == ([("a", ALL)], [])


async def test_a_list_is_bounded():
    made, *_ = three()
    made.listed([f"p{number}" for number in range(MAX_OWED + 5)])
    made.send(broadcast(b"1"))
    assert len(made.owes()) == MAX_OWED


async def owed_while(ask, leave=None, *, is_first=True):
    """Whether c is told that b, which stands still, is owed what was asked at a, or the second part of the reply to
    that. leave: what a says when b has been sent it."""
    node = Node("test", clients=True)
    stands_still = trio.Event()

    @node.on_request
    async def handle(request):
        async def parts():
            await node.notify(b"1", channels=["room"])
            yield b"1"
            await stands_still.wait()
            await node.notify(b"2", channels=["room"])
            yield b"2"

        if not is_first:
            return Reply(parts())
        await node.notify(b"1", channels=["room"])
        return b"done"

    async with linked_to_three(node) as (a, b, c):
        b.acknowledges = not is_first
        id = ask(a)
        if not is_first:
            await a.take(frames.Effects)
            await a.take(frames.Reply)
            b.acknowledges = False
            stands_still.set()
            await b.take(frames.Effects)
        await b.take(frames.Effects)
        if leave:
            a.say(leave(id))
        count = len(c.heartbeats)
        await until(lambda: len(c.heartbeats) > count + 2)
        return "b" in dict(c.heartbeats[-1].owes)


@pytest.mark.parametrize(
    ("ask", "is_owed"),
    [
        (lambda a: a.request(client=1 << 32), False),
        (lambda a: a.request(client=1 << 32, attempt=2), True),
        (lambda a: a.http("GET"), False),
        (lambda a: a.http("PUT"), False),
        (lambda a: a.http("POST"), True),
    ],
)
async def test_a_request_that_goes_to_another_node_is_not_owed(ask, is_owed):
    assert await owed_while(ask) is is_owed


async def test_after_a_part_of_its_reply_it_goes_to_none():
    assert await owed_while(lambda a: a.request(client=1 << 32), is_first=False)


async def test_nor_does_it_when_its_client_has_left():
    assert await owed_while(lambda a: a.request(client=1 << 32), lambda id: frames.Cancel(id, 1))


async def test_it_is_told_before_the_reply_and_in_each_hello():
    node = notifying()
    async with linked_to_three(node) as (a, b, c):
        heard = []
        heartbeats, frames_of_a = a.heartbeats, a.frames
        a.heartbeats, a.frames = Both(heartbeats, heard), Both(frames_of_a, heard)
        b.acknowledges = False
        request = a.request(client=1 << 32)
        await b.take(frames.Effects)
        b.say(frames.Refused("lost"))  # its session is over
        await a.take(frames.Effects)
        assert (await a.take(frames.Reply)).request == request
        reply = next(place for place, frame in enumerate(heard) if isinstance(frame, frames.Reply))
        assert any("b" in dict(getattr(frame, "owes", [])) for frame in heard[:reply])
        again = await b.proxy.accept()
        assert dict(again.hello.owes).keys() == {"b"}
        again.welcome(peers=[a.proxy, c.proxy], keeper="a")
        await until(lambda: a.heartbeats[-1].owes == [], "it to be told that nothing is owed any more")


class Both(list):
    """A list, and one of several together."""

    def __init__(self, former, together):
        super().__init__(former)
        self._together = together

    def append(self, item):
        super().append(item)
        self._together.append(item)


async def test_who_leaves_without_having_brought_all_says_so_first():
    node = Node("test", drain_timeout=0.1)
    with trio.fail_after(2 * PATIENCE):
        async with fake_proxy("a") as a, fake_proxy("b") as b, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [a.address])
            at_a = await a.join(peers=[b])
            at_b = await b.join(peers=[a], keeper="a")
            at_b.acknowledges = False
            await node.notify(b"", channels=["room"])
            await at_b.take(frames.Effects)
            node.drain()
            await until(lambda: any(isinstance(frame, frames.Bye) for frame in at_a.frames), "it to leave")
            await until(lambda: any(isinstance(frame, frames.Bye) for frame in at_b.frames), "it to leave")
            assert at_a.heartbeats[-1].owes == [("b", ALL)]
            assert at_b.heartbeats[-1].owes == [], "it has all, when it reads this"

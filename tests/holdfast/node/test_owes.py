"""Whom a node owes: proxies that may miss something if it dies now. Of those without a session that is said at once."""

import trio

from holdfast import Node
from holdfast.node import stream, streams
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


def asked(request, part=1):
    return stream.Origin("home", request, part)


async def test_of_what_is_owed_that_of_requests_is_told_apart():
    made, _told, a, *_ = watched("a", "b", "c")
    assert made.pending(made.owes()) == []
    made.send(broadcast(b"1"), asked(7))
    made.send(broadcast(b"2"))
    made.send(broadcast(b"3"), asked(8))
    made.send(broadcast(b"4"), asked(8, part=2))
    made.send([frames.Join(AT_A, "x")], asked(0))  # a flush is done again by nobody
    made.acknowledged(a, 1)
    requests = [("home", 7, 1), ("home", 8, 1), ("home", 8, 2)]
    assert sorted(made.pending(made.owes()), key=lambda each: each.proxy) == [
        frames.Pending("a", 5, requests[1:]),
        frames.Pending("b", 2, requests),
        frames.Pending("c", 2, requests),
    ]
    assert {each.proxy for each in made.pending(made.owes("b"))} == {"a", "c"}, "as of what is owed"
    made.acknowledged(a, 4)
    assert {each.proxy for each in made.pending(made.owes())} == {"b", "c"}, "nothing of requests is left"


async def test_what_waits_for_room_and_others_have_is_among_it():
    made, *_ = watched("a", "b", "c")
    for _ in range(FIRST_WINDOW):
        made.send([frames.Join(AT_A, "x")])
    made.send(broadcast(b"1"), asked(7))
    made.send([frames.Join(AT_A, "x")], asked(8))  # which nobody has been sent
    assert frames.Pending("a", FIRST_WINDOW, [("home", 7, 1)]) in made.pending(made.owes())


async def test_where_there_is_no_way_all_counts():
    made, _told, a, *_ = watched("a")
    made.forget("b")
    made.forget("c")
    made.send(broadcast(b"1"), asked(7))
    made.detach(a, for_good=False)
    assert (made.owes(), made.pending(made.owes())) == ([("a", ALL)], [])
    made.attach(Session("a"), 0)
    assert (made.owes(), made.pending(made.owes())) == ([("a", ALL)], [])


async def test_so_it_does_if_it_is_of_more_requests_than_can_be_said(monkeypatch):
    monkeypatch.setattr(stream, "MAX_PENDING", 3)
    made, *_ = watched("a")
    for request in range(3):
        made.send(broadcast(b"1"), asked(1 + request))
        made.send(broadcast(b"2"), asked(1 + request))
    assert [len(each.requests) for each in made.pending(made.owes())] == [3]
    made.send(broadcast(b"3"), asked(4))
    assert made.pending(made.owes()) == []


async def test_a_heartbeat_has_room_for_so_many(monkeypatch):
    monkeypatch.setattr(streams, "MAX_ALL_PENDING", 5)
    made, *_ = watched("a", "b", "c")
    for request in range(2):
        made.send(broadcast(b"1"), asked(1 + request))
    assert [len(each.requests) for each in made.pending(made.owes())] == [2, 2]
    assert len(made.owes()) == 3


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


async def test_it_is_told_with_each_heartbeat():
    async with linked_to_three(notifying()) as (a, b, c):
        b.acknowledges = False
        request = a.request(client=1 << 32)
        number = (await b.take(frames.Effects)).number
        await until(lambda: c.heartbeats[-1].pending, "it to be told")
        assert c.heartbeats[-1].owes == [("b", number)]
        assert c.heartbeats[-1].pending == [frames.Pending("b", 0, [("a", request, 1)])]
        b.say(frames.Ack(number))
        await until(lambda: not c.heartbeats[-1].pending, "it to be done")


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

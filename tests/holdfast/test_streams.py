"""What goes to several proxies: each once, in order, whatever happens to the sessions."""

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast import streams
from holdfast.streams import Streams
from protocols.nodes import frames
from protocols.nodes.frames import pack_ids
from tests.holdfast.fake_proxy import PATIENCE


class Session:
    """What Streams needs of one; sent: what went out, decoded."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.max_batch_bytes = 16 << 20
        self.sent = []

    def send(self, frame, size=64):
        self.sent += frames.decode_from_node(frames.encode_batch(1, [frame]))[1]


def owner(client_id):
    return {1: "a", 2: "b", 3: "c"}.get(client_id >> 32)


def three(*linked):
    made = Streams(owner)
    made.listed(["a", "b", "c"])
    sessions = [Session(proxy) for proxy in linked]
    for session in sessions:
        made.attach(session, 0)
    return made, *sessions


AT_A, AT_B, NOWHERE = 1 << 32 | 5, 2 << 32 | 5, 9 << 32


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        (frames.Join(AT_A, "x"), "a"),
        (frames.Leave(AT_B, "x"), "b"),
        (frames.CloseClient(AT_B), "b"),
        (frames.CloseClient(NOWHERE), "abc"),
        (frames.Broadcast(b"", True), "abc"),
        (frames.Notify(b"", True, [], pack_ids([AT_A, AT_B])), "ab"),
        (frames.Notify(b"", True, []), ""),
        (frames.Notify(b"", True, ["loud"]), "abc"),
        (frames.Notify(b"", True, ["quiet"]), "bc"),
        (frames.Notify(b"", True, ["quiet", "loud"]), "abc"),
        (frames.Notify(b"", True, ["quiet"], pack_ids([AT_A])), "abc"),
        (frames.AsMaster(3, [frames.Join(AT_A, "x")]), "a"),
    ],
)
def test_whom_it_concerns(effect, expected):
    made, session = three("a")
    made.mute(session, ["quiet"])
    assert made.concerned([effect]) == set(expected)


async def test_what_is_not_acknowledged_is_sent_again_in_order():
    made, session = three("a")
    for channel in "xyz":
        made.send([frames.Join(AT_A, channel)], "a")
    made.acknowledged(session, 1)
    made.detach(session)
    made.send([frames.Leave(AT_A, "x")], "a")
    again = Session("a")
    made.attach(again, 2)  # the proxy had the second one, and its acknowledgement was lost
    assert [(frame.number, type(frame.effects[0])) for frame in again.sent] == [(3, frames.Join), (4, frames.Leave)]
    made.acknowledged(session, 4)  # of the session that is over
    made.detach(again)
    last = Session("a")
    made.attach(last, 4)
    assert last.sent == []


async def test_too_much_is_a_hole(monkeypatch):
    monkeypatch.setattr(streams, "MAX_KEPT_BYTES", 1000)
    made, session = three("a")
    made.detach(session)
    for _ in range(3):
        made.send([frames.Broadcast(bytes(400), False)], "a")
    made.send([frames.Broadcast(b"last", False)], "a")
    again = Session("a")
    made.attach(again, 0)
    assert again.sent[0] == frames.Hole(2)
    assert [frame.number for frame in again.sent[1:]] == [3, 4]


async def test_what_is_too_old_is_given_up_without_a_hole(autojump_clock):
    made, session = three("a")
    made.detach(session)
    made.send([frames.Broadcast(b"old", False)], "a")
    await trio.sleep(61)
    made.send([frames.Broadcast(b"new", False)], "a")
    made.give_up_old(trio.current_time())
    assert made.given_up == 1
    again = Session("a")
    made.attach(again, 0)
    assert [frame.effects[0].payload for frame in again.sent] == [b"new"]


async def test_a_proxy_that_is_not_listed_any_more_gets_nothing():
    made, _ = three("a")
    made.listed(["a", "b"])
    assert made.concerned([frames.Broadcast(b"", False)]) == {"a", "b"}
    assert "c" not in made


async def test_numbers_do_not_begin_anew_for_a_proxy_that_comes_back():
    made, session = three("a")
    made.send([frames.Join(AT_A, "x")], "a")
    made.listed(["b"])
    made.detach(session)
    again = Session("a")
    made.attach(again, 1)
    made.send([frames.Join(AT_A, "y")], "a")
    assert [frame.number for frame in again.sent] == [2]


async def test_a_mute_that_crosses_our_join_does_not_count():
    made, session = three("a")
    made.mute(session, ["x"])
    made.send([frames.Join(AT_A, "x")], "a")
    notify = frames.Notify(b"", True, ["x"])
    assert "a" in made.concerned([notify])
    made.mute(session, ["x"])  # said before the join came there
    assert "a" in made.concerned([notify])
    made.acknowledged(session, 1)
    made.mute(session, ["x"])
    assert "a" not in made.concerned([notify])
    made.unmute(session, ["x"])
    assert "a" in made.concerned([notify])


async def test_a_join_with_a_reply_counts_against_a_mute_that_is_under_way():
    made, session = three("a")
    notify = frames.Notify(b"", True, ["x"])
    made.send([notify], "a")
    made.replied(session, [frames.Join(AT_A, "x")])
    made.mute(session, ["x"])  # the answer to what was sent before the join
    assert "a" in made.concerned([notify])
    made.acknowledged(session, 1)
    made.mute(session, ["x"])
    assert "a" not in made.concerned([notify])


def remembered(made):
    return sum(len(stream.joins) for stream in made._streams.values())


async def test_joins_are_not_remembered_for_longer_than_a_mute_may_be_under_way(autojump_clock):
    made, session = three("a")
    for number in range(100):
        made.replied(session, [frames.Join(AT_A, f"nothing is under way {number}")])
    assert remembered(made) == 0
    made.send([frames.Join(AT_A, "x")], "a")
    made.replied(session, [frames.Join(AT_A, "y")])
    assert remembered(made) == 2
    made.acknowledged(session, 1)
    assert remembered(made) == 0
    made.detach(session)
    made.send([frames.Join(AT_A, "z")], "a")
    assert remembered(made) == 1
    await trio.sleep(streams.MAX_KEPT_SECONDS + 1)
    made.give_up_old(trio.current_time())
    assert remembered(made) == 0


async def test_waiting_ends_with_the_acknowledgement_or_the_session():
    made, at_a, at_b = three("a", "b")
    taken = []

    async def wait(sent):
        await made.wait_taken(sent)
        taken.append(True)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, made.send([frames.Broadcast(b"", True)], ["a", "b", "c"]))  # c has no session
            await trio.testing.wait_all_tasks_blocked()
            made.acknowledged(at_a, 1)
            await trio.testing.wait_all_tasks_blocked()
            assert taken == []
            made.detach(at_b)
        assert taken == [True]


class Proxy:
    """The receiving end: proxy.effects in short. link: what is on its way."""

    def __init__(self):
        self.done = []
        self.last = 0
        self.link = []

    def take(self):
        frame = self.link.pop(0)
        assert not isinstance(frame, frames.Hole)
        if frame.number > self.last:
            self.last = frame.number
            self.done += [effect.payload for effect in frame.effects]


class Sessions(RuleBasedStateMachine):
    """Any order of sending, taking, acknowledging, losing and making sessions: each proxy does each once, in order."""

    def __init__(self):
        super().__init__()
        self.streams = Streams(owner)
        self.streams.listed(["a", "b"])
        self.proxies = {name: Proxy() for name in "ab"}
        self.sessions = {}
        self.meant = {name: [] for name in "ab"}
        self.count = 0

    proxy = st.sampled_from("ab")

    @rule(to=st.sampled_from(["a", "b", "ab"]))
    def send(self, to):
        self.count += 1
        payload = self.count.to_bytes(4, "big")
        for name in to:
            self.meant[name].append(payload)

        async def in_trio():
            self.streams.send([frames.Broadcast(payload, False)], to)

        trio.run(in_trio)
        self.carry()

    @rule(name=proxy)
    def link(self, name):
        if name not in self.sessions:
            session = self.sessions[name] = Session(name)
            self.proxies[name].link.clear()  # what a session did not bring is lost with it
            self.streams.attach(session, self.proxies[name].last)
            self.carry()

    @rule(name=proxy)
    def lose(self, name):
        if name in self.sessions:
            self.streams.detach(self.sessions.pop(name))
            self.proxies[name].link.clear()

    @rule(name=proxy, answers=st.booleans())
    def take(self, name, answers):
        proxy = self.proxies[name]
        if proxy.link:
            proxy.take()
            if answers:
                self.streams.acknowledged(self.sessions[name], proxy.last)

    def carry(self):
        for name, session in self.sessions.items():
            self.proxies[name].link += session.sent
            session.sent = []

    @invariant()
    def all_in_order(self):
        for name, proxy in self.proxies.items():
            assert proxy.done == self.meant[name][: len(proxy.done)]

    @precondition(lambda self: self.count)
    @rule(name=proxy)
    def everything_arrives(self, name):
        self.lose(name)
        self.link(name)
        while self.proxies[name].link:
            self.proxies[name].take()
        assert self.proxies[name].done == self.meant[name]


Sessions.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestSessions = Sessions.TestCase

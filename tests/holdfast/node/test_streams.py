"""What goes to proxies: each once, in order, whatever happens to the sessions; and never a hole without a word."""

from types import SimpleNamespace

import pytest
import structlog
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.masses import MOST
from holdfast.node import failures, stream, streams
from holdfast.node.failures import Failures
from holdfast.node.streams import Streams
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import FIRST_WINDOW, pack_ids, weigh
from tests.waiting import PATIENCE


class Session:
    """What Streams needs of one; sent: what went out, decoded."""

    def __init__(self, proxy, max_unacknowledged_bytes=4 << 20):
        self.proxy = proxy
        self.max_batch_bytes = 16 << 20
        self.max_unacknowledged_bytes = max_unacknowledged_bytes
        self.sent = []
        self.beats = 0  # that were wanted soon

    def beat_soon(self):
        self.beats += 1

    @property
    def numbers(self):
        return [frame.number for frame in self.sent]

    @property
    def payloads(self):
        return [frame.effects[0].payload if isinstance(frame, frames.Effects) else frame for frame in self.sent]

    def send(self, frame, size=64):
        self.sent += frames.decode_from_node(frames.encode_batch(1, [frame]))[1]


class Made(Streams):
    """With what sessions are told by their proxies."""

    def acknowledged(self, session, *frame):
        self.say(session, "has", *frame)

    def mute(self, session, channels):
        self.say(session, "mute", channels)

    def unmute(self, session, channels):
        self.say(session, "unmute", channels)

    def asked(self, session, stamp):
        self.say(session, "asked", stamp)

    def answered(self, session, stamp):
        self.say(session, "answered", stamp)

    def say(self, session, what, *said):
        if stream := self.of(session):
            getattr(stream, what)(*said)


def owner(client_id):
    return {1: "a", 2: "b", 3: "c"}.get(client_id >> 32)


def three(*linked):
    made = Made(owner, Failures())
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
async def test_whom_it_concerns(effect, expected):
    made, session = three("a")
    made.mute(session, ["quiet"])
    concerned, muted = made.concerned([effect])
    assert concerned == set(expected)
    assert muted == ({} if "a" in expected or not isinstance(effect, frames.Notify) or not effect.channels else QUIET)


QUIET = {"a": {"quiet"}}


async def test_the_client_of_a_proxy_that_is_not_there_may_be_anywhere():
    made = Made(owner, Failures())
    made.listed(["a", "b"])
    assert made.concerned([frames.CloseClient(3 << 32 | 5)])[0] == {"a", "b"}


async def test_what_concerns_nobody_takes_no_number():
    made, session = three("a")
    assert made.send(notify(b"")) == []
    made.send(broadcast(b"1"))
    assert session.numbers == [1]


async def test_what_is_kept_counts_for_what_it_is():
    made = Made(owner, Failures())
    made.listed(["a"])
    effects = broadcast(b"12345")
    made.send(effects, stream.Origin("home", 7, 1))
    assert made._streams["a"].waiting_bytes == stream.OVERHEAD + len("home") + sum(map(weigh, effects))


async def test_those_that_come_back_after_many_others_are_told_of_no_hole(monkeypatch):
    monkeypatch.setattr(streams, "MAX_FORMER", 2)
    made = Made(owner, Failures())

    def comes(proxy):
        made.listed([proxy])
        session = Session(proxy)
        made.attach(session, 0)
        return len(session.sent)

    for proxy in "ab":
        assert comes(proxy) == 0
        made.forget(proxy)
    assert comes("a") == 1
    made.forget("a")  # later than b
    comes("c")
    made.forget("c")
    assert [comes("a"), comes("b")] == [1, 0]


def broadcast(payload):
    return [frames.Broadcast(payload, False)]


class Narrow(Session):
    """Its proxy takes less at once than others do."""

    def __init__(self, proxy):
        super().__init__(proxy)
        self.max_batch_bytes = 10_000


async def test_what_was_kept_and_is_larger_than_the_proxy_takes_is_a_hole():
    """It was sent in each session anew, and ended each."""
    made, wide = three("b")
    for payload in (b"1", bytes(20_000), b"3"):
        made.send(broadcast(payload))
    narrow = Narrow("a")
    made.attach(narrow, 0)
    assert narrow.payloads == [b"1", frames.Hole(2), b"3"]
    assert len(wide.payloads[1]) == 20_000
    made.detach(narrow, for_good=False)
    again = Narrow("a")
    made.attach(again, 1)
    assert again.payloads == [frames.Hole(2), b"3"]


async def test_what_was_withheld_and_is_larger_than_the_proxy_takes_is_a_hole():
    made = Made(owner, Failures())
    narrow, wide = Narrow("a"), Session("b")
    for session in (narrow, wide):
        made.attach(session, 0)
    made.mute(narrow, ["quiet"])
    made.send([frames.Notify(bytes(20_000), False, ["quiet"])])
    assert (narrow.sent, len(wide.sent)) == ([], 1)
    made.unmute(narrow, ["quiet"])
    assert [type(frame) for frame in narrow.sent] == [frames.Hole]


async def test_what_a_linked_proxy_does_not_take_is_refused_and_sent_to_nobody():
    made, wide = three("b")
    made.attach(Narrow("a"), 0)
    with pytest.raises(HoldfastError, match="at most 8976 bytes"):
        made.send(broadcast(bytes(20_000)))
    assert wide.sent == []


async def test_what_is_not_acknowledged_is_sent_again_in_order():
    made, session = three("a")
    for channel in "xyz":
        made.send([frames.Join(AT_A, channel)])
    made.acknowledged(session, 1, 8)
    made.detach(session, for_good=False)
    made.send([frames.Leave(AT_A, "x")])
    again = Session("a")
    made.attach(again, 2)  # the proxy had the second one, and its acknowledgement was lost
    assert [(frame.number, type(frame.effects[0])) for frame in again.sent] == [(3, frames.Join), (4, frames.Leave)]
    made.acknowledged(session, 4, 8)  # of the session that is over
    made.detach(again, for_good=False)
    last = Session("a")
    made.attach(last, 4)
    assert last.sent == []


async def test_a_session_by_another_way_takes_over_what_is_not_acknowledged():
    made, former, _, _ = three("a", "b", "c")
    for number in range(12):  # more than the first window
        made.send(broadcast(b"%d" % number))
    made.acknowledged(former, 2, FIRST_WINDOW)
    made.mute(former, ["x"])
    session = Session("a")
    made.attach(session, 3)
    made.detach(former, for_good=False)  # it ends when the other one stands
    assert session.numbers == list(range(4, 4 + FIRST_WINDOW))
    made.acknowledged(session, 12, FIRST_WINDOW)
    assert session.numbers == list(range(4, 13))
    assert concerns(made, "x"), "a former session's Mute counts for nothing"


async def test_the_only_proxy_gets_it_when_its_link_is_back():
    made = Made(owner, Failures())
    session = Session("a")
    made.attach(session, 0)
    made.send(broadcast(b"1"))
    made.detach(session, for_good=False)
    made.send(broadcast(b"2"))
    again = Session("a")
    made.attach(again, 0)
    assert again.payloads == [b"1", b"2"]


# --- the window -----------------------------------------------------------------------------------------------------


async def test_no_more_is_sent_than_the_window_allows():
    made, session = three("a")
    for _ in range(20):
        made.send(broadcast(b""))
    assert session.numbers == [*range(1, FIRST_WINDOW + 1)]
    made.acknowledged(session, 2, 3)
    assert session.numbers == [*range(1, 9)]  # six are under way
    made.acknowledged(session, 7, 3)
    assert session.numbers == [*range(1, 11)]
    made.acknowledged(session, 10, 1024)
    assert session.numbers == [*range(1, 21)]


async def test_no_more_bytes_are_sent_than_the_proxy_allows_or_one_frame():
    made = Made(owner, Failures())
    session = Session("a", max_unacknowledged_bytes=1000)
    made.attach(session, 0)
    for size in (400, 400, 5000, 10):
        made.send(broadcast(bytes(size)))
    assert session.numbers == [1, 2]
    made.acknowledged(session, 1, 8)
    assert session.numbers == [1, 2, 3]
    made.acknowledged(session, 2, 8)
    assert session.numbers == [1, 2, 3]
    made.acknowledged(session, 3, 8)
    assert session.numbers == [1, 2, 3, 4]


async def test_a_proxy_that_has_as_many_bytes_as_it_allows_is_full():
    made = Made(owner, Failures())
    made.attach(Session("a"), 0)
    made.send(broadcast(b"x"))
    size = made._streams["a"].sent_bytes
    made = Made(owner, Failures())
    session = Session("a", max_unacknowledged_bytes=size)
    made.attach(session, 0)
    made.send(broadcast(b"x"))
    made.send(broadcast(b"x"))
    assert session.numbers == [1]


async def test_a_new_session_begins_with_the_first_window():
    made, session = three("a")
    made.acknowledged(session, 0, 1024)
    for _ in range(30):
        made.send(broadcast(b""))
    assert len(session.sent) == 30
    made.detach(session, for_good=False)
    again = Session("a")
    made.attach(again, 0)
    assert again.numbers == [*range(1, 9)]


async def test_who_publishes_waits_for_room_and_is_not_held_by_a_proxy_without_a_session():
    made, session = three("a")
    done = []

    async def publish():
        for number in range(20):
            await made.wait_room(broadcast(b""))
            made.send(broadcast(b""))
            done.append(number)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            await trio.testing.wait_all_tasks_blocked()
            assert len(done) == 8
            made.acknowledged(session, 3, 8)
            await trio.testing.wait_all_tasks_blocked()
            assert len(done) == 11
            made.detach(session, for_good=False)
    assert len(done) == 20


async def test_one_that_stops_waiting_leaves_the_room_to_the_next():
    made, session = three("a")
    for _ in range(8):
        made.send(broadcast(b""))
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def give_up():
                with scope:
                    await made.wait_room(broadcast(b""))

            nursery.start_soon(give_up)
            nursery.start_soon(made.wait_room, broadcast(b""))
            await trio.testing.wait_all_tasks_blocked()
            made.acknowledged(session, 1, 8)
            scope.cancel()


async def test_only_what_concerns_a_full_proxy_waits():
    made, at_a, at_b = three("a", "b")
    while len(at_a.sent) < 8:
        made.send([frames.Join(AT_A, "x")])
    with trio.fail_after(PATIENCE):
        await made.wait_room([frames.Join(AT_B, "x")])
    assert at_b.sent == []


async def test_a_reply_does_not_overtake_what_waits():
    made, session = three("a")
    for _ in range(9):
        made.send([frames.Join(AT_A, "x")])
    replied = []

    async def reply():
        await made.wait_replied(session, [frames.Join(AT_A, "y")])
        replied.append("y")

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reply)
            await trio.testing.wait_all_tasks_blocked()
            assert replied == []
            made.acknowledged(session, 1, 8)
    assert replied == ["y"]


async def test_what_is_sent_later_does_not_overtake_a_reply_that_waits():
    """Not even if it is sent in the very moment in which the reply's turn comes."""
    made, session = three("a")
    for number in range(9):
        made.send(notify(b"%d" % number, "x"))

    async def reply(payload):
        turn = await made.wait_replied(session, notify(payload, "x"))
        assert turn is not None
        session.sent.append(payload)
        turn.end()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reply, b"r")
            await trio.testing.wait_all_tasks_blocked()
            made.send(notify(b"9", "x"))
            nursery.start_soon(reply, b"s")
            await trio.testing.wait_all_tasks_blocked()
            made.send(notify(b"10", "x"))
            made.acknowledged(session, 8, 8)
    sent = [one if isinstance(one, bytes) else one.effects[0].payload for one in session.sent]
    assert sent == [b"%d" % number for number in range(9)] + [b"r", b"9", b"s", b"10"]
    assert await made.wait_replied(session, notify(b"t", "x")) is None  # nothing waits any more


async def test_replies_go_in_their_order():
    """Also one that comes when nothing waits any more, and the others have not had their turn."""
    for _ in range(20):  # the scheduler may do it right by chance
        made, session = three("a")
        for number in range(9):
            made.send(notify(b"%d" % number, "x"))
        order = []

        async def reply(payload):
            turn = await made.wait_replied(session, notify(payload, "x"))  # noqa: B023 - it ends with the nursery
            order.append(payload)  # noqa: B023
            if turn is not None:
                turn.end()

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for payload in (b"r", b"s", b"t"):
                    nursery.start_soon(reply, payload)
                    await trio.testing.wait_all_tasks_blocked()
                made.acknowledged(session, 8, 8)
                nursery.start_soon(reply, b"u")
        assert order == [b"r", b"s", b"t", b"u"]


@pytest.mark.parametrize("ends", ["cancelled", "session"])
async def test_a_reply_that_is_given_up_holds_up_nothing(ends):
    made, session = three("a")
    for _ in range(9):
        made.send([frames.Join(AT_A, "x")])
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.wait_replied, session, [frames.Join(AT_A, "y")])
            await trio.testing.wait_all_tasks_blocked()
            made.send([frames.Join(AT_A, "z")])
            if ends == "cancelled":
                nursery.cancel_scope.cancel()
            else:
                made.detach(session, for_good=False)
                session = Session("a")
                made.attach(session, 0)
    made.acknowledged(session, 8, 8)
    assert session.numbers == list(range(1, 11))


async def test_a_reply_whose_effects_went_before_waits_for_no_later_ones():
    made, session = three("a")
    for _ in range(9):
        made.send([frames.Join(AT_A, "x")])
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.wait_sent, session)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(20):
                made.send([frames.Join(AT_A, "x")])
            made.acknowledged(session, 1, 8)


# --- what can't be kept ---------------------------------------------------------------------------------------------


async def test_too_much_is_a_hole(monkeypatch):
    monkeypatch.setattr(stream, "MAX_KEPT_BYTES", 1000)
    made, session = three("a")
    made.detach(session, for_good=False)
    for _ in range(3):
        made.send(broadcast(bytes(400)))
    made.send(broadcast(b"last"))
    again = Session("a")
    made.attach(again, 0)
    assert again.sent[0] == frames.Hole(2)
    assert again.numbers[1:] == [3, 4]


async def test_a_hole_within_a_session_comes_after_what_was_sent(monkeypatch):
    monkeypatch.setattr(stream, "MAX_KEPT_BYTES", 1000)
    made, session = three("a")
    for _ in range(13):
        made.send(broadcast(bytes(100)))
    assert session.numbers == [*range(1, 9)]
    made.acknowledged(session, 8, 8)
    made.send(broadcast(b"after"))
    assert session.sent[8] == frames.Hole(13)
    assert session.numbers[8:] == [13, 14]


async def test_a_hole_that_the_proxy_knows_is_not_told_again(monkeypatch):
    monkeypatch.setattr(stream, "MAX_KEPT_BYTES", 100)
    made, session = three("a")
    made.detach(session, for_good=False)
    made.send(broadcast(bytes(200)))
    for seen, expected in ((0, [frames.Hole(1)]), (0, [frames.Hole(1)]), (1, []), (0, [])):
        again = Session("a")
        made.attach(again, seen)
        assert again.sent == expected
        made.detach(again, for_good=False)


async def test_what_is_too_old_is_a_hole(autojump_clock):
    made, session = three("a")
    made.send(broadcast(b"sent"))
    made.detach(session, for_good=False)
    for payload in (b"old", b"new"):
        made.send(broadcast(payload))
        await trio.sleep(40)
        made.give_up_old(trio.current_time())
    again = Session("a")
    made.attach(again, 0)
    assert again.payloads == [frames.Hole(2), b"new"]


async def test_what_is_too_old_is_a_hole_also_when_nobody_has_looked_because_the_process_stood_still(autojump_clock):
    made, session = three("a")
    for payload in (b"seen", b"old"):
        made.send(broadcast(payload))
    await trio.sleep(61)
    made.detach(session, for_good=False)
    made.send(broadcast(b"new"))
    again = Session("a")
    made.attach(again, 1)
    assert again.payloads == [frames.Hole(2), b"new"]


@pytest.mark.parametrize(
    ("listed", "linked", "warned"),
    [
        (["b"], True, []),  # by b's word a is gone: it has no clients any more
        (["a", "b"], True, ["a"]),
        (["b"], False, ["a", "c"]),  # whose word is not heard any more
    ],
)
async def test_what_is_given_up_is_a_warning_where_there_may_be_clients(autojump_clock, listed, linked, warned):
    made, session = three("a")
    other = Session("b")
    made.listed(["a", "b"])
    made.attach(other, 0)
    made.detach(session, for_good=False)
    made.send(broadcast(b"in vain"))
    made.acknowledged(other, 1, 100)
    made.listed(listed)
    if not linked:
        made.detach(other, for_good=False)
    with structlog.testing.capture_logs() as lines:
        await trio.sleep(61)
        made.give_up_old(trio.current_time())
    assert sorted(line["proxy"] for line in lines if line["event"] == "effects_given_up") == warned


async def test_nothing_is_too_old_while_there_is_a_session(autojump_clock):
    made, session = three("a")
    for _ in range(20):
        made.send([frames.Join(AT_A, "x")])
    await trio.sleep(100)
    made.give_up_old(trio.current_time())
    made.acknowledged(session, 8, 100)
    assert session.numbers == [*range(1, 21)]


async def test_a_mass_of_what_is_too_large_is_some_lines_and_a_count(monkeypatch):
    """The time is the test's: all is found in one second."""
    monkeypatch.setattr(failures, "time", SimpleNamespace(monotonic=lambda: 0.0))
    made, _ = three("b")
    for _ in range(MOST + 5):
        made.send([frames.Broadcast(bytes(2000), False)])
    session = Session("a")
    session.max_batch_bytes = 1000
    with structlog.testing.capture_logs() as lines:
        made.attach(session, 0)
        made.acknowledged(session, FIRST_WINDOW, 1000)
    assert {type(frame) for frame in session.sent} == {frames.Hole}
    assert len(session.sent) == MOST + 5
    assert [line["event"] for line in lines] == ["effects_given_up"] * MOST


async def test_a_proxy_that_is_given_up_and_comes_back_is_told_of_a_hole(autojump_clock):
    made, _ = three("a")
    made.listed(["a", "b"])
    await trio.sleep(61)
    made.give_up_old(trio.current_time())
    assert "c" not in made
    made.send(broadcast(b"without c"))
    made.listed(["a", "b", "c"])
    made.send(broadcast(b"with c"))
    session = Session("c")
    made.attach(session, 1)  # it has all that was numbered before
    assert session.payloads == [frames.Hole(2), b"with c"]


async def test_a_proxy_that_said_goodbye_gets_nothing():
    made, session = three("a")
    made.detach(session, for_good=True)
    assert "a" not in made
    assert made.concerned(broadcast(b""))[0] == {"b", "c"}


# --- channels without anybody ---------------------------------------------------------------------------------------


def notify(payload, *channels):
    return [frames.Notify(payload, False, list(channels))]


def concerns(made, channel):
    return "a" in made.concerned(notify(b"", channel))[0]


async def test_a_mute_that_crosses_our_join_does_not_count():
    made, session = three("a")
    made.mute(session, ["x"])
    made.send([frames.Join(AT_A, "x")])
    assert concerns(made, "x")
    made.mute(session, ["x"])  # said before the join came there
    assert concerns(made, "x")
    made.acknowledged(session, 1, 8)
    made.mute(session, ["x"])
    assert not concerns(made, "x")
    made.unmute(session, ["x"])
    assert concerns(made, "x")


async def test_so_does_one_that_was_made_before_there_was_a_session():
    made, _ = three("b")
    made.send([frames.Join(AT_A, "x")])
    session = Session("a")
    made.attach(session, 0)
    made.mute(session, ["x"])
    assert concerns(made, "x")


async def test_the_join_of_a_reply_that_waits_for_nothing_ends_a_mute():
    made, session = three("a")
    made.mute(session, ["x"])
    assert await made.wait_replied(session, [frames.Join(AT_A, "x")]) is None
    assert concerns(made, "x")


async def test_after_a_session_nothing_is_waited_for():
    made, session = three("a")
    made.send(broadcast(b"1"))
    made.detach(session, for_good=False)
    with trio.fail_after(PATIENCE):
        assert await made.wait_replied(session, [frames.Join(AT_A, "x")]) is None
        await made.wait_sent(session)


@pytest.mark.parametrize("ends", ["acknowledged", "session"])
async def test_until_all_has_left(ends):
    made, session = three("a")
    with trio.fail_after(PATIENCE):
        made.send(broadcast(b""))
        await made.wait_sent(session)
        for _ in range(FIRST_WINDOW + 1):
            made.send(broadcast(b""))
        left = []

        async def wait():
            await made.wait_sent(session)
            left.append(True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            made.acknowledged(session, 1, 8)
            await trio.testing.wait_all_tasks_blocked()
            assert left == []
            if ends == "acknowledged":
                made.acknowledged(session, 2, 8)
            else:
                made.detach(session, for_good=False)
    assert left == [True]


async def test_a_join_with_a_reply_counts_against_a_mute_that_is_under_way():
    made, session = three("a")
    made.send(notify(b"", "x"))
    await made.wait_replied(session, [frames.Join(AT_A, "x")])
    made.mute(session, ["x"])  # the answer to what was sent before the join
    assert concerns(made, "x")
    made.acknowledged(session, 1, 8)
    made.mute(session, ["x"])
    assert not concerns(made, "x")


async def test_a_mute_that_comes_while_a_reply_waits_does_not_count_against_its_join():
    made, session = three("a")
    for _ in range(9):
        made.send([frames.Join(AT_A, "x")])

    async def reply():
        turn = await made.wait_replied(session, [frames.Join(AT_A, "y")])
        turn.end()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reply)
            await trio.testing.wait_all_tasks_blocked()
            made.mute(session, ["y"])
            made.acknowledged(session, 8, 8)
    assert concerns(made, "y")


def remembered(made):
    return sum(len(stream._joins) for stream in made._streams.values())


async def test_joins_are_not_remembered_for_longer_than_a_mute_may_be_under_way():
    made, session = three("a")
    for number in range(100):
        await made.wait_replied(session, [frames.Join(AT_A, f"nothing is under way {number}")])
    assert remembered(made) == 0
    made.send([frames.Join(AT_A, "x")])
    await made.wait_replied(session, [frames.Join(AT_A, "y")])
    assert remembered(made) == 2
    made.acknowledged(session, 1, 8)
    assert remembered(made) == 0
    made.send([frames.Join(AT_A, "z")])
    made.detach(session, for_good=False)
    assert remembered(made) == 0


async def test_what_was_withheld_is_sent_if_somebody_had_joined_and_in_order():
    made, session = three("a")
    made.mute(session, ["x", "y"])
    for payload, channels in ((b"1", "x"), (b"2", "xy"), (b"3", "y"), (b"4", "x")):
        made.send(notify(payload, *channels))
    assert session.sent == []
    made.unmute(session, ["x"])
    made.send(notify(b"5", "x"))
    assert session.payloads == [b"1", b"2", b"3", b"4", b"5"]
    assert session.numbers == sorted(session.numbers)
    made.unmute(session, ["y"])
    made.asked(session, 1.0)
    made.answered(session, 1.0)
    made.unmute(session, ["x", "y"])
    assert len(session.sent) == 5


async def test_what_is_for_others_too_does_not_pass_what_was_withheld():
    """Somebody may have joined by now, and would hear the one before the other."""
    made, session = three("a")
    made.mute(session, ["x", "y", "z"])
    for payload, channels in ((b"1", "x"), (b"2", "xy"), (b"3", "z")):
        made.send(notify(payload, *channels))
    made.send(notify(b"4", "y", "open"))
    assert session.payloads == [b"1", b"2", b"4"]
    made.send(notify(b"5", "y"))
    assert len(session.sent) == 3, "it is muted as before"
    assert await made.wait_replied(session, notify(b"6", "y", "open")) is None
    assert session.payloads[3:] == [b"5"]
    made.send([frames.Broadcast(b"7", True)])
    assert session.payloads[4:] == [b"3", b"7"]


@pytest.mark.parametrize("last", [frames.Broadcast(b"", True), frames.CloseClient(AT_A)])
async def test_what_is_withheld_is_walked_once_however_many_end_its_silence(last):
    class Walked(dict):
        times = 0

        def __iter__(self):
            self.times += 1
            return super().__iter__()

    made, session = three("a")
    made.mute(session, ["x", "y"])
    withheld = made.of(session).withheld = Walked()
    made.send(notify(b"1", "x"))
    made.send(notify(b"2", "y"))
    made.send([last] * 100)
    assert [len(frame.effects) for frame in session.sent] == [1, 1, 100]
    assert withheld.times == 1


async def test_what_was_withheld_is_forgotten_when_a_later_heartbeat_is_answered():
    made, session = three("a")
    made.mute(session, ["x"])
    made.asked(session, 1.0)
    made.send(notify(b"1", "x"))
    for stamp in range(2, 1000):
        made.asked(session, float(stamp))
    assert len(made.of(session)._asked) == 1  # a proxy that answers none costs nothing for each
    made.send(notify(b"2", "x"))
    assert session.beats == 2
    made.answered(session, 1.0)
    assert made.of(session).withheld_bytes > 0  # the heartbeat had left before what was published then
    made.answered(session, 2.0)
    made.unmute(session, ["x"])
    assert session.payloads == [b"2"]
    made.acknowledged(session, session.numbers[-1], FIRST_WINDOW)
    made.mute(session, ["x", "y"])
    made.send(notify(b"3", "x", "y"))
    made.asked(session, 1000.0)
    made.answered(session, 1000.0)
    assert (made.of(session).withheld, made.of(session).withheld_bytes) == ({}, 0)


async def test_what_was_withheld_is_kept_until_what_was_sent_before_it_is_done():
    """Whoever joins before that hears the earlier one, when it is its turn, and the later: and what is between."""
    made, session = three("a")
    made.send(notify(b"1", "x"))
    made.mute(session, ["x"])
    made.send(notify(b"2", "x"))
    made.asked(session, 1.0)
    made.answered(session, 1.0)
    made.unmute(session, ["x"])
    made.send(notify(b"3", "x"))
    assert session.payloads == [b"1", b"2", b"3"]
    made.mute(session, ["x"])
    made.send(notify(b"4", "x"))
    made.asked(session, 2.0)
    made.answered(session, 2.0)
    made.acknowledged(session, session.numbers[-1], FIRST_WINDOW)
    assert (made.of(session).withheld, made.of(session).withheld_bytes) == ({}, 0)


async def test_an_answer_to_no_heartbeat_means_nothing():
    made, session = three("a")
    made.mute(session, ["x"])
    made.send(notify(b"1", "x"))
    made.answered(session, 1.0)
    made.asked(session, 2.0)
    made.answered(session, 1.0)  # to none of these
    made.unmute(session, ["x"])
    assert session.payloads == [b"1"]


async def test_what_was_withheld_is_sent_when_the_session_is_over():
    made, session = three("a")
    made.mute(session, ["x", "y"])
    made.send(broadcast(b"0"))
    made.send(notify(b"1", "y"))
    made.send(notify(b"2", "x"))
    made.detach(session, for_good=False)
    again = Session("a")
    made.attach(again, 0)
    assert again.payloads == [b"0", b"1", b"2"]
    assert concerns(made, "x")


async def test_nothing_is_withheld_beyond_what_may_be_kept(monkeypatch):
    made, session = three("a")
    made.mute(session, ["x"])
    made.send(notify(bytes(200), "x"))
    monkeypatch.setattr(stream, "MAX_KEPT_BYTES", 2 * made.of(session).withheld_bytes)
    made.send(notify(bytes(200), "x"))  # as much as may be
    assert session.sent == []
    made.send(notify(b"", "x"))
    assert len(session.sent) == 3
    assert concerns(made, "x")


async def test_what_is_withheld_is_no_hole_while_it_can_be_sent(monkeypatch):
    made, session = three("a")
    made.mute(session, ["x"])
    made.send(notify(bytes(200), "x"))
    monkeypatch.setattr(stream, "MAX_KEPT_BYTES", made.of(session).withheld_bytes)
    made.send(broadcast(b"one more"))
    assert sorted(session.payloads) == [bytes(200), b"one more"]


async def test_our_own_join_comes_after_what_was_withheld():
    made, session = three("a")
    made.mute(session, ["x"])
    made.send(notify(b"before", "x"))
    made.send([frames.Join(AT_A, "x")])
    assert [type(frame.effects[0]) for frame in session.sent] == [frames.Notify, frames.Join]
    assert session.numbers == sorted(session.numbers)


CHANNELS = st.sampled_from("xy")
SOME = st.lists(CHANNELS, min_size=1, unique=True)
EFFECT = st.one_of(
    st.tuples(st.just("notify"), SOME),
    st.tuples(st.just("notify"), SOME),
    st.tuples(st.just("leave"), CHANNELS),
    st.tuples(st.just("join"), CHANNELS),
    st.tuples(st.sampled_from(["broadcast", "close"]), st.none()),
)
BATCH = st.lists(EFFECT, min_size=1, max_size=2)
MOMENT = st.one_of(
    st.tuples(st.just("mute"), SOME),
    st.tuples(st.sampled_from(["unmute", "mute"]), SOME),
    st.tuples(st.just("acknowledged"), st.none()),
    st.tuples(st.just("send"), BATCH),
    st.tuples(st.just("send"), BATCH),
    st.tuples(st.just("reply"), BATCH),
)
MOMENTS = st.lists(MOMENT, min_size=12, max_size=30)


def effect(kind, where, number):
    """With a number by which it is known again; and the channels whose members it may concern."""
    client = 1 << 32 | number
    match kind:
        case "notify":
            return frames.Notify(b"%d" % number, False, where), {*where}
        case "join":
            return frames.Join(client, where), {where}
        case "leave":
            return frames.Leave(client, where), {where}
        case "broadcast":
            return frames.Broadcast(b"%d" % number, False), {*"xy"}
        case "close":
            return frames.CloseClient(client), {*"xy"}


def number_of(effect):
    return int(effect.payload) if hasattr(effect, "payload") else effect.client & (1 << 32) - 1


@given(MOMENTS)
@example([("mute", ["x"]), ("send", [("notify", ["x"])]), ("send", [("leave", "x")])])
@example([("mute", ["x"]), ("send", [("notify", ["x"])]), ("reply", [("leave", "x")])])
@example(
    [
        *[("send", [("broadcast", None)])] * (FIRST_WINDOW + 1),
        ("reply", [("join", "x")]),  # waits for room, and is not overtaken by what is withheld meanwhile
        ("mute", ["x"]),
        ("send", [("notify", ["x"])]),
        ("acknowledged", None),
    ]
)
@settings(deadline=None, max_examples=200)
async def test_whoever_is_in_a_channel_has_all_that_concerns_it_in_the_order_made(moments):
    """Whatever is muted and unmuted meanwhile, with a reply or by itself, with room for it or without: the client may
    have joined by another node, in whichever moment. Nothing is forgotten here, so all of it comes."""
    made, session = three("a")
    concerned = []  # by each effect's number: the channels

    def some(batch):
        effects = []
        for kind, where in batch:
            one, channels = effect(kind, where, len(concerned))
            concerned.append(channels)
            effects.append(one)
        return effects

    async def reply(effects):
        turn = await made.wait_replied(session, effects)
        session.sent.append(SimpleNamespace(effects=effects))
        if turn is not None:
            turn.end()

    def acknowledge():
        if sent := made.of(session).sent:
            made.acknowledged(session, sent[-1].number, 2)  # a window of 2 from the first time on

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for what, value in moments:
                match what:
                    case "send":
                        made.send(some(value))
                    case "reply":
                        nursery.start_soon(reply, some(value))
                        await trio.testing.wait_all_tasks_blocked()
                    case "acknowledged":
                        acknowledge()
                    case _:
                        made.say(session, what, value)
            made.of(session).listen()
            while made.of(session).last:
                await trio.testing.wait_all_tasks_blocked()
                acknowledge()
    came = [number_of(effect) for frame in session.sent for effect in frame.effects]
    assert sorted(came) == [*range(len(concerned))]
    for channel in "xy":
        numbers = [number for number in came if channel in concerned[number]]
        assert numbers == sorted(numbers)


# --- as a whole -----------------------------------------------------------------------------------------------------


async def test_waiting_ends_with_the_acknowledgement_or_the_session():
    made, at_a, at_b = three("a", "b")
    taken = []

    async def wait(sent):
        await made.wait_taken(sent)
        taken.append(True)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, made.send(broadcast(b"")))  # c has no session
            await trio.testing.wait_all_tasks_blocked()
            made.acknowledged(at_a, 1, 8)
            await trio.testing.wait_all_tasks_blocked()
            assert taken == []
            made.detach(at_b, for_good=False)
        assert taken == [True]


async def test_before_the_end_all_is_sent_and_waited_for():
    made, session = three("a")
    made.mute(session, ["x"])
    for payload in b"123456789":
        made.send(broadcast(bytes([payload])))
    made.send(notify(b"withheld", "x"))
    done = trio.Event()

    async def end():
        await made.wait_all_taken()
        done.set()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end)
            await trio.testing.wait_all_tasks_blocked()
            made.acknowledged(session, 8, 8)
            assert session.payloads[-2:] == [b"9", b"withheld"]
            await trio.testing.wait_all_tasks_blocked()
            assert not done.is_set()
            made.acknowledged(session, 11, 8)  # the others got the tenth
            await trio.testing.wait_all_tasks_blocked()
            assert not done.is_set()
            made.listed(["a"])  # the others, without a session, have no clients any more


WHERE = {"a": AT_A, "b": AT_B}


class Proxy:
    """The receiving end: proxy.realtime.effects in short. link, back: what is on its way there and from there.

    heard: what its client in the channel got. since: how many had been published when it joined; None: it has not.
    """

    def __init__(self, name):
        self.name = name
        self.done = []
        self.heard = []
        self.since = None
        self.last = 0
        self.is_muted = False
        self.link = []
        self.back = []

    def cut(self):
        self.link.clear()
        self.back.clear()
        self.is_muted = False

    def take(self):
        frame = self.link.pop(0)
        if isinstance(frame, frames.Heartbeat):
            self.back.append(frame)
            return
        assert isinstance(frame, frames.Effects)
        if frame.number <= self.last:
            return
        self.last = frame.number
        for effect in frame.effects:
            if isinstance(effect, frames.CloseClient) and effect.client == WHERE[self.name]:
                self.done.append(int(effect.reason))
            elif isinstance(effect, frames.Notify) and self.since is not None:
                self.heard.append(int(effect.payload))
            elif isinstance(effect, frames.Notify):
                self.is_muted = True
                self.back.append(frames.Mute(effect.channels))
        self.back.append(frames.Ack(self.last, 2))

    def join(self, published):
        if self.since is None:
            self.since = published
            if self.is_muted:
                self.back.append(frames.Unmute(["x"]))


class Sessions(RuleBasedStateMachine):
    """Any order of sending, taking, answering, losing and making sessions: each proxy does each once, in order, and
    who has joined a channel gets all that is published from then on."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.current_time, trio.current_time = trio.current_time, lambda: self.now
        self.streams = Made(owner, Failures())
        self.streams.listed(["a", "b"])
        self.proxies = {name: Proxy(name) for name in "ab"}
        self.sessions = {}
        self.meant = {name: [] for name in "ab"}
        self.count = self.published = 0

    def teardown(self):
        trio.current_time = self.current_time

    proxy = st.sampled_from("ab")

    @rule()
    def wait(self):
        self.now += 1

    @rule(to=st.sampled_from(["a", "b", "ab"]))
    def send(self, to):
        self.count += 1
        for name in to:
            self.meant[name].append(self.count)
        self.streams.send([frames.CloseClient(WHERE[name], str(self.count)) for name in to])
        self.carry()

    @rule()
    def publish(self):
        self.published += 1
        self.streams.send([frames.Notify(b"%d" % self.published, True, ["x"])])
        self.carry()

    @rule(name=proxy)
    def join(self, name):
        self.proxies[name].join(self.published)

    @rule(name=proxy)
    def link(self, name):
        if name not in self.sessions:
            session = self.sessions[name] = Session(name)
            self.streams.attach(session, self.proxies[name].last)
            self.carry()

    @rule(name=proxy)
    def lose(self, name):
        if name in self.sessions:
            self.streams.detach(self.sessions.pop(name), for_good=False)
            self.proxies[name].cut()  # what a session did not bring is lost with it

    @rule(name=proxy)
    def beat(self, name):
        if name in self.sessions:
            self.now += 1e-6  # each has a stamp of its own
            self.streams.asked(self.sessions[name], self.now)
            self.proxies[name].link.append(frames.Heartbeat(self.now))

    @rule(name=proxy)
    def take(self, name):
        if self.proxies[name].link:
            self.proxies[name].take()

    @rule(name=proxy)
    def answer(self, name):
        back, session = self.proxies[name].back, self.sessions.get(name)
        if not back:
            return
        match back.pop(0):
            case frames.Ack(number, window):
                self.streams.acknowledged(session, number, window)
            case frames.Mute(channels):
                self.streams.mute(session, channels)
            case frames.Unmute(channels):
                self.streams.unmute(session, channels)
            case frames.Heartbeat(stamp):
                self.streams.answered(session, stamp)
        self.carry()

    def carry(self):
        for name, session in self.sessions.items():
            self.proxies[name].link += session.sent
            session.sent = []

    @invariant()
    def all_in_order(self):
        for name, proxy in self.proxies.items():
            assert proxy.done == self.meant[name][: len(proxy.done)]
            assert proxy.heard == [*range(proxy.heard[0], proxy.heard[0] + len(proxy.heard))] if proxy.heard else True

    @invariant()
    def bytes_are_counted(self):
        for each in self.streams._streams.values():
            assert each.sent_bytes == sum(kept.size for kept in each.sent)
            assert each.waiting_bytes == sum(kept.size for kept in each.waiting)
            withheld = {id(one): one.size for queue in each.withheld.values() for one in queue if not one.is_out}
            assert each.withheld_bytes == sum(withheld.values())

    @precondition(lambda self: self.count + self.published)
    @rule(name=proxy, again=st.booleans())
    def everything_arrives(self, name, again):
        if again:
            self.lose(name)
        self.link(name)
        proxy = self.proxies[name]
        while proxy.link or proxy.back:
            self.take(name)
            self.answer(name)
        assert proxy.done == self.meant[name]
        if proxy.since is not None and self.published > proxy.since:
            assert proxy.heard[0] <= proxy.since + 1
            assert proxy.heard[-1] == self.published


Sessions.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestSessions = Sessions.TestCase

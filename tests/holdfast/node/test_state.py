"""The state as authors use it, and how it follows the proxy: State, Replica."""

import sys
from dataclasses import dataclass
from functools import partial

import pytest
import trio
from msgspec import structs
from trio.testing import wait_all_tasks_blocked

from holdfast import Client, Node, StateConflict, StateError, StateRefused
from holdfast.node import replica
from holdfast.node.replica import PROPOSAL_TIMEOUT
from holdfast.node.request import Headers
from holdfast.node.state import DEPTH_MARGIN, decode, encode
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.state import PROPOSAL_WINDOW, AppliedProposals
from tests.holdfast.node.fake_proxy import client, fake_proxy, linked
from tests.waiting import until


def item(key, value, owner=0, version=0):
    return frames.StateItem(key, encode(value), owner, version)


class Log:
    """What a proxy does with the entries: it relays each to the node."""

    def __init__(self, session, epoch=1, index=0):
        self.session = session
        self.epoch = epoch
        self.index = index

    def say(self, key, value=None, node="", proposal=0, owner=0):
        self.index += 1
        data = None if value is None else encode(value)
        self.session.say(frames.Entry(self.epoch, self.index, node, proposal, key, data, owner))

    def accept(self, propose, node):
        self.index += 1
        self.session.say(
            frames.Entry(self.epoch, self.index, node.id, propose.proposal, propose.key, propose.value, propose.owner)
        )


async def test_reading():
    node = Node("test", clients=True)
    async with linked(node, state=[item("a/1", {"x": [1, "ä", None]}), item("a/2", 2.5), item("b", b"\xff")]):
        state = node.state
        assert state["a/1"] == {"x": [1, "ä", None]}
        assert state.get("a/2") == 2.5
        assert state.get("none") is None
        assert state.get("none", 7) == 7
        assert "b" in state
        assert "none" not in state
        assert len(state) == 3
        assert sorted(state) == ["a/1", "a/2", "b"]
        assert sorted(state.items("a/")) == [("a/1", {"x": [1, "ä", None]}), ("a/2", 2.5)]
        with pytest.raises(KeyError):
            state["none"]
        state["a/1"]["x"] = "changed here only"
        assert state["a/1"] == {"x": [1, "ä", None]}


@dataclass(frozen=True)
class Place:
    x: int


@pytest.mark.parametrize("value", [{Place(1): 1}, {(1, 2): {frozenset([Place(1)]): 1}}, 2**64, "\ud800", object()])
async def test_what_could_not_be_read_again_is_not_set(value):
    node = Node("test", clients=True)
    async with linked(node) as session:
        with pytest.raises(TypeError):
            await node.state.set("k", value)
        assert session.untaken() == []


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def at_depth(calls, function, *arguments):
    return function(*arguments) if calls == 0 else at_depth(calls - 1, function, *arguments)


def test_what_can_be_set_can_be_read_where_calls_are_deeper():
    """Clients choose how deeply their JSON is nested, and every node reads what one of them has set."""
    accepted = 0
    for depth in range(1, sys.getrecursionlimit() + 10, 7):
        try:
            encoded = encode(nested(depth))
        except TypeError:
            continue
        accepted = depth
        at_depth(DEPTH_MARGIN - 20, decode, encoded)
    assert 100 < accepted < sys.getrecursionlimit()


@pytest.mark.parametrize("bad", [b"\xc1", b"", b"\x81\x81\x01\x02\x03", b"\xa2\xff\xfe", b"\x91" * 5000 + b"\x01"])
async def test_a_value_that_is_no_msgpack_ends_no_node(bad):
    node = Node("test", clients=True)
    told = []
    node.on_state(lambda key, value: told.append((key, value)))
    async with linked(node, state=[frames.StateItem("first", bad), item("a", 1)], position=(1, 5)) as session:
        session.say(frames.Entry(1, 6, "other", 1, "then", bad))
        Log(session, index=6).say("b", 2)
        await until(lambda: told == [("a", 1), ("b", 2)])
        for read in (lambda: node.state["then"], lambda: node.state.get("first"), node.state.items):
            with pytest.raises(StateError, match="can't be read"):
                read()
        assert node.state.items("a") == [("a", 1)]


async def test_a_client_without_a_session_owns_nothing():
    """The same at every proxy, and before anything is sent: nobody could say when such a client goes."""
    node = Node("test", clients=True)
    async with linked(node) as session:
        with pytest.raises(StateRefused, match="single HTTP request"):
            await node.state.set("k", 1, owner=Client(7, "http", "", "/", Headers()))
        assert session.untaken() == []


@pytest.mark.parametrize("owner", [0, False, -1, 1 << 64, "", "7"])
async def test_nor_does_who_is_no_client(owner):
    """To a proxy 0 says that there is no owner: so the entry would stay for ever."""
    node = Node("test", clients=True)
    async with linked(node) as session:
        for change in (node.state.set("k", 1, owner), node.state.update("k", lambda value: 1, owner=owner)):
            with pytest.raises(TypeError, match="never 0"):
                await change
        assert session.untaken() == []


async def test_set_and_delete_return_when_it_is_applied_here():
    node = Node("test", clients=True)
    async with linked(node, clients=[client()]) as session, trio.open_nursery() as nursery:
        log = Log(session)
        done = []

        async def change():
            await node.state.set("k", {"a": 1}, owner=7)
            done.append(dict(node.state.items()))
            await node.state.delete("k")
            done.append(dict(node.state.items()))

        nursery.start_soon(change)
        first = await session.take(frames.Propose)
        assert (first.key, decode(first.value), first.owner) == ("k", {"a": 1}, 7)
        assert first.proposal >= 1
        log.say("other", 1)
        await until(lambda: "other" in node.state)
        assert done == []
        log.accept(first, node)
        second = await session.take(frames.Propose)
        assert done == [{"other": 1, "k": {"a": 1}}]
        assert (second.key, second.value, second.owner) == ("k", None, 0)
        assert second.proposal != first.proposal
        log.accept(second, node)
        await until(lambda: len(done) == 2)
        assert done[1] == {"other": 1}


async def test_an_entry_of_another_node_with_the_same_number_settles_nothing():
    node = Node("test", clients=True)
    async with linked(node) as session, trio.open_nursery() as nursery:
        nursery.start_soon(node.state.set, "k", 1)
        propose = await session.take(frames.Propose)
        log = Log(session)
        log.say("k", 2, node="other", proposal=propose.proposal)
        await until(lambda: node.state.get("k") == 2)
        assert nursery.child_tasks
        log.accept(propose, node)
        await until(lambda: not nursery.child_tasks)
        assert node.state["k"] == 1


async def test_refused_by_the_proxy():
    node = Node("test", clients=True)
    async with linked(node) as session, trio.open_nursery() as nursery:

        async def change():
            with pytest.raises(StateRefused, match="at most 10 bytes"):
                await node.state.set("k", "much")

        nursery.start_soon(change)
        propose = await session.take(frames.Propose)
        session.say(frames.ProposalRefused(propose.proposal, "a value has at most 10 bytes"))


async def test_not_in_order_in_time(monkeypatch):
    monkeypatch.setattr(replica, "PROPOSAL_TIMEOUT", 0.05)
    node = Node("test", clients=True)
    async with linked(node) as session:
        with pytest.raises(StateError, match="in order"):
            await node.state.set("k", 1)
        await session.take(frames.Propose)


async def test_a_change_is_proposed_again_in_the_next_session_in_order():
    node = Node("test", clients=True)
    async with linked(node) as session, trio.open_nursery() as nursery:
        nursery.start_soon(node.state.set, "a", 1)
        first = await session.take(frames.Propose)
        nursery.start_soon(node.state.set, "b", 2)
        second = await session.take(frames.Propose)
        session.proxy.say_raw(session.identity, b"\xc1")
        again = await session.proxy.accept()
        again.welcome()
        assert [await again.take(frames.Propose), await again.take(frames.Propose)] == [first, second]
        log = Log(again)
        log.accept(first, node)
        log.accept(second, node)
        await until(lambda: not nursery.child_tasks)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("k", None), TypeError),
        (("k", object()), TypeError),
        ((5, 1), TypeError),
        (("\ud800", 1), UnicodeEncodeError),
        (("k", 1, "nobody"), TypeError),
    ],
)
async def test_what_can_not_be_set(arguments, error):
    node = Node("test", clients=True)
    async with linked(node) as session:
        with pytest.raises(error):
            await node.state.set(*arguments)
        assert session.untaken() == []


async def test_a_snapshot_tells_what_was_done_and_the_rest_is_proposed_again():
    """Fault 5: what was done is not done again over a later change."""
    node = Node("test")
    async with linked(node) as session, trio.open_nursery() as nursery:
        versions = {}

        async def change(key):
            versions[key] = await node.state.set(key, 1)

        sent = []
        for key in "abc":
            nursery.start_soon(change, key)
            sent.append(await session.take(frames.Propose))
        session.proxy.say_raw(session.identity, b"\xc1")
        again = await session.proxy.accept()
        known = AppliedProposals()
        for propose in (sent[0], sent[2]):
            known.add(node.id, propose.proposal)
        state = [item("a", 1, 0, 1), item("c", 2, 0, 3)]  # somebody has set c since
        again.welcome(state=state, position=(1, 3), applied=known.dump())
        repeated = await again.take(frames.Propose)
        assert repeated == structs.replace(sent[1], epoch=1)
        await until(lambda: versions.keys() == {"a", "c"})
        assert versions == {"a": 0, "c": 2}, (
            "versions that the keys do not have now, nor ever again: 1 may be another's"
        )
        Log(again, index=3).accept(repeated, node)
        await until(lambda: versions.get("b") == 4)


async def test_so_many_are_under_way_that_they_can_be_told_apart():
    node = Node("test")
    async with linked(node) as session, trio.open_nursery() as nursery:
        for number in range(PROPOSAL_WINDOW + 10):
            nursery.start_soon(node.state.set, f"k{number}", number)
        sent = [await session.take(frames.Propose) for _ in range(PROPOSAL_WINDOW)]
        heartbeats = len(session.heartbeats)
        await until(lambda: len(session.heartbeats) > heartbeats + 2)
        assert session.untaken() == []
        assert [propose.proposal - sent[0].proposal for propose in sent] == list(range(PROPOSAL_WINDOW))
        log = Log(session)
        log.accept(sent[0], node)
        assert (await session.take(frames.Propose)).proposal == sent[-1].proposal + 1
        session.say(frames.ProposalRefused(sent[5].proposal, "no"))  # not the oldest: nothing follows yet
        nursery.cancel_scope.cancel()


async def test_what_is_cancelled_is_proposed_to_nobody_else():
    node = Node("test")
    async with linked(node) as session:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.state.set, "k", 1)
                await session.take(frames.Propose)
                scope.cancel()
        session.proxy.say_raw(session.identity, b"\xc1")
        again = await session.proxy.accept()
        again.welcome()
        await again.take(frames.Ready)
        assert again.untaken() == []


async def test_only_if_it_has_the_version():
    node = Node("test")
    async with linked(node, state=[item("k", 1, 0, 7)], position=(1, 9)) as session, trio.open_nursery() as nursery:
        assert (node.state.version("k"), node.state.version("none")) == (7, 0)
        for arguments, expected in (
            ({"if_version": 7}, 7), ({"if_absent": True}, 0), ({"if_version": 0, "if_absent": True}, 0), ({}, -1),
        ):  # fmt: skip
            nursery.start_soon(partial(node.state.set, "k", 2, **arguments))
            assert (await session.take(frames.Propose)).expected == expected
        nursery.start_soon(partial(node.state.delete, "k", if_version=7))
        propose = await session.take(frames.Propose)
        assert (propose.value, propose.expected) == (None, 7)
        nursery.cancel_scope.cancel()


async def test_a_conflict_is_an_error_of_its_own():
    node = Node("test")
    async with linked(node, state=[item("k", 1, 0, 8)], position=(1, 9)) as session:
        for key, found in (("k", 8), ("none", 0)):
            async with trio.open_nursery() as nursery:

                async def change(key=key, found=found):
                    with pytest.raises(StateConflict, match="version 7") as caught:
                        await node.state.set(key, 1, if_version=7)
                    assert (caught.value.expected, caught.value.found) == (7, found)

                nursery.start_soon(change)
                propose = await session.take(frames.Propose)
                session.say(frames.ProposalRefused(propose.proposal, "expected version 7", conflict=True))


async def test_updates_of_one_key_take_turns():
    """Each would propose again for all that were faster: 1,500 at once took the proxies with them."""
    node = Node("test")
    async with linked(node) as session, trio.open_nursery() as nursery:
        log, results = Log(session), []

        async def count(key):
            results.append((key, await node.state.update(key, lambda value: value + 1, default=0)))

        async with trio.open_nursery() as updates:
            updates.start_soon(count, "other")
            log.accept(await session.take(frames.Propose), node)
            for _ in range(50):
                updates.start_soon(count, "k")
            for expected in range(50):
                proposal = await session.take(frames.Propose)
                assert (proposal.key, decode(proposal.value)) == ("k", expected + 1)
                assert session.untaken() == []
                log.accept(proposal, node)
        assert [number for key, number in results if key == "k"] == list(range(1, 51))
        assert node.state._turns == {}
        nursery.cancel_scope.cancel()


async def test_who_comes_while_the_second_has_its_turn_waits_for_it():
    """The first has given it back then, and the lock must be the same."""
    state, entered, gates = Node("test").state, [], [trio.Event() for _ in range(3)]

    async def take(number):
        async with state.turn("k"):
            entered.append(number)
            await gates[number].wait()

    async with trio.open_nursery() as nursery:
        for number in range(2):
            nursery.start_soon(take, number)
            await wait_all_tasks_blocked()
        gates[0].set()
        await wait_all_tasks_blocked()
        nursery.start_soon(take, 2)
        await wait_all_tasks_blocked()
        assert entered == [0, 1]
        for gate in gates:
            gate.set()
    assert entered == [0, 1, 2]
    assert state._turns == {}


async def test_an_update_whose_turn_does_not_come_is_an_error(autojump_clock):
    """All that wait for a proxy that is away are told at the same time, and not one after the other."""
    node = Node("test")
    async with linked(node) as session, trio.open_nursery() as nursery:
        began, ended = trio.current_time(), []

        async def count():
            with pytest.raises(StateError, match="10 s"):
                await node.state.update("k", lambda value: value + 1, default=0)
            ended.append(trio.current_time() - began)

        async with trio.open_nursery() as updates:
            for _ in range(5):
                updates.start_soon(count)
            await session.take(frames.Propose)
        assert ended == [PROPOSAL_TIMEOUT] * 5
        assert node.state._turns == {}
        nursery.cancel_scope.cancel()


async def test_who_is_cancelled_gives_its_turn_to_the_next():
    node = Node("test")
    async with linked(node) as session, trio.open_nursery() as nursery:
        log, results = Log(session), []

        async def count():
            results.append(await node.state.update("k", lambda value: value + 1, default=0))

        async with trio.open_nursery() as first:
            first.start_soon(count)
            proposed = await session.take(frames.Propose)
            nursery.start_soon(count)
            first.cancel_scope.cancel()
        second = await session.take(frames.Propose)  # of the same version: it may have been done
        log.accept(proposed, node)
        session.say(frames.ProposalRefused(second.proposal, "it is 1", conflict=True))
        log.accept(await session.take(frames.Propose), node)
        await until(lambda: results == [2], "the second")


async def test_update_is_made_again_until_nobody_was_faster():
    node = Node("test")
    async with linked(node) as session, trio.open_nursery() as nursery:
        log, results = Log(session), []

        async def change():
            results.append(await node.state.update("k", lambda value: value + 1, default=0))
            results.append(await node.state.update("k", lambda value: None))
            results.append(await node.state.update("k", lambda value: None))

        nursery.start_soon(change)
        first = await session.take(frames.Propose)
        assert (decode(first.value), first.expected) == (1, 0)
        log.say("k", 10)
        session.say(frames.ProposalRefused(first.proposal, "it is 1", conflict=True))
        second = await session.take(frames.Propose)
        assert (decode(second.value), second.expected) == (11, 1)
        log.accept(second, node)
        third = await session.take(frames.Propose)
        assert (third.value, third.expected) == (None, 2)
        log.accept(third, node)
        await until(lambda: results == [11, None, None])
        assert session.untaken() == [], "there is nothing to delete"


@pytest.mark.parametrize(
    "arguments",
    [
        {"if_version": 3, "if_absent": True},
        *({"if_version": wrong} for wrong in (-1, 1.5, "1", True, 1 << 53)),  # a proxy would end the session for it
    ],
)
async def test_versions_that_are_none(arguments):
    node = Node("test")
    async with linked(node):
        with pytest.raises(ValueError, match="version"):
            await node.state.set("k", 1, **arguments)


async def test_on_open_finds_the_state():
    node = Node("test")
    told = []
    node.on_state(lambda key, value: told.append(key))
    node.on_open(lambda client: told.append((client.id, node.state.get("k"))))
    with trio.fail_after(30):
        async with fake_proxy() as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [proxy.address])
            session = await proxy.accept()
            session.welcome(clients=[client()], keeper="nobody yet")
            await until(lambda: 7 in node.clients)
            session.say(frames.Master("", 1))
            assert told == []
            session.say(frames.State(1, 1, [item("k", 1)], last=True))
            await session.take(frames.Ready)
            assert told == ["k", (7, 1)]
            nursery.cancel_scope.cancel()


async def test_a_snapshot_that_is_behind_is_not_taken():
    """Fault 2: the keeper is told, and decides."""
    node = Node("test")
    async with linked(node, state=[item("k", 1)], position=(3, 9), interval=60.0, timeout=120.0) as session:
        await until(lambda: len(session.heartbeats) == 1)
        session.say(frames.State(3, 8, [], last=True), frames.Entry(3, 9, "other", 1, "k", encode(2)))
        await until(lambda: len(session.heartbeats) == 2)
        assert (session.heartbeats[1].state_epoch, session.heartbeats[1].state_index) == (3, 9)
        assert node.state["k"] == 1
        session.say(frames.State(4, 9, [item("k", 1)], last=True))
        Log(session, epoch=4, index=9).say("k", 2)
        await until(lambda: node.state["k"] == 2)


async def test_a_node_whose_state_the_keeper_will_have_need_not_wait_for_it():
    node = Node("test")
    async with linked(node, state=[item("k", 1)], position=(3, 9)) as session:
        session.proxy.say_raw(session.identity, b"\xc1")
        again = await session.proxy.accept()
        again.welcome(position=(0, 0))  # which is behind
        await until(lambda: again.heartbeats)
        assert again.untaken() == []
        again.say(frames.WantState())
        page = await again.take(frames.State)
        assert (page.items, page.last) == ([item("k", 1)], True)
        await again.take(frames.Ready)


async def test_on_state_is_told_snapshot_changes_and_differences():
    node = Node("test", clients=True)
    told = []
    node.on_state(lambda key, value: told.append((key, value)))
    async with linked(node, state=[item("a", 1), item("b", 2)], position=(1, 5)) as session:
        assert sorted(told) == [("a", 1), ("b", 2)]
        told.clear()
        log = Log(session, index=5)
        log.say("c", [3])
        log.say("a")
        await until(lambda: len(told) == 2)
        assert told == [("c", [3]), ("a", None)]
        told.clear()
        session.proxy.say_raw(session.identity, b"\xc1")
        again = await session.proxy.accept()
        hello = await again.take(frames.Hello)
        assert (hello.state_epoch, hello.state_index) == (1, 7)
        again.welcome(state=[item("b", 2), item("c", 4), item("d", 5)], position=(1, 9))
        await again.take(frames.Ready)
        assert sorted(told) == [("c", 4), ("d", 5)]


async def test_the_proxy_begins_another_snapshot():
    node = Node("test", clients=True)
    async with linked(node, state=[item("a", 1)], position=(1, 1)) as session:
        session.say(frames.State(2, 5, [item("b", 2)], last=False))
        session.say(frames.State(2, 9, [item("c", 3)], last=False))
        session.say(frames.State(2, 9, [item("d", 4)], last=True))
        await until(lambda: "d" in node.state)
        assert dict(node.state.items()) == {"c": 3, "d": 4}


async def test_a_restarted_proxy_is_given_the_state():
    node = Node("test", clients=True)
    items = [item(f"k{number}", "x" * 1000) for number in range(1200)]
    async with linked(node, state=items, position=(3, 1200)) as session:
        session.say(frames.WantState())
        pages = []
        while not pages or not pages[-1].last:
            pages.append(await session.take(frames.State))
        assert len(pages) > 1
        assert {(page.epoch, page.index) for page in pages} == {(3, 1200)}
        assert [item for page in pages for item in page.items] == items

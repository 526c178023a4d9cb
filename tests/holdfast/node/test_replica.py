"""One of several proxies keeps the state."""

from contextlib import asynccontextmanager

import pytest
import structlog
import trio
from msgspec import structs

from holdfast import Node
from holdfast.node.state import encode
from holdfast.protocols.nodes import frames
from tests.holdfast.node.fake_proxy import client, fake_proxy
from tests.waiting import PATIENCE, until


def item(key, value, owner=0, version=0, proposal=0):
    return frames.StateItem(key, encode(value), owner, version, proposal)


def entry(index, key, value, node="", proposal=0, epoch=1):
    return frames.Entry(epoch, index, node, proposal, key, encode(value))


@asynccontextmanager
async def two_proxies(node, **welcome):
    """The first one keeps the state."""
    with trio.fail_after(PATIENCE):
        async with fake_proxy("a") as a, fake_proxy("b") as b, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [a.address])
            at_a = await a.join(peers=[b], **welcome)
            yield at_a, await b.join(peers=[a], keeper="a")
            nursery.cancel_scope.cancel()


def listening():
    node = Node("test", clients=True)
    told = []
    node.on_state(lambda key, value: told.append((key, value)))
    return node, told


async def settled(session, node):
    """What the session said so far has been taken."""
    id = 1000 + len(node.clients)
    session.open(client(id))
    await until(lambda: id in node.clients)


async def test_only_the_keeper_s_entries_count():
    node, told = listening()
    async with two_proxies(node) as (a, b):
        b.say(entry(1, "k", "wrong"), frames.State(1, 7, [item("k", "wrong")], last=True))
        await settled(b, node)
        a.say(entry(1, "k", 1))
        await until(lambda: told)
        assert told == [("k", 1)]


async def test_a_new_keeper_s_snapshot_counts_also_when_it_is_shorter():
    """It is of a later epoch: whatever is missing in it nobody knows of but us."""
    node, _ = listening()
    async with two_proxies(node, state=[item("k", 1), item("x", 1)], position=(1, 5)) as (a, b):
        a.say(frames.Master("", 2, "b"))
        b.say(frames.Master("", 2), frames.State(2, 4, [item("k", 1)], last=True), entry(5, "k", 2, epoch=2))
        await until(lambda: node.state.get("k") == 2)
        assert "x" not in node.state
        a.say(entry(6, "k", "late"))  # a does not know it yet
        await settled(a, node)
        assert node.state["k"] == 2


async def test_what_is_given_up_is_told_whatever_the_index_is():
    node, _ = listening()
    ours, theirs = [frames.Applied("n", 9, b"\7")], [frames.Applied("m", 1, b"\1")]
    with structlog.testing.capture_logs() as logs:
        async with two_proxies(node, state=[item("k", 1)], position=(1, 5)) as (a, _):
            a.say(frames.State(1, 6, [item("k", 2)], True, ours))
            a.say(frames.State(1, 7, [item("k", 3)], True, ours))
            a.say(frames.State(2, 900, [item("x", 1)], True, theirs))
            await until(lambda: "x" in node.state)
    [line] = [line for line in logs if line["event"] == "state_given_up"]
    assert (line["position"], line["for_position"], line["changes"]) == ((1, 7), (2, 900), 3)


async def test_the_word_of_the_highest_epoch_names_the_keeper():
    node, _ = listening()
    async with two_proxies(node) as (a, b):
        b.say(frames.Master("", 3), frames.State(3, 1, [item("k", "b")], last=True))
        await until(lambda: node.state.get("k") == "b")
        a.say(frames.Master("", 2), frames.State(2, 2, [item("k", "a")], last=True))
        await settled(a, node)
        assert node.state["k"] == "b"
        a.say(frames.Master("", 4), frames.State(4, 2, [item("k", "a")], last=True))
        await until(lambda: node.state["k"] == "a")


async def test_a_node_is_ready_when_it_has_the_keeper_s_state():
    node = Node("test", clients=True)
    with trio.fail_after(PATIENCE):
        async with fake_proxy("a") as a, fake_proxy("b") as b, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [b.address])
            at_b = await b.accept()
            at_b.welcome(peers=[a], keeper="a")
            at_a = await a.accept()
            await at_a.take(frames.Hello)
            assert at_b.untaken() == []
            at_a.welcome(peers=[b], state=[item("k", 1)], position=(1, 1))
            await at_a.take(frames.Ready)
            await at_b.take(frames.Ready)
            nursery.cancel_scope.cancel()


async def test_heartbeats_tell_the_position():
    node = Node("test", clients=True)
    async with two_proxies(node, state=[item("k", 1)], position=(3, 9)) as (a, b):
        for session in (a, b):
            await until(lambda session=session: session.heartbeats[-1:] and session.heartbeats[-1].state_index == 9)
            assert session.heartbeats[-1].state_epoch == 3


async def test_a_change_is_proposed_to_the_next_keeper_when_one_is_gone():
    node, _ = listening()
    async with two_proxies(node) as (a, b), trio.open_nursery() as nursery:
        nursery.start_soon(node.state.set, "k", 1)
        propose = await a.take(frames.Propose)
        a.say(frames.Bye("gone"))
        await until(lambda: node.statistics().proxies == 1)
        assert b.untaken() == []
        b.say(frames.Master("", 2), frames.State(2, 0, [], last=True))
        assert await b.take(frames.Propose) == structs.replace(propose, epoch=2)
        b.say(entry(1, "k", 1, node.id, propose.proposal, epoch=2))
        await until(lambda: not nursery.child_tasks)


async def test_a_change_that_the_former_keeper_made_is_not_proposed_to_the_next():
    node, _ = listening()
    async with two_proxies(node) as (a, b), trio.open_nursery() as nursery:
        nursery.start_soon(node.state.set, "k", 1)
        propose = await a.take(frames.Propose)
        a.say(frames.Bye("gone"))
        await until(lambda: node.statistics().proxies == 1)
        applied = [frames.Applied(node.id, propose.proposal, b"\1")]
        b.say(frames.Master("", 2), frames.State(2, 1, [item("k", 1)], True, applied))
        await until(lambda: not nursery.child_tasks)
        assert b.untaken() == []


@pytest.mark.parametrize("who", ["ours", "another's", "untold", "deleted"])
async def test_the_version_of_what_a_snapshot_has_is_the_key_s_or_never_again_one(who):
    """Its Entry was lost with the proxy. An equal value may be another's."""
    node, _ = listening()
    got = []
    async with two_proxies(node) as (a, _), trio.open_nursery() as nursery:
        nursery.start_soon(node.state.set, "other", 1)
        await a.take(frames.Propose)

        async def set_it():
            got.append(await node.state.set("k", 1))

        nursery.start_soon(set_it)
        propose = await a.take(frames.Propose)
        applied = [frames.Applied(node.id, propose.proposal, b"\3")]
        number = {"ours": propose.proposal, "another's": propose.proposal + 1}.get(who, 0)
        items = [] if who == "deleted" else [item("k", 1, version=7, proposal=number)]
        a.say(frames.State(2, 9, items, True, applied))
        await until(lambda: not nursery.child_tasks)
        assert got[0] == 7 if who == "ours" else 0 < got[0] != node.state.version("k")
        assert got[0] <= 9, "what comes is above that"


async def test_a_keeper_s_new_term_has_everything_without_an_answer_proposed_again():
    node, _ = listening()
    async with two_proxies(node) as (a, _), trio.open_nursery() as nursery:
        nursery.start_soon(node.state.set, "k", 1)
        propose = await a.take(frames.Propose)
        a.say(frames.State(2, 0, [], last=True))
        assert await a.take(frames.Propose) == structs.replace(propose, epoch=2)
        a.say(entry(1, "k", 1, node.id, propose.proposal, epoch=2))
        await until(lambda: not nursery.child_tasks)

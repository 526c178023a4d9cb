"""The state as authors use it, and how it follows the proxy: State, Replica."""

import pytest
import trio

from holdfast import Node, StateError, replica
from holdfast.state import decode, encode
from protocols.nodes import frames
from tests.holdfast.fake_proxy import client, linked, until


def item(key, value, owner=0):
    return frames.StateItem(key, encode(value), owner)


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
    node = Node("test")
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


async def test_set_and_delete_return_when_it_is_applied_here():
    node = Node("test")
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
    node = Node("test")
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
    node = Node("test")
    async with linked(node) as session, trio.open_nursery() as nursery:

        async def change():
            with pytest.raises(StateError, match="at most 10 bytes"):
                await node.state.set("k", "much")

        nursery.start_soon(change)
        propose = await session.take(frames.Propose)
        session.say(frames.ProposalRefused(propose.proposal, "a value has at most 10 bytes"))


async def test_no_master_in_time(monkeypatch):
    monkeypatch.setattr(replica, "PROPOSAL_TIMEOUT", 0.05)
    node = Node("test")
    async with linked(node) as session:
        with pytest.raises(StateError, match="no master"):
            await node.state.set("k", 1)
        await session.take(frames.Propose)


async def test_a_change_is_proposed_again_in_the_next_session_in_order():
    node = Node("test")
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
        (("k", 1, 99), StateError),
        (("k", 1, "nobody"), TypeError),
    ],
)
async def test_what_can_not_be_set(arguments, error):
    node = Node("test")
    async with linked(node) as session:
        with pytest.raises(error):
            await node.state.set(*arguments)
        assert session.untaken() == []


async def test_on_state_is_told_snapshot_changes_and_differences():
    node = Node("test")
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
    node = Node("test")
    async with linked(node, state=[item("a", 1)], position=(1, 1)) as session:
        session.say(frames.State(2, 5, [item("b", 2)], last=False))
        session.say(frames.State(2, 9, [item("c", 3)], last=False))
        session.say(frames.State(2, 9, [item("d", 4)], last=True))
        await until(lambda: "d" in node.state)
        assert dict(node.state.items()) == {"c": 3, "d": 4}


async def test_a_restarted_proxy_is_given_the_state():
    node = Node("test")
    items = [item(f"k{number}", "x" * 1000) for number in range(1200)]
    async with linked(node, state=items, position=(3, 1200)) as session:
        session.say(frames.WantState())
        pages = []
        while not pages or not pages[-1].last:
            pages.append(await session.take(frames.State))
        assert len(pages) > 1
        assert {(page.epoch, page.index) for page in pages} == {(3, 1200)}
        assert [item for page in pages for item in page.items] == items


class TestAsMaster:
    async def test_it_orders_what_is_proposed(self):
        node = Node("test")
        async with linked(node, position=(1, 4)) as session:
            session.elect(2)
            session.say(frames.Proposed("n1", 11, "a", encode(1)), frames.Proposed("n2", 5, "a", None))
            assert await session.take(frames.Entry) == frames.Entry(2, 5, "n1", 11, "a", encode(1))
            assert await session.take(frames.Entry) == frames.Entry(2, 6, "n2", 5, "a", None)
            assert "a" not in node.state  # it counts when it comes back
            session.say(frames.Entry(2, 5, "n1", 11, "a", encode(1)))
            await until(lambda: node.state.get("a") == 1)

    async def test_not_without_a_lease(self):
        node = Node("test")
        async with linked(node) as session:
            session.say(frames.Master(node.id, 1), frames.Proposed("n1", 1, "a", encode(1)))
            heartbeats = len(session.heartbeats)
            await until(lambda: len(session.heartbeats) > heartbeats + 2)
            assert session.untaken() == []
            session.epoch, session.lease = 1, 1.0
            assert (await session.take(frames.Entry)).proposal == 1

    async def test_a_new_epoch_begins_with_what_is_sent_in_it(self):
        node = Node("test")
        async with linked(node) as session:
            session.say(frames.Master(node.id, 1), frames.Proposed("n1", 1, "a", encode(1)))
            session.elect(2)
            session.say(frames.Proposed("n1", 1, "a", encode(1)))
            assert await session.take(frames.Entry) == frames.Entry(2, 1, "n1", 1, "a", encode(1))
            heartbeats = len(session.heartbeats)
            await until(lambda: len(session.heartbeats) > heartbeats + 2)
            assert session.untaken() == []

    async def test_a_new_master_deletes_what_nobody_owns_any_more(self):
        node = Node("test")
        state = [item("gone", 1, owner=5), item("here", 1, owner=7), item("free", 1)]
        async with linked(node, clients=[client(7)], state=state, position=(1, 3)) as session:
            session.elect(2)
            assert await session.take(frames.Entry) == frames.Entry(2, 4, "", 0, "gone", None)
            session.say(frames.Proposed("n", 1, "x", encode(1)))
            assert (await session.take(frames.Entry)).key == "x"

    async def test_the_keys_of_a_client_go_with_it(self):
        node = Node("test")
        state = [item("a", 1, owner=7), item("b", 1, owner=7), item("c", 1)]
        async with linked(node, clients=[client(7)], state=state, position=(1, 3)) as session:
            session.elect(2)
            await until(lambda: node.is_master)
            session.close(7)
            assert await session.take(frames.Entry) == frames.Entry(2, 4, "", 0, "a", None)
            assert await session.take(frames.Entry) == frames.Entry(2, 5, "", 0, "b", None)

    async def test_a_client_that_goes_while_the_lease_lapses(self):
        node = Node("test")
        state = [item("a", 1, owner=7)]
        async with linked(node, clients=[client(7)], state=state, position=(1, 1)) as session:
            session.elect(2, lease=0.2)
            await until(lambda: node.is_master)
            session.say(frames.Proposed("n", 1, "x", encode(1)))
            assert (await session.take(frames.Entry)).key == "x"
            session.lease = 0.0
            await until(lambda: not node.is_master)
            session.close(7)
            session.say(frames.Proposed("n", 2, "late", encode(1), 7))
            heartbeats = len(session.heartbeats)
            await until(lambda: len(session.heartbeats) > heartbeats + 2)
            assert session.untaken() == []
            session.lease = 1.0
            assert await session.take(frames.Entry) == frames.Entry(2, 3, "", 0, "a", None)
            assert await session.take(frames.Entry) == frames.Entry(2, 4, "n", 2, "late", None, 7)

    async def test_its_own_changes_go_the_same_way(self):
        node = Node("test")
        async with linked(node) as session, trio.open_nursery() as nursery:
            session.elect(1)
            await until(lambda: node.is_master)
            nursery.start_soon(node.state.set, "k", 1)
            propose = await session.take(frames.Propose)
            session.say(frames.Proposed(node.id, propose.proposal, propose.key, propose.value))
            session.say(await session.take(frames.Entry))
            await until(lambda: not nursery.child_tasks)
            assert node.state["k"] == 1

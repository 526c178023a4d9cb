"""Clients of a proxy that is no more: who wants to be told, and what a node knows that knows a part."""

import pytest
from structlog.testing import capture_logs

from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.announcements import CAME, WENT
from holdfast.protocols.nodes.orphans import COUNT, GIVE, LATE, SETTLED
from tests.harness import running
from tests.proxy.nodes.knowing import PREFIX, Knower, client, due, heirs


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    monkeypatch.setattr("holdfast.proxy.nodes.orphans.GATHERING", 0.3)


async def test_what_only_others_want_who_are_not_here_yet_waits_for_them():
    """A proxy that was just started knows nobody's wishes: it took what it had no listeners for as told."""
    async with running() as proxy:
        with (
            Knower(proxy, due(1, came=True), takes=["ask"]) as node,
            Knower(proxy, name="opens", takes=["open"]) as opens,
        ):
            async with heirs(node, opens):
                node.says()
                await node.give()
                assert (await opens.done()).kind == "open"
                assert await node.hears(client(1).id) == 1
                await node.give()
                assert not len(proxy.app.calls.once), "that it went is left with the node"
                with Knower(proxy, name="closes", takes=["close"]) as closes:
                    await closes.join()
                    await node.give()
                    call = await closes.done()
                    assert (call.kind, call.client, call.before) == ("close", client(1).id, 1)
                    assert await node.hears(client(1).id) == 0


async def test_what_nobody_comes_for_is_forgotten_in_the_end(monkeypatch):
    async with running() as proxy:
        with Knower(proxy, due(1), takes=["open"]) as node, capture_logs() as logs:
            await node.join()
            node.says()
            assert (await node.give()).kinds == CAME
            monkeypatch.setattr("holdfast.proxy.nodes.orphans.PATIENCE", 0.0)
            assert (await node.give()).kinds == CAME | LATE
            assert (await node.give()).what == SETTLED
            assert not len(proxy.app.calls.once)
            assert [each["count"] for each in logs if each["event"] == "once_unwanted"] == [1]


async def test_who_knows_a_part_knows_nothing_of_what_others_have():
    """Their sessions had just begun when the proxy was lost."""
    async with running() as proxy:
        with (
            Knower(proxy, due(1), number=0) as less,
            Knower(proxy, due(2), due(3), number=0, name="other", takes=["open"]) as more,
        ):
            async with heirs(less, more):
                less.says()
                more.says()
                await more.give()
                told = [await less.done(), await less.done()]
                assert {call.client for call in told} == {client(2).id, client(3).id}
                for call in told:
                    assert await more.hears(call.client) == 0
                await more.give()
                assert (await more.give()).what == SETTLED
                assert (await less.give()).what == GIVE
                assert (await less.done()).client == client(1).id


async def test_who_knows_a_part_is_asked_after_those_who_knew_all():
    async with running() as proxy:
        with Knower(proxy, due(1)) as node, Knower(proxy, due(2), number=0, name="other", takes=["open"]) as part:
            async with heirs(node, part):
                node.says()
                part.says()
                await node.give()
                assert (await node.done()).client == client(1).id
                assert await node.hears(client(1).id) == 0
                await node.give()
                assert (await node.give()).what == SETTLED
                assert (await part.give()).what == GIVE
                assert (await node.done()).client == client(2).id


async def test_a_part_gives_only_what_is_later_than_what_others_knew():
    async with running() as proxy:
        with (
            Knower(proxy, due(1), number=9) as node,
            Knower(proxy, due(2), number=3, name="part") as part,
            Knower(proxy, due(3), number=3, name="old") as old,
        ):
            async with heirs(node, part, old):
                node.says()
                part.says(later=12)
                old.says(later=9)
                await node.give()
                assert (await node.done()).client == client(1).id
                assert await node.hears(client(1).id) == 0
                await node.give()
                assert (await node.give()).what == SETTLED
                assert (await old.take(frames.WantOrphans)).what == COUNT
                settled = await old.take(frames.WantOrphans)
                assert (settled.what, settled.told) == (SETTLED, 9)
                want = await part.give()
                while want.what != GIVE:
                    want = await part.give()
                assert want.told == 9


async def test_who_wants_goings_only_has_those_whose_coming_is_told_and_the_others_when_it_is_late(monkeypatch):
    async with running() as proxy:
        with Knower(proxy, due(1, came=True), due(2), takes=["close"]) as node:
            await node.join()
            node.says()
            assert (await node.give()).kinds == WENT
            assert (await node.done()).client == client(2).id
            assert await node.hears(client(2).id) == 0
            assert (await node.give()).kinds == WENT
            assert not proxy.app.calls.once.is_heard
            monkeypatch.setattr("holdfast.proxy.nodes.orphans.PATIENCE", 0.0)
            assert (await node.give()).kinds == WENT | LATE
            call = await node.done()
            assert (call.kind, call.client) == ("close", client(1).id)
            assert await node.hears(client(1).id) == 0


async def test_who_does_not_answer_is_asked_after_the_others_and_again(monkeypatch):
    """It may be frozen, and the only one who knows the rest."""
    monkeypatch.setattr("holdfast.proxy.nodes.orphans.ANSWER", 0.5)
    async with running() as proxy:
        with Knower(proxy, due(1)) as node, Knower(proxy, due(2), number=12, name="slow", takes=["open"]) as slow:
            async with heirs(node, slow):
                node.says()
                slow.says()
                while (await slow.take(frames.WantOrphans)).what == COUNT:
                    slow.says()
                assert (await node.give()).what == GIVE
                assert (await node.done()).client == client(1).id
                assert await node.hears(client(1).id) == 0
                while (want := await node.give()).what == GIVE:
                    pass
                assert want.what == SETTLED
                while (await slow.give()).what != GIVE:
                    pass
                assert (await node.done()).client == client(2).id


async def test_a_client_that_is_under_way_is_not_taken_over_once_more(monkeypatch):
    """Of a proxy that was forgotten for others meanwhile."""
    monkeypatch.setattr("holdfast.proxy.nodes.orphans.MAX_PROXIES", 1)
    async with running() as proxy:
        with Knower(proxy, due(1), takes=["close"]) as node:
            async with heirs(node):
                node.says()
                await node.give()
                call = await node.take(frames.Call)
                node.say(frames.Orphaned(PREFIX + 1, 1, 1))
                node.says()
                await node.give()
                await node.alive()
                node.say(frames.Reply(call.id, call.attempt, b"", False))
                assert await node.hears(client(1).id) == 0
                await node.alive()
                assert sum(isinstance(frame, frames.Call) for frame in node.frames) == 1

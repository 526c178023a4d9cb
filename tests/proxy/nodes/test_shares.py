"""What anybody causes by coming and going has a share of the nodes, and clients who are in are answered meanwhile."""

from contextlib import AsyncExitStack

from holdfast.protocols.nodes import frames
from holdfast.proxy.nodes.calls import SHARES
from tests.harness import ScriptedNode, running
from tests.proxy.nodes.knocking import admit, asked_for, knocking, text
from tests.waiting import until

CAPACITY = 8
SHARE = 4
STRANGERS = 3 * CAPACITY


def say_no(node, call):
    node.say(frames.Failure(call.id, call.attempt, 401, "who are you?"))


async def is_answered(node, peer, what):
    """A client that is in asks and is answered: nobody else is before it."""
    await peer.stream.send_all(text(what))
    request = await node.take(frames.Request)
    node.say(frames.Reply(request.id, request.attempt, b"re " + what, True))
    await peer.until(b"re " + what)


def test_a_share_is_left_for_requests_alone():
    assert sum(SHARES.values()) < 1


async def test_who_is_in_is_answered_while_strangers_wait():
    async with running() as proxy, AsyncExitStack() as stack:
        ledger = proxy.app.ledger

        def at_nodes():
            return len(ledger) - ledger.parked_count

        with asked_for(proxy, capacity=CAPACITY) as node:
            await node.join()
            client = await stack.enter_async_context(knocking(proxy))
            await admit(node)
            await client.until(b"\r\n\r\n")
            peers = [await stack.enter_async_context(knocking(proxy)) for _ in range(STRANGERS)]
            await until(lambda: len(ledger) == STRANGERS)
            assert at_nodes() == SHARE
            await is_answered(node, client, b"one")
            asked = []
            for _ in range(STRANGERS):  # each that is answered makes room, for the one that waits the longest
                call = await node.take(frames.Call)
                say_no(node, call)
                asked.append(call.client)
                await until(lambda: len(ledger) == STRANGERS - len(asked))
                assert at_nodes() == min(SHARE, len(ledger))
            assert asked == sorted(asked)
            await is_answered(node, client, b"two")
            for peer in peers:
                assert (await peer.to_the_end()).startswith(b"HTTP/1.1 401 ")
            assert len(ledger) == 0


async def test_those_at_a_node_that_is_lost_are_asked_of_another_within_its_share():
    async with running() as proxy, AsyncExitStack() as stack:
        ledger = proxy.app.ledger
        with asked_for(proxy, "first", capacity=CAPACITY) as first:
            await first.join()
            peers = [await stack.enter_async_context(knocking(proxy)) for _ in range(SHARE)]
            for _ in peers:
                await first.take(frames.Call)
            with asked_for(proxy, "second", capacity=2) as second:  # whose share is one
                await second.join()
                first.say(frames.Bye(""))
                for _ in peers:
                    call = await second.take(frames.Call)
                    assert len(ledger) - ledger.parked_count <= 1
                    say_no(second, call)
                for peer in peers:
                    assert (await peer.to_the_end()).startswith(b"HTTP/1.1 401 ")


async def test_nodes_that_come_and_go_change_the_share():
    async with running() as proxy, AsyncExitStack() as stack:
        ledger = proxy.app.ledger
        with asked_for(proxy, "first", capacity=2) as first, asked_for(proxy, "second", capacity=CAPACITY) as second:
            await first.join()
            with ScriptedNode(proxy.node, "other", capacity=100) as other:  # which is not asked, and does not count
                await other.join()
                for _ in range(STRANGERS):
                    await stack.enter_async_context(knocking(proxy))
                await until(lambda: len(ledger) == STRANGERS)
                assert len(ledger) - ledger.parked_count <= 2
                await second.join()
                await until(lambda: len(ledger) - ledger.parked_count == (2 + CAPACITY) // 2)
                second.say(frames.Drain())
                await until(lambda: proxy.app.calls.admission._pool.capacity == 2)


async def test_who_waits_behind_the_share_for_too_long_is_told_so():
    """Not that there is no node: half of it has nothing to do."""
    async with running(request={"parked_timeout": 0.3}) as proxy, AsyncExitStack() as stack:
        with asked_for(proxy, capacity=CAPACITY) as node:
            await node.join()
            peers = [await stack.enter_async_context(knocking(proxy)) for _ in range(CAPACITY)]
            calls = [await node.take(frames.Call) for _ in range(SHARE)]
            refused = CAPACITY - SHARE
            await until(lambda: proxy.counters.admissions["failed"] >= refused)
            for call in calls:
                say_no(node, call)
            told = [await peer.to_the_end() for peer in peers]
            assert sum(b"holdfast.parking_full" in said and b"those were not done" in said for said in told) == refused
            assert sum(b"who are you?" in said for said in told) == CAPACITY - refused


async def test_who_waits_for_nodes_that_are_full_is_not_told_of_the_share():
    """None is available: requests have all of them."""
    async with running(request={"parked_timeout": 0.3}) as proxy, AsyncExitStack() as stack:
        with asked_for(proxy, capacity=2) as node:
            await node.join()
            client = await stack.enter_async_context(knocking(proxy))
            await admit(node)
            for what in (b"one", b"two"):
                await client.stream.send_all(text(what))
                await node.take(frames.Request)
            stranger = await stack.enter_async_context(knocking(proxy))
            said = await stranger.to_the_end()
            assert b"no node was available for 0.3 s" in said
            assert b"holdfast.parking_full" not in said

"""The nodes' state outlives the proxies, all of them: real proxies within the process, real nodes."""

import pytest
import trio

from holdfast import Node
from holdfast.proxy.config.rules import broken
from tests.harness import configure, running
from tests.waiting import until


async def test_the_state_outlives_the_only_proxy():
    """Fault 2: one proxy is killed and started again, and again; nodes come back when they do."""
    one, two = Node("test"), Node("test")
    address = "tcp://127.0.0.1:*"
    async with trio.open_nursery() as nursery:
        for life in range(3):
            async with running(node={"bind": (address,)}, state={"recover_timeout": 2.0}) as proxy:
                if not life:
                    address = proxy.node
                    for node in (one, two):
                        await nursery.start(node.run, [address])
                await one.state.set(f"life {life}", life)
                assert await two.state.update("lives", lambda lives: lives + 1, default=0) == life + 1
                await until(lambda: one.state.get("lives") == life + 1, "the other node to have it")  # noqa: B023
                for node in (one, two):
                    assert sorted(node.state) == sorted(["lives", *(f"life {n}" for n in range(life + 1))])
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("largest", [200_000, 3_000_000])
async def test_the_state_comes_back_to_a_proxy_that_takes_small_batches_only(largest):
    """Fault 2, with the least that `check` takes: a page of the state was larger, and ended the link, for ever. The
    second value is larger than any batch that the proxy takes now."""
    node = Node("test")
    small = {
        "client": {"max_message_bytes": 64 << 10, "max_body_bytes": 64 << 10},
        "state": {"max_value_bytes": 100_000, "recover_timeout": 2.0},
    }
    async with trio.open_nursery() as nursery:
        async with running(state={"max_value_bytes": largest + 100}) as proxy:
            address = proxy.node
            await nursery.start(node.run, [address])
            values = {f"k{number}": str(number) * 100_000 for number in range(3)} | {"large": "x" * largest}
            for key, value in values.items():
                await node.state.set(key, value)
        config = configure(node={"bind": (address,), "max_frame_bytes": 128 << 10}, **small)
        assert list(broken(config)) == []
        async with running(node={"bind": (address,), "max_frame_bytes": 128 << 10}, **small) as proxy:
            await node.state.set("back", 1)
            assert proxy.app.counters.nodes_welcomed == 1
            assert len(proxy.app.keeper.copy.items) == 5
            another = Node("another")
            await nursery.start(another.run, [address])
            assert {key: another.state[key] for key in values} == values
        nursery.cancel_scope.cancel()


async def test_a_new_node_has_what_others_brought_before_it_is_ready():
    old, new = Node("test"), Node("test")
    found = []
    new.on_state(lambda key, value: found.append((key, value)))
    async with trio.open_nursery() as nursery:
        async with running() as proxy:
            address = proxy.node
            await nursery.start(old.run, [address])
            await old.state.set("k", "v")
        async with running(node={"bind": (address,)}, state={"recover_timeout": 2.0}):
            await nursery.start(new.run, [address])
            assert found == [("k", "v")]
        nursery.cancel_scope.cancel()


async def test_a_counter_is_exact_though_many_count():
    nodes = [Node("test") for _ in range(2)]
    async with running() as proxy, trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.run, [proxy.node])

        async def count(node):
            for _ in range(5):
                await node.state.update("counter", lambda value: value + 1, default=0)

        async with trio.open_nursery() as counting:
            for number in range(8):
                counting.start_soon(count, nodes[number % 2])
        for node in nodes:
            await until(lambda: node.state["counter"] == 40, "the last change")  # noqa: B023
        nursery.cancel_scope.cancel()

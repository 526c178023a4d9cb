"""The nodes' state outlives the proxies, all of them: real proxies within the process, real nodes."""

import trio

from holdfast import Node
from tests.harness import running
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

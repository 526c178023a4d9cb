"""Kuzzle's own SDK, from the npm registry, against examples/kuzzle_node.py: a proxy and nodes as a user runs them.

The scripts are in kuzzle_sdk/. They check what they get themselves, and say on stdout, as JSON lines, how far they are.
"""

from pathlib import Path

import pytest
import trio

from tests.e2e.scripts import PATIENCE, a_cluster, steps, with_packages

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent / "kuzzle_sdk"


@pytest.fixture(scope="session")
def sdk():
    """The directory of the scripts."""
    return with_packages(HERE, "kuzzle-sdk")


def cluster(directory, nodes):
    return a_cluster(directory, nodes, "examples.kuzzle_node:node")


STEPS = [
    "server",
    "volatile data",
    "login",
    "indexes and collections",
    "documents with their notifications",
    "search",
    "errors",
    "a controller of one's own",
    "publish",
    "rooms and their users",
    "unsubscribe",
    "logout",
]


@pytest.mark.parametrize("protocol", ["ws", "http"])
async def test_the_api(sdk, tmp_path, protocol):
    """Three nodes: nothing may depend on which of them is asked."""
    async with cluster(tmp_path, nodes=3) as system:
        script = await system.script(sdk, "api.mjs", protocol, *system.client)
        assert await steps(script) == STEPS


async def test_what_becomes_of_a_subscription_when_its_token_ends(sdk, tmp_path):
    async with cluster(tmp_path, nodes=3) as system:
        script = await system.script(sdk, "tokens.mjs", *system.client)
        assert await steps(script) == ["the end of a token", "logging in anew", "another one's logout"]


async def test_a_subscription_outlives_its_nodes(sdk, tmp_path):
    async with cluster(tmp_path, nodes=3) as system:
        script = await system.script(sdk, "failover.mjs", *system.client)
        with trio.fail_after(PATIENCE):
            subscribed = await script.line()
            await script.progress(50)
            await system.kill(subscribed["node"])
            await script.progress(100)
            await system.kill(await system.oldest())
            await script.progress(100)
            summary = await script.stop()
        assert summary["received"] == list(range(summary["sent"]))  # every one, once, in order
        assert summary["extra"] == 0
        assert summary["drops"] == []
        assert (summary["count"], summary["after"]) == (1, 0)
        assert len(summary["nodes"]) >= 2


async def test_writes_while_nodes_are_killed(sdk, tmp_path):
    """Whatever was answered was done once and told once, in order: a write is delivered again without a trace."""
    async with cluster(tmp_path, nodes=3) as system:
        script = await system.script(sdk, "writes.mjs", *system.client)
        with trio.fail_after(PATIENCE):
            for _ in range(4):
                await script.progress(200)
                await system.kill(await system.oldest())  # the longest-standing one is the master
                await system.start_nodes(1)
            summary = await script.stop()
        assert summary["writes"] > 800
        assert summary["told"] == summary["answered"]
        assert summary["left"] == 0

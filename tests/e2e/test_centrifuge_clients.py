"""Centrifuge's own clients, from npm and PyPI, against a proxy and nodes as a user runs them.

The scripts are in centrifuge_clients/. They check what they get themselves, and say on stdout, as JSON lines, how far
they are.
"""

from pathlib import Path

import pytest
import trio

from tests.e2e.scripts import PATIENCE, a_cluster, steps, with_packages

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent / "centrifuge_clients"
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="session")
def scripts():
    """Their directory."""
    return with_packages(HERE, "centrifuge")


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    """With which scripts sign tokens."""
    monkeypatch.setenv("JWT_SECRET", SECRET)


RULES = """
[[channel]]
match = "room:{id}"
subscribe = "node"
publish = "node"

[[channel]]
match = "log:*"
subscribe = "anyone"
publish = "node"
history_messages = 1000

[[channel]]
match = "signed:*"
subscribe = "token"
"""


def cluster(directory, nodes, *further):
    settings = (
        *further,
        *("client.protocols=centrifuge://127.0.0.1:0", f"client.jwt_keys={SECRET}", "client.jwt_leeway=0"),
        *("client.ping_interval=1", "client.ping_timeout=2"),  # so that each script has some
    )
    return a_cluster(directory, nodes, "tests.e2e.centrifuge_clients.node:node", *settings, config=RULES)


def url(system):
    return f"ws://{system.bound['protocols'][0].partition('://')[2]}/connection/websocket"


@pytest.mark.parametrize("compression", ["false", "true"])
async def test_javascript(scripts, tmp_path, compression):
    async with cluster(tmp_path, 2, f"client.compression={compression}") as system:
        script = await system.script(scripts, "api.mjs", url(system))
        assert await steps(script) == [
            "connect",
            "rpc",
            "many commands in one message",
            "errors",
            "send, and a message of the server's",
            "without a token",
            "an expired token brings a new one",
            "a token is refreshed on the open connection",
            "closed by a node",
        ]


@pytest.mark.parametrize("at", ["a port of their own", "a path of the clients' port"])
async def test_python(tmp_path, at):
    async with cluster(tmp_path, 2, "client.doors=centrifuge:/connection/websocket") as system:
        where = url(system) if at == "a port of their own" else f"ws://{system.bound['client']}/connection/websocket"
        script = await system.script(HERE, "client.py", where)
        assert await steps(script) == [
            "connect",
            "rpc",
            "a token is refreshed on the open connection",
            "closed by a node",
        ]


CHANNELS = [
    "a node lets it subscribe, or not",
    "what one publishes others get, with who it was",
    "a token lets it subscribe, and a new one puts off the end",
    "what it has missed it gets when it comes back",
]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_channels_in_javascript(scripts, tmp_path, kind):
    async with cluster(tmp_path, 2, f"history.kind={kind}", f"store.path={tmp_path / 'store'}") as system:
        script = await system.script(scripts, "channels.mjs", url(system))
        assert await steps(script) == [*CHANNELS[:-1], "a node has it in a channel", CHANNELS[-1]]


async def test_channels_in_python(tmp_path):
    async with cluster(tmp_path, 2) as system:
        script = await system.script(HERE, "channels.py", url(system))
        assert await steps(script) == CHANNELS


async def test_calls_outlive_their_nodes(scripts, tmp_path):
    async with cluster(tmp_path, 3) as system:
        script = await system.script(scripts, "failover.mjs", url(system))
        with trio.fail_after(PATIENCE):
            for _ in range(3):
                await script.progress(200)
                await system.kill(await system.oldest())
                await system.start_nodes(1)
            summary = await script.stop()
        assert summary["failed"] == []
        assert summary["closed"] == []
        assert summary["twice"] == 0
        assert summary["redelivered"] > 0
        assert summary["answered"] > 600


async def test_who_is_closed_because_the_proxy_goes_comes_back(scripts, tmp_path):
    async with cluster(tmp_path, 1) as system:
        script = await system.script(scripts, "stays.mjs", url(system))
        with trio.fail_after(PATIENCE):
            assert await script.line() == {"connected": True}
            system.proxy.terminate()
            assert await script.line() == {"code": 3001, "state": "connecting"}

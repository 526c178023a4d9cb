"""Bad lines everywhere, also to the clients: slow, lossy, out of order. Nobody is fenced, and nobody goes."""

import shutil
import subprocess

import pytest
import trio

from tests.net.hosts import DEVICE
from tests.net.rows import Row
from tests.net.switch import Rule
from tests.net.world import CROWD, world

pytestmark = pytest.mark.net

QUIET = 1.0
HELD = 8.0
WEATHER = {
    "delay 50 ms": Rule(delay=0.05),
    "loss 2 %": Rule(loss=0.02),
    "delay 10 ms, 5 % overtake": Rule(delay=0.01, reorder=0.05),
    "delay 50 ms, jitter 20 ms, loss 2 %, 1 % twice": Rule(delay=0.05, jitter=0.02, loss=0.02, duplicate=0.01),
}

NETEM = ("netem", "delay", "50ms", "20ms", "loss", "2%", "reorder", "5%", "duplicate", "1%")


async def weathered(one, rows, network, begin, end):
    """The same load in good weather, in bad, and in good again."""
    await trio.sleep(QUIET)
    version = one.version()
    begin()
    await trio.sleep(HELD)
    since = end()
    healed = await one.healed(since)
    await trio.sleep(QUIET)
    seen, no_master = await one.finish()
    rows.append(Row(network, seen, no_master, healed))
    assert not one.watch.fenced
    assert one.version() == version
    assert (seen.closed, seen.errors) == ({}, {})


@pytest.mark.parametrize("name", WEATHER)
async def test_weather(network, rows, name):
    async with world(network) as one:
        hosts = [*one.others(), CROWD]
        pairs = [(sender, to) for sender in hosts for to in hosts if sender != to]
        await weathered(one, rows, name, lambda: one.net.rule(pairs, WEATHER[name]), one.net.heal)


@pytest.fixture
def netem(network):
    """Skips, with the kernel's words, where it has none."""
    if shutil.which("tc") is None:
        pytest.skip("tc is not installed")
    refusal = tc(network("probe"), "probe", "add", *NETEM)
    if refusal:
        pytest.skip(f"no netem: {refusal}")


async def test_netem(netem, network, rows):
    """The kernel's own weather."""
    async with world(network) as one:
        hosts = [*one.others(), CROWD]

        def begin():
            assert not any(tc(one.net, host, "add", *NETEM) for host in hosts)

        def end():
            assert not any(tc(one.net, host, "del") for host in hosts)
            return one.net.ask().at

        await weathered(one, rows, " ".join(NETEM), begin, end)


def tc(net, host, command, *arguments):
    """What it says against that; "" if nothing."""
    with net[host].inside():
        done = subprocess.run(
            ["tc", "qdisc", command, "dev", DEVICE, "root", *arguments], capture_output=True, text=True, check=False
        )
    return done.stderr.strip() if done.returncode else ""

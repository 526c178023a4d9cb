"""What nodes are told of channels that have nobody: how often they may ask, that is."""

from types import SimpleNamespace

import pytest

from holdfast.proxy.process.build import is_compiled
from holdfast.proxy.realtime.mutes import ASKS_PER_SECOND, MAX_INTERVAL, MIN_INTERVAL, Mutes

pytestmark = pytest.mark.skipif(is_compiled(), reason="has stand-ins for nodes and channels")


class Node:
    def __init__(self):
        self.told = []
        self.link = SimpleNamespace(send=self.told.append)


class NoChannels(set):
    has_filters = False


@pytest.mark.parametrize("count", [1, 10, 100, 3000])
def test_the_more_nodes_ask_the_seldomer_each_does(count):
    mutes = Mutes(NoChannels())
    nodes = [Node() for _ in range(count)]
    for node in nodes:
        mutes.mute(node, {"room": None})
    [last] = nodes[-1].told
    assert MIN_INTERVAL <= last.interval <= MAX_INTERVAL
    assert count / last.interval <= max(ASKS_PER_SECOND, count / MAX_INTERVAL)

"""Joins and leaves that have a version: the order is that of the versions, whatever the order in which they come."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.proxy.config import RealtimeSettings
from holdfast.proxy.process.build import is_compiled
from holdfast.proxy.realtime import channels as module
from holdfast.proxy.realtime.channels import Channels

pytestmark = pytest.mark.skipif(is_compiled(), reason="has stand-ins for clients")


class One:
    """Clients with sessions, which is all that channels look for."""

    def __init__(self):
        self.counters = None
        self.sessions = {id: Session() for id in (1, 2)}

    def find(self, client):
        return self.sessions.get(client)


class Session:
    def __init__(self):
        self.channels = None
        self.connection = self
        self.transport = object()


@pytest.fixture
def channels():
    return Channels(One(), RealtimeSettings(), 10)


def do(channels, does, version):
    if does == "join":
        channels.join(1, "a", version)
    else:
        channels.leave(1, "a", (), version)


CHANGES = [("join", 5), ("leave", 5), ("join", 7), ("leave", 7), ("join", 9)]


@pytest.mark.parametrize("count", range(1, len(CHANGES) + 1))
def test_the_latest_counts_in_whatever_order_they_come(count):
    for order in permutations(CHANGES[:count]):
        channels = Channels(One(), RealtimeSettings(), 10)
        for does, version in order:
            do(channels, does, version)
        assert channels.count("a") == count % 2, order
        assert channels.subscriptions == count % 2


@given(st.lists(st.tuples(st.sampled_from(["join", "leave"]), st.integers(1, 5)), max_size=10))
def test_who_is_in_is_who_has_joined_by_a_version_that_was_not_left(changes):
    channels = Channels(One(), RealtimeSettings(), 10)
    for does, version in changes:
        do(channels, does, version)
    joined = max((version for does, version in changes if does == "join"), default=0)
    left = max((version for does, version in changes if does == "leave"), default=0)
    assert channels.count("a") == (joined > left)


def test_without_a_version_the_last_that_comes_counts(channels):
    channels.join(1, "a", 9)
    channels.leave(1, "a", ())
    assert channels.count("a") == 0
    channels.leave(1, "a", (), 9)
    channels.join(1, "a")
    assert channels.count("a") == 1
    channels.leave(1, "a", (), 1)
    assert channels.count("a") == 0


def test_versions_are_of_one_client_and_one_channel(channels):
    channels.leave(1, "a", (), 9)
    assert not channels.join(1, "a", 5)
    assert channels.join(2, "a", 5)
    assert channels.join(1, "b", 5)
    channels.leave(3, "a", (), 9)  # nobody
    assert not channels.join(3, "a", 10)


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(channels, monkeypatch):
    monkeypatch.setattr(module, "MAX_LEFT", 2)
    for channel in "a", "b", "a", "c":
        channels.leave(1, channel, (), 5)
    assert channels.join(1, "b", 5)
    assert not channels.join(1, "a", 5)
    assert not channels.join(1, "c", 5)

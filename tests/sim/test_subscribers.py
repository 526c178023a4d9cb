"""Worlds in which clients subscribe and publish by themselves."""

import pytest

from holdfast.balancer.remembered import Remembered
from holdfast.proxy.realtime import subscriptions
from holdfast.proxy.realtime.channels import Channels
from holdfast.proxy.realtime.followed import Followed
from tests.sim import faults
from tests.sim.checks import Violation
from tests.sim.world import World

FIRST, SEEDS = 8000, 60


@pytest.fixture
def _with_subscribers(monkeypatch):
    init = World.__init__

    def begin(world, seed, *args, **settings):
        init(world, seed, *args, **{**settings, "subscribers": 3, "has_history": seed % 2 > 0})

    monkeypatch.setattr(World, "__init__", begin)


@pytest.mark.usefixtures("_with_subscribers")
def test_what_they_are_told_is_so():
    answered = came = recovered = 0
    for seed in range(FIRST, FIRST + SEEDS):
        world = faults.run_seed(seed)
        answered += world.publications.answered
        came += world.publications.came
        recovered += world.publications.recovered
    assert answered > 10 * SEEDS
    assert came > 10 * SEEDS
    assert recovered > 0


def not_joined(patch):
    """Who is told that it is subscribed is no member."""
    join = Channels.join
    patch.setattr(
        Channels,
        "join",
        lambda self, client, channel, version=0: version < 0 or join(self, client, channel, version),
    )


def not_left(patch):
    """Who has unsubscribed is a member still."""
    leave = Channels.leave

    def left(self, client, channel, under_way, version=0, *, is_own=False):
        if not is_own:
            leave(self, client, channel, under_way, version)

    patch.setattr(Channels, "leave", left)


def not_withdrawn(patch):
    """Who unsubscribes while a node is asked comes in all the same."""
    may = subscriptions.Subscriptions._may_subscribe

    def comes(self, wish, word):
        if wish.is_over and not isinstance(word, Exception):
            self._join(subscriptions.Entering(wish.session, wish.event, word, lambda said: None), None, None, (), "")
        may(self, wish, word)

    patch.setattr(subscriptions.Subscriptions, "_may_subscribe", comes)
    patch.setattr("holdfast.proxy.nodes.channel_calls.Question.is_closed", property(lambda self: False))


def not_caught_up(patch):
    """Who comes back is a member before it has what it has missed."""
    welcome = Followed.welcome

    def early(self, *, is_away=False):
        for newcomer in self.newcomers:
            newcomer.offset = self.last
        return welcome(self, is_away=is_away)

    patch.setattr(Followed, "welcome", early)


def done_by_each(patch):
    """What two nodes do for one request is done twice."""
    patch.setattr(Remembered, "add", lambda self, home, request, part: True)


@pytest.mark.usefixtures("_with_subscribers")
@pytest.mark.parametrize("mutant", [not_joined, not_left, not_withdrawn, not_caught_up])
def test_each_of_these_is_missed(mutant, monkeypatch):
    mutant(monkeypatch)
    with pytest.raises(Violation, match=r"W[1-5],"):
        run_seeds()


def run_seeds():
    for seed in range(FIRST, FIRST + SEEDS):
        faults.run_seed(seed)

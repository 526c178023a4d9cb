"""Stories of subscriptions to Kuzzle's rooms; each was a fault once."""

import pytest

from holdfast.proxy.realtime.channels import Channels
from tests.sim import subscriptions
from tests.sim.stories import SEEDS, whole

SEVERAL = {"tunnels": False}  # else what is kept comes another way
ALONE = {"proxies": 1, "is_alone": True}
STORIES = [
    (subscriptions.end_that_comes_late_undoes_no_later_subscription, SEVERAL),
    (subscriptions.join_that_comes_late_undoes_no_later_end, SEVERAL),
    (subscriptions.join_that_is_kept_undoes_no_later_end, SEVERAL),
    (subscriptions.end_that_is_kept_undoes_no_later_subscription, SEVERAL),
    (subscriptions.join_of_who_has_died_undoes_no_later_end, SEVERAL),
    (subscriptions.end_behind_much_else_undoes_no_later_subscription, ALONE),
]


def named(value):
    return getattr(value, "__name__", "")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("story", "settings"), STORIES, ids=named)
def test_subscriptions(story, settings, seed):
    story(whole(seed, **settings))


@pytest.mark.parametrize(("story", "settings"), STORIES, ids=named)
def test_without_versions_each_is_a_fault(story, settings, monkeypatch):
    """The stories can fail: proxies that do not look at versions, as they were. With one of a few seeds: by luck what
    comes late finds that its node has gone."""
    for name in "join", "leave":
        does = getattr(Channels, name)
        monkeypatch.setattr(Channels, name, lambda self, *told, does=does: does(self, *told[:-1]))
    with pytest.raises(AssertionError, match="the channel"):
        some_end_well(story, settings)


def some_end_well(story, settings):
    for seed in range(1, 11):
        story(whole(seed, **settings))

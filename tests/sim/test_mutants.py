"""The simulator can fail: each rule, taken away, is missed in the story that was made for it."""

import pytest

from balancer import election
from balancer.cluster import changes, cluster
from balancer.cluster.absence import Absence
from balancer.cluster.membership import Membership
from balancer.cluster.sequence import Sequence, SequenceState
from balancer.election import Election
from tests.sim import lives, stories, world
from tests.sim.checks import Violation
from tests.sim.stories import FOREVER, whole


class GrantingElection(Election):
    """Without the rule that a proxy grants nothing to another while its own last grant stands."""

    def renew(self, node, now, incarnation=0):
        self._granted = (node, incarnation)
        return super().renew(node, now, incarnation)


class DeafSequence(Sequence):
    """A gap is not seen."""

    def published(self, number, frames):
        self.last = max(self.last, number - 1) if self.state is not SequenceState.UNPROVEN else self.last
        return super().published(number, frames)


class TrustingSequence(Sequence):
    """Facts are asked for before the subscription is proven, and it goes on with what comes first."""

    def __init__(self, nonce, ask_interval):
        super().__init__(nonce, ask_interval)
        self.state = SequenceState.ASKING

    def published(self, number, frames):
        self.last = self.last or number - 1
        return super().published(number, frames)


def own_grant(patch):
    patch.setattr("tests.sim.processes.Election", GrantingElection)


def drift(patch):
    patch.setattr(election, "MAX_DRIFT", 0.0)
    patch.setattr(world, "MAX_DRIFT", 0.0)


def barrier(patch):
    patch.setattr(Membership, "is_quiet", lambda self, now: True)


def established(patch):
    """Whoever was elected before the change goes on, whether others' grants still stand or not."""
    patch.setattr(Membership, "is_established", lambda self, now: self.record.epoch <= self.record.ballot)


def half_only_if_confirmed(patch):
    patch.setattr(changes, "_outweighs", lambda membership, group: 2 * len(group) >= len(membership.record.members))


def former_majority(patch):
    def outweighs(membership, group):
        twice, size = 2 * len(group), len(membership.record.members)
        return twice > size or (twice == size and membership.is_confirmed)

    patch.setattr(changes, "_outweighs", outweighs)


def ears_of_others(patch):
    patch.setattr(changes, "_may_evict", lambda membership, proxy, hears, now: True)


def majority_to_join(patch):
    def join(membership, live, now):
        if membership.is_member:
            return None
        members = (*membership.record.members, membership.me)
        return changes._changed(membership, members, now, is_confirmed=True, is_established=False)

    patch.setattr(changes, "join", join)


def hold_without_the_store(patch):
    patch.setattr(Absence, "is_proof_against_us", lambda self, now: False)


def gap(patch):
    patch.setattr(cluster, "Stream", DeafSequence)


def proof(patch):
    patch.setattr(cluster, "Stream", TrustingSequence)


def waking_up(patch):
    """Old messages count as signs of life."""
    patch.setattr(cluster.Cluster, "awoke", lambda self, now: None)


MUTANTS = [
    (own_grant, stories.master_is_cut_from_one_proxy_after_another, {"lease": 2.0}, Violation),
    (
        drift,
        stories.master_is_cut_from_one_proxy_after_another,
        {"lease": 2.0, "rates": (1.083, 0.925), "node_heartbeat": 0.05},
        Violation,
    ),
    (barrier, stories.evicted_before_it_is_elected, {"proxies": 5, "lease": 4.0}, Violation),
    (established, stories.elected_before_it_is_evicted, {"proxies": 5, "lease": 4.0}, Violation),
    (half_only_if_confirmed, stories.one_does_not_hear_of_the_eviction, {"takeover": FOREVER}, Violation),
    (former_majority, stories.one_does_not_hear_of_the_eviction, {"proxies": 5, "takeover": FOREVER}, Violation),
    (hold_without_the_store, stories.minority_with_the_store_waits, {"takeover": 12.0}, Violation),
    (ears_of_others, stories.bridge_stays, {}, AssertionError),
    (majority_to_join, stories.newcomer_that_reaches_only_the_store_founds_nothing, {}, AssertionError),
    (gap, stories.lost_message_is_found_by_the_next, {}, Violation),
    (proof, stories.first_messages_after_subscribing, {}, Violation),
    (waking_up, lives.frozen_proxy_wakes_up_evicted, {}, AssertionError),
]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("rule", "story", "settings", "error"), MUTANTS, ids=lambda it: getattr(it, "__name__", ""))
def test_without_the_rule_the_story_ends_badly(rule, story, settings, error, seed, monkeypatch):
    rule(monkeypatch)
    sane = whole(seed, **settings)
    with pytest.raises(error):
        story(sane)

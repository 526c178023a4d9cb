"""What follows from the times that are set."""

from holdfast.balancer.cluster.times import Times, longest_grant
from holdfast.protocols.peers.frames import Agreed

TIMES = Times(
    heartbeat=0.5, heartbeat_timeout=2.0, discover_timeout=3.0, fence_timeout=10.0, takeover_timeout=60.0, lease=4.0,
    spread=7.0,
)  # fmt: skip


def test_what_all_must_have_alike():
    assert TIMES.agreed == Agreed(4.0, 2.0, 10.0, 60.0, 7.0)


def test_a_grant_lasts_as_long_as_the_slowest_clock_makes_of_the_lease():
    assert TIMES.lease_wait == longest_grant(4.0) == 4.0 * 1.2


def test_a_card_outlives_the_loss_of_one_refresh():
    assert TIMES.card_ttl == 3.0


def test_who_was_evicted_may_have_clients_until_it_has_noticed_waited_and_closed_them():
    assert TIMES.grace == 10.0 + 7.0 + 2 * 2.0

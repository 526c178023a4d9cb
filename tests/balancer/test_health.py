import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.balancer.health import SLOWEST_START, Health, ejectable
from holdfast.balancer.settings import BalanceSettings

SETTINGS = BalanceSettings(
    slow_start=10.0, ejection_failures=3, ejection_time=5.0, ejection_time_max=12.0, ejection_max_share=0.5
)


def ejected(now=100.0, **changes):
    health = Health(replace(SETTINGS, **changes))
    health.eject(now)
    return health


class TestFailures:
    def test_so_many_in_a_row_eject(self):
        health = Health(SETTINGS)
        assert [health.failed(1.0) for _ in range(4)] == [False, False, True, True]

    def test_a_success_begins_the_row_anew(self):
        health = Health(SETTINGS)
        health.failed(1.0)
        health.failed(1.0)
        health.succeeded()
        assert health.failures == 0
        assert [health.failed(1.0) for _ in range(3)] == [False, False, True]

    def test_0_never_ejects(self):
        health = Health(BalanceSettings(ejection_failures=0))
        assert not any(health.failed(1.0) for _ in range(100))

    def test_what_fails_during_an_ejection_was_sent_before(self):
        health = ejected(now=100.0)
        assert not any(health.failed(104.9) for _ in range(100))
        assert [health.failed(105.0) for _ in range(3)] == [False, False, True]


class TestEjection:
    def test_lasts_twice_as_long_each_time_in_a_row_up_to_a_limit(self):
        health, now = Health(SETTINGS), 100.0
        lengths = []
        for _ in range(4):
            health.eject(now)
            lengths.append(health.returns_at - now)
            now = health.returns_at + 1.0
        assert lengths == [5.0, 10.0, 12.0, 12.0]

    def test_is_short_again_after_the_node_was_back_for_as_long_as_it_was_out(self):
        health = ejected(now=100.0)
        health.eject(109.9)
        assert health.returns_at == 119.9
        health.eject(129.9)
        assert health.returns_at == 134.9

    def test_may_end_early(self):
        health = ejected(now=100.0)
        health.readmit(101.0)
        assert health.returns_at == 101.0
        assert health.share(101.0) == SLOWEST_START

    @pytest.mark.parametrize(("ready", "most"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (101, 50)])
    def test_at_most_a_share_of_the_nodes(self, ready, most):
        assert ejectable(ready, SETTINGS) == most

    @given(ready=st.integers(0, 1000), share=st.floats(0.0, 1.0))
    def test_never_the_last_one(self, ready, share):
        assert 0 <= ejectable(ready, BalanceSettings(ejection_max_share=share)) <= max(ready - 1, 0)


class TestSlowStart:
    def test_the_share_grows_from_a_tenth_to_all(self):
        health = Health(SETTINGS)
        health.ready(100.0)
        assert [health.share(now) for now in (99.0, 100.0, 105.0, 110.0, 999.0)] == pytest.approx(
            [0.1, 0.1, 0.55, 1, 1]
        )

    def test_it_begins_again_when_an_ejection_ends(self):
        health = ejected(now=100.0)
        assert [health.share(now) for now in (101.0, 105.0, 110.0, 115.0)] == pytest.approx([0.1, 0.1, 0.55, 1])

    @pytest.mark.parametrize("now", [100.0, 105.0, 200.0])
    def test_without_slow_start_a_node_has_all_at_once(self, now):
        assert ejected(now=95.0, slow_start=0.0).share(now) == 1.0

    def test_without_slow_start_an_ejected_node_has_little(self):
        assert ejected(now=100.0, slow_start=0.0).share(101.0) == SLOWEST_START

    @given(st.lists(st.floats(0.0, 1000.0), min_size=2))
    def test_it_never_shrinks(self, times):
        health = Health(SETTINGS)
        health.ready(50.0)
        shares = [health.share(now) for now in sorted(times)]
        assert shares == sorted(shares)
        assert all(SLOWEST_START <= share <= 1.0 for share in shares)

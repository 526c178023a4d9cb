import pytest

from holdfast.balancer.directory import TRANSITIONS, Directory, NodeState
from holdfast.balancer.settings import BalanceSettings
from tests.balancer.nodes import SETTINGS, add_pool, add_ready, make_node


@pytest.fixture
def directory():
    directory = Directory(SETTINGS)
    add_pool(directory)
    return directory


def test_node_is_available_only_while_ready(directory):
    node = make_node()
    directory.add(node)
    assert directory.pools[0].available == []
    directory.move(node, NodeState.READY)
    assert directory.pools[0].available == [node]
    directory.move(node, NodeState.DRAINING)
    assert directory.pools[0].available == []
    directory.move(node, NodeState.LOST)
    assert len(directory) == 0


@pytest.mark.parametrize("state", NodeState)
def test_every_move_that_the_table_does_not_have_raises(directory, state):
    for target in NodeState:
        node = make_node(f"{state.value}-{target.value}")
        directory.add(node)
        node.state = state
        if target in TRANSITIONS[state]:
            directory.move(node, target)
            assert node.state is target
        else:
            with pytest.raises(ValueError, match="can't go from"):
                directory.move(node, target)
            assert node.state is state


def test_full_node_is_not_available_until_it_has_room(directory):
    node = add_ready(directory, capacity=2)
    node.in_flight = 2
    directory.refresh(node)
    assert directory.pools[0].available == []
    node.in_flight = 1
    directory.refresh(node)
    assert directory.pools[0].available == [node]


def test_ready_nodes_come_longest_standing_first_and_a_returning_one_goes_to_the_end(directory):
    one, two = add_ready(directory, "one"), add_ready(directory, "two")
    assert one.standing < two.standing
    directory.move(one, NodeState.LOST)
    again = add_ready(directory, "one")
    assert two.standing < again.standing


def test_count_names_every_state(directory):
    add_ready(directory)
    assert directory.count() == {state: int(state is NodeState.READY) for state in NodeState}


def test_failures_in_a_row_eject_and_time_brings_back(directory):
    bad, good = add_ready(directory, "bad"), add_ready(directory, "good")
    assert not directory.failed(bad, 1.0)
    assert directory.failed(bad, 1.0)
    assert directory.pools[0].available == [good]
    directory.tend(10.9)
    assert directory.pools[0].available == [good]
    directory.tend(11.0)
    assert directory.pools[0].available == [good, bad]


def test_no_more_than_the_maximum_share_is_ejected_and_never_the_last(directory):
    nodes = [add_ready(directory, name) for name in "abc"]
    for node in nodes:
        for _ in range(5):
            directory.failed(node, 1.0)
    assert [node.ejected for node in nodes] == [True, False, False]


def test_an_ejected_node_returns_at_once_when_the_others_have_gone(directory):
    bad, good = add_ready(directory, "bad"), add_ready(directory, "good")
    directory.failed(bad, 1.0)
    directory.failed(bad, 1.0)
    directory.move(good, NodeState.LOST)
    assert directory.pools[0].available == []
    directory.tend(1.1)
    assert directory.pools[0].available == [bad]


def test_share_of_a_new_node_grows():
    settings = BalanceSettings(slow_start=10.0)
    directory = Directory(settings)
    add_pool(directory)
    node = add_ready(directory, weight=2.0, settings=settings)
    node.health.ready(0.0)
    shares = []
    for now in (0.0, 5.0, 10.0):
        directory.tend(now)
        shares.append(node.pull)
    assert shares == pytest.approx([0.2, 1.1, 2.0])

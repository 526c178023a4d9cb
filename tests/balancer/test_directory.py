import pytest

from holdfast.balancer import directory as module
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


def test_who_can_be_asked_nothing_is_none_of_those_of_whom_some_have_to_stay(directory):
    """It may be a node that is there for the state, say: the others are not ejected the more for it."""
    for name in ("watcher", "another"):
        watcher = make_node(name)
        watcher.takes_requests = False
        directory.add(watcher)
        directory.move(watcher, NodeState.READY)
    nodes = [add_ready(directory, name) for name in "ab"]
    for node in nodes:
        for _ in range(5):
            directory.failed(node, 1.0)
    assert [node.ejected for node in nodes] == [True, False]


def test_a_pool_remembers_so_many_names(monkeypatch, directory):
    monkeypatch.setattr(module, "MAX_NAMES", 2)
    for name in "abc":
        node = make_node(name)
        node.name = name
        directory.add(node)
        directory.move(node, NodeState.READY)
    assert list(directory.pools[0].names) == ["b", "c"]


def run_of(directory, name, id, incarnation):
    node = make_node(id)
    node.name, node.incarnation, node.takes_requests = name, incarnation, False
    directory.add(node)
    directory.move(node, NodeState.READY)
    return node


def asking_run_of(directory, name, id, incarnation):
    """One that is in the pool."""
    node = make_node(id)
    node.name, node.incarnation = name, incarnation
    directory.add(node)
    directory.move(node, NodeState.READY)
    return node


@pytest.mark.parametrize(("incarnation", "is_wanted"), [(7, True), (8, False)])
def test_a_run_that_was_beside_it_says_nothing_when_it_is_back(directory, incarnation, is_wanted):
    beside = run_of(directory, "chat", "a", 7)
    asks = asking_run_of(directory, "chat", "b", 1)
    directory.move(asks, NodeState.LOST)
    directory.move(beside, NodeState.LOST)
    run_of(directory, "chat", "a", incarnation)
    assert directory.pools[0].is_wanted is is_wanted


@pytest.mark.parametrize(("incarnation", "is_wanted"), [(7, False), (8, True)])
def test_a_run_that_is_back_does_not_say_again_what_it_had_said(directory, incarnation, is_wanted):
    """A rolling update takes away what was asked for, and the old run loses its link for a moment."""
    asks = asking_run_of(directory, "chat", "a", 7)
    run_of(directory, "chat", "b", 1)
    directory.move(asks, NodeState.LOST)
    back = asking_run_of(directory, "chat", "a", incarnation)
    assert directory.pools[0].is_wanted
    directory.move(back, NodeState.LOST)
    assert directory.pools[0].is_wanted is is_wanted


def test_of_runs_that_are_gone_so_many_are_known(monkeypatch, directory):
    """Whatever comes and goes, those that are here are known."""
    monkeypatch.setattr(module, "MAX_RUNS", 2)
    beside = run_of(directory, "chat", "beside", 1)
    for id in ("a", "b", "c"):
        directory.move(run_of(directory, "chat", id, 1), NodeState.LOST)
    asks = asking_run_of(directory, "chat", "asks", 1)
    directory.move(asks, NodeState.LOST)
    directory.move(beside, NodeState.LOST)
    run_of(directory, "chat", "beside", 1)
    assert directory.pools[0].is_wanted
    run_of(directory, "chat", "a", 1)
    assert not directory.pools[0].is_wanted


def test_what_is_missing_is_no_node_when_there_is_none_any_more(directory):
    requests = directory.pools[0]
    other = run_of(directory, "watcher", "w", 1)
    assert directory.missing(requests) == requests.nobody
    directory.move(other, NodeState.LOST)
    assert directory.missing(requests) == "no node"


def test_a_pool_that_is_taken_away_is_no_node_s_any_more(directory):
    node = add_ready(directory)
    requests = directory.pools[0]
    another = add_pool(Directory(SETTINGS))
    directory.add_pool(another)
    assert node.pools == (requests, another)
    directory.remove_pool(another)
    assert node.pools == (requests,)
    assert directory.pools == [requests]

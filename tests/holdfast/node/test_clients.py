import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast.node.clients as clients_module
from holdfast.node.callbacks import Callbacks
from holdfast.node.clients import NO_WORD, Clients
from holdfast.node.failures import Failures
from holdfast.node.function import Function
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes import frames
from tests.holdfast.node.fake_proxy import client, encoded


def callbacks():
    """Of a node that has the state."""
    callbacks = Callbacks(Failures())
    callbacks.release()
    return callbacks


def inline(function):
    return Function(function, inline=True)


class World:
    """Clients, and what their author was told, by inline functions: so at once."""

    def __init__(self, forget_timeout=60.0):
        self.told = []
        self.clients = Clients(
            callbacks(),
            [inline(lambda client: self.told.append(("open", client.id)))],
            [inline(lambda client, reason: self.told.append(("close", client.id, reason)))],
            forget_timeout,
        )

    def snapshot(self, proxy, *ids, sequence=0):
        self.clients.welcome(proxy, sequence, "ab".index(proxy))
        self.clients.page(proxy, frames.Clients([client(id) for id in ids], last=True))


def test_opened_and_closed():
    world = World()
    world.snapshot("a", 1)
    world.clients.changes("a", frames.Changes(1, [frames.Opened(client(2)), frames.Closed(1, "idle")]))
    assert list(world.clients) == [2]
    assert world.clients[2].path == "/chat"
    assert 1 not in world.clients
    assert world.told == [("open", 1), ("open", 2), ("close", 1, "idle")]


def test_a_new_session_tells_only_the_difference():
    world = World()
    world.snapshot("a", 1, 2)
    world.told.clear()
    world.clients.lost("a", 0.0)
    world.snapshot("a", 2, 3)
    assert world.told == [("close", 1, "unknown"), ("open", 3)]


def test_who_has_gone_meanwhile_and_is_told_of_to_one_node_still_has_gone():
    """It is known why, which of others it is not."""
    world = World()
    world.snapshot("a", 1, 2, 3)
    world.told.clear()
    world.clients.lost("a", 0.0)
    world.clients.welcome("a", 0, 0)
    world.clients.page("a", frames.Clients([client(3)], last=False, gone=[frames.Due(client(1), "idle", came=False)]))
    assert world.told == []
    world.clients.page("a", frames.Clients([], last=True, gone=[frames.Due(client(4), "idle", came=True)]))
    assert sorted(world.told) == [("close", 1, "idle"), ("close", 2, "unknown")]
    assert list(world.clients) == [3]
    assert world.clients._views["a"].gone.keys() == {1, 4}
    world.clients.changes("a", frames.Changes(1, [frames.Closed(1, "idle")]))
    assert len(world.told) == 2


def amid_a_snapshot():
    """Of a second session, which has told so far that the first of two clients has gone, and why."""
    world = World()
    world.snapshot("a", 1, 2)
    world.told.clear()
    world.clients.lost("a", 0.0)
    world.clients.welcome("a", 0, 0)
    world.clients.page("a", frames.Clients([], last=False, gone=[frames.Due(client(1), "idle", came=False)]))
    return world


@pytest.mark.parametrize("is_told", ["by the next session", "as the proxy is forgotten"])
def test_why_somebody_has_gone_is_known_after_a_snapshot_that_broke_off(is_told):
    world = amid_a_snapshot()
    world.clients.lost("a", 0.0)
    if is_told == "by the next session":  # and one node has been told of it meanwhile
        world.snapshot("a", 2)
        assert world.told == [("close", 1, "idle")]
    else:
        world.clients.forget("a")
        assert sorted(world.told) == [("close", 1, "idle"), ("close", 2, "unknown")]


def test_why_who_is_told_of_amid_a_snapshot_has_gone():
    world = amid_a_snapshot()
    world.clients.changes("a", frames.Changes(1, [frames.Closed(1, ""), frames.Closed(2, "")]))
    assert world.told == [("close", 1, "idle"), ("close", 2, "unknown")]


def test_all_of_a_page_is_known_when_the_first_of_it_is_told():
    known = []
    clients = Clients(callbacks(), [inline(lambda client: known.append(sorted(clients)))], [], 60.0)
    clients.welcome("a", 0, 0)
    clients.page("a", frames.Clients([client(1), client(2)], last=True))
    assert known == [[1, 2], [1, 2]]


def test_a_lost_proxy_is_forgotten_in_time():
    world = World(forget_timeout=60.0)
    world.snapshot("a", 1)
    world.snapshot("b", 2)
    world.clients.lost("a", 100.0)
    world.clients.forget_lost(159.9)
    assert sorted(world.clients) == [1, 2]
    world.clients.forget_lost(160.0)
    assert list(world.clients) == [2]
    assert world.told[-1] == ("close", 1, "unknown")


def test_one_that_another_lists_is_kept_and_in_time_forgotten_when_nobody_does():
    world = World(forget_timeout=60.0)
    world.snapshot("a", 1)
    world.clients.lost("a", 100.0)
    world.clients.introduced({"a": 1}, 1)
    world.clients.forget_lost(1000.0)
    world.clients.introduced({}, NO_WORD)  # who listed it is lost too
    world.clients.forget_lost(1059.9)
    assert list(world.clients) == [1]
    world.clients.forget_lost(1060.0)
    assert list(world.clients) == []


def test_who_is_not_listed_any_more_is_forgotten_at_once():
    world = World()
    world.snapshot("a", 1)
    world.clients.introduced({"a": 3}, 3)
    world.clients.lost("a", 100.0)
    assert world.clients.introduced({}, 3) == set()
    assert world.told[-1] == ("close", 1, "unknown")


def test_who_follows_an_older_set_of_members_has_not_heard_of_who_came_later():
    world = World(forget_timeout=60.0)
    world.snapshot("a", 1)
    world.clients.introduced({"a": 3}, 3)
    world.clients.lost("a", 100.0)
    assert world.clients.introduced({}, 2) == {"a"}
    assert list(world.clients) == [1]
    world.clients.forget_lost(159.9)
    assert world.clients.introduced({}, 2) == {"a"}
    world.clients.forget_lost(160.0)  # nobody vouches for it
    assert world.clients.introduced({}, 2) == set()
    assert world.told[-1] == ("close", 1, "unknown")


def test_a_proxy_that_came_back_is_not_forgotten():
    world = World()
    world.snapshot("a", 1)
    world.clients.lost("a", 100.0)
    world.clients.welcome("a", 0, 0)
    world.clients.forget_lost(1000.0)
    assert list(world.clients) == [1]


def test_forgetting_what_is_forgotten():
    world = World()
    world.snapshot("a", 1)
    for _ in range(2):
        world.clients.forget("a")
    world.clients.forget("never known")
    assert world.told == [("open", 1), ("close", 1, "unknown")]


def test_a_hole_in_the_stream_is_an_error():
    world = World()
    world.snapshot("a", sequence=5)
    with pytest.raises(FrameError):
        world.clients.changes("a", frames.Changes(7, [frames.Opened(client(1))]))


def asks(id, info=None):
    return frames.Request(1, id, 1, 1000, b"x", False, encoded(client(id)) if info is None else info)


def test_who_asks_brings_itself_and_is_remembered(monkeypatch):
    monkeypatch.setattr(clients_module, "MAX_ASKED", 2)
    clients = World().clients
    first = clients.who_asks(asks(1))
    assert (first.id, first.path) == (1, "/chat")
    assert clients.who_asks(asks(1)) is first
    for id in (2, 3):
        clients.who_asks(asks(id))
    assert clients.who_asks(asks(1)) is not first
    assert list(clients) == []


def test_who_asks_and_is_nobody():
    clients = World().clients
    assert clients.who_asks(asks(1, b"")) is None
    with pytest.raises(FrameError, match="not a client"):
        clients.who_asks(asks(1, b"\x01"))


def test_whose_client_it_is_comes_with_the_welcome():
    world = World()
    world.clients.welcome("b", 0, 1)
    assert (world.clients.proxy_of((1 << 32) + 5), world.clients.proxy_of(5)) == ("b", None)
    world.clients.forget("b")
    assert world.clients.proxy_of((1 << 32) + 5) is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.frozensets(st.integers(1, 6), max_size=6), st.booleans())))
def test_each_is_told_once_as_opened_and_once_as_closed(sessions):
    """Whatever sessions show and whichever proxies are forgotten. Ids of proxies differ, and none comes back."""
    world = World()
    ever = {"a": set(), "b": set()}
    now = {"a": set(), "b": set()}
    for proxy, ids, is_forgotten in sessions:
        shown = {id + (10 if proxy == "b" else 0) for id in ids} - (ever[proxy] - now[proxy])
        world.snapshot(proxy, *shown)
        ever[proxy] |= shown
        now[proxy] = shown
        if is_forgotten:
            world.clients.forget(proxy)
            now[proxy] = set()
        assert set(world.clients) == now["a"] | now["b"]
    events = [event[:2] for event in world.told]
    assert len(events) == len(set(events))
    opened = {id for kind, id in events if kind == "open"}
    closed = {id for kind, id in events if kind == "close"}
    assert opened == ever["a"] | ever["b"]
    assert opened - closed == set(world.clients)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.callbacks import Callbacks
from holdfast.clients import Clients
from protocols.errors import FrameError
from protocols.nodes import frames
from tests.holdfast.fake_proxy import client


class World:
    """Clients, and what their author was told, by plain functions: so at once."""

    def __init__(self, forget_timeout=60.0):
        self.told = []
        self.gone = []
        self.clients = Clients(
            Callbacks(),
            [lambda client: self.told.append(("open", client.id))],
            [lambda client, reason: self.told.append(("close", client.id, reason))],
            self.gone.append,
            forget_timeout,
        )

    def snapshot(self, proxy, *ids, sequence=0):
        self.clients.welcome(proxy, sequence)
        self.clients.page(proxy, frames.Clients([client(id) for id in ids], last=True))


def test_opened_and_closed():
    world = World()
    world.snapshot("a", 1)
    world.clients.opened("a", frames.Opened(1, client(2)))
    world.clients.closed("a", frames.Closed(2, 1, "idle"))
    assert list(world.clients) == [2]
    assert world.clients[2].path == "/chat"
    assert 1 not in world.clients
    assert world.told == [("open", 1), ("open", 2), ("close", 1, "idle")]
    assert world.gone == [1]


def test_a_new_session_tells_only_the_difference():
    world = World()
    world.snapshot("a", 1, 2)
    world.told.clear()
    world.clients.lost("a", 0.0)
    world.snapshot("a", 2, 3)
    assert world.told == [("close", 1, "unknown"), ("open", 3)]


def test_all_of_a_page_is_known_when_the_first_of_it_is_told():
    known = []
    clients = Clients(Callbacks(), [lambda client: known.append(sorted(clients))], [], lambda id: None, 60.0)
    clients.welcome("a", 0)
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


def test_a_proxy_that_came_back_is_not_forgotten():
    world = World()
    world.snapshot("a", 1)
    world.clients.lost("a", 100.0)
    world.clients.welcome("a", 0)
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
        world.clients.opened("a", frames.Opened(7, client(1)))


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

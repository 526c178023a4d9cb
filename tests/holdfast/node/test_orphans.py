"""What a node keeps of the clients of a proxy that is no more, and says of them."""

import pytest

from holdfast.node.callbacks import Callbacks
from holdfast.node.clients import Clients
from holdfast.node.failures import Failures
from holdfast.node.orphans import PART, Heir
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.announcements import CAME, WENT
from holdfast.protocols.nodes.orphans import COUNT, GIVE, LATE, ORPHANS, SETTLED, Told
from tests.holdfast.node.fake_proxy import client

A, B = 1, 2  # prefixes of the proxies a and b


class Link:
    def __init__(self, takes=(ORPHANS,)):
        self.takes = list(takes)
        self.said = []

    def send(self, frame):
        self.said.append(frames.decode_from_node(frames.encode_batch(1, [frame]))[1][0])


def id_of(number, prefix=A):
    return (prefix << 32) + number


def whom(number):
    return client(id_of(number))


class World:
    """Proxies a and b are linked. a has clients."""

    def __init__(self, *ids, due=(), keeps=True):
        self.heir = Heir(keeps)
        callbacks = Callbacks(Failures())
        callbacks.release()
        self.clients = Clients(callbacks, [], [], 60.0, self.heir)
        self.b = Link()
        self.heir.links = {"b": self.b}
        self.clients.welcome("a", 5, A)
        packed = frames.pack_ids(list(map(id_of, due)))
        self.clients.page("a", frames.Clients(list(map(whom, ids)), True, packed))
        self.clients.welcome("b", 0, B)
        self.clients.page("b", frames.Clients([], last=True))
        self._changes = {"a": 5, "b": 0}

    def change(self, proxy, *changes):
        self.clients.changes(proxy, frames.Changes(self._changes[proxy] + 1, list(changes)))
        self._changes[proxy] += len(changes)

    def told(self, number, due=0):
        """By b, of a client of a."""
        self.change("b", frames.Closed(id_of(number), "", due))

    def part(self, kinds=CAME | WENT, told=0):
        self.heir.wanted(self.b, frames.WantOrphans(A, GIVE, kinds, told))
        frame = self.b.said.pop()
        self.left = frame.left
        return [(due.client.id - id_of(0), due.reason, due.came) for due in frame.due]


def test_who_was_there_and_of_whom_something_was_due_is_kept_and_said():
    world = World(1, 2, 3, 4, due=[2])
    world.change(
        "a",
        frames.Closed(id_of(3), "idle", 1),
        frames.Closed(id_of(4), "idle", 0),
        frames.Opened(whom(5), due=True),
        frames.Closed(id_of(5), "kicked", 2),
        frames.Opened(whom(6), due=True),
        frames.Opened(whom(6), due=False),
    )
    world.clients.forget("a")
    assert world.b.said == [frames.Orphaned(A, 11, 7)]
    assert sorted(world.part()) == [
        (1, "", False),
        (2, "", True),
        (3, "idle", False),
        (5, "kicked", True),
        (6, "", False),
    ]


def test_what_is_told_is_given_no_more():
    world = World(1, 2, due=[1])
    world.clients.forget("a")
    world.told(1, due=1)
    assert sorted(world.part()) == [(1, "", False), (2, "", False)]
    world.told(1)
    world.told(2)
    world.told(2)  # again, and of one that is not known
    world.told(9, due=1)
    assert world.part() == []
    late = Link()
    world.heir.linked(late)
    (said,) = late.said
    assert (said.number, said.count) == (5, 0), "who knows less is not to be believed"
    assert sorted(frames.unpack_ids(said.came)) == [id_of(9)], "of whom it does not know as well"
    assert sorted(frames.unpack_ids(said.went)) == [id_of(1), id_of(2)]
    world.heir.wanted(late, frames.WantOrphans(A, SETTLED, told=4))
    world.heir.linked(late)
    assert (late.said[-1].told, list(frames.unpack_ids(late.said[-1].came))) == (4, [id_of(9)]), "it is not all"
    world.heir.wanted(late, frames.WantOrphans(A, SETTLED, told=5))
    world.heir.linked(late)
    assert late.said[-1] == frames.Orphaned(A, 5, 0, told=5)


def test_the_word_is_said_again_when_it_is_asked_for():
    world = World(1, 2, due=[1])
    world.clients.forget("a")
    world.told(1, due=1)
    world.b.said.clear()
    world.heir.wanted(world.b, frames.WantOrphans(A, COUNT))
    world.heir.wanted(world.b, frames.WantOrphans(77, COUNT))  # of which nothing is known
    assert world.b.said == [frames.Orphaned(A, 5, 2, frames.pack_ids([id_of(1)]))]


def test_what_is_told_while_the_proxy_lives_is_due_no_more_when_it_is_lost():
    world = World(1)
    world.change("a", frames.Closed(id_of(1), "idle", 1), frames.Closed(id_of(1), "", 0))
    world.clients.forget("a")
    assert world.b.said == [frames.Orphaned(A, 7, 0)]


def test_a_part_is_as_long_as_may_be():
    world = World(*range(1, PART + 3))
    world.clients.forget("a")
    first = world.part()
    assert len(first) == PART
    for number, *_ in first:
        world.told(number)
    assert world.part() == [(PART + 1, "", False), (PART + 2, "", False)]


def test_huge_clients_make_a_part_shorter():
    world = World()
    many = [frames.Client(id_of(n), "websocket", "", "/", [("x", "y" * 16_000)]) for n in range(40)]
    world.change("a", *map(frames.Opened, many))
    world.clients.forget("a")
    assert 10 < len(world.part()) < 20


def test_all_that_is_settled_is_forgotten():
    world = World(1)
    world.clients.forget("a")
    world.b.said.clear()
    world.heir.wanted(world.b, frames.WantOrphans(A, SETTLED))
    world.heir.wanted(world.b, frames.WantOrphans(77, SETTLED))  # as one that is not known
    assert world.b.said == []
    assert world.part() == []


def test_a_proxy_that_is_there_again_has_its_clients():
    world = World(1)
    world.clients.forget("a")
    world.clients.welcome("a", 6, A)
    late = Link()
    world.heir.linked(late)
    assert late.said == []


def test_who_is_lost_within_its_snapshot_may_have_had_others():
    world = World(1)
    world.clients.lost("a", 0.0)
    world.clients.welcome("a", 9, A)
    world.clients.forget("a")
    assert world.b.said == [frames.Orphaned(A, 5, 1, later=9)]


def test_of_a_snapshot_that_is_not_complete_only_what_is_in_it_is_later_than_what_was_known():
    world = World(1, 2, 3)
    world.clients.lost("a", 0.0)
    world.clients.welcome("a", 9, A)
    world.clients.page("a", frames.Clients([whom(2), whom(4)], last=False))
    world.clients.changes("a", frames.Changes(10, [frames.Closed(id_of(3), "idle", 1)]))
    world.clients.forget("a")
    assert world.b.said == [frames.Orphaned(A, 5, 4, later=10)]
    assert sorted(number for number, *_ in world.part(told=4)) == [1, 2, 3, 4]
    assert sorted(number for number, *_ in world.part(told=5)) == [2, 3, 4]
    assert world.part(told=10) == []


def test_what_a_snapshot_that_is_not_complete_has_told_counts_and_not_what_was_known_before():
    world = World(1, 2, due=[1])
    world.clients.lost("a", 0.0)
    world.clients.welcome("a", 9, A)
    world.clients.page("a", frames.Clients([], last=False, gone=[frames.Due(whom(1), "idle", came=False)]))
    world.clients.forget("a")
    assert sorted(world.part()) == [(1, "idle", False), (2, "", False)]
    assert sorted(world.part(CAME)) == []


def test_what_is_wanted_is_given_and_nobody_s_going_before_its_coming():
    world = World(1, 2, due=[1])
    world.clients.forget("a")
    assert world.part(CAME) == [(1, "", True)]
    assert world.part(WENT) == [(2, "", False)]
    assert world.part(WENT | LATE) == [(1, "", True), (2, "", False)]
    world.told(2)
    assert (world.part(WENT), world.left) == ([], 2)
    world.told(1, due=WENT)
    assert (world.part(CAME), world.left) == ([], 1)
    assert world.part(WENT) == [(1, "", False)]


def test_the_proxy_itself_hears_what_was_told_of_its_clients_before_that_is_forgotten():
    world = World(1, 2, 3, due=[1])
    world.clients.forget("a")
    world.told(1, due=1)
    world.told(2)
    back = Link()
    world.heir.linked(back)
    world.clients.welcome("a", 6, A)
    assert back.said == [frames.Orphaned(A, 5, 2, frames.pack_ids([id_of(1)]), frames.pack_ids([id_of(2)]))]
    world.heir.linked(world.b)
    assert len(world.b.said) == 1, "that it was lost, and nothing after that"


def test_a_proxy_that_is_back_hears_what_others_tell_of_its_clients_until_they_know():
    world = World(1, 2, 3, due=[1])
    world.told(2)
    world.clients.forget("a")
    back = world.heir.links["a"] = Link()
    world.heir.linked(back)
    world.clients.welcome("a", 5, A)
    del back.said[:]
    world.told(1, due=1)
    world.told(3)
    came, went = (frames.pack_ids([id_of(number)]) for number in (1, 3))
    assert back.said == [frames.Orphaned(A, 0, 0, came), frames.Orphaned(A, 0, 0, b"", went)]
    world.change("a", frames.Closed(id_of(1), "", 0))
    assert len(back.said) == 2, "its own word it has"
    world.clients.forget("a")
    del back.said[:]
    world.told(2)
    assert back.said == [], "it is lost once more"


def test_the_ids_of_many_who_were_told_are_in_many_frames_and_the_word_in_the_last(monkeypatch):
    monkeypatch.setattr("holdfast.protocols.nodes.orphans.MAX_PAGE", 2)
    world = World(*range(1, 8))
    world.clients.forget("a")
    for number in range(1, 6):
        world.told(number, due=number % 2)
    late = Link()
    world.heir.linked(late)
    assert [(frame.number, frame.count) for frame in late.said] == [(0, 0), (0, 0), (5, 5)]
    came = [id for frame in late.said for id in frames.unpack_ids(frame.came)]
    went = [id for frame in late.said for id in frames.unpack_ids(frame.went)]
    assert (came, went) == ([id_of(1), id_of(3), id_of(5)], [id_of(2), id_of(4)])


def test_of_so_many_is_kept_that_they_were_told(monkeypatch):
    monkeypatch.setattr("holdfast.protocols.nodes.orphans.MAX_TOLD", 3)
    told = Told()
    for number in range(4):
        told.add(id_of(number, A + number % 2), 0)
        told.add(id_of(number, A + number % 2), 1)  # as it was said before
    assert [told.due(id_of(number, A + number % 2)) for number in range(4)] == [CAME | WENT, 0, 0, 0]
    told.forget(B)
    assert [list(told.pages(prefix)) for prefix in (A, B)] == [[([], [id_of(2)])], []]


def test_a_new_session_says_what_is_due_by_now():
    world = World(1, 2, 4, due=[1, 2, 4])
    world.change("a", frames.Closed(id_of(2), "idle", 2))
    world.clients.lost("a", 0.0)
    world.clients.welcome("a", 20, A)
    gone = [frames.Due(whom(3), "idle", came=True)]
    world.clients.page("a", frames.Clients([whom(1)], True, b"", gone))
    assert world.clients._views["a"].coming == set(), "of those who are there"
    world.clients.forget("a")
    assert sorted(world.part()) == [(1, "", False), (3, "idle", True)]


@pytest.mark.parametrize("takes", [[], ["ask"]])
def test_an_older_proxy_is_told_nothing(takes):
    world = World(1)
    world.b.takes = takes
    world.clients.forget("a")
    assert world.b.said == []


def test_nothing_is_kept_where_nobody_is_told_once():
    world = World(1, keeps=False)
    world.clients.forget("a")
    assert world.b.said == []
    assert not world.heir.listens


def test_only_so_many_are_kept(monkeypatch):
    monkeypatch.setattr("holdfast.node.orphans.MAX_PROXIES", 1)
    world = World(1)
    world.clients.forget("a")
    world.clients.forget("b")
    late = Link()
    world.heir.linked(late)
    assert late.said == [frames.Orphaned(B, 0, 0)]

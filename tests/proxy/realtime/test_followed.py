"""In which order a log is given out, whichever way its publications come, and where who comes begins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.balancer.history.base import Page
from holdfast.protocols.positions import Position, Publication
from holdfast.proxy.realtime.followed import Followed, Newcomer, Why

EPOCH = "e1"


def publication(offset):
    return Publication(b"%d" % offset, True, offset)


def log_of(last, first=1, epoch=EPOCH):
    def page(after, limit=3):
        shown = [publication(offset) for offset in range(max(after + 1, first), min(last, after + limit) + 1)]
        return Page(epoch, first, last, []), shown

    return page


def followed(last=0):
    it = Followed("news")
    it.knows(EPOCH, last)
    return it


def given_out(it):
    """All that can be."""
    offsets = []
    while (publication := it.next()) is not None:
        it.doing = None
        offsets.append(publication.offset)
    return offsets


class Client(Newcomer):
    """has: offsets that it has, in the order in which it got them."""

    def __init__(self, since=None, max_bytes=1000):
        super().__init__(since, max_bytes, self._caught_up)
        self.position, self.has = None, []
        self.first = since.offset if since is not None else 0

    def _caught_up(self, newcomer, position):
        self.position = position
        self.has = [each.offset for each in self.missed]


def test_it_is_given_out_in_the_order_of_the_log():
    it = followed(4)
    it.offer(publication(5))
    it.offer(publication(7))
    assert (given_out(it), it.lacks, it.wanted) == ([5], True, 7)
    assert it.read(*log_of(7)(5))
    assert (given_out(it), it.lacks) == ([6, 7], False)
    it.offer(publication(6))
    assert given_out(it) == [], "each once"


def test_one_at_a_time():
    it = followed()
    for offset in (1, 2):
        it.offer(publication(offset))
    assert it.next().offset == 1
    assert (it.next(), it.last, it.done) == (None, 1, 0)
    it.doing = None
    assert it.done == 1
    assert it.next().offset == 2


def test_what_is_no_longer_kept_is_said():
    it = followed(2)
    it.offer(publication(9))
    page, shown = log_of(9, first=6)(2)
    assert not it.read(page, shown)
    it.skip(page.first)
    assert it.read(*log_of(9, first=6)(5))
    assert given_out(it) == [6, 7, 8] + [9] * (not it.lacks)


@pytest.mark.parametrize(
    ("since", "page", "why"),
    [
        (Position("e0", 3), log_of(5), Why.OTHER_LOG),
        (Position(EPOCH, 3), log_of(5, epoch="e2"), Why.OTHER_LOG),
        (Position(EPOCH, 6), log_of(5), Why.AHEAD),
        (Position(EPOCH, 1), log_of(5, first=4), Why.TRIMMED),
    ],
)
def test_who_can_not_have_what_was_missed_is_told_why_and_begins_where_all_are(since, page, why):
    it, client = followed(5), Client(since)
    it.newcomers.append(client)
    it.shows(client, *page(since.offset))
    it.welcome()
    assert (client.why, client.has, client.position) == (why, [], Position(EPOCH, 5))


def test_who_has_missed_more_than_may_wait_for_it_begins_where_all_are():
    it, client = followed(5), Client(Position(EPOCH, 0), max_bytes=2)
    it.newcomers.append(client)
    it.shows(client, *log_of(5)(0))
    it.welcome()
    assert (client.why, client.has) == (Why.TOO_MUCH, [])


def test_who_names_no_position_begins_where_all_are_as_soon_as_that_is_known():
    it, client = Followed("news"), Client()
    it.newcomers.append(client)
    it.welcome()
    assert client.position is None
    it.knows(EPOCH, 8)
    it.welcome()
    assert (client.position, client.why) == (Position(EPOCH, 8), None)


def test_what_the_newcomer_is_shown_beyond_where_all_are_is_for_all():
    it, client = followed(2), Client(Position(EPOCH, 1))
    it.newcomers.append(client)
    it.shows(client, *log_of(4)(1))
    it.welcome()
    assert (client.has, client.position) == ([2], Position(EPOCH, 2))
    assert given_out(it) == [3, 4], "it gets these with all others"


def test_what_is_given_out_while_it_catches_up_it_gets_with_what_it_has_missed():
    it, client = followed(2), Client(Position(EPOCH, 1))
    it.newcomers.append(client)
    for offset in (3, 4):
        it.offer(publication(offset))
    assert given_out(it) == [3, 4]
    it.shows(client, *log_of(3)(1))
    it.welcome()
    assert client.position is None
    it.shows(client, *log_of(4)(3))
    it.welcome()
    assert (client.has, client.position) == ([2, 3, 4], Position(EPOCH, 4))


def test_another_log_of_that_name_begins():
    it, old, new = followed(4), Client(Position(EPOCH, 2)), Client()
    it.offer(publication(5))
    it.newcomers += [old, new]
    it.begins_anew("e2", 1)
    it.welcome()
    assert (old.why, old.position, new.position) == (Why.OTHER_LOG, Position("e2", 1), Position("e2", 1))
    assert (it.has_given(EPOCH, 4), it.has_given(EPOCH, 5), it.has_given("e2", 1)) == (True, False, True)


@given(st.data())
def test_the_race(data):
    """Who is catching up while others publish has everything once, in order, and nothing between is missing."""
    it, page_of = followed(data.draw(st.integers(0, 5))), None
    last = it.last
    client = Client(Position(EPOCH, data.draw(st.integers(0, last))), max_bytes=10_000)
    it.newcomers.append(client)
    live = []
    for _ in range(data.draw(st.integers(1, 30))):
        kind = data.draw(st.sampled_from(["append", "append elsewhere", "show", "read", "give", "end", "welcome"]))
        page_of = log_of(last)
        if kind == "append":
            last += 1
            it.offer(publication(last))
        elif kind == "append elsewhere":
            last += 1
        elif kind == "show" and client.position is None:
            it.shows(client, *page_of(client.offset))
        elif kind == "read":
            it.wanted = last
            it.read(*page_of(it.end))
        elif kind == "give" and (given := it.next()) is not None and client.position is not None:
            live.append(given.offset)
        elif kind == "end":
            it.doing = None
        elif kind == "welcome":
            it.welcome()
    while client.position is None or it.last < last:
        it.doing = None
        it.wanted = last
        it.read(*log_of(last)(it.end))
        if client.position is None:
            it.shows(client, *log_of(last)(client.offset))
        it.welcome()
        if (given := it.next()) is not None and client.position is not None:
            live.append(given.offset)
    assert client.why is None
    assert client.has + live == list(range(client.has[0] if client.has else last + 1 - len(live), last + 1))
    assert len(client.has) + len(live) == last - client.first


def test_who_is_as_far_in_another_log_is_not_where_all_are():
    it, client = followed(5), Client(Position("e0", 5))
    it.newcomers.append(client)
    it.welcome()
    assert (client.why, client.position) == (Why.OTHER_LOG, Position(EPOCH, 5))

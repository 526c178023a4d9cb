"""The books themselves: what each promise looks like when it is broken."""

import pytest

from holdfast.chaos.writes import StateFigures
from tests.net.books import Books, broken
from tests.net.testimony import Testimony

RUN = 7


@pytest.fixture
def books():
    """Four clients in two groups, all in their channels; client 0 has asked, been answered, and both have heard."""
    books = Books(4, 2)
    for client in range(4):
        books.joined(client, 1.0)
    assert books.sent(0, 2.0) == 0
    books.replied(0, 0, 0, 1, 2.1)
    for client in (0, 1):
        books.notified(client, 0, 0, RUN, 1, 2.1)
    return books


def test_all_is_well(books):
    seen = books.seen()
    assert (seen.sent, seen.answered, seen.due, seen.missing) == (1, 1, 2, 0)
    assert books.is_complete()
    assert not broken(seen)


@pytest.mark.parametrize(
    ("what", "happens"),
    [
        ("answered_twice", lambda books: books.replied(0, 0, 0, 1, 3.0)),
        ("wrong_client", lambda books: books.replied(1, 0, 0, 1, 3.0)),
        ("stray", lambda books: books.replied(0, 5, 0, 1, 3.0)),
        ("stray", lambda books: books.stray()),
        ("duplicated", lambda books: books.notified(1, 0, 0, RUN, 1, 3.0)),
        ("unfounded", lambda books: books.notified(2, 0, 0, RUN, 1, 3.0)),
        ("unfounded", lambda books: books.notified(0, 1, 0, RUN, 2, 3.0)),
        ("unanswered", lambda books: books.sent(3, 3.0)),
        ("old_masters", lambda books: [books.announced(0, epoch) for epoch in (5, 4)]),
    ],
)
def test_what_is_wrong_is_found(books, what, happens):
    happens(books)
    assert broken(books.seen()) == [f"{what}: 1"]


def test_an_error_that_need_not_be(books):
    books.failed(0, books.sent(0, 3.0), "bad_request", False, 3.1)
    assert broken(books.seen()) == ["unexpected: 1"]


def test_what_is_due_and_does_not_come(books):
    books.replied(3, books.sent(3, 3.0), 3, 1, 3.1)
    assert broken(books.seen()) == ["missing: 2"]
    assert not books.is_complete()


def test_the_order_is_that_of_each_run(books):
    for _ in range(2):
        books.replied(0, books.sent(0, 3.0), 0, 1, 3.1)
    for number in (1, 2):
        books.notified(0, 0, number, RUN, number + 1, 3.2)
        books.notified(1, 0, number, RUN, 4 - number, 3.2)
    assert broken(books.seen()) == ["out_of_order: 1"]
    books.replied(0, books.sent(0, 3.0), 0, 1, 3.1)
    for client in (0, 1):
        books.notified(client, 0, 3, RUN + 1, 1, 3.2)  # another run of a node begins at 1
    assert broken(books.seen()) == ["out_of_order: 1"]


def test_a_new_connection_is_due_only_what_is_asked_since(books):
    number = books.sent(1, 2.5)
    books.ended(0, "close code 1012")
    books.joined(0, 3.0)
    books.replied(1, number, 1, 1, 3.5)
    books.notified(1, 1, number, RUN, 2, 3.5)
    assert books.is_complete()
    books.notified(0, 1, number, RUN, 2, 3.5)  # it may, once
    seen = books.seen()
    assert not broken(seen)
    assert (seen.closed, seen.late) == ({"close code 1012": 1}, 0)


def test_what_ends_with_its_connection(books):
    books.sent(2, 3.0)
    books.ended(2, "end of file")
    seen = books.seen()
    assert (seen.sent, seen.answered, seen.gone) == (2, 1, 1)
    assert not broken(seen)


def test_what_is_wrong_in_the_state_is_found(books):
    seen = books.seen()
    seen.state = StateFigures(lost=2)
    assert broken(seen) == ["state writes acknowledged and lost: 2"]


def test_nodes_are_told_of_each_client_once():
    testimony = Testimony()
    testimony.nodes[9] = "n1"
    for line in ("1.0 opened 9 5", "1.0 opened 9 6", "2.0 closed 9 5"):
        testimony.say(line)
    assert testimony.clients["n1"] == {6}
    assert not testimony.wrong
    for line in ("3.0 closed 9 5", "3.0 opened 9 5"):
        testimony.say(line)
    assert testimony.wrong.total() == 2


def test_the_longest_time_without_a_master():
    testimony = Testimony()
    for line in ("1.0 1 n1", "2.0 1 n1"):
        testimony.say(line)
    testimony.longest_pause = 0.0
    for line in ("5.0 2 n2", "5.5 2 n2", "9.0 2 n2"):  # a term may be interrupted
        testimony.say(line)
    assert testimony.longest_pause == 3.5
    assert testimony.acting == ("n2", 9.0)

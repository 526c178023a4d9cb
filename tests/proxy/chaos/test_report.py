import pytest

from proxy.chaos.accounting import Accounting
from proxy.chaos.masters import Masters
from proxy.chaos.openings import Openings
from proxy.chaos.report import broken_promises


@pytest.fixture
def masters():
    masters = Masters()
    masters.acted(1.0, 1, "a")
    return masters


def good():
    books = Accounting(1, 1)
    request = books.sent(0, 1.0)
    books.notified(0, 0, request, 1, 1)
    books.replied(0, request, 0, 1, 1.1)
    return books


def broken(books, masters, surprises=(), openings=None):
    verdict = books.verdict()
    return broken_promises(verdict, verdict.dropped, masters, openings, surprises)


def test_nothing_broken(masters):
    assert broken(good(), masters) == []
    assert broken(good(), None) == []


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (lambda books: books.sent(0, 2.0), "1 requests never answered"),
        (lambda books: books.replied(0, 0, 0, 1, 2.0), "1 requests answered twice"),
        (lambda books: books.replied(0, 0, 5, 1, 2.0), "1 replies to the wrong client"),
        (lambda books: books.unasked(), "1 replies to no request"),
        (
            lambda books: books.failed(0, books.sent(0, 2.0), "node_error", False, 2.1),
            "1 errors that no fault explains",
        ),
        (lambda books: books.dropped(0, "end of file"), "1 clients dropped"),
        (lambda books: books.replied(0, books.sent(0, 2.0), 0, 1, 2.1), "1 notifications missing"),
        (lambda books: books.notified(0, 0, 0, 1, 2), "1 notifications duplicated"),
        (lambda books: books.notified(0, 7, 0, 1, 2), "1 notifications of requests that no node answered"),
        (lambda books: (books.announced(0, 2), books.announced(0, 1)), "1 announcements of an older master"),
    ],
)
def test_what_is_lost_is_told(masters, loss, told):
    books = good()
    loss(books)
    assert told in broken(books, masters)


def test_out_of_order_is_told(masters):
    books = good()
    for number in (9, 8):
        request = books.sent(0, 2.0)
        books.notified(0, 0, request, 1, number)
        books.replied(0, request, 0, 1, 2.1)
    assert broken(books, masters) == ["1 notifications out of order"]


def test_an_error_that_a_fault_explains_breaks_nothing(masters):
    books = good()
    books.failed(0, books.sent(0, 2.0), "no_node", True, 7.0)
    assert broken(books, masters) == []


def test_two_masters_are_told(masters):
    masters.acted(2.0, 1, "b")
    assert broken(good(), masters) == ["1 pairs of masters at once"]


def test_a_run_without_anything_proves_nothing():
    assert broken(Accounting(1, 1), Masters(), openings=Openings()) == [
        "no request was answered: nothing is proven",
        "no node ever acted as master: nothing is proven of masters",
        "no node was told of any client: nothing is proven of openings",
    ]


def test_surprises_are_told(masters):
    assert broken(good(), masters, ["node-1 exited with status 3"]) == ["node-1 exited with status 3"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"opened_twice": 2}, "2 openings told to a node twice"),
        ({"closed_twice": 2}, "2 closings told to a node twice"),
        ({"closed_unopened": 2}, "2 closings told to a node that knew of no opening"),
        ({"closed_early": 2}, "2 closings told to a node while the client was there"),
        ({"unknown": 2}, "2 clients that a node did not know in the end"),
        ({"left_over": 2}, "2 clients that a node still knew in the end though they were gone"),
    ],
)
def test_what_nodes_were_told_wrongly_is_told(masters, wrong, told):
    assert broken(good(), masters, openings=Openings(opened=5, closed=1)) == []
    assert broken(good(), masters, openings=Openings(opened=5, closed=1, **wrong)) == [told]


def test_clients_dropped_though_their_proxy_lived(masters):
    assert broken_promises(good().verdict(), {"close code 1012": 3}, masters, None, []) == ["3 clients dropped"]

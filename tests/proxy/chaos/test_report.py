import pytest

from proxy.chaos.accounting import Accounting
from proxy.chaos.masters import Masters
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


def test_nothing_broken(masters):
    assert broken_promises(good().verdict(), masters, []) == []
    assert broken_promises(good().verdict(), None, []) == []


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
    assert told in broken_promises(books.verdict(), masters, [])


def test_out_of_order_is_told(masters):
    books = good()
    for number in (9, 8):
        request = books.sent(0, 2.0)
        books.notified(0, 0, request, 1, number)
        books.replied(0, request, 0, 1, 2.1)
    assert broken_promises(books.verdict(), masters, []) == ["1 notifications out of order"]


def test_an_error_that_a_fault_explains_breaks_nothing(masters):
    books = good()
    books.failed(0, books.sent(0, 2.0), "no_node", True, 7.0)
    assert broken_promises(books.verdict(), masters, []) == []


def test_two_masters_are_told(masters):
    masters.acted(2.0, 1, "b")
    assert broken_promises(good().verdict(), masters, []) == ["1 pairs of masters at once"]


def test_a_run_without_anything_proves_nothing():
    broken = broken_promises(Accounting(1, 1).verdict(), Masters(), [])
    assert broken == [
        "no request was answered: nothing is proven",
        "no node ever acted as master: nothing is proven of masters",
    ]


def test_surprises_are_told(masters):
    assert broken_promises(good().verdict(), masters, ["node-1 exited with status 3"]) == [
        "node-1 exited with status 3"
    ]

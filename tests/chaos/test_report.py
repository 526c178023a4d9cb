import pytest

from holdfast.chaos.accounting import Accounting
from holdfast.chaos.masters import Masters
from holdfast.chaos.openings import Openings
from holdfast.chaos.report import Memory, broken_promises
from holdfast.chaos.writes import StateFigures
from tests.chaos.test_flood import figures


@pytest.fixture
def masters():
    masters = Masters()
    masters.acted(1.0, 1, "a")
    return masters


def good():
    books = Accounting(1, 1)
    request = books.sent(0, 1.0)
    books.notified(0, 0, request, 1, 1, 2.1)
    books.replied(0, request, 0, 1, 1.1)
    return books


def broken(books, masters, surprises=(), openings=None, state=None, flood=None):
    verdict = books.verdict()
    return broken_promises(verdict, verdict.dropped, masters, openings, state, flood, surprises)


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
        (lambda books: books.notified(0, 0, 0, 1, 2, 2.2), "1 notifications duplicated"),
        (lambda books: books.notified(0, 7, 0, 1, 2, 2.2), "1 notifications of requests that no node answered"),
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
        books.notified(0, 0, request, 1, number, 2.1)
        books.replied(0, request, 0, 1, 2.1)
    assert broken(books, masters) == ["1 notifications out of order"]


def test_what_comes_again_over_another_connection_breaks_nothing(masters):
    books = good()
    books.moves(0, 3.0)
    books.moved(0, 3.1)
    books.notified(0, 0, 0, 1, 1, 3.2)
    assert broken(books, masters) == []
    books.notified(0, 0, 0, 1, 1, 3.3)
    assert broken(books, masters) == ["1 notifications duplicated"]


def test_what_comes_again_too_late_is_told(masters):
    books = good()
    books.moves(0, 3.0)
    books.moved(0, 3.1)
    books.notified(0, 0, 0, 1, 1, 90.0)
    assert broken(books, masters) == ["1 notifications again after more than a minute"]


def test_an_error_that_a_fault_explains_breaks_nothing(masters):
    books = good()
    books.failed(0, books.sent(0, 2.0), "no_node", True, 7.0)
    assert broken(books, masters) == []


def test_two_masters_are_told(masters):
    masters.acted(2.0, 1, "b")
    assert broken(good(), masters) == ["1 pairs of masters at once"]


def test_a_run_without_anything_proves_nothing():
    assert broken(Accounting(1, 1), Masters(), openings=Openings(), state=StateFigures()) == [
        "no request was answered: nothing is proven",
        "no node ever acted as master: nothing is proven of masters",
        "no node was told of any client: nothing is proven of openings",
        "no node has shown a state that was written: nothing is proven of it",
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
    assert broken_promises(good().verdict(), {"close code 1012": 3}, masters, None, None, None, []) == [
        "3 clients dropped"
    ]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"unanswered": 2}, "2 state writes never answered"),
        ({"lost": 2}, "2 state writes acknowledged and lost"),
        ({"returned": 2}, "2 state writes undone"),
        ({"counted_wrong": 2}, "2 increments of the state lost or doubled"),
        ({"left_over": 2}, "2 keys of clients that have gone"),
        ({"unfounded": 2}, "2 keys that nobody has set"),
        ({"reordered": 2}, "2 state writes acknowledged out of order"),
        ({"stuck": 2}, "2 state writes not done though all was mended"),
        ({"differing": 2}, "2 nodes whose state differs"),
        ({"answered_twice": 2}, "2 state writes answered twice"),
    ],
)
def test_what_is_wrong_in_the_state_is_told(masters, wrong, told):
    assert broken(good(), masters, state=StateFigures(acknowledged=5, nodes=3)) == []
    assert broken(good(), masters, state=StateFigures(acknowledged=5, nodes=3, **wrong)) == [told]


def test_what_is_wrong_in_a_flood_is_told(masters):
    assert broken(good(), masters, flood=figures()) == []
    assert broken(good(), masters, flood=figures(missing=2)) == ["2 messages of a flood missing"]
    told = ["no listener has heard anything: nothing is proven of floods"]
    assert broken(good(), masters, flood=figures(delivered=0)) == told


def test_memory_is_of_what_was_there():
    assert Memory.of([30 << 20, 0, 50 << 20, 40 << 20]) == Memory(30.0, 40.0, 40.0, 50.0)
    assert Memory.of([0]) == Memory(0.0, 0.0, 0.0, 0.0)

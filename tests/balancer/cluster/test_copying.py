"""A whole state, page by page: who gives it and who takes it."""

import pytest

from holdfast.balancer.cluster import copying
from holdfast.balancer.cluster.copying import GIVEN_FOR, Given, Taken
from holdfast.balancer.settings import StateSettings
from holdfast.balancer.state import StateCopy
from holdfast.protocols.nodes.frames import Propose
from holdfast.protocols.nodes.state import StatePages


@pytest.fixture
def copy(monkeypatch):
    """Three keys: two pages."""
    monkeypatch.setattr(copying, "PAGE_ITEMS", 2)
    it = StateCopy(StateSettings())
    it.begin(5)
    for number, key in enumerate("abc", 1):
        it.order("n", Propose(number, key, b"v"), 5)
    return it


def test_pages_are_had_in_any_order_and_again(copy):
    given = Given(copy, 0.0)
    assert given.position == (5, 3)
    second, first = given.page(1, 0.0), given.page(0, 0.0)
    assert ([item.key for item in first.items], first.last) == (["a", "b"], False)
    assert ([item.key for item in second.items], second.last) == (["c"], True)
    assert given.page(1, 0.0) is second
    assert given.page(2, 0.0) is None
    assert given.page(9, 0.0) is None
    assert len(given._pages) == 2, "whatever number somebody asks for"


def test_what_is_given_is_forgotten_when_nobody_has_asked_for_long(copy):
    given = Given(copy, 1.0)
    assert not given.is_forgotten(1.0 + GIVEN_FOR)
    assert given.is_forgotten(1.1 + GIVEN_FOR)
    given.page(0, 2.0)
    assert not given.is_forgotten(2.0 + GIVEN_FOR)
    assert given.is_forgotten(2.1 + GIVEN_FOR)


def test_only_the_page_that_comes_next_is_taken(copy):
    given, taken = Given(copy, 0.0), Taken((5, 3), StatePages())
    assert (taken.position, taken.next) == ((5, 3), 0)
    assert taken.add(1, given.page(1, 0.0)) is None
    assert taken.add(0, given.page(0, 0.0)) is False
    assert taken.add(0, given.page(0, 0.0)) is None
    assert taken.next == 1
    assert taken.add(1, given.page(1, 0.0)) is True
    assert taken.pages.items == copy.items

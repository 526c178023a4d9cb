"""Searching documents: what is found, in which order, and what is refused."""

from itertools import count

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kuzzle import search
from holdfast.kuzzle.errors import KuzzleError
from holdfast.kuzzle.filters import EVERYTHING, normalise
from holdfast.kuzzle.search import MAX_CRITERIA, criteria, find, query
from holdfast.kuzzle.time_slice import TimeSlice

DOCUMENTS = [("b", {"n": 2, "deep": {"er": "y"}}), ("a", {"n": 1}), ("c", {"n": None})]


async def ids(documents, filters=EVERYTHING, sort=None):
    return [hit.id for hit in await find(documents, filters, criteria(sort), TimeSlice())]


async def test_documents_come_by_id_and_can_be_found_by_it():
    assert await ids(DOCUMENTS) == ["a", "b", "c"]
    assert await ids(DOCUMENTS, normalise({"ids": {"values": ["c", "x"]}})) == ["c"]
    assert await ids(DOCUMENTS, normalise({"equals": {"deep.er": "y"}})) == ["b"]


@pytest.mark.parametrize(
    ("body", "language"),
    [
        ({}, "elasticsearch"),
        ({}, "koncorde"),
        ({"query": {}}, "elasticsearch"),
        ({"query": {"match_all": {}}}, "koncorde"),
    ],
)
def test_the_empty_query_finds_everything(body, language):
    assert query(body, language) == EVERYTHING


@pytest.mark.parametrize(
    ("body", "language", "id"),
    [
        ({"aggregations": {}}, "koncorde", "api.assert.invalid_argument"),
        ({}, "sql", "api.assert.invalid_argument"),
        ({"query": {"term": {"a": 1}}}, "elasticsearch", "api.assert.invalid_argument"),
        ({"query": {"term": {"a": 1}}}, "koncorde", "api.assert.koncorde_dsl_error"),
        ({"query": 1}, "koncorde", "api.assert.koncorde_dsl_error"),
    ],
)
def test_what_it_does_not_know_is_refused(body, language, id):
    with pytest.raises(KuzzleError) as caught:
        query(body, language)
    assert caught.value.id == id


@pytest.mark.parametrize(
    "sort",
    [1, {"a": "up"}, {"a": "asc", "b": "asc"}, [["a"]], {"a": {"mode": "min"}}, ["a"] * (MAX_CRITERIA + 1)],
    ids=str,
)
def test_what_is_no_order_is_refused(sort):
    with pytest.raises(KuzzleError) as caught:
        criteria(sort)
    assert caught.value.id == "api.assert.invalid_argument"


async def test_orders():
    documents = [(str(n), {"a": n % 2, "b": n}) for n in range(4)]
    assert await ids(documents) == ["0", "1", "2", "3"]
    assert await ids(documents, sort="a") == ["0", "2", "1", "3"]
    assert await ids(documents, sort=["a", {"b": "desc"}, "b", {"a": "desc"}]) == ["2", "0", "3", "1"]
    assert await ids(documents, sort={"a": {"order": "desc"}}) == ["1", "3", "0", "2"]


async def test_texts_are_ordered_by_their_beginnings():
    documents = [("1", {"a": "x" * 300 + "b"}), ("2", {"a": "x" * 300 + "a"}), ("3", {"a": "w" + "x" * 300})]
    assert await ids(documents, sort="a") == ["3", "1", "2"]


@pytest.mark.parametrize(("documents", "order"), [(100, 0), (1, MAX_CRITERIA)])
async def test_others_have_their_turn_while_a_search_goes_on(documents, order):
    """However many documents there are and criteria, between two slices everything else has run."""
    passes = 0

    async def count_passes():
        nonlocal passes
        while True:
            passes += 1
            await trio.lowlevel.checkpoint()

    now = count(1)  # each look at the clock finds it so much later that the slice is over
    time_slice = TimeSlice(lambda: float(next(now)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_passes)
        sort = [f"{n}" for n in range(order)]
        await find([(str(n), {"a": n}) for n in range(documents)], EVERYTHING, criteria(sort), time_slice)
        nursery.cancel_scope.cancel()
    assert passes >= documents + order


@pytest.mark.parametrize("direction", ["asc", "desc"])
async def test_an_order_that_is_made_in_pieces_is_the_same(direction, monkeypatch):
    documents = [(str(n * 7 % 50), {"a": n % 5 or None}) for n in range(50)]
    whole = await ids(documents, sort={"a": direction})
    monkeypatch.setattr(search, "PIECE", 3)
    assert await ids(documents, sort={"a": direction}) == whole
    fields = [dict(documents)[id]["a"] or (9 if direction == "asc" else 0) for id in whole]
    assert fields == sorted(fields, reverse=direction == "desc")


async def test_an_order_goes_on_in_pieces(monkeypatch):
    monkeypatch.setattr(search, "PIECE", 2)
    turns = count()
    await find([(str(n), {}) for n in range(100)], EVERYTHING, [], TimeSlice(lambda: float(next(turns))))
    assert next(turns) >= 100 + 50 + 50  # each document is looked at, each run sorted, each piece merged


values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=2), st.just([1])
)


@given(st.lists(st.fixed_dictionaries({}, optional={"x": values}), max_size=8), st.sampled_from(["asc", "desc"]))
def test_any_values_can_be_ordered_and_none_gets_lost(sources, direction):
    order = trio.run(ids, [(f"{n}", source) for n, source in enumerate(sources)], EVERYTHING, {"x": direction})
    assert sorted(order) == [f"{n}" for n in range(len(sources))]
    found = [sources[int(id)].get("x") for id in order]
    numbers = [value for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
    assert numbers == sorted(numbers, reverse=direction == "desc")
    scalars = [isinstance(value, str | int | float) for value in found]
    assert scalars == sorted(scalars, reverse=True)  # what can't be ordered comes last

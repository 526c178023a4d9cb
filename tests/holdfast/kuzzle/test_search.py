"""Searching documents: what is found, in which order, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kuzzle.errors import KuzzleError
from holdfast.kuzzle.filters import EVERYTHING, normalise
from holdfast.kuzzle.search import find, ordered, query

DOCUMENTS = [("b", {"n": 2, "deep": {"er": "y"}}, 1), ("a", {"n": 1}, 3), ("c", {"n": None}, 1)]


def ids(hits):
    return [hit.id for hit in hits]


def test_documents_come_by_id_and_can_be_found_by_it():
    assert ids(find(DOCUMENTS, EVERYTHING)) == ["a", "b", "c"]
    assert ids(find(DOCUMENTS, normalise({"ids": {"values": ["c", "x"]}}))) == ["c"]
    assert ids(find(DOCUMENTS, normalise({"equals": {"deep.er": "y"}}))) == ["b"]


@pytest.mark.parametrize(
    ("body", "language"),
    [
        (None, "elasticsearch"),
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
        ([], "koncorde", "api.assert.invalid_type"),
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


@pytest.mark.parametrize("sort", [1, {"a": "up"}, {"a": "asc", "b": "asc"}, [["a"]], {"a": {"mode": "min"}}])
def test_what_is_no_order_is_refused(sort):
    with pytest.raises(KuzzleError) as caught:
        ordered(find(DOCUMENTS, EVERYTHING), sort)
    assert caught.value.id == "api.assert.invalid_argument"


def test_orders():
    hits = find([(str(n), {"a": n % 2, "b": n}, 1) for n in range(4)], EVERYTHING)
    assert ids(ordered(hits, None)) == ["0", "1", "2", "3"]
    assert ids(ordered(hits, "a")) == ["0", "2", "1", "3"]
    assert ids(ordered(hits, ["a", {"b": "desc"}])) == ["2", "0", "3", "1"]
    assert ids(ordered(hits, {"a": {"order": "desc"}})) == ["1", "3", "0", "2"]


values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=2), st.just([1])
)


@given(st.lists(st.fixed_dictionaries({}, optional={"x": values}), max_size=8), st.sampled_from(["asc", "desc"]))
def test_any_values_can_be_ordered_and_none_gets_lost(sources, direction):
    hits = find(((f"{n}", source, 1) for n, source in enumerate(sources)), EVERYTHING)
    found = [hit.source.get("x") for hit in ordered(hits, {"x": direction})]
    numbers = [value for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
    assert numbers == sorted(numbers, reverse=direction == "desc")
    assert len(found) == len(sources)
    scalars = [isinstance(value, str | int | float) for value in found]
    assert scalars == sorted(scalars, reverse=True)  # what can't be ordered comes last

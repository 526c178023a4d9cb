"""Koncorde filters: their meaning against a naive oracle, and the canonical form that names rooms."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kuzzle.filters import (
    EVERYTHING,
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_FIELD_LENGTH,
    MAX_FILTER_BYTES,
    NOTHING,
    FilterError,
    flatten,
    from_json,
    matches,
    normalise,
    room_id,
)

FIELDS = ["a", "b", "a.x", "b.y", "_id"]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from(["", "u", "v"])
)
values = st.one_of(scalars, st.lists(scalars, max_size=3))
documents = st.fixed_dictionaries(
    {},
    optional={
        "a": st.one_of(values, st.fixed_dictionaries({}, optional={"x": values})),
        "b": st.one_of(values, st.fixed_dictionaries({}, optional={"y": values})),
        "_id": st.sampled_from(["u", "v"]),
    },
)
fields = st.sampled_from(FIELDS)


@st.composite
def ranges(draw):
    low, high = draw(st.sampled_from([(-1, 1), (-1.5, 0), (0, 2), (None, 1), (0, None)]))
    bounds = {}
    if low is not None:
        bounds[draw(st.sampled_from(["gt", "gte"]))] = low
    if high is not None:
        bounds[draw(st.sampled_from(["lt", "lte"]))] = high
    return {"range": {draw(fields): bounds}}


def array_field(field, value):
    return f"{field}[{json.dumps(value)}]"


clauses = st.one_of(
    st.builds(lambda field, value: {"equals": {field: value}}, fields, scalars),
    st.builds(lambda field, several: {"in": {field: several}}, fields, st.lists(scalars, min_size=1, max_size=3)),
    st.builds(
        lambda several: {"ids": {"values": several}}, st.lists(st.sampled_from(["u", "v", "w"]), min_size=1, max_size=2)
    ),
    st.builds(lambda keyword, field: {keyword: field}, st.sampled_from(["exists", "missing"]), fields),
    st.builds(lambda keyword, field: {keyword: {"field": field}}, st.sampled_from(["exists", "missing"]), fields),
    st.builds(
        lambda keyword, field, value: {keyword: array_field(field, value)},
        st.sampled_from(["exists", "missing"]),
        fields,
        scalars,
    ),
    ranges(),
    st.just({"nothing": {}}),
    st.just({"match_all": {}}),
)


def operators(inner):
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(lambda parts: {"and": parts}, several),
        st.builds(lambda parts: {"or": parts}, several),
        st.builds(lambda part: {"not": part}, inner),
        st.builds(
            lambda parts: {"bool": parts},
            st.dictionaries(
                st.sampled_from(["must", "must_not", "should", "should_not"]), several, min_size=1, max_size=3
            ),
        ),
    )


filters = st.recursive(clauses, operators, max_leaves=8)

ABSENT = object()


def at(document, path):
    """The value at a path, by walking: nothing of `flatten`."""
    for step in path.split("."):
        if not isinstance(document, dict) or step not in document:
            return ABSENT
        document = document[step]
    return document


def strictly_equal(one, other):
    """As in JavaScript: JSON types first, 1 and 1.0 are one number."""
    return json.dumps(one) == json.dumps(other) or (
        type(one) in (int, float) and type(other) in (int, float) and one == other
    )


def is_number(value):
    return type(value) in (int, float)


def oracle(filters, document):
    """What the reference documentation of Koncorde says, clause by clause."""
    if not filters:
        return True
    [(keyword, content)] = filters.items()
    match keyword:
        case "and":
            return all([oracle(part, document) for part in content])
        case "or":
            return any([oracle(part, document) for part in content])
        case "not":
            return not oracle(content, document)
        case "bool":
            return (
                all([oracle(part, document) for part in content.get("must", [])])
                and not any([oracle(part, document) for part in content.get("must_not", [])])
                and ("should" not in content or any([oracle(part, document) for part in content["should"]]))
                and ("should_not" not in content or not all([oracle(part, document) for part in content["should_not"]]))
            )
        case "equals":
            [(field, wanted)] = content.items()
            return strictly_equal(at(document, field), wanted) if at(document, field) is not ABSENT else False
        case "in":
            [(field, several)] = content.items()
            return any(oracle({"equals": {field: wanted}}, document) for wanted in several)
        case "ids":
            return document.get("_id") in content["values"]
        case "missing":
            return not oracle({"exists": content}, document)
        case "exists":
            name = content["field"] if isinstance(content, dict) else content
            found = re.fullmatch(r"(.*)\[(.*)\]", name)
            if not found:
                return at(document, name) is not ABSENT
            array = at(document, found[1])
            return isinstance(array, list) and any(strictly_equal(item, json.loads(found[2])) for item in array)
        case "range":
            [(field, bounds)] = content.items()
            value = at(document, field)
            tests = {
                "gt": lambda v, b: v > b,
                "gte": lambda v, b: v >= b,
                "lt": lambda v, b: v < b,
                "lte": lambda v, b: v <= b,
            }
            return is_number(value) and all(tests[name](value, bound) for name, bound in bounds.items())
        case "nothing":
            return False
        case "match_all":
            return True


@given(filters, documents)
def test_a_normalised_filter_means_what_was_written(written, document):
    assert matches(normalise(written), flatten(document)) == oracle(written, document)


def shuffled(written, generator):
    """The same filter with the operands of and, or, in and bool in another order, and some doubled."""
    if isinstance(written, dict):
        return {key: shuffled(content, generator) for key, content in written.items()}
    if isinstance(written, list):
        items = [shuffled(item, generator) for item in written]
        items += generator.sample(items, 1)
        generator.shuffle(items)
        return items
    return written


@given(filters, st.randoms(use_true_random=False))
def test_the_order_of_operands_does_not_change_the_room(written, generator):
    assert room_id("i", "c", normalise(shuffled(written, generator))) == room_id("i", "c", normalise(written))


@given(filters)
def test_double_negation_nesting_and_json_do_not_change_the_room(written):
    canonical = normalise(written)
    for same in (
        {"not": {"not": written}},
        {"and": [written]},
        {"or": [{"or": [written]}]},
        {"bool": {"must": [written]}},
    ):
        assert room_id("i", "c", normalise(same)) == room_id("i", "c", canonical)
    assert from_json(json.loads(json.dumps(canonical))) == canonical


@given(filters)
def test_a_filter_and_its_negation_are_two_rooms(written):
    assert room_id("i", "c", normalise({"not": written})) != room_id("i", "c", normalise(written))


def test_de_morgan():
    a, b = {"equals": {"a": 1}}, {"exists": "b"}
    assert normalise({"not": {"and": [a, b]}}) == normalise({"or": [{"not": a}, {"missing": "b"}]})
    assert normalise({"not": {"or": [a, b]}}) == normalise({"bool": {"must_not": [a, b]}})


def test_contradictions_and_tautologies_are_found():
    a = {"equals": {"a": 1}}
    assert normalise({"and": [a, {"not": a}]}) == NOTHING
    assert normalise({"or": [a, {"not": a}]}) == EVERYTHING
    assert normalise({}) == normalise({"match_all": {}}) == EVERYTHING
    assert normalise({"and": [a, {"match_all": {}}]}) == normalise(a)
    assert normalise({"in": {"a": [1, 1.0]}}) == normalise(a)


@pytest.mark.parametrize(
    ("bounds", "inside"),
    [
        ({"gt": 1}, [2, 3, 4]),
        ({"gte": 1}, [1, 2, 3, 4]),
        ({"lt": 3}, [0, 1, 2]),
        ({"lte": 3}, [0, 1, 2, 3]),
        ({"gt": 1, "lt": 3}, [2]),
        ({"gte": 1.0, "lte": 3.0}, [1, 2, 3]),
    ],
)
def test_the_ends_of_a_range(bounds, inside):
    canonical = normalise({"range": {"n": bounds}})
    assert [number for number in range(5) if matches(canonical, {"n": number})] == inside
    assert not any(matches(canonical, {"n": other}) for other in (True, "2", None, [2]))


def test_numbers_and_booleans_are_not_mixed_up():
    one, true = normalise({"equals": {"a": 1}}), normalise({"equals": {"a": True}})
    assert matches(one, {"a": 1.0})
    assert not matches(one, {"a": True})
    assert not matches(true, {"a": 1})
    assert room_id("i", "c", one) != room_id("i", "c", true)
    assert len(normalise({"in": {"a": [1, True, "1"]}})) == 4  # "or" and three operands, none taken for another


def test_a_room_is_of_one_index_and_one_collection():
    assert (
        len({room_id(index, collection, EVERYTHING) for index, collection in ["ab", "ba", ("a", "bb"), ("ab", "b")]})
        == 4
    )


def test_the_room_id_is_the_same_on_every_node_and_in_every_version():
    canonical = normalise({"and": [{"range": {"age": {"gte": 18}}}, {"in": {"city": ["Paris", "Rome"]}}]})
    assert (
        room_id("nyc-open-data", "taxi", canonical)
        == "f59d0cb611a917c1cc12e58375805258ebd1c8524d9488fbceecdae164ca6a8f"
    )


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        (None, "filter: must be an object"),
        ([], "filter: must be an object"),
        ({"equals": {"a": 1}, "exists": "a"}, "filter: must have one keyword only, got equals, exists"),
        ({"term": {"a": 1}}, "term: unknown keyword"),
        ({"regexp": {"a": "(a+)+$"}}, "regexp: unknown keyword"),
        ({"equals": {}}, "equals: must be a non-empty object"),
        ({"equals": {"a": 1, "b": 2}}, "equals: must have exactly 1 property, got 2"),
        ({"equals": {"a": [1]}}, "equals.a: must be a string, a number, a boolean or null"),
        ({"in": {"a": []}}, "in.a: must be a non-empty array"),
        ({"in": {"a": "x"}}, "in.a: must be a non-empty array"),
        ({"ids": {"values": [1]}}, 'ids: must have the one property "values", an array of strings'),
        ({"ids": ["a"]}, "ids: must be a non-empty object"),
        ({"exists": ""}, "exists: must be a field name that is not empty"),
        ({"exists": {"field": 1}}, "exists: must be a field name that is not empty"),
        ({"exists": "a[x]"}, "exists: the array value must be JSON, got x"),
        ({"missing": "a[{}]"}, "missing: must be a string, a number, a boolean or null"),
        ({"range": {"a": {"gt": "1"}}}, "range.a.gt: must be a number"),
        ({"range": {"a": {"gt": True}}}, "range.a.gt: must be a number"),
        ({"range": {"a": {"above": 1}}}, 'range.a: "above" is not allowed (allowed: gt, gte, lt, lte)'),
        ({"range": {"a": {"gt": 1, "gte": 2}}}, "range.a: only 1 lower boundary allowed"),
        ({"range": {"a": {"lt": 1, "lte": 2}}}, "range.a: only 1 upper boundary allowed"),
        ({"range": {"a": {"gte": 1, "lte": 1}}}, "range.a: lower boundary must be strictly inferior to the upper one"),
        ({"and": []}, "and: must be a non-empty array"),
        ({"or": [{}]}, "or: can only contain non-empty objects"),
        ({"not": {}}, "not: must be a non-empty object"),
        ({"and": [{"not": {"in": {"a": 1}}}]}, "and.not.in.a: must be a non-empty array"),
        ({"bool": {"filter": []}}, 'bool: "filter" is not allowed (allowed: must, must_not, should, should_not)'),
    ],
)
def test_what_is_not_a_filter_is_refused_with_its_place(written, complaint):
    with pytest.raises(FilterError) as caught:
        normalise(written)
    assert str(caught.value) == complaint


def test_complexity_is_bounded():
    wide = {"or": [{"equals": {"a": n}} for n in range(MAX_CONDITIONS)]}
    assert len(normalise(wide)) == MAX_CONDITIONS + 1
    for too_wide in ({"and": [wide, {"exists": "a"}]}, {"in": {"a": list(range(MAX_CONDITIONS + 1))}}):
        with pytest.raises(FilterError, match="filter too complex: at most 100 conditions"):
            normalise(too_wide)
    deep = {"exists": "a"}
    for _ in range(MAX_DEPTH):
        deep = {"not": deep}
    assert normalise(deep) == ("exists", "a")
    with pytest.raises(FilterError, match="filter too deep: at most 32 levels"):
        normalise({"not": deep})


def test_the_deepest_and_widest_filter_is_normalised_at_once():
    """Looking for the opposite of whole trees doubled the work at every level: this one took hours."""
    written = {"equals": {"a": 0}}
    for level in range(MAX_DEPTH):
        keyword = ("and", "or")[level % 2]
        written = {keyword: [written, {"equals": {"a": 3 * level + 1}}, {"equals": {"b": 3 * level + 2}}]}
    canonical = normalise(written)
    assert canonical[0] == keyword
    assert not matches(canonical, {"a": 0})


def test_brackets_in_field_names_are_escaped():
    assert normalise({"exists": r"a\[0\]"}) == ("exists", "a[0]")
    assert normalise({"exists": 'a.b["]"]'}) == ("contains", "a.b", "]")


@given(st.text('[]\\\\a1"', max_size=12))
def test_the_value_of_an_array_field_is_found_where_a_pattern_finds_it(name):
    """The pattern says it shortly, and takes the square of a long name's length."""
    found = re.match(r"^(.*?[^\\])\[(.*)\]\Z", name)
    try:
        filters = normalise({"exists": name})
    except FilterError:
        assert not name or found is not None
        return
    assert (filters[0] == "contains") == (found is not None)
    if found is not None:
        assert filters[1] == found[1].replace("\\[", "[").replace("\\]", "]")
        assert filters[2] == json.loads(found[2])


@pytest.mark.parametrize("keyword", ["equals", "in", "range", "exists", "missing"])
def test_the_length_of_a_field_is_bounded(keyword):
    def written(field):
        content = {"equals": {field: 1}, "in": {field: [1]}, "range": {field: {"gt": 1}}}.get(keyword, field)
        return {keyword: content}

    normalise(written("x" * MAX_FIELD_LENGTH))
    with pytest.raises(FilterError, match="at most 256 characters, got 257"):
        normalise(written("x" * (MAX_FIELD_LENGTH + 1)))


def test_the_size_of_a_filter_is_bounded():
    normalise({"equals": {"a": "x" * (MAX_FILTER_BYTES - 100)}})
    with pytest.raises(FilterError, match="filter too large"):
        normalise({"equals": {"a": "x" * MAX_FILTER_BYTES}})


@pytest.mark.parametrize(("array", "wanted"), [([1], "true"), ([True], "1"), ([0], "false"), ([False], "0.0")])
def test_a_boolean_in_an_array_is_no_number(array, wanted):
    assert not matches(normalise({"exists": f"a[{wanted}]"}), flatten({"a": array}))
    assert matches(normalise({"exists": f"a[{json.dumps(array[0])}]"}), flatten({"a": array}))

"""Searching documents: filter and order. Pure, but for its time_slice.

A query is a Koncorde filter (`lang: "koncorde"`); of Elasticsearch's language, which is the default, only the empty
query and `match_all` are known. What else it can do is refused, not ignored.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from holdfast.kuzzle.errors import error
from holdfast.kuzzle.filters import EVERYTHING, Filter, FilterError, flatten, matches, normalise
from holdfast.kuzzle.time_slice import TimeSlice

MAX_CRITERIA = 16  # of an order: each is one more pass over all hits
MAX_KEY_LENGTH = 256  # characters by which texts are ordered

Criterion = tuple[str, bool]  # a field, and whether the largest come first


class Hit(NamedTuple):
    id: str
    keys: tuple[Any, ...]  # what it is ordered by, one for each criterion


def query(body: Mapping[str, Any], language: str) -> Filter:
    """The filter of a search's or count's body."""
    wanted = body.get("query")
    for name in body:
        if name not in ("query", "sort"):
            raise error("api.assert.invalid_argument", f"body.{name}", "query, sort")
    if language not in ("koncorde", "elasticsearch"):
        raise error("api.assert.invalid_argument", "lang", '"koncorde" or "elasticsearch"')
    if wanted in (None, {}, {"match_all": {}}):
        return EVERYTHING
    if language != "koncorde":
        raise error("api.assert.invalid_argument", "lang", '"koncorde": this node has no Elasticsearch')
    try:
        return normalise(wanted)
    except FilterError as wrong:
        raise error("api.assert.koncorde_dsl_error", wrong) from wrong


async def find(
    documents: Iterable[tuple[str, Mapping[str, Any]]],
    filters: Filter,
    wanted: Sequence[Criterion],
    time_slice: TimeSlice,
) -> list[str]:
    """The ids of the documents, each (id, source), that pass a filter, in the wanted order and then by id.

    Documents without a field come last. Values of different types are ordered by type: booleans, numbers, text; texts
    by their beginnings. Takes long: other work goes on meanwhile.
    """
    hits = []
    for id, source in documents:
        await time_slice.turn()
        flat = flatten({**source, "_id": id})
        if matches(filters, flat):
            hits.append(Hit(id, tuple(_key(flat.get(field)) for field, _ in wanted)))
    await time_slice.turn()
    hits.sort(key=lambda hit: hit.id)
    for number, (_, is_descending) in reversed(list(enumerate(wanted))):  # a stable sort: the first one comes last
        await time_slice.turn()
        hits = _ordered(hits, number, is_descending)
    return [hit.id for hit in hits]


def _ordered(hits: list[Hit], number: int, is_descending: bool) -> list[Hit]:
    there = [hit for hit in hits if hit.keys[number] is not None]
    there.sort(key=lambda hit: (_rank(hit.keys[number]), hit.keys[number]), reverse=is_descending)
    return there + [hit for hit in hits if hit.keys[number] is None]


def criteria(sort: object) -> list[Criterion]:
    """Of `sort`: a field, an object {field: "asc" | "desc"}, or an array of both. A field that comes again is idle."""
    given = sort if isinstance(sort, list) else [] if sort is None else [sort]
    if len(given) > MAX_CRITERIA:
        raise error("api.assert.invalid_argument", "body.sort", f"at most {MAX_CRITERIA} fields")
    found: dict[str, bool] = {}
    for criterion in given:
        field, direction = _criterion(criterion)
        found.setdefault(field, direction == "desc")
    return list(found.items())


def _criterion(criterion: object) -> tuple[str, str]:
    if isinstance(criterion, str):
        return criterion, "asc"
    if isinstance(criterion, dict) and len(criterion) == 1:
        [(field, direction)] = criterion.items()
        if isinstance(direction, dict):
            direction = direction.get("order")
        if direction in ("asc", "desc"):
            return field, direction
    raise error("api.assert.invalid_argument", "body.sort", 'fields, or objects such as {"field": "desc"}')


def _key(value: object) -> object:
    """None: it has no order."""
    if isinstance(value, str):
        return value[:MAX_KEY_LENGTH]
    return value if isinstance(value, int | float) else None


def _rank(key: object) -> int:
    if isinstance(key, bool):
        return 0
    return 2 if isinstance(key, str) else 1

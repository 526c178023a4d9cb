"""Searching documents: filter, order, page. Pure.

A query is a Koncorde filter (`lang: "koncorde"`); of Elasticsearch's language, which is the default, only the empty
query and `match_all` are known. What else it can do is refused, not ignored.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from holdfast.kuzzle.errors import error
from holdfast.kuzzle.filters import EVERYTHING, Filter, FilterError, flatten, matches, normalise


class Hit(NamedTuple):
    id: str
    source: Mapping[str, Any]
    version: int
    flat: Mapping[str, Any]  # the source by dotted paths, with `_id`


def query(body: object, language: str) -> Filter:
    """The filter of a search's or count's body."""
    if not isinstance(body, dict | None):
        raise error("api.assert.invalid_type", "body", "object")
    wanted = (body or {}).get("query")
    for name in body or ():
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


def find(documents: Iterable[tuple[str, Mapping[str, Any], int]], filters: Filter) -> list[Hit]:
    """The documents that pass a filter, by id. Each is (id, source, version)."""
    hits = (Hit(id, source, version, flatten({**source, "_id": id})) for id, source, version in documents)
    return sorted((hit for hit in hits if matches(filters, hit.flat)), key=lambda hit: hit.id)


def ordered(hits: list[Hit], sort: object) -> list[Hit]:
    """By `sort`: a field, an object {field: "asc" | "desc"}, or an array of both. Without one they stay by id.

    Documents without the field come last. Values of different types are ordered by type: booleans, numbers, text.
    """
    criteria = [*sort] if isinstance(sort, list) else [] if sort is None else [sort]
    for criterion in reversed(criteria):  # a stable sort: the first criterion is applied last
        field, direction = _criterion(criterion)
        there = [hit for hit in hits if _rank(hit.flat.get(field)) is not None]
        there.sort(key=lambda hit: (_rank(hit.flat[field]), hit.flat[field]), reverse=direction == "desc")
        hits = there + [hit for hit in hits if _rank(hit.flat.get(field)) is None]
    return hits


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


def _rank(value: object) -> int | None:
    if isinstance(value, bool):
        return 0
    if isinstance(value, int | float):
        return 1
    return 2 if isinstance(value, str) else None

"""Koncorde, Kuzzle's filter language: parse, bring into one form, name, evaluate.

Owns the meaning of a subscription's filter. Pure. The clauses are equals, exists, missing, ids, in, range and
nothing; the operators and, or, not and bool; an empty filter and `match_all` match everything. What it
refuses: the geographical clauses, `match`, `select`, and `regexp`, because one hostile pattern would hold up a node.
Filters and documents are strangers' words: what they cost is linear in their size, and the size of a filter bounded.

`normalise` is what makes a room the same on every node: it moves `not` down to the clauses, flattens, sorts and
drops doubles, so that filters which differ only in order, nesting or double negation become equal. It does not
find every equivalence (x < 3 inside x < 5): two such filters are two rooms, which costs a copy, never a message.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from math import inf
from typing import Any

import msgspec

MAX_CONDITIONS = 100  # clauses in one filter; Kuzzle's limits.subscriptionConditionsCount
MAX_DEPTH = 32  # operators inside operators: the parser and the evaluation are recursive
MAX_FILTER_BYTES = 64 << 10  # of a filter as JSON: it is encoded again at each level on its way to the canonical form
MAX_FIELD_LENGTH = 256  # characters of a field's dotted path: each field of a document costs as much, see `flatten`

Filter = tuple[Any, ...]  # (kind, ...): nested tuples of JSON values, so that a filter can be stored and hashed
EVERYTHING: Filter = ("everything",)
NOTHING: Filter = ("nothing",)


class FilterError(ValueError):
    """Not a filter: what was expected, and where."""


def normalise(filters: object) -> Filter:
    """The canonical form of a filter as a client wrote it. Raises FilterError."""
    try:
        size = len(msgspec.json.encode(filters))
    except RecursionError:
        raise FilterError(f"filter too deep: at most {MAX_DEPTH} levels") from None
    if size > MAX_FILTER_BYTES:
        raise FilterError(f"filter too large: at most {MAX_FILTER_BYTES} bytes of JSON, got {size}")
    budget = [MAX_CONDITIONS]
    return _parse(filters, "", 0, budget)


def room_id(index: str, collection: str, filters: Filter) -> str:
    """The name of the room that all subscriptions with this canonical filter share, equal on every node."""
    return sha256(msgspec.json.encode([index, collection, filters])).hexdigest()


def from_json(value: object) -> Filter:
    """A canonical filter that has been through JSON, which turns tuples into lists."""
    assert isinstance(value, list)
    return tuple(from_json(item) if isinstance(item, list) else item for item in value)


def conditions_of(filters: Sequence[Any]) -> int:
    """How many clauses a canonical filter has; those that match all or nothing are one too."""
    if filters[0] in ("and", "or", "not"):
        return sum(map(conditions_of, filters[1:]))
    return 1


def flatten(document: Mapping[str, Any]) -> dict[str, Any]:
    """Every value of a document by its dotted path, objects included. Arrays are not descended into: each is the set
    of the scalars in it.

    Paths that are longer than a filter's may be are left out. With them a long name with many fields below it, each
    of which repeats it, would take the square of the document's size.
    """
    flat: dict[str, Any] = {}
    waiting: list[tuple[str, Mapping[str, Any]]] = [("", document)]
    while waiting:
        prefix, branch = waiting.pop()
        for key, value in branch.items():
            if len(prefix) + len(key) > MAX_FIELD_LENGTH:
                continue
            if isinstance(value, dict):
                waiting.append((f"{prefix}{key}.", value))
            elif isinstance(value, list):
                value = {_strict(item) for item in value if not isinstance(item, dict | list)}
            flat[prefix + key] = value
    return flat


def matches(filters: Filter, flat: Mapping[str, Any]) -> bool:
    """Whether a flattened document is in the scope of a canonical filter."""
    kind = filters[0]
    if kind == "equals":
        return filters[1] in flat and _same(flat[filters[1]], filters[2])
    if kind == "and":
        return all(matches(part, flat) for part in filters[1:])
    if kind == "or":
        return any(matches(part, flat) for part in filters[1:])
    if kind == "not":
        return not matches(filters[1], flat)
    if kind == "range":
        _, field, low, above, high, below = filters
        return _in_range(flat.get(field), low, above, high, below)
    if kind == "exists":
        return filters[1] in flat
    if kind == "contains":
        value = flat.get(filters[1])
        return isinstance(value, set) and _strict(filters[2]) in value
    return filters == EVERYTHING


_BOOLEANS = {True: object(), False: object()}


def _strict(scalar: object) -> object:
    """For a set: what `_same` calls the same is equal, and nothing else."""
    return _BOOLEANS[scalar] if isinstance(scalar, bool) else scalar


def _same(value: object, wanted: object) -> bool:
    """Strict equality, as in JavaScript: numbers are one type, and true is not 1."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return bool(value == wanted)


def _in_range(value: object, low: float | None, above: bool, high: float | None, below: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if low is not None and (value <= low if above else value < low):
        return False
    return high is None or (value < high if below else value <= high)


# --- parsing --------------------------------------------------------------------------------------------------


def _parse(filters: object, path: str, depth: int, budget: list[int]) -> Filter:
    if not isinstance(filters, dict):
        raise FilterError(f"{path or 'filter'}: must be an object")
    if not filters:
        return EVERYTHING
    if len(filters) > 1:
        raise FilterError(f"{path or 'filter'}: must have one keyword only, got {', '.join(sorted(filters))}")
    if depth > MAX_DEPTH:
        raise FilterError(f"filter too deep: at most {MAX_DEPTH} levels")
    keyword, content = next(iter(filters.items()))
    path = f"{path}.{keyword}" if path else keyword

    if keyword in ("and", "or"):
        parts = _parse_all(content, path, depth, budget)
        return _and(parts) if keyword == "and" else _or(parts)
    if keyword == "not":
        return _not(_parse(_fields(content, path, 1), path, depth + 1, budget))
    if keyword == "bool":
        return _parse_bool(content, path, depth, budget)

    clause = _CLAUSES.get(keyword)
    if clause is None:
        raise FilterError(f"{path}: unknown keyword")
    found = clause(content, path)
    budget[0] -= len(found) - 1 if found[0] == "or" else 1
    if budget[0] < 0:
        raise FilterError(f"filter too complex: at most {MAX_CONDITIONS} conditions")
    return found


def _parse_all(content: object, path: str, depth: int, budget: list[int]) -> list[Filter]:
    """The operands of an operator: a non-empty array of non-empty objects."""
    if not isinstance(content, list) or not content:
        raise FilterError(f"{path}: must be a non-empty array")
    if not all(isinstance(item, dict) and item for item in content):
        raise FilterError(f"{path}: can only contain non-empty objects")
    return [_parse(item, path, depth + 1, budget) for item in content]


def _parse_bool(content: object, path: str, depth: int, budget: list[int]) -> Filter:
    parts: list[Filter] = []
    for name, operands in _fields(content, path).items():
        if name not in ("must", "must_not", "should", "should_not"):
            raise FilterError(f'{path}: "{name}" is not allowed (allowed: must, must_not, should, should_not)')
        found = _parse_all(operands, f"{path}.{name}", depth, budget)
        if name == "must":
            parts.extend(found)
        elif name == "must_not":
            parts.append(_not(_or(found)))
        elif name == "should":
            parts.append(_or(found))
        else:
            parts.append(_not(_and(found)))
    return _and(parts)


def _equals(content: object, path: str) -> Filter:
    [(field, value)] = _fields(content, path, 1).items()
    return ("equals", _field(field, path), _scalar(value, f"{path}.{field}"))


def _in(content: object, path: str) -> Filter:
    [(field, values)] = _fields(content, path, 1).items()
    return _any_of(_field(field, path), values, f"{path}.{field}")


def _ids(content: object, path: str) -> Filter:
    values = _fields(content, path, 1).get("values")
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise FilterError(f'{path}: must have the one property "values", an array of strings')
    return _any_of("_id", values, f"{path}.values")


def _any_of(field: str, values: object, path: str) -> Filter:
    if not isinstance(values, list) or not values:
        raise FilterError(f"{path}: must be a non-empty array")
    return _or([("equals", field, _scalar(value, path)) for value in values])


def _range(content: object, path: str) -> Filter:
    [(field, bounds)] = _fields(content, path, 1).items()
    path = f"{path}.{field}"
    low: float | None = None
    high: float | None = None
    above = below = False
    for name, value in _fields(bounds, path).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FilterError(f"{path}.{name}: must be a number")
        if name in ("gt", "gte"):
            if low is not None:
                raise FilterError(f"{path}: only 1 lower boundary allowed")
            low, above = _number(value), name == "gt"
        elif name in ("lt", "lte"):
            if high is not None:
                raise FilterError(f"{path}: only 1 upper boundary allowed")
            high, below = _number(value), name == "lt"
        else:
            raise FilterError(f'{path}: "{name}" is not allowed (allowed: gt, gte, lt, lte)')
    if (inf if high is None else high) <= (-inf if low is None else low):
        raise FilterError(f"{path}: lower boundary must be strictly inferior to the upper one")
    return ("range", _field(field, path), low, above, high, below)


def _exists(content: object, path: str) -> Filter:
    """`"path.to.field"`, `"path.to.array[value]"`, or the older `{"field": ...}` around either."""
    if isinstance(content, dict):
        content = _fields(content, path, 1).get("field")
    if not isinstance(content, str) or not content:
        raise FilterError(f"{path}: must be a field name that is not empty")
    opening = _opening_bracket(content) if content.endswith("]") else -1
    if opening < 0:
        return ("exists", _field(_unescaped(content), path))
    wanted = content[opening + 1 : -1]
    try:
        value = msgspec.json.decode(wanted.encode())
    except (msgspec.DecodeError, RecursionError):
        raise FilterError(f"{path}: the array value must be JSON, got {wanted}") from None
    return ("contains", _field(_unescaped(content[:opening]), path), _scalar(value, path))


def _opening_bracket(content: str) -> int:
    r"""Where the value of `path.to.array[value]` begins: at the first `[` after something that is no `\`. -1: nowhere.

    Not a regular expression: those that say this take the square of the length of many brackets.
    """
    at = content.find("[", 1)
    while at > 0 and content[at - 1] == "\\":
        at = content.find("[", at + 1)
    return at


def _field(name: str, path: str) -> str:
    if len(name) > MAX_FIELD_LENGTH:
        raise FilterError(f"{path}: a field's path has at most {MAX_FIELD_LENGTH} characters, got {len(name)}")
    return name


def _unescaped(field: str) -> str:
    r"""A field name may hold brackets of its own, written `\[` and `\]`."""
    return field.replace("\\[", "[").replace("\\]", "]")


_CLAUSES: dict[str, Callable[[object, str], Filter]] = {
    "equals": _equals,
    "in": _in,
    "ids": _ids,
    "range": _range,
    "exists": _exists,
    "missing": lambda content, path: ("not", _exists(content, path)),
    "nothing": lambda content, path: NOTHING,
    "match_all": lambda content, path: EVERYTHING,
}


def _fields(content: object, path: str, count: int | None = None) -> dict[str, Any]:
    if not isinstance(content, dict) or not content:
        raise FilterError(f"{path}: must be a non-empty object")
    if count is not None and len(content) != count:
        raise FilterError(f"{path}: must have exactly {count} property, got {len(content)}")
    return content


def _scalar(value: object, path: str) -> object:
    if isinstance(value, dict | list):
        raise FilterError(f"{path}: must be a string, a number, a boolean or null")
    return _number(value) if isinstance(value, float) else value


def _number(value: int | float) -> int | float:
    """1.0 and 1 are one number and must be one room; from 2**63 on no JSON of ours has a whole one, see wire."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else value


# --- the canonical form: constructors that keep it ------------------------------------------------------------


def _and(parts: Iterable[Filter]) -> Filter:
    return _combine("and", parts, neutral=EVERYTHING, absorbing=NOTHING)


def _or(parts: Iterable[Filter]) -> Filter:
    return _combine("or", parts, neutral=NOTHING, absorbing=EVERYTHING)


def _combine(kind: str, parts: Iterable[Filter], neutral: Filter, absorbing: Filter) -> Filter:
    found: dict[bytes, Filter] = {}  # by encoding, because ("equals", "x", 1) == ("equals", "x", True) in Python
    for part in parts:
        for operand in part[1:] if part[0] == kind else (part,):
            found[msgspec.json.encode(operand)] = operand
    found.pop(msgspec.json.encode(neutral), None)
    if msgspec.json.encode(absorbing) in found or any(_is_denied(operand, found) for operand in found.values()):
        return absorbing
    if not found:
        return neutral
    if len(found) == 1:
        return next(iter(found.values()))
    return (kind, *(operand for _, operand in sorted(found.items())))


def _is_denied(operand: Filter, among: Mapping[bytes, Filter]) -> bool:
    """Whether `among` holds the opposite of a clause. Only of clauses: negating whole trees here costs 2 ** depth."""
    return operand[0] not in ("and", "or") and msgspec.json.encode(_not(operand)) in among


def _not(part: Filter) -> Filter:
    kind = part[0]
    if kind == "not":
        return part[1]  # type: ignore[no-any-return]
    if kind == "and":
        return _or(_not(leaf) for leaf in part[1:])
    if kind == "or":
        return _and(_not(leaf) for leaf in part[1:])
    if part in (EVERYTHING, NOTHING):
        return NOTHING if part == EVERYTHING else EVERYTHING
    return ("not", part)

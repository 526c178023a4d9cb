"""What is in what: the names of indexes, of the collections of each, and of the documents of each of those.

Derived from the state, so that who asks for a collection need not look at all keys of all nodes' state. A document that
was deleted is in it for as long as its record is remembered.
"""

from holdfast import Node
from holdfast.kuzzle.holdings import COLLECTION, DOCUMENT, INDEX

_DEPTHS = {INDEX: 2, COLLECTION: 3, DOCUMENT: 4}  # slashes before the name; in the id of a document there may be more


class Contents:
    """Follows the state: a change is here before anybody is told of it."""

    def __init__(self, node: Node) -> None:
        self._names: dict[str, dict[str, None]] = {}  # by what their keys begin with
        node.on_state(self._follow, inline=True)

    def of(self, prefix: str) -> list[str]:
        """Names of now, of the entries whose keys are `prefix` and the name."""
        return list(self._names.get(prefix, ()))

    def _follow(self, key: str, value: object) -> None:
        for kind, depth in _DEPTHS.items():
            if key.startswith(kind):
                name = key.split("/", depth)[-1]
                self._put(key[: len(key) - len(name)], name, is_there=value is not None)

    def _put(self, prefix: str, name: str, *, is_there: bool) -> None:
        if is_there:
            self._names.setdefault(prefix, {})[name] = None
        elif names := self._names.get(prefix):
            names.pop(name, None)
            if not names:
                del self._names[prefix]

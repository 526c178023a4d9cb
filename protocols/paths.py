"""Patterns of paths, as `/rooms/{id}` and `/static/*`, and a tree of them: which of many take a path, in time that does
not grow with their number.

One language for the functions of nodes and the routes of a proxy. Segments are compared decoded: `%2F` is a slash of a
segment's value, and parts nothing. Dots and empty segments are segments as any other, and so are bytes that are no
UTF-8: who takes all below a path takes those.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from urllib.parse import unquote

from holdfast.protocols.errors import ConfigError

ItemT = TypeVar("ItemT")
FoundT = TypeVar("FoundT")
REST = "*"


def segments(path: str, most: int = -1) -> list[str]:
    """Those of a path, decoded; bytes that are no UTF-8 are lone surrogates. most: what follows so many is one."""
    found = path.split("/", most)
    return [unquote(each, errors="surrogateescape") for each in found] if "%" in path else found


class Pattern:
    """A path with parameters. names: theirs. words: its segments, None for a parameter. is_open: it ends with `/*`, and
    takes whatever follows in place of that, an empty segment too. Raises ConfigError."""

    __slots__ = ("is_open", "names", "path", "words")

    def __init__(self, path: str) -> None:
        self.path = path
        self.names: list[str] = []
        self.words: list[str | None] = []
        if not path.startswith("/"):
            raise ConfigError(f"the path of a route begins with a slash, as /rooms/{{id}}, got {path!r:.80}")
        written = path.split("/")
        self.is_open = written[-1] == REST
        for segment in written[:-1] if self.is_open else written:
            name = segment[1:-1] if segment.startswith("{") and segment.endswith("}") else None
            if name is None:
                if set(segment) & set("{}?#"):
                    raise ConfigError(f"a parameter of a route is a whole segment, as /rooms/{{id}}, got {path!r:.80}")
                if REST in segment:
                    raise ConfigError(f"a * stands for all that follows, at the end, as /static/*, got {path!r:.80}")
                self.words += segments(segment)
                continue
            if not name.isidentifier() or name in self.names:
                raise ConfigError(f"parameters of a route are names of their own, as /rooms/{{id}}, got {path!r:.80}")
            self.names.append(name)
            self.words.append(None)

    def takes(self, path: Sequence[str]) -> bool:
        """Whether it is the pattern of a path of these segments, decoded."""
        if len(path) <= len(self.words) if self.is_open else len(path) != len(self.words):
            return False
        return all(
            segment if word is None else segment == word for word, segment in zip(self.words, path, strict=False)
        )

    def covers(self, other: "Pattern") -> bool:
        """Whether it takes each path that the other one takes."""
        count = len(self.words)
        if self.is_open:
            if len(other.words) + other.is_open <= count:
                return False
        elif other.is_open or len(other.words) != count:
            return False
        return all(
            word == theirs if word is not None else theirs != ""
            for word, theirs in zip(self.words, other.words, strict=False)
        )


class Branch(Generic[ItemT]):
    """What follows one segment of a path. item: what stands where a pattern ends; None: none ends here."""

    __slots__ = ("_parameter", "_rest", "_words", "item")

    def __init__(self) -> None:
        self._words: dict[str, Branch[ItemT]] = {}
        self._parameter: Branch[ItemT] | None = None
        self._rest: Branch[ItemT] | None = None
        self.item: ItemT | None = None

    def grow(self, pattern: Sequence[str | None], *, is_open: bool = False) -> "Branch[ItemT]":
        """The branch at the end of a pattern of words, and None for parameters; made if it is not there. is_open: any
        number of segments follow, one at least."""
        branch = self
        for word in pattern:
            if word is not None:
                branch = branch._words.setdefault(word, Branch())
            else:
                branch._parameter = branch = branch._parameter or Branch()
        if is_open:
            branch._rest = branch = branch._rest or Branch()
        return branch

    def find(
        self, path: Sequence[str], take: Callable[[ItemT], FoundT | None], depth: int = 0
    ) -> tuple[FoundT, list[str]] | None:
        """What `take` makes of the first item whose pattern takes the path, if it makes something of it. The most
        specific one comes first: segment by segment a word is before a parameter, and that before an open end. With the
        values of its parameters, in their order. Words and values are compared, and given, as they are."""
        if depth == len(path):
            found = None if self.item is None else take(self.item)
            return None if found is None else (found, [])
        word = path[depth]
        branch = self._words.get(word)
        if branch is not None:
            result = branch.find(path, take, depth + 1)
            if result is not None:
                return result
        if self._parameter is not None and word:
            result = self._parameter.find(path, take, depth + 1)
            if result is not None:
                result[1].insert(0, word)
                return result
        if self._rest is not None and self._rest.item is not None:
            found = take(self._rest.item)
            if found is not None:
                return found, []
        return None

    def all(self, path: Sequence[str]) -> list[ItemT]:
        """All items whose patterns take the path, without values and in no order, in half the time."""
        found: list[ItemT] = []
        branch = self
        for depth, word in enumerate(path):
            if branch._rest is not None and branch._rest.item is not None:
                found.append(branch._rest.item)
            following = branch._words.get(word)
            if branch._parameter is not None and word:
                if following is not None:  # both ways
                    rest = path[depth + 1 :]
                    return found + following.all(rest) + branch._parameter.all(rest)
                branch = branch._parameter
            elif following is not None:
                branch = following
            else:
                return found
        if branch.item is not None:
            found.append(branch.item)
        return found

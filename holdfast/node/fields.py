"""Values by name, as a query, cookies and forms have them: a name may come more than once.

Owns the reading of queries. Nothing is wrong with those, nor with cookies: what a browser may send is read as browsers
mean it. How a form is read, and what is none, is holdfast.node.form's.
"""

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl

from msgspec import Struct

from holdfast.protocols import cookies


class Fields(Mapping[str, str]):
    """Immutable. As a mapping it has the first value of each name; `pairs` has all, in the order they came."""

    __slots__ = ("_first", "pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = tuple(pairs)
        self._first: dict[str, str] = {}
        for name, value in self.pairs:
            self._first.setdefault(name, value)

    def __getitem__(self, name: str) -> str:
        return self._first[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def __eq__(self, other: object) -> bool:
        return self.pairs == other.pairs if isinstance(other, Fields) else Mapping.__eq__(self, other)

    def __hash__(self) -> int:
        return hash(self.pairs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.pairs)})"

    def get_all(self, name: str) -> list[str]:
        """Every value of `name`, in order."""
        return [value for key, value in self.pairs if key == name]


class File(Struct, frozen=True):
    """A file of a form. name: of its field. filename, content_type: the client's word, so no path and no promise."""

    name: str
    filename: str
    content_type: str
    content: bytes


class Form(Fields):
    """The text fields as a mapping, and the files in the order they came."""

    __slots__ = ("files",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = (), files: Iterable[File] = ()) -> None:
        super().__init__(pairs)
        self.files = tuple(files)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and (self.files == other.files if isinstance(other, Form) else not self.files)

    __hash__ = Fields.__hash__

    def file(self, name: str) -> File | None:
        """The first file of the field `name`."""
        return next((file for file in self.files if file.name == name), None)


def query_of(text: str) -> Fields:
    """What followed the "?", as a form of a browser makes it (WHATWG URL Standard, section 5.1). What is no UTF-8 has
    U+FFFD in its place."""
    return Fields(parse_qsl(text, keep_blank_values=True)) if text else _NONE


def cookies_of(headers: Iterable[str]) -> Fields:
    """Of the Cookie headers, with values as they are."""
    return Fields(cookies.pairs_of(headers))


_NONE = Fields()

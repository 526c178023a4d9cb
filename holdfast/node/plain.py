"""What an author gives, as a frame can say it: exactly str and int. The encoder takes nothing that is only derived from
them (Markup, numpy.str_), and a proxy ends the session for a frame that it can't read.

So what is wrong must be found here, where one call or one request fails: not where the link writes.
"""

from collections.abc import Iterable, Mapping
from math import isnan
from operator import index

from holdfast.protocols.nodes.effects import OWN_CODES


def check_text(value: str) -> str:
    """Raises TypeError for what is none, UnicodeEncodeError for lone surrogates."""
    if type(value) is not str:
        if not isinstance(value, str):
            raise TypeError(f"expected str, got {type(value).__name__}")
        value = str.__str__(value)
    value.encode()
    return value


def type_of(value: object) -> str:
    """With its article, for people."""
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in set('aeio') else 'a'} {name}"


def check_number(value: int, numbers: range, what: str) -> int:
    """Raises TypeError for what is no whole number, ValueError for one that is not among these. what: for them."""
    if not hasattr(value, "__index__"):
        raise TypeError(f"{what} is a whole number, got {type(value).__name__}")
    number = int(index(value))
    if number not in numbers:
        raise ValueError(f"{what} is {numbers.start} to {numbers.stop - 1}, got {number}")
    return number


def check_close_code(code: int) -> int:
    """Raises TypeError, ValueError."""
    return check_number(code, OWN_CODES, "a close code of the application's")


def seconds_of(value: float) -> float:
    """Raises TypeError for what is no number, as a string, ValueError for one that is none."""
    if isnan(value):
        raise ValueError("expected a number of seconds, or None: never, got nan")
    return float(value)


def pairs_of(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Raises TypeError, ValueError (UnicodeEncodeError is one) for what are no pairs of text."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(check_text(name), check_text(value)) for name, value in pairs]

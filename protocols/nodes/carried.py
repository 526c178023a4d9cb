"""JSON that one says and all nodes read: what an application keeps of a client, and the claims of its token.

Owns what such JSON may be. It is judged by this one rule where it comes in, before anything is done with it: what one
node or token says wrong is answered to that one, and harms no other. Nodes that are told of it need not look.
"""

from typing import Any

import msgspec

from holdfast.protocols.errors import FrameError

MAX_DATA_BYTES = 16 << 10  # every node that wants clients is told, and every proxy keeps its clients'
# Lists and objects in each other. Readers in all languages have such a limit, some of 100 or less; and a Python one has
# as much as its callers have left to it, so without one here what one function can say is too deep for another.
MAX_DEPTH = 64
MAX_BITS = 1023  # of a whole number, either way from 0: a double's, which is what many readers make of all numbers


def check(data: bytes, what: str = "data of a client") -> None:
    """Raises FrameError for what is not JSON, in UTF-8 and without half a surrogate pair, of MAX_DATA_BYTES, MAX_DEPTH
    and MAX_BITS. b"": nothing is said. 16 KiB take up to 0.7 ms, usual ones 1 us.
    """
    if not data:
        return
    if len(data) > MAX_DATA_BYTES:
        raise FrameError(f"{what} has at most {MAX_DATA_BYTES} bytes as JSON, got {len(data)}")
    try:
        level: list[Any] = [msgspec.json.decode(data)]
    except RecursionError:
        raise _too_deep(what) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrameError(f"{what} is not JSON: {error}") from error
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for value in level:
            if type(value) is dict or type(value) is list:
                inner.append(value)
            elif type(value) is int and value.bit_length() > MAX_BITS:
                raise FrameError(f"a whole number in {what} has at most {MAX_BITS} bits, got {value.bit_length()}")
        if not inner:
            return
        level = [value for each in inner for value in (each.values() if type(each) is dict else each)]
    raise _too_deep(what)


def _too_deep(what: str) -> FrameError:
    return FrameError(f"{what} is nested at most {MAX_DEPTH} deep")

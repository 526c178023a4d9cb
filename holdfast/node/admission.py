"""What on_connect says of a client: a Session, or Refused.

Owns what of it can be said: what no proxy would take, or not every node could read, is refused where it is said.
"""

from collections.abc import Callable, Iterable
from math import inf
from operator import index
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from holdfast.node.errors import RequestError
from holdfast.node.plain import check_close_code, check_text, seconds_of
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes import carried
from holdfast.protocols.nodes.calls import MAX_JOINED, Admitted
from holdfast.protocols.nodes.names import MAX_NAME

ValueT = TypeVar("ValueT")


class Session(Struct, frozen=True):
    """What on_connect returns of a client that may come in.

    user: who it is; `client.user` at every node. data: what the application keeps of it, as JSON, see
    `Node.update`; `client.data`.
    channels: it is in them from the beginning. expires: seconds until the proxy ends its session; None: never.
    Raises TypeError, ValueError for what can't be: data that is no such JSON is a ValueError.
    """

    user: str = ""
    data: Any = None
    channels: Iterable[str] = ()
    expires: float | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "user", _field("user", _user, self.user))
        force_setattr(self, "channels", _field("channels", _channels, self.channels))
        force_setattr(self, "expires", _field("expires", _expires, self.expires))
        data_of(self.data)

    def _admitted(self) -> Admitted:
        """As it goes to the proxy. Raises ValueError for data that has become none meanwhile."""
        return Admitted(self.user, data_of(self.data), list(self.channels), self.expires or 0.0)


class Refused(RequestError):
    """To be raised by on_connect: the client may not come in; or by on_subscribe and on_publish: it may not do that.

    status: of HTTP, 400 to 599, with which the handshake is refused. close_code: 4000 to 4999; with it the handshake of
    a WebSocket is completed, and closed at once with this code: browsers show pages nothing of a refused handshake.
    message: text for the client.
    """

    def __init__(self, status: int = 401, message: str = "not admitted", *, close_code: int = 0) -> None:
        super().__init__(status, message)
        self.code = index(close_code) and check_close_code(close_code)


def data_of(value: object) -> bytes:
    """What the application keeps of a client, as it is sent: JSON; b"" for None. Raises ValueError."""
    if value is None:
        return b""
    try:
        data = msgspec.json.encode(value)
        carried.check(data)
    except RecursionError:
        raise ValueError(f"data of a client is nested at most {carried.MAX_DEPTH} deep") from None
    except TypeError as error:
        raise ValueError(f"data of a client is JSON: {error}") from error
    except FrameError as error:  # of ours there would be none: the proxy would end the session for it
        raise ValueError(str(error)) from error
    return data


def _field(name: str, check: Callable[[Any], ValueT], value: object) -> ValueT:
    """Which of several it is stands before why."""
    try:
        return check(value)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} of a Session: {error}") from error


def _user(user: str) -> str:
    user = check_text(user)
    if len(user) > MAX_NAME:
        raise ValueError(f"a user has at most {MAX_NAME} characters, got {len(user)}")
    return user


def _channels(channels: Iterable[str]) -> list[str]:
    if isinstance(channels, str):
        raise TypeError(f"expected a list of channels, got the string {channels!r:.80}")
    checked = [check_text(channel) for channel in channels]
    if len(checked) > MAX_JOINED:
        raise ValueError(f"a client is in at most {MAX_JOINED} channels from the beginning, got {len(checked)}")
    return checked


def _expires(expires: float | None) -> float | None:
    if expires is None:
        return None
    expected = f"expected a number of seconds above 0, or None: never, got {expires!r:.80}"
    try:
        seconds = seconds_of(expires)
    except TypeError:
        raise TypeError(expected) from None
    if not 0 < seconds < inf:
        raise ValueError(expected)
    return seconds

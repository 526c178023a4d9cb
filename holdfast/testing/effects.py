"""What a handler did through the node, as values that can be compared and read.

Owns their form: a client may be given as such or by its id, and is the id afterwards; a payload as to `node.notify`,
and is str or bytes afterwards; of names and ids the order does not count.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from holdfast.node.effects import Payload, encode, id_of
from holdfast.node.request import Client
from holdfast.protocols.nodes import frames


@dataclass(frozen=True, slots=True)
class _OfClient:
    client: Client | int

    def __post_init__(self) -> None:
        object.__setattr__(self, "client", id_of(self.client))


@dataclass(frozen=True, slots=True)
class _Membership(_OfClient):
    channel: str
    version: int = 0


class Join(_Membership):
    """node.join"""

    __slots__ = ()


class Leave(_Membership):
    """node.leave"""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Message:
    payload: Payload

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload", said(*encode(self.payload, None)))

    def json(self) -> Any:  # noqa: ANN401 - JSON can be anything
        """The payload, parsed."""
        return msgspec.json.decode(cast("str | bytes", self.payload))


@dataclass(frozen=True, slots=True)
class Notify(_Message):
    """node.notify. text: None is as there; afterwards it is what `payload` tells. sender: who has published it, of what
    on_publish gives, as others are told; None: a node has."""

    channels: Iterable[str] = ()
    clients: Iterable[Client | int] = ()
    exclude: Iterable[Client | int] = ()
    tail: bytes = b""
    history: bool = True
    sender: Any = None

    def __post_init__(self) -> None:
        _Message.__post_init__(self)
        object.__setattr__(self, "channels", tuple(sorted(self.channels)))
        object.__setattr__(self, "clients", _ids(self.clients))
        object.__setattr__(self, "exclude", _ids(self.exclude))


@dataclass(frozen=True, slots=True)
class Broadcast(_Message):
    """node.broadcast"""

    exclude: Iterable[Client | int] = ()

    def __post_init__(self) -> None:
        _Message.__post_init__(self)
        object.__setattr__(self, "exclude", _ids(self.exclude))


@dataclass(frozen=True, slots=True)
class Close(_OfClient):
    """node.close. code: None is 1008."""

    reason: str = ""
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Update(_OfClient):
    """node.update. expires: in seconds, inf: never; UNSET, of either: it stays as it was."""

    data: Any = UNSET
    expires: float | UnsetType = UNSET


Effect = Join | Leave | Notify | Broadcast | Close | Update


def values(done: Iterable[frames.Effect | frames.AsMaster]) -> Iterator[Effect]:
    """Of frames, in their order."""
    for frame in done:
        match frame:
            case frames.AsMaster():
                yield from values(frame.effects)
            case frames.Join():
                yield Join(frame.client, frame.channel, frame.version)
            case frames.Leave():
                yield Leave(frame.client, frame.channel, frame.version)
            case frames.Notify():
                clients, exclude = frames.unpack_ids(frame.clients), frames.unpack_ids(frame.exclude)
                payload = said(frame.payload, frame.is_text)
                sender = msgspec.json.decode(frame.sender) if frame.sender else None
                yield Notify(payload, frame.channels, clients, exclude, frame.tail, frame.history, sender)
            case frames.Broadcast():
                yield Broadcast(said(frame.payload, frame.is_text), frames.unpack_ids(frame.exclude))
            case frames.CloseClient():
                yield Close(frame.client, frame.reason, frame.code or None)
            case frames.Update():
                data = UNSET if frame.data is None else msgspec.json.decode(frame.data) if frame.data else None
                yield Update(frame.client, data, UNSET if frame.expires is None else frame.expires)


def said(payload: bytes, is_text: bool) -> str | bytes:
    """As a client of a message protocol has it."""
    return payload.decode() if is_text else payload


def _ids(clients: Iterable[Client | int]) -> tuple[int, ...]:
    return tuple(sorted(map(id_of, clients)))

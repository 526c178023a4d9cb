"""Effects: what a node does to clients and channels through the proxies, and which way it goes.

Owns the making of effect frames from what authors pass, and the variable that says where an effect goes to: with the
reply of the request that is being handled (exchange), under the epoch of the master (mastership), or at once. The
variable is inherited by tasks that a handler starts.
"""

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Protocol

import msgspec
from msgspec import Struct

from holdfast.node.plain import check_close_code, check_text
from holdfast.node.request import Client, Json, Reply
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.nodes.effects import MAX_CHANNELS, MAX_PACKED_BYTES, MAX_TAIL_BYTES
from holdfast.protocols.nodes.frames import Broadcast, CloseClient, Effect, Join, Leave, Notify, Update, pack_ids

BATCH_OVERHEAD = 1 << 10  # of the batch around a frame, which a proxy's limit is for

Payload = bytes | bytearray | memoryview | str | Json
BINARY = (bytes, bytearray, memoryview)
_JSON = (dict, list, tuple, int, float, Struct)
SENDABLE = "bytes, str, or for JSON a dict, list, tuple, int, float, bool, dataclass or msgspec.Struct"


class Outlet(Protocol):
    """Where effects go."""

    async def put(self, effect: Effect) -> None: ...

    def serves(self, default: "Outlet") -> bool:
        """Whether it stands before `default`, and not before another node's in the same process."""
        ...

    def log_context(self) -> dict[str, object]:
        """What its lines in the log are of, as fields."""
        ...


current: ContextVar[Outlet | None] = ContextVar("holdfast_outlet", default=None)


async def put(default: Outlet, effect: Effect) -> None:
    """Hand an effect to the outlet of the calling task, or else to `default`: all proxies, at once."""
    outlet = current.get()
    if outlet is None or not outlet.serves(default):
        outlet = default
    await outlet.put(effect)


def join(client: Client | int, channel: str, version: int = 0) -> Join:
    return Join(id_of(client), check_text(channel), check_version(version))


def leave(client: Client | int, channel: str, version: int = 0) -> Leave:
    return Leave(id_of(client), check_text(channel), check_version(version))


def close(client: Client | int, reason: str, code: int | None) -> CloseClient:
    return CloseClient(id_of(client), check_text(reason), 0 if code is None else check_close_code(code))


def update(client: Client | int, data: bytes | None, expires: float | None) -> Update:
    return Update(id_of(client), data, expires)


def broadcast(payload: Payload, exclude: Iterable[Client | int], text: bool | None) -> Broadcast:
    data, is_text = _encode_for_all(payload, text)
    return Broadcast(data, is_text, pack(exclude))


def notify(
    payload: Payload,
    channels: Iterable[str],
    clients: Iterable[Client | int],
    exclude: Iterable[Client | int],
    text: bool | None,
    tail: bytes = b"",
    history: bool = True,
) -> Notify:
    if isinstance(channels, str):
        raise TypeError(f"expected a list of channels, got the string {channels!r}")
    data, is_text = _encode_for_all(payload, text)
    if tail:
        tail, _ = _encode_for_all(tail, is_text)
        if len(tail) > MAX_TAIL_BYTES:
            raise HoldfastError(f"a tail has at most {MAX_TAIL_BYTES} bytes, got {len(tail)}")
    names = [check_text(channel) for channel in channels]
    if len(names) > MAX_CHANNELS:
        raise HoldfastError(f"an effect names at most {MAX_CHANNELS} channels, got {len(names)}")
    packed = pack(clients)
    if tail and packed:
        raise ValueError("a notification with a tail names channels only")
    return Notify(data, is_text, names, packed, pack(exclude), tail, bool(history))


def check_size(size: int, max_batch_bytes: int) -> None:
    """A proxy ends a session that sends more at once than it has said in Welcome."""
    if size > (most := room_in(max_batch_bytes)):
        raise HoldfastError(f"what goes to a proxy at once has at most {most} bytes, got {size}")


def room_in(max_batch_bytes: int) -> int:
    """The largest frame that goes into such a batch."""
    return max_batch_bytes - BATCH_OVERHEAD


def pack(clients: Iterable[Client | int]) -> bytes:
    if isinstance(clients, Client | int):
        raise TypeError(f"expected a list of clients, got one: {type(clients).__name__}")
    packed = pack_ids(map(id_of, clients))
    if len(packed) > MAX_PACKED_BYTES:
        raise HoldfastError(f"an effect names at most {MAX_PACKED_BYTES // 8} clients, got {len(packed) // 8}")
    return packed


def id_of(client: Client | int) -> int:
    if isinstance(client, Client):
        return client.id
    if type(client) is int and 0 < client < 1 << 64:
        return client
    raise TypeError(f"expected a client or its 64-bit id, which is never 0, got {client!r:.80}")


def encode(payload: object, text: bool | None) -> tuple[bytes, bool]:
    """A payload's bytes, and whether it is text: str and JSON are unless `text` is False; bytes if it is True.

    Raises TypeError for what is none of SENDABLE, and for what JSON can't say in it: it takes what msgspec does, dates,
    times, UUIDs, Decimals, enums and sets too.
    """
    if type(payload) is bytes:
        return payload, bool(text)
    if isinstance(payload, str):
        return payload.encode(), text is not False
    if is_json(payload):
        return msgspec.json.encode(payload), text is not False
    if isinstance(payload, BINARY):
        return bytes(payload), bool(text)
    raise TypeError(f"expected {SENDABLE}, got {type(payload).__name__}")


def is_json(payload: object) -> bool:
    """Whether it is sent as JSON. A Reply is a dataclass, and not meant."""
    if isinstance(payload, _JSON):
        return True
    return hasattr(type(payload), "__dataclass_fields__") and not isinstance(payload, Reply)


def _encode_for_all(payload: Payload, text: bool | None) -> tuple[bytes, bool]:
    """As `encode`. Raises UnicodeDecodeError for bytes that are to go as text and are none: no client would get it, and
    nobody would say so. A reply is different: who asked is told."""
    data, is_text = encode(payload, text)
    if is_text and isinstance(payload, BINARY):
        data.decode()
    return data, is_text


def check_version(value: int) -> int:
    if type(value) is int and 0 <= value < 1 << 53:
        return value
    raise ValueError(f"expected a version of the state, got {value!r:.80}")

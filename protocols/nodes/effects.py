"""Effects: what nodes do to clients and channels through proxies, and what these say to it. Frames of the node link,
see protocols.nodes.frames.

They travel numbered in Effects, or inside a reply: nowhere else. Field order is the wire order; new fields go to the
end with a default.
"""

from array import array
from collections.abc import Iterable, Sequence
from math import isnan
from sys import byteorder
from typing import Annotated

from msgspec import Meta, Struct

from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes import carried

FIRST_WINDOW = 8  # so many Effects may be without an Ack before a session's first Ack says how many
MAX_PACKED_BYTES = 1 << 20  # 131,072 ids: to make a set of them takes 10 ms, and is done in one go
# In one frame, those within AsMaster too. They are decoded and checked in one go, which takes 40 ms; without this a
# frame of 16 MiB could hold four million.
MAX_EFFECTS = 20_000
OWN_CODES = range(4000, 5000)
MAX_CHANNELS = 20_000  # of one Notify, likewise
MAX_TAIL_BYTES = 1 << 10  # it is copied for each channel, before anybody looks at how many have members
MAX_SENDER_BYTES = 4 << 10  # it goes to each member, and is kept with what has history
ALL = 2**53 - 1  # of Owed: whatever numbers its effects have, and may have by now
MAX_OWED = 1000  # proxies that a node owes something: all that there can be
MAX_PENDING = 1024  # requests in one Pending, as many as a window has Effects; of more, nothing is said
MAX_ALL_PENDING = 4096  # in a Heartbeat; of proxies for which there is no room, nothing is said


class Join(Struct, array_like=True, frozen=True, gc=False, tag=20):
    """version: of what says that the client is in the channel, an entry of the state; 0: nothing does. A join that
    comes when a Leave of that version or a later one was there comes too late, and is not done."""

    client: int
    channel: str
    version: Annotated[int, Meta(ge=0, lt=2**53)] = 0


class Leave(Struct, array_like=True, frozen=True, gc=False, tag=21):
    """version: what is ended. Who has joined by a later one stays. 0: whichever it is."""

    client: int
    channel: str
    version: Annotated[int, Meta(ge=0, lt=2**53)] = 0


class Notify(Struct, array_like=True, frozen=True, gc=False, tag=22):
    """A message to every client in the channels, once per channel, and to each of the clients; none to `exclude`.

    clients, exclude: packed ids. tail: if there is one, the message for a channel is the payload, the channel's name
    and the tail, and there are no `clients`. history: false: in channels with history it goes to those who are there,
    and is not kept. sender: a client has published it: what others may know of that, JSON in UTF-8.
    """

    payload: bytes
    is_text: bool
    channels: Annotated[list[str], Meta(max_length=MAX_CHANNELS)]
    clients: bytes = b""
    exclude: bytes = b""
    tail: Annotated[bytes, Meta(max_length=MAX_TAIL_BYTES)] = b""
    history: bool = True
    sender: Annotated[bytes, Meta(max_length=MAX_SENDER_BYTES)] = b""


class Broadcast(Struct, array_like=True, frozen=True, gc=False, tag=23):
    """A message to every client."""

    payload: bytes
    is_text: bool
    exclude: bytes = b""


class CloseClient(Struct, array_like=True, frozen=True, gc=False, tag=24):
    """End a client's connection, as kicked, with `reason` as text for it.

    code: what a WebSocket is closed with, one of OWN_CODES, which RFC 6455 leaves to applications; 0: that of "kicked".
    """

    client: int
    reason: str = ""
    code: int = 0


class Update(Struct, array_like=True, frozen=True, gc=False, tag=33):
    """What is known of a client is this from now on.

    data: what the application keeps of it, at all nodes: as `carried.check` has it, or b"": nothing. expires: its
    session ends in so many seconds, 0 or less: now; inf: never. None: as it was. For a proxy whose Welcome says that it
    takes it.
    """

    client: int
    data: bytes | None
    expires: float | None = None


Effect = Join | Leave | Notify | Broadcast | CloseClient | Update

# Home, request, part, as in Effects.
Identity = tuple[Annotated[str, Meta(max_length=64)], Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=0)]]

# Proxies that may miss something if the node dies now, since they have not acknowledged all: each with the number of
# the last effects that were sent to it or that others have, or ALL while it has had no way to it. Each list replaces
# the one before.
Owed = Annotated[
    list[tuple[Annotated[str, Meta(max_length=64)], Annotated[int, Meta(ge=0, lt=2**53)]]], Meta(max_length=MAX_OWED)
]


class Pending(Struct, array_like=True, frozen=True, gc=False):
    """Of what is owed to a proxy, what it may still get from another node: effects of requests, by their identities, as
    Effects has them (home, request, part). Not a frame of its own: part of Heartbeat.

    final: the number of the last effects of no request, which nobody does again; 0: there are none.
    """

    proxy: Annotated[str, Meta(max_length=64)]
    final: Annotated[int, Meta(ge=0, lt=2**53)]
    requests: Annotated[list[Identity], Meta(max_length=MAX_PENDING)]


class AsMaster(Struct, array_like=True, frozen=True, gc=False, tag=25):
    """Effects that hold only while the sender is master of `epoch`; else the proxy refuses them all."""

    epoch: int
    effects: Annotated[list[Effect], Meta(max_length=MAX_EFFECTS)]


class Effects(Struct, array_like=True, frozen=True, gc=False, tag=26):
    """Effects that are numbered, acknowledged, and sent again in the next session if they were not.

    number: grows within a run of the node, with holes. home, request, part: of a reply's part, from 1, which proxy and
    request it is for, so that another node's attempt does not do the same again; request 0: of no reply. `home` gets
    them too if it is concerned, so that nothing overtakes them there; the reply that follows has none.
    """

    number: int
    effects: Annotated[list[Effect | AsMaster], Meta(max_length=MAX_EFFECTS)]
    home: str = ""
    request: int = 0
    part: int = 0


class Hole(Struct, array_like=True, frozen=True, gc=False, tag=27):
    """In place of Effects up to this number, which will not come: the node could not keep them. Acknowledged."""

    number: int


class Ack(Struct, array_like=True, frozen=True, gc=False, tag=55):
    """Effects up to this number have been carried out, to the last delivery, or have been before.

    window: so many of them may be without an Ack from now on, in this session.
    """

    number: int
    window: int = FIRST_WINDOW


class Mute(Struct, array_like=True, frozen=True, gc=False, tag=56):
    """No client of this proxy is in these channels: their notifications need not be sent to it until Unmute.

    interval: seconds between the heartbeats with which a node asks, while it holds back any, whether somebody has come.
    """

    channels: list[str]
    interval: float = 0.005


class Unmute(Struct, array_like=True, frozen=True, gc=False, tag=57):
    channels: list[str]


def weigh(effect: Effect | AsMaster) -> int:
    """At most how many bytes an effect takes in a batch. What a window of bytes counts, on both sides."""
    if isinstance(effect, Notify):
        names = 5 * len(effect.channels) + 4 * sum(map(len, effect.channels))
        said = len(effect.payload) + len(effect.tail) + len(effect.sender)
        return 64 + said + len(effect.clients) + len(effect.exclude) + names
    if isinstance(effect, Broadcast):
        return 64 + len(effect.payload) + len(effect.exclude)
    if isinstance(effect, AsMaster):
        return 64 + sum(map(weigh, effect.effects))
    if isinstance(effect, Update):
        return 64 + len(effect.data or b"")
    return 64 + 4 * len(effect.reason if isinstance(effect, CloseClient) else effect.channel)


def pack_ids(ids: Iterable[int]) -> bytes:
    """Client ids as little-endian 64-bit numbers, one after another."""
    numbers = array("Q", ids)
    if byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def check_ids(effect: Effect) -> None:
    """Raises FrameError if packed ids in it are not a whole number of them, clients are to get a tail, a close code is
    not a node's to say, data is not what nodes can read, or a time is none."""
    if isinstance(effect, Notify):
        if effect.tail and effect.clients:
            raise FrameError("a notification with a tail names channels only")
        _check_packed(effect.clients)
        _check_packed(effect.exclude)
    elif isinstance(effect, Broadcast):
        _check_packed(effect.exclude)
    elif isinstance(effect, CloseClient) and effect.code and effect.code not in OWN_CODES:
        raise FrameError(f"a node closes with a code from 4000 to 4999, got {effect.code}")
    elif isinstance(effect, Update):
        if effect.data is not None:
            carried.check(effect.data)
        if effect.expires is not None and isnan(effect.expires):
            raise FrameError("a session ends after a number of seconds, got not-a-number")


def _check_packed(packed: bytes) -> None:
    if len(packed) > MAX_PACKED_BYTES:
        raise FrameError(f"packed client ids have at most {MAX_PACKED_BYTES} bytes, got {len(packed)}")
    if len(packed) % 8:
        raise FrameError(f"packed client ids must be a multiple of 8 bytes, got {len(packed)}")


def unpack_ids(packed: bytes) -> Sequence[int]:
    """The ids of `pack_ids`. Raises FrameError if it is not a whole number of them."""
    _check_packed(packed)
    numbers = array("Q", packed)
    if byteorder == "big":
        numbers.byteswap()
    return numbers

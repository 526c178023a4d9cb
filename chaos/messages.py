"""What the built-in clients and nodes of demo and chaos say to each other, as JSON text.

The clients number their requests alike, from 0, on purpose: a reply that reaches the wrong client then looks right but
for `client`, which only the node's echo of it can tell. `requestId` is the name under which the proxy finds the number
when it has to answer with an error itself.
"""

import msgspec
from msgspec import Struct

MASTERS = "masters"  # the channel in which whoever is master says so
LABEL = "chaos"  # a node with this label may be harmed
# In a node's environment: a pipe that takes lines "TIME EPOCH NAME" (chaos.masters). Without it, it says nothing.
TESTIMONY_FD = "HOLDFAST_CHAOS_TESTIMONY_FD"
# The same for lines "TIME opened|closed PID CLIENT" of whose coming and going it is told (chaos.openings).
OPENINGS_FD = "HOLDFAST_CHAOS_OPENINGS_FD"
# The same: a directory where a node writes the state that it has, as PID.json, on each SIGUSR2.
STATES_VARIABLE = "HOLDFAST_CHAOS_STATES"


class Ask(Struct, omit_defaults=True, gc=False):
    """A request. join: channels for the client to join; publish: a channel that gets a Notification of it.

    work: seconds that the handler takes. write, key, number: what to do to the state (chaos.writes).
    """

    requestId: int
    client: int
    join: list[str] = []
    publish: str = ""
    work: float = 0.0
    write: str = ""
    key: str = ""
    number: int = 0


class Answer(Struct, gc=False):
    """The reply: the request's own numbers, and who gives it. session: the client's id, as nodes know it.

    is_done, version: of a write.
    """

    requestId: int
    client: int
    node: str
    attempt: int
    session: int = 0
    is_done: bool = False
    version: int = 0


class Notification(Struct, gc=False):
    """Published by the handler of request (client, request).

    run, number: of all that one run of a node publishes in this channel, numbered from 1.
    """

    channel: str
    client: int
    request: int
    run: int
    number: int


class Announcement(Struct, gc=False):
    """Published by the acting master."""

    channel: str
    epoch: int


class Failure(Struct, gc=False):
    """A typed error in place of a reply. id: "holdfast." and the reason."""

    id: str
    retryable: bool = False


class Heard(Struct, gc=False):
    """Any of what a client can hear: with a channel it is a Notification or an Announcement, else a reply."""

    channel: str = ""
    requestId: int | None = None
    error: Failure | None = None
    client: int = -1
    attempt: int = 0
    request: int = -1
    run: int = 0
    number: int = 0
    epoch: int = 0
    session: int = 0
    is_done: bool = False
    version: int = 0


_encoder = msgspec.json.Encoder()
_ask_decoder = msgspec.json.Decoder(Ask)
_heard_decoder = msgspec.json.Decoder(Heard)


def encode(message: Struct) -> bytes:
    return _encoder.encode(message)


def decode_ask(payload: bytes) -> Ask | None:
    """None: this is not one of our clients."""
    try:
        return _ask_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def decode_heard(payload: bytes) -> Heard | None:
    """None: nothing that a client of ours should hear."""
    try:
        return _heard_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None

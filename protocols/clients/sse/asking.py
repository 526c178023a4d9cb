"""What a request for channels asks for."""

from math import isfinite
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.exchange import Exchange
from holdfast.protocols.clients.sse import ids
from holdfast.protocols.clients.sse.text import CONTENT_TYPE
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Position

MAX_CHANNELS: Final = 32  # of one stream: each event of several has an id with the positions of all
MAX_PARAMETERS: Final = 100
MAX_POLL_SECONDS: Final = 60.0
POLL_SECONDS: Final = 25.0  # most of what stands between gives up after 30


class Asking(NamedTuple):
    """channels: each once, in the order of the request. came_back: it shows an id. since: positions by that; of a
    channel that is not among them nothing was known. token: for channels that want one. is_enveloped: messages say
    their channel. poll: how long a poll waits at most, in seconds; None: it is a stream."""

    channels: tuple[str, ...]
    came_back: bool
    since: dict[str, Position]
    token: str
    is_enveloped: bool
    poll: float | None


def read(exchange: Exchange) -> Asking:
    """Raises HoldfastError (BAD_REQUEST). An id that is none of ours, or of another time, is one without positions: its
    client is told that what it has missed can't be had, in place of an error on which no browser comes back."""
    request = exchange.request
    query = request.target.partition("?")[2]
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
        part = unquote(exchange.part, errors="strict")
    except ValueError as error:
        problem = f"expected a query of at most {MAX_PARAMETERS} parameters in UTF-8"
        raise HoldfastError(problem, Reason.BAD_REQUEST) from error
    named = [value for name, value in pairs if name == "channel"]
    channels = tuple(dict.fromkeys([part, *named] if part else named))
    if not channels:
        raise HoldfastError("expected a channel, as ?channel=news", Reason.BAD_REQUEST)
    if len(channels) > MAX_CHANNELS:
        raise HoldfastError(f"expected at most {MAX_CHANNELS} channels, got {len(channels)}", Reason.BAD_REQUEST)
    values = dict(pairs)
    accept, id = "", values.get("last_event_id", "")
    for name, value in request.headers:
        if name == "last-event-id":  # later than what stands in the address
            id = value
        elif name == "accept":
            accept += f",{value.lower()}"
    since: dict[str, Position] = {}
    if id:
        try:
            since = ids.read(id, channels)
        except ValueError:
            since = {channel: NOWHERE for channel in channels}
    is_polling = "poll" in values or ("application/json" in accept and CONTENT_TYPE not in accept)
    poll = _poll_time(values.get("poll", ""), exchange.limits) if is_polling else None
    token, envelope = values.get("channel_token", ""), values.get("envelope", "0")
    return Asking(channels, bool(id), since, token, envelope != "0", poll)


NOWHERE: Final = Position("?", 0)  # in no log


def _poll_time(text: str, limits: Limits) -> float:
    if not text:
        return min(POLL_SECONDS, limits.ping_interval or POLL_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not (isfinite(seconds) and seconds >= 0.0):
        raise HoldfastError("expected seconds to wait, as poll=20", Reason.BAD_REQUEST)
    return min(seconds, MAX_POLL_SECONDS)

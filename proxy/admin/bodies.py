"""What callers of the admin server send as bodies. Its answers are structs of proxy.views.

The constraints here are what OpenAPI shows, and all that is checked: a body that is taken can be carried out.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from holdfast.protocols.close import MAX_TEXT_BYTES
from holdfast.protocols.nodes.effects import OWN_CODES, Broadcast, Effect, Notify, pack_ids
from holdfast.proxy.admin.http import HttpError

MAX_MESSAGES = 1000
MAX_NAMED = 20_000  # channels and clients that one body names, a millisecond's work for each 2,000

ClientId = Annotated[str, Meta(pattern="^[0-9a-fA-F]{16}$", max_length=16, examples=["0001b2c3d4e5f607"])]
ChannelName = Annotated[str, Meta(min_length=1, max_length=1 << 16)]


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message to every client in the channels, once per channel, and to each of the clients; or to everybody. None
    to `exclude`.

    payload: text is sent as it is, any other JSON as JSON. base64: in its place, bytes that are sent as binary.
    """

    channels: list[ChannelName] = []
    clients: list[ClientId] = []
    everybody: bool = False
    exclude: list[ClientId] = []
    payload: Raw = msgspec.field(default_factory=Raw)
    base64: bytes | None = None


class Publication(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message, or `messages` and nothing beside it: then all of them are carried out, in order, or none."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=MAX_MESSAGES)] | None = None


class Kick(Struct, frozen=True):
    """reason: text for the client, of at most 123 bytes."""

    reason: str = ""


class Close(Struct, frozen=True, forbid_unknown_fields=True):
    """code: what a WebSocket is closed with; without one as kicked, 1008. reason: text for the client, of at most 123
    bytes."""

    code: Annotated[int, Meta(ge=OWN_CODES.start, le=OWN_CODES.stop - 1)] | None = None
    reason: str = ""


def effects_of(publication: Publication) -> list[Effect]:
    """What a node is to do. Raises HttpError for what can't be meant."""
    messages = publication.messages
    if messages is not None:
        one = publication
        if any((one.channels, one.clients, one.everybody, one.exclude, bytes(one.payload), one.base64 is not None)):
            raise HttpError(400, "expected one message, or messages and nothing beside it")
    everything: Sequence[Message] = [publication] if messages is None else messages
    named = sum(len(message.channels) + len(message.clients) + len(message.exclude) for message in everything)
    if named > MAX_NAMED:
        raise HttpError(400, f"expected at most {MAX_NAMED} channels and clients in one body, got {named}")
    return [_effect(publication)] if messages is None else list(map(_numbered, itertools.count(), messages))


def _numbered(number: int, message: Message) -> Effect:
    try:
        return _effect(message)
    except HttpError as error:
        raise HttpError(error.status, f"messages[{number}]: {error}") from error


def _effect(message: Message) -> Effect:
    payload, is_text = _payload(message)
    exclude = _pack(message.exclude)
    if message.everybody:
        if message.channels or message.clients:
            raise HttpError(400, "expected channels and clients, or everybody, got both")
        return Broadcast(payload, is_text, exclude)
    if not (message.channels or message.clients):
        raise HttpError(400, 'expected to whom: channels, clients, or "everybody": true')
    return Notify(payload, is_text, message.channels, _pack(message.clients), exclude)


def _payload(message: Message) -> tuple[bytes, bool]:
    """And whether it is text."""
    raw = bytes(message.payload)
    if message.base64 is not None:
        if raw:
            raise HttpError(400, "expected payload or base64, got both")
        return message.base64, False
    if not raw:
        raise HttpError(400, "expected a payload, or base64")
    try:
        # What is skipped for a Raw is not looked at: not even whether it is UTF-8.
        return (msgspec.json.decode(raw, type=str) if raw.startswith(b'"') else str(raw, "utf-8")).encode(), True
    except ValueError:
        raise HttpError(400, "payload: expected JSON in UTF-8") from None


def _pack(ids: Iterable[str]) -> bytes:
    return pack_ids(int(id, 16) for id in ids)


def check_reason(reason: str) -> str:
    """Raises HttpError if it is longer than a client can be told."""
    if len(reason.encode()) > MAX_TEXT_BYTES:
        raise HttpError(400, f"reason: expected text of at most {MAX_TEXT_BYTES} bytes")
    return reason

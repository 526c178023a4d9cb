"""What a sticky policy hashes: the client, a header, or a field of its JSON message (balance.sticky_key)."""

from collections.abc import Callable

import msgspec

from holdfast.balancer.ledger import Asked, Requester
from holdfast.balancer.policies import hash_key
from holdfast.protocols.clients.events import HttpRequest
from holdfast.protocols.errors import ConfigError

NOTHING = msgspec.Raw()

KeyOf = Callable[[Requester, Asked], int]


def key_of(spec: str) -> KeyOf:
    """The function for "client", "header:NAME" or "field:NAME". Without that header or field the client is the key."""
    kind, _, name = spec.partition(":")
    if kind == "client" and not name:
        return _client
    if kind == "header" and name:
        return _Header(name.lower())
    if kind == "field" and name:
        return _Field(name)
    raise ConfigError(f'balance.sticky_key: expected "client", "header:NAME" or "field:NAME", got "{spec}"')


def _client(connection: Requester, request: Asked) -> int:
    return connection.id


class _Header:
    """A header of an HTTP request. Messages have none, so their client is the key."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, connection: Requester, request: Asked) -> int:
        if type(request) is HttpRequest:
            for name, value in request.headers:
                if name == self._name:
                    return hash_key(value.encode())
        return connection.id


class _Field:
    """A top-level field of a JSON object. Only that field is decoded."""

    def __init__(self, name: str) -> None:
        shape = msgspec.defstruct("Keyed", [("field", msgspec.Raw, NOTHING)], rename={"field": name})
        self._decoder = msgspec.json.Decoder(shape)

    def __call__(self, connection: Requester, request: Asked) -> int:
        try:
            value = self._decoder.decode(request.payload).field  # type: ignore[attr-defined]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return connection.id
        return connection.id if value is NOTHING else hash_key(bytes(value))

"""Clients that a test makes up."""

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from holdfast.node.admission import data_of
from holdfast.node.request import Client, Headers
from holdfast.testing.given import check_path, headers_of
from holdfast.testing.standin import PREFIX

HeaderPairs = Mapping[str, str] | Iterable[tuple[str, str]]

_numbers = count(1)


def client(
    path: str = "/",
    *,
    headers: HeaderPairs = (),
    protocol: str = "websocket",
    address: str = "192.0.2.1:1",
    user: str = "",
    data: Any = None,  # noqa: ANN401 - the application's, JSON
    claims: Mapping[str, Any] | None = None,
) -> Client:
    """A client with an id that no other has. path: with the query, as "/rooms/7?token=x". headers: of its handshake.

    user, data, claims: as if on_connect, or a token, had said so; see `connect`. Raises TypeError, ValueError for what
    is not what these may be.
    """
    check_path(path)
    path, _, query = path.partition("?")
    lower = Headers((name.lower(), value) for name, value in headers_of(headers))
    told = PREFIX << 32 | next(_numbers), protocol, address, path, lower, query
    return Client(*told, user, data_of(data), data_of(claims) if claims else b"")

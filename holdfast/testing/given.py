"""What a test gives, looked at before a node runs: a mistake is told of the argument, and not of our inside.

Each raises TypeError or ValueError, which names the argument.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from holdfast.node.effects import Payload
from holdfast.node.node import Node
from holdfast.node.plain import check_number, pairs_of, type_of
from holdfast.node.request import Client

ATTEMPTS = range(1, 1 << 16)


def check_node(node: object) -> None:
    if not isinstance(node, Node):
        hint = ": import it, as `from chat import node`" if isinstance(node, str) else ""
        raise TypeError(f"node: expected a Node, got {_shown(node)}{hint}")


def check_client(client: object, name: str = "client") -> None:
    if not isinstance(client, Client):
        raise TypeError(f"{name}: expected a client, as holdfast.testing.client() makes one, got {_shown(client)}")


def clients_of(clients: object, name: str = "clients") -> list[Client]:
    if isinstance(clients, str | Client | Mapping) or not isinstance(clients, Iterable):
        raise TypeError(f"{name}: expected several clients, as [client()], got {_shown(clients)}")
    given = list(clients)
    for client in given:
        check_client(client, name)
    return given


def channels_of(channels: object) -> dict[str, list[Client]]:
    return {
        name: clients_of(clients, f"channels[{name!r}]") for name, clients in table_of("channels", channels).items()
    }


def history_of(history: object) -> dict[str, list[Payload]]:
    found = {}
    for name, payloads in table_of("history", history).items():
        if isinstance(payloads, str | bytes | Mapping) or not isinstance(payloads, Iterable):
            raise TypeError(f"history[{name!r}]: expected several payloads, got {_shown(payloads)}")
        found[name] = list(payloads)
    return found


def table_of(name: str, value: object) -> Mapping[str, Any]:
    """None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a dict, got {_shown(value)}")
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{name}: expected keys that are str, got {_shown(key)}")
    return value


def headers_of(headers: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - whatever a test gives
    try:
        return pairs_of(headers)
    except (TypeError, ValueError) as error:
        raise TypeError(f"headers: expected a dict of str, or pairs, got {_shown(headers)}") from error


def check_path(path: object) -> None:
    if not isinstance(path, str):
        raise TypeError(f"path: expected str, got {_shown(path)}")
    if not path.startswith("/"):
        raise ValueError(f"path: expected one that begins with a slash, as /{path.lstrip('/'):.80}, got {path!r:.80}")


def check_attempt(attempt: int) -> None:
    check_number(attempt, ATTEMPTS, "attempt")


def _shown(value: object) -> str:
    return f"{value!r:.80}" if isinstance(value, str | int | float | None) else type_of(value)

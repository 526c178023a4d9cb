"""What a publisher asks of an admin server, as HTTP has it; what is answered. Nothing here waits.

What can't be meant is refused where it is made, by TypeError and ValueError: a retry would not help.
"""

import base64
import re
import ssl
import uuid
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from math import isfinite
from typing import Any, Generic, NamedTuple, NotRequired, TypedDict, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Raw, Struct

from holdfast.protocols.errors import ConfigError, HoldfastError

MAX_BODY_BYTES = 1 << 20  # as the admin server has it, which would end the connection over a larger one
MAX_MESSAGES = 1000  # likewise

LONGEST_TIMEOUT = 1e9  # seconds: as good as for ever, and clocks can add it
PORTS = {"http": 80, "https": 443}
NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*", re.IGNORECASE)  # with _, as in docker compose

Client = int | str  # an id, as number or as the admin server and the logs write it


class PublishError(HoldfastError):
    """It was refused, or nobody has answered in time.

    status: of HTTP; 0: there was no answer. 0, and above 500: perhaps it is done. All others: nothing is done,
    and below 500 would not be the next time.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Message(TypedDict):
    """One of publish_many, with the arguments of publish, and `everybody` for a broadcast."""

    payload: Any
    channels: NotRequired[Iterable[str]]
    clients: NotRequired[Iterable[Client]]
    exclude: NotRequired[Iterable[Client]]
    everybody: NotRequired[bool]


DoneT = TypeVar("DoneT", bound=Struct)


class Asked(NamedTuple, Generic[DoneT]):
    """A request. headers: with an Idempotency-Key, the same each time that it is sent. done: what the answer says when
    it is done."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    done: type[DoneT]


class Answer(NamedTuple):
    """retry_after: seconds, as the server says; 0.0: it does not. is_of_admin: it is an admin server's, by its mark."""

    status: int
    body: bytes
    retry_after: float
    is_of_admin: bool = True


class Server(NamedTuple):
    """Where the admin server is. tls: None without."""

    url: str
    host: str
    port: int
    prefix: str
    tls: ssl.SSLContext | None


def server_of(url: str, tls: ssl.SSLContext | None) -> Server:
    """url: http://HOST:PORT, or HOST:PORT; https:// and a path where another server is in front. Raises ConfigError."""
    _check_text("url", url)
    whole = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(whole)
        host, port = _host(parts.hostname or ""), parts.port
        is_one = parts.scheme in PORTS and port != 0 and not (parts.query or parts.fragment)
        if not is_one or not _is_printable(parts.path) or any(character <= " " for character in url):
            raise ValueError("no address")
    except ValueError:  # of urlsplit, idna and ipaddress, too
        raise ConfigError(f"expected HOST:PORT or http://HOST:PORT of an admin server, got {url!r:.200}") from None
    if parts.username is not None:
        raise ConfigError("url: expected HOST:PORT without a user: what an admin server wants is a token")
    context = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
    return Server(whole, host, port or PORTS[parts.scheme], parts.path.rstrip("/"), context)


def _host(name: str) -> str:
    """As it is looked up, in ASCII. Raises ValueError for what is no name and no address."""
    if ":" in name:
        ip_address(name)
        return name
    host = name.encode("idna").decode()
    if not NAME.fullmatch(host):
        raise ValueError("no name")
    return host


class Requests:
    """Makes them. token: "" sends none. timeout: seconds for each, with all its attempts. Raises ConfigError."""

    def __init__(self, url: str, token: str, timeout: float, tls: ssl.SSLContext | None) -> None:
        self.server = server_of(url, tls)
        _check_text("token", token)
        if not _is_printable(token):
            raise ConfigError("token: expected printable ASCII without spaces, as a header can carry it")
        self.timeout = _seconds(timeout)
        self._prefix = self.server.prefix
        self._authorization = {"Authorization": f"Bearer {token}"} if token else {}

    def publish(self, message: Message) -> "Asked[Published]":
        return self._make("POST", "/api/publish", _written(message), Published)

    def publish_many(self, messages: Iterable[Message]) -> "Asked[Published]":
        written = [_numbered(number, message) for number, message in enumerate(_listed(messages))]
        if not 1 <= len(written) <= MAX_MESSAGES:
            raise ValueError(f"expected 1 to {MAX_MESSAGES} messages, got {len(written)}")
        return self._make("POST", "/api/publish", {"messages": written}, Published)

    def close(self, client: Client, code: int | None, reason: str) -> "Asked[Closing]":
        body: dict[str, Any] = {"reason": reason} | ({} if code is None else {"code": code})
        return self._make("POST", f"/api/clients/{id_of(client)}/close", body, Closing)

    def member(self, client: Client, channel: str, *, joined: bool) -> "Asked[Member]":
        if not isinstance(channel, str):
            raise TypeError(f"expected a channel, got {type(channel).__name__}")
        path = f"/api/clients/{id_of(client)}/channels/{quote(channel, safe='')}"
        return self._make("PUT" if joined else "DELETE", path, {}, Member)

    def _make(self, method: str, path: str, body: Mapping[str, Any], done: type[DoneT]) -> Asked[DoneT]:
        content = msgspec.json.encode(body)
        if len(content) > MAX_BODY_BYTES:
            raise PublishError(413, f"expected at most {MAX_BODY_BYTES} bytes in one request, got {len(content)}")
        headers = {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex, **self._authorization}
        return Asked(method, self._prefix + path, content, headers, done)


class Published(Struct):
    messages: int


class Closing(Struct):
    closing: bool


class Member(Struct):
    joined: bool | None


class _Fault(Struct):
    message: str


class _Refusal(Struct):
    error: _Fault


class _OfClients(Struct):
    requestId: Any
    error: _Fault


def outcome(asked: Asked[DoneT], answer: Answer, server: Server) -> DoneT:
    """What was done. Raises PublishError if it is no admin server's answer: what else is at the address, as a node at
    that of clients, says 200 to anything."""
    try:
        if answer.is_of_admin:
            return msgspec.json.decode(answer.body, type=asked.done)
    except (ValueError, RecursionError):
        pass
    raise _is_another(answer, server)


def refusal(answer: Answer, server: Server) -> PublishError:
    try:
        if answer.is_of_admin:
            return PublishError(answer.status, msgspec.json.decode(answer.body, type=_Refusal).error.message)
    except (ValueError, RecursionError):
        pass
    return _is_another(answer, server)


def is_for_clients(answer: Answer) -> bool:
    """It comes from where clients connect: an error with the id of a request. All else that is no admin server's may
    stand before one that is away."""
    try:
        return not answer.is_of_admin and msgspec.json.decode(answer.body, type=_OfClients) is not None
    except (ValueError, RecursionError):
        return False


def _is_another(answer: Answer, server: Server) -> PublishError:
    said = "clients connect there" if is_for_clients(answer) else f"status {answer.status}"
    return PublishError(answer.status, f"{server.url} is no admin server of Holdfast: {said}")


def seconds_of(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdecimal() and len(retry_after) < 6 else 0.0


def id_of(client: object) -> str:
    """As the admin server has it. Raises TypeError, ValueError."""
    if isinstance(client, str):
        client = int.from_bytes(bytes.fromhex(client), "big") if len(client) == 16 else -1
    if not isinstance(client, int) or isinstance(client, bool):
        raise TypeError(f"expected a client's id, got {type(client).__name__}")
    if not 0 <= client < 2**64:
        raise ValueError("expected a client's id, a number or 16 hexadecimal digits")
    return f"{client:016x}"


def _seconds(timeout: object) -> float:
    if isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0:
        return float(min(timeout, LONGEST_TIMEOUT))
    raise ConfigError(f"timeout: expected a number of seconds above 0, got {timeout!r:.80}")


def _is_printable(text: str) -> bool:
    """ASCII without spaces, as it can be part of a head of HTTP."""
    return all("!" <= character <= "~" for character in text)


def _check_text(name: str, value: object) -> None:
    """Raises ConfigError for what is none, as of a variable of the environment that is not set."""
    if value is None:
        raise ConfigError(f"{name}: expected text, got None: is its environment variable set?")
    if not isinstance(value, str):
        raise ConfigError(f"{name}: expected text, got {type(value).__name__}")


def _numbered(number: int, message: Message) -> Raw:
    """One of many, as JSON. Raises TypeError and ValueError, which name it."""
    where = f"messages[{number}]"
    if not isinstance(message, Mapping):
        raise TypeError(f"{where}: expected a dict, got {type(message).__name__}")
    if unknown := [str(key) for key in message if key not in Message.__annotations__]:
        raise ValueError(f"{where}: expected {', '.join(Message.__annotations__)}, got {', '.join(unknown)}")
    if "payload" not in message:
        raise ValueError(f"{where}: expected a payload")
    try:
        return Raw(msgspec.json.encode(_written(message)))
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _written(message: Message) -> dict[str, Any]:
    """As the body has it. str goes as text, bytes as binary, all else as JSON."""
    payload = message["payload"]
    if isinstance(payload, float) and not isfinite(payload):  # it would come as null
        raise ValueError(f"expected a number that JSON has, got {payload}")
    written: dict[str, Any]
    if isinstance(payload, bytes | bytearray | memoryview):
        written = {"base64": base64.b64encode(payload).decode()}
    else:
        written = {"payload": payload}
    if message.get("everybody"):
        written["everybody"] = True
    if channels := _names(message.get("channels", ())):
        written["channels"] = channels
    for name, clients in (("clients", message.get("clients", ())), ("exclude", message.get("exclude", ()))):
        if ids := [id_of(client) for client in _listed(clients)]:
            written[name] = ids
    return written


def _names(channels: Iterable[str]) -> list[str]:
    return list(_listed(channels))


def _listed(values: Iterable[Any]) -> Iterable[Any]:
    if isinstance(values, str):
        raise TypeError(f"expected a list, got the string {values!r}")
    return values

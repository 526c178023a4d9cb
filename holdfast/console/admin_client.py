"""Calls the admin server of a proxy. Its failures are HoldfastErrors: one line for people, exit status 1.

Who answers is input: what is not of the form that a proxy's admin server gives is said to be from none. What the user
has to write otherwise is a ConfigError: exit status 2.
"""

import http.client
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from holdfast.protocols.answers import MARK
from holdfast.protocols.errors import ConfigError, HoldfastError
from holdfast.proxy.views import Refusal

TIMEOUT = 10.0
NO_HTTP = (http.client.BadStatusLine, http.client.LineTooLong, http.client.UnknownProtocol)


T = TypeVar("T")


class AdminClient:
    """url: as given by --admin, or HOST:PORT as the ready file says it. token: "" sends none."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url if "://" in url else f"http://{url}"
        self._token = token

    def get(self, path: str, kind: type[T]) -> T:
        """kind: a struct of proxy.views, what that path answers."""
        return self._read(*self._call("GET", path), kind)

    def text(self, path: str) -> str:
        """What is no JSON."""
        status, content = self._call("GET", path)
        if status != 200:
            raise self._refusal(status, content)
        return content.decode(errors="replace")

    def post(self, path: str, body: dict[str, object], kind: type[T]) -> T:
        return self._read(*self._call("POST", path, msgspec.json.encode(body)), kind)

    def _call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        if self._token:
            if not (self._token.isascii() and self._token.isprintable()):
                raise ConfigError("--token: expected printable ASCII, as a header can carry it")
            headers["Authorization"] = f"Bearer {self._token}"
        connection = self._connection()
        is_reached = False
        try:
            connection.connect()
            is_reached = True
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, NO_HTTP) and not isinstance(error, OSError):  # what came may be of any kind
                raise HoldfastError(f"{self._url} is no admin server of Holdfast: it does not speak HTTP") from error
            if is_reached and isinstance(error, TimeoutError):  # nothing is wrong with address and firewall
                message = f"{self._url} was reached, and has not answered within {TIMEOUT:g} s"
                raise HoldfastError(message) from error
            reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
            raise HoldfastError(f"no admin server answers at {self._url} (--admin URL): {reason}") from error
        finally:
            connection.close()
        if response.getheader(MARK[0]) is None:
            raise self._is_another(response.status)
        return response.status, content

    def _connection(self) -> http.client.HTTPConnection:
        try:
            url = urlsplit(self._url)
            if url.scheme in ("http", "https") and url.hostname:
                kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
                return kind(url.hostname, url.port, timeout=TIMEOUT)
        except ValueError:
            pass  # urlsplit's word for what is no URL, or no port
        raise ConfigError(f"--admin: expected HOST:PORT or http://HOST:PORT, got {self._url}")

    def _read(self, status: int, content: bytes, kind: type[T]) -> T:
        if status >= 400:
            raise self._refusal(status, content)
        try:
            return msgspec.json.decode(content, type=kind)
        except (ValueError, RecursionError) as error:  # of which msgspec's errors and UnicodeError are
            raise self._is_another(status) from error

    def _refusal(self, status: int, content: bytes) -> HoldfastError:
        try:
            fault = msgspec.json.decode(content, type=Refusal).error
        except (ValueError, RecursionError):
            return self._is_another(status)
        if status == 401 and not self._token:
            return HoldfastError(f"{self._url} wants its admin.token: HOLDFAST_ADMIN_TOKEN or --token")
        return HoldfastError(f"{fault.message} (status {status})")

    def _is_another(self, status: int) -> HoldfastError:
        return HoldfastError(f"{self._url} is no admin server of Holdfast: status {status}")

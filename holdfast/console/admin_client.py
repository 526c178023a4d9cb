"""Calls the admin server of a proxy. Its failures are HoldfastErrors: one line for people, exit status 1.

What the user has to write otherwise is a ConfigError: exit status 2.
"""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from holdfast.protocols.errors import ConfigError, HoldfastError

TIMEOUT = 10.0
NO_HTTP = (http.client.BadStatusLine, http.client.LineTooLong, http.client.UnknownProtocol)


class AdminClient:
    """url: as given by --admin, or HOST:PORT as the ready file says it. token: "" sends none."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url if "://" in url else f"http://{url}"
        self._token = token

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        return self._result(*self._call("GET", path))

    def text(self, path: str) -> str:
        """What is no JSON."""
        status, content = self._call("GET", path)
        if status != 200:
            self._result(status, content)
        return content.decode(errors="replace")

    def post(self, path: str, body: dict[str, object]) -> Any:  # noqa: ANN401 - JSON
        return self._result(*self._call("POST", path, json.dumps(body)))

    def _call(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        if self._token:
            if not (self._token.isascii() and self._token.isprintable()):
                raise ConfigError("--token: expected printable ASCII, as a header can carry it")
            headers["Authorization"] = f"Bearer {self._token}"
        connection = self._connection()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, NO_HTTP) and not isinstance(error, OSError):  # what came may be of any kind
                raise HoldfastError(f"{self._url} is no admin server of Holdfast: it does not speak HTTP") from error
            reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
            raise HoldfastError(f"no admin server answers at {self._url} (--admin URL): {reason}") from error
        finally:
            connection.close()
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

    def _result(self, status: int, content: bytes) -> Any:  # noqa: ANN401 - JSON
        if status == 401:
            raise HoldfastError(f"{self._url} wants its admin.token: HOLDFAST_ADMIN_TOKEN or --token")
        try:
            result = json.loads(content)
            if status < 400:
                return result
            message = result["error"]["message"]
        except (ValueError, KeyError, TypeError) as error:
            raise HoldfastError(f"{self._url} is no admin server of Holdfast: status {status}") from error
        raise HoldfastError(f"{message} (status {status})")

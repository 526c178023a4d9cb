"""One request and its answer over a connection, in HTTP/1.1, by h11: what is sent, and what is made of what comes.

Nothing here waits: how long something may take, and how, is its publisher's. What it reads is bounded.
"""

from math import inf
from typing import Any

import h11

from holdfast.protocols.answers import MARK
from holdfast.publisher.requests import Answer, Asked, PublishError, Server, seconds_of

MAX_ANSWER_BYTES = 1 << 20  # of an admin server a few hundred
_MARK = MARK[0].lower().encode()


class Conversation:
    """Of one connection. Both raise h11.ProtocolError for what is no HTTP."""

    def __init__(self, server: Server) -> None:
        host = f"[{server.host}]" if ":" in server.host else server.host
        self._url = server.url
        self._host = f"{host}:{server.port}"
        self._http = h11.Connection(h11.CLIENT)
        self._status = 0
        self._retry_after = ""
        self._is_of_admin = False
        self._body = bytearray()

    def ask(self, asked: Asked[Any], wait: float) -> bytes:
        """What is to be sent. The next one, once the answer of the former is there, and `is_reusable`. wait: seconds
        that the server is told to answer within (RFC 7240), from 0.001; inf: it is not told."""
        self._status, self._retry_after, self._body = 0, "", bytearray()
        headers = {"Host": self._host, "Content-Length": str(len(asked.body)), **asked.headers}
        if wait < inf:
            headers["Prefer"] = f"wait={wait:.3f}"
        events = (
            h11.Request(method=asked.method, target=asked.path, headers=list(headers.items())),
            h11.Data(data=asked.body),
            h11.EndOfMessage(),
        )
        return b"".join([self._http.send(event) or b"" for event in events])

    def heard(self, data: bytes) -> Answer | None:
        """What has come, b"" for the end. Returns the answer when it is whole. Raises OSError, PublishError if it
        can't become so."""
        if not data and not self._status:
            raise ConnectionResetError("the connection was closed before an answer came")
        self._http.receive_data(data)
        while (event := self._http.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Response):
                self._status = event.status_code
                headers = dict(event.headers)
                self._retry_after = headers.get(b"retry-after", b"").decode("latin-1")
                self._is_of_admin = _MARK in headers
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > MAX_ANSWER_BYTES:
                    message = (
                        f"{self._url} is no admin server of Holdfast: more than {MAX_ANSWER_BYTES} bytes of answer"
                    )
                    raise PublishError(self._status, message)
            elif isinstance(event, h11.EndOfMessage):
                return Answer(self._status, bytes(self._body), seconds_of(self._retry_after), self._is_of_admin)
        return None

    def is_reusable(self) -> bool:
        """Whether another request may follow on the connection; it is `ask`ed next."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

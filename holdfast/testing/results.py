"""What came of a request, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from holdfast.node.admission import Session
from holdfast.node.request import Client, Headers
from holdfast.node.subscribing import Subscription
from holdfast.protocols.errors import HoldfastError
from holdfast.testing.effects import Effect


@dataclass(frozen=True, slots=True)
class Failure:
    """status: as of HTTP, 400 to 599. message: what the client is told. close_code: of Refused, 0: none.
    headers: of a RequestError, over HTTP."""

    status: int
    message: str
    close_code: int = 0
    headers: Headers = field(default_factory=Headers)


@dataclass(frozen=True, slots=True)
class Result:
    """What a client gets, and what was done.

    messages: of a message protocol, in order: text as str, binary as bytes; none for NO_REPLY. Of HTTP the parts of the
    body as bytes. status, headers: of an HTTP reply; 200 and none with a message. failure: in place of the reply, or of
    the rest of one.
    effects: what the handler did through the node, in order; of one that failed only what it had flushed. What its
    on_open, or other clients' functions, did before is not among them.
    state: the nodes' shared state afterwards. session: of `connect`, what on_connect says of a client that may come in;
    client: as it is from then on, for further steps. subscription: of `subscribe`, what on_subscribe says of one that
    may, if that is more than True.
    """

    messages: list[str | bytes]
    status: int
    headers: Headers
    failure: Failure | None
    effects: list[Effect]
    state: Mapping[str, Any]
    session: Session | None = None
    client: Client | None = None
    subscription: Subscription | None = None

    @property
    def body(self) -> bytes:
        """All that was replied. Raises HoldfastError if the request failed, so that no test takes that for a reply."""
        if self.failure is not None:
            raise HoldfastError(f"the request has failed: {self.failure.status} {self.failure.message}")
        return b"".join(said.encode() if isinstance(said, str) else said for said in self.messages)

    @property
    def text(self) -> str:
        """The same as text."""
        return self.body.decode()

    def json(self) -> Any:  # noqa: ANN401 - JSON can be anything
        """The same, parsed."""
        return msgspec.json.decode(self.body)

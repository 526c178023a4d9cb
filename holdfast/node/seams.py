"""What the parts of a node know of a session with a proxy."""

from collections.abc import Collection
from typing import Any, Protocol


class ProxySession(Protocol):
    """A session with one proxy: holdfast.node.session.

    proxy: the id of who answers, once it has. now: time of the present turn. is_open: it has a welcome and is not over.
    The limits are the proxy's own, as its welcome says them.
    """

    @property
    def proxy(self) -> str: ...

    @property
    def now(self) -> float: ...

    @property
    def is_open(self) -> bool: ...

    @property
    def max_batch_bytes(self) -> int: ...

    @property
    def max_unacknowledged_bytes(self) -> int: ...

    @property
    def reply_window(self) -> int: ...

    @property
    def takes(self) -> Collection[str]:
        """What it takes that older proxies don't know."""
        ...

    def send(self, frame: Any, size: int) -> None:  # noqa: ANN401 - any frame that goes to a proxy, or its bytes
        """size: bytes that it takes, about."""
        ...

    async def wait_room(self) -> None:
        """Wait until less waits to be sent than may."""
        ...

    def beat(self) -> float:
        """Send a heartbeat. Returns its stamp."""
        ...

    def beat_soon(self) -> None:
        """Something depends on what the proxy answers to a heartbeat that is sent from now on."""
        ...

    def check_synced(self) -> None:
        """Something has come that it waited for."""
        ...

"""What a connection has in place of its transport when that is closed: one for all, so nothing may be left in it.

Whoever comes too late finds nothing to write to, to finish or to close, and nothing to read again.
"""

from holdfast.proxy.clients.transport import Transport


class Nowhere(Transport):
    """A closed transport that nobody owns."""

    __slots__ = ()

    def on_crash(self) -> None:
        pass

    def set_reading(self, is_wanted: bool) -> None:
        pass

    def set_wire_format(self, wire_format: object) -> None:
        pass

    def write(self, data: bytes) -> None:
        pass

    def check(self, now: float) -> None:
        pass

    def is_taking(self, now: float) -> bool:
        return False

    def finish(self, now: float) -> None:
        pass

    def close(self, *, is_whole: bool) -> None:
        pass

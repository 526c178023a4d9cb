"""Lines of the log for what the author's functions do wrong: of a mass of them, some and a count, since clients can
cause it at will.

Owns the bound for one node. What a line says is its place's own, but for functions that are only told of something.
"""

import time
from collections.abc import Callable
from threading import Lock

import structlog

from holdfast.masses import Masses
from holdfast.node.function import Function
from holdfast.node.raised import add_note, traceback_of

log = structlog.get_logger("holdfast.node")


def _is_asyncios(error: BaseException) -> bool:
    """Nothing of the author's is asked for it: a class or an argument of his may fail then."""
    if type(error) is not RuntimeError or len(error.args) != 1:
        return False
    text = error.args[0]
    return type(text) is str and text == "no running event loop"


class Failures:
    """For all threads. Call `tick` now and then: it tells how many lines were left out.

    witness: called with what was raised and the id of the request, 0 if it was another function than a handler; then it
    gets no line. Of a RequestError too, which gets none anyway. For tests.
    """

    witness: Callable[[BaseException, int], object] | None = None

    def __init__(self) -> None:
        self._masses = Masses()
        self._lock = Lock()

    def admits(self, event: str, error: BaseException | None = None, request: int = 0) -> bool:
        """Whether this one gets its line."""
        if error is not None and _is_asyncios(error):
            add_note(error, "asyncio's functions work in async functions of a node `from holdfast.asyncio import Node`")
        if self.witness is not None and error is not None:
            self.witness(error, request)
            return False
        with self._lock:
            return self._masses.admits(event, time.monotonic())

    def callback(self, function: Function, error: BaseException) -> None:
        """It was told of something, and has raised."""
        if self.admits("callback_failed", error):
            log.error("callback_failed", function=function.said, exception=traceback_of(error))

    def refused(self, error: BaseException, request: int) -> None:
        """A request was refused in the handler's own words."""
        if self.witness is not None:
            self.witness(error, request)

    def tick(self) -> None:
        with self._lock:
            self._masses.tick(time.monotonic())

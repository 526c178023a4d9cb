"""Whose doing an effect is, of those that go out at once: what on_open and on_close do when they are told of a client.

Other functions of the node go on meanwhile, jobs and tasks, and the proxy sees no difference.
"""

from collections.abc import Awaitable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from holdfast.node import effects
from holdfast.node.node import Node
from holdfast.node.request import Client
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import CLOSE, OPEN
from holdfast.testing.effects import Effect, values


class Telling:
    """The Outlet of functions that are told of one client. done: what they did."""

    def __init__(self, outlet: effects.Outlet) -> None:
        self._outlet = outlet
        self.done: list[Effect] = []

    def serves(self, default: effects.Outlet) -> bool:
        return self._outlet.serves(default)

    def log_context(self) -> dict[str, object]:
        return self._outlet.log_context()

    async def put(self, effect: frames.Effect) -> None:
        await self._outlet.put(effect)
        self.done += values((effect,))

    def begin(self, function: Any, *arguments: Any) -> Any:  # noqa: ANN401 - the author's
        token = effects.current.set(self)
        try:
            result = function(*arguments)
        finally:
            effects.current.reset(token)
        return self._finish(result) if isinstance(result, Awaitable) else result

    async def _finish(self, result: Awaitable[Any]) -> Any:  # noqa: ANN401
        token = effects.current.set(self)
        try:
            return await result
        finally:
            effects.current.reset(token)


class Tellings:
    """Those that a step waits for."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tellings: dict[tuple[str, int], Telling] = {}

    @contextmanager
    def of(self, kind: str, client: Client) -> Iterator[list[Effect]]:
        """What the functions of a kind do within the block when they are told of a client."""
        telling = self._tellings[kind, client.id] = Telling(self._node._links)
        try:
            yield telling.done
        finally:
            self._tellings.pop((kind, client.id), None)

    @contextmanager
    def witnessed(self) -> Iterator[None]:
        """Around a run of the node."""
        with ExitStack() as after:
            for kind, functions in ((OPEN, self._node._on_open), (CLOSE, self._node._on_close)):
                for function in functions:
                    after.callback(setattr, function, "begin", function.begin)
                    function.begin = partial(self._begin, kind, function.begin)
            yield

    def _begin(self, kind: str, function: Any, client: Client, *arguments: Any) -> Any:  # noqa: ANN401 - the author's
        telling = self._tellings.get((kind, client.id))
        return function(client, *arguments) if telling is None else telling.begin(function, client, *arguments)

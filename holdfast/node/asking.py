"""Questions to other nodes, through a proxy that is linked.

Owns those without an answer. One that was asked in a session which ended is asked again in another, and says so.
"""

from itertools import count
from numbers import Real
from typing import Any

import msgspec
import trio
from msgspec import Struct

from holdfast.node.effects import check_size, encode
from holdfast.node.errors import RequestError
from holdfast.node.network import Network
from holdfast.node.plain import check_text
from holdfast.node.seams import ProxySession
from holdfast.protocols.nodes.calls import ASK
from holdfast.protocols.nodes.frames import Answered, Ask
from holdfast.protocols.nodes.names import MAX_NAME

MAX_TIMEOUT = 86_400  # seconds: far above what a proxy waits, and far below what a frame can say


class Answer(Struct, frozen=True):
    """Of another node. node: its id, if it was asked as one of all; "" of any. status: 200, or what it failed with, as
    `message` says: only among the answers of all, for who asks one is told by RequestError."""

    payload: bytes
    is_text: bool = False
    node: str = ""
    status: int = 200
    message: str = ""

    @property
    def text(self) -> str:
        """The payload as text. Raises UnicodeDecodeError if it is none."""
        return self.payload.decode()

    def json(self) -> Any:  # noqa: ANN401 - JSON can be anything
        """The payload, parsed. Raises ValueError if it is no JSON: a fault of who answered, and none of the client."""
        try:
            return msgspec.json.decode(self.payload)
        except RecursionError as error:
            raise ValueError("the JSON is nested too deeply") from error


class _Asked:
    __slots__ = ("answers", "is_over")

    def __init__(self) -> None:
        self.answers: list[Answered] | None = []  # None: the session has ended
        self.is_over = trio.Event()


class Asking:
    def __init__(self, links: Network) -> None:
        self._links = links
        self._numbers = count(1)
        self._asked: dict[ProxySession, dict[int, _Asked]] = {}

    async def ask(self, to: str, payload: object, timeout: float, text: bool | None, *, everyone: bool) -> list[Answer]:
        """The answers: one, or with `everyone` as many as nodes of this name are ready. Raises RequestError (504) after
        so many seconds, TypeError for what can't be sent."""
        data, is_text = encode(payload, text)
        to = check_text(to)
        if len(to) > MAX_NAME:
            raise ValueError(f"names of nodes have at most {MAX_NAME} characters")
        given: object = timeout
        if not isinstance(given, Real):
            raise TypeError(f"timeout: expected a number of seconds, got {type(timeout).__name__}")
        if not 0 < timeout <= MAX_TIMEOUT:
            raise ValueError(f"expected a number of seconds above 0 and up to {MAX_TIMEOUT}, got {timeout!r}")
        deadline = trio.current_time() + timeout
        attempt = 1
        with trio.move_on_after(timeout):
            while True:
                await self._links.wait_room()
                for session in self._links.sessions.values():
                    left = max(1, int((deadline - trio.current_time()) * 1000))
                    asked = Ask(next(self._numbers), to, data, is_text, left, everyone, attempt)
                    answers = await self._ask(session, asked)
                    if answers is not None:
                        return [
                            Answer(each.payload, each.is_text, each.node, each.status, each.message) for each in answers
                        ]
                    attempt += 1
                    break  # that session has ended
        raise RequestError(504, f"no answer of {to} within {timeout:g} s")

    async def _ask(self, session: ProxySession, frame: Ask) -> list[Answered] | None:
        if ASK not in session.takes:
            raise RequestError(501, f"the proxy {session.proxy} is older: it passes on no questions")
        size = 64 + 4 * len(frame.to) + len(frame.payload)
        check_size(size, session.max_batch_bytes)
        asked = _Asked()
        table = self._asked.setdefault(session, {})
        table[frame.ask] = asked
        session.send(frame, size)
        try:
            await asked.is_over.wait()
        finally:
            del table[frame.ask]
        return asked.answers

    def answered(self, session: ProxySession, frame: Answered) -> None:
        asked = self._asked.get(session, {}).get(frame.ask)
        if asked is not None and asked.answers is not None:
            asked.answers.append(frame)
            if not frame.left:
                asked.is_over.set()

    def lost(self, session: ProxySession) -> None:
        for asked in self._asked.pop(session, {}).values():
            asked.answers = None
            asked.is_over.set()

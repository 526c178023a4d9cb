"""Questions to proxies: how many clients of all of them are in a channel.

Owns those without an answer. One that was asked in a session which ended is asked again in another.
"""

from itertools import count
from typing import TYPE_CHECKING

import trio

from protocols.nodes.frames import AskCount, Counted

if TYPE_CHECKING:
    from holdfast.links import Links
    from holdfast.session import Session


class Question:
    __slots__ = ("answer", "is_over")

    def __init__(self) -> None:
        self.answer: int | None = None
        self.is_over = trio.Event()


class Counts:
    def __init__(self, links: "Links") -> None:
        self._links = links
        self._numbers = count(1)
        self._asked: dict[Session, dict[int, Question]] = {}

    async def ask(self, channel: str) -> int:
        """Members of the channel, as the proxy that is asked knows it. Waits until one is linked."""
        while True:
            await self._links.wait_room()
            for session in self._links.sessions.values():
                answer = await self._ask(session, channel)
                if answer is not None:
                    return answer
                break  # that session has ended

    async def _ask(self, session: "Session", channel: str) -> int | None:
        number, question = next(self._numbers), Question()
        asked = self._asked.setdefault(session, {})
        asked[number] = question
        session.send(AskCount(number, channel), 64 + 4 * len(channel))
        try:
            await question.is_over.wait()
        finally:
            del asked[number]
        return question.answer

    def counted(self, session: "Session", frame: Counted) -> None:
        question = self._asked.get(session, {}).get(frame.ask)
        if question is not None:
            question.answer = frame.count
            question.is_over.set()

    def lost(self, session: "Session") -> None:
        for question in self._asked.pop(session, {}).values():
            question.is_over.set()

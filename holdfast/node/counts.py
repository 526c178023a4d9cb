"""Questions to proxies: how many clients of all of them are in a channel.

Owns those without an answer. One that was asked in a session which ended is asked again in another.
"""

from itertools import count

import trio

from holdfast.node.effects import check_size
from holdfast.node.errors import RequestError
from holdfast.node.network import Network
from holdfast.node.seams import ProxySession
from holdfast.protocols.nodes.frames import AskCount, Counted


class Question:
    __slots__ = ("answer", "is_over")

    def __init__(self) -> None:
        self.answer: Counted | None = None
        self.is_over = trio.Event()


class Counts:
    def __init__(self, links: Network) -> None:
        self._links = links
        self._numbers = count(1)
        self._asked: dict[ProxySession, dict[int, Question]] = {}

    async def ask(self, channel: str) -> int:
        """Members of the channel, as the proxy that is asked knows it. Waits until one is linked. Raises RequestError
        if that is asked too much.
        """
        while True:
            await self._links.wait_room()
            for session in self._links.sessions.values():
                answer = await self._ask(session, channel)
                if answer is not None:
                    if answer.refused:
                        raise RequestError(503, "too many ask for the counts of channels: try again in a moment")
                    return answer.count
                break  # that session has ended

    async def _ask(self, session: ProxySession, channel: str) -> Counted | None:
        size = 64 + 4 * len(channel)
        check_size(size, session.max_batch_bytes)
        number, question = next(self._numbers), Question()
        asked = self._asked.setdefault(session, {})
        asked[number] = question
        session.send(AskCount(number, channel), size)
        try:
            await question.is_over.wait()
        finally:
            del asked[number]
        return question.answer

    def counted(self, session: ProxySession, frame: Counted) -> None:
        question = self._asked.get(session, {}).get(frame.ask)
        if question is not None:
            question.answer = frame
            question.is_over.set()

    def lost(self, session: ProxySession) -> None:
        for question in self._asked.pop(session, {}).values():
            question.is_over.set()

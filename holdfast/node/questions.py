"""Questions to proxies, of which each has one answer: how many clients are in a channel, and what is kept of it.

Owns those without an answer. One that was asked in a session which ended is asked again in another.
"""

from collections.abc import Callable
from itertools import count

import trio

from holdfast.node.effects import check_size
from holdfast.node.errors import RequestError
from holdfast.node.history import History, place_of
from holdfast.node.network import Network
from holdfast.node.plain import check_number, check_text
from holdfast.node.seams import ProxySession
from holdfast.protocols.nodes import histories
from holdfast.protocols.nodes.frames import AskCount, AskHistory, Counted
from holdfast.protocols.nodes.histories import HISTORY, MAX_PAGE
from holdfast.protocols.positions import Position

Asked = AskCount | AskHistory
Answer = Counted | histories.History
LIMITS = range(1, MAX_PAGE + 1)


class Question:
    __slots__ = ("answer", "is_over")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.is_over = trio.Event()


class Questions:
    def __init__(self, links: Network) -> None:
        self._links = links
        self._numbers = count(1)
        self._asked: dict[ProxySession, dict[int, Question]] = {}

    async def count(self, channel: str) -> int:
        """Members of the channel, as the proxy that is asked knows it. Waits until one is linked. Raises RequestError
        if that is asked too much.
        """
        channel = check_text(channel)
        answer = await self._answer(channel, lambda number: AskCount(number, channel))
        assert isinstance(answer, Counted)
        if answer.refused:
            raise RequestError(503, "too many ask for the counts of channels: try again in a moment")
        return answer.count

    async def history(self, channel: str, since: Position | int | None, limit: int) -> History:
        """As Node.history."""
        channel = check_text(channel)
        limit = check_number(limit, LIMITS, "limit")
        epoch, after = place_of(since)
        answer = await self._answer(channel, lambda number: AskHistory(number, channel, after, epoch, limit), HISTORY)
        assert isinstance(answer, histories.History)
        if answer.status != 200:
            raise RequestError(answer.status, answer.message)
        return History.of(answer, after)

    async def _answer(self, channel: str, frame: Callable[[int], Asked], taken: str = "") -> Answer:
        """taken: what the proxy's welcome has to say that it takes."""
        while True:
            await self._links.wait_room()
            sessions = self._links.sessions.values()
            able = next((session for session in sessions if not taken or taken in session.takes), None)
            if able is None:
                older = next(iter(sessions)).proxy
                raise RequestError(501, f"the proxy {older} is older: it does not tell the {taken} of channels")
            answer = await self._ask(able, channel, frame)
            if answer is not None:  # else that session has ended
                return answer

    async def _ask(self, session: ProxySession, channel: str, frame: Callable[[int], Asked]) -> Answer | None:
        size = 128 + 4 * len(channel)
        check_size(size, session.max_batch_bytes)
        number, question = next(self._numbers), Question()
        asked = self._asked.setdefault(session, {})
        asked[number] = question
        session.send(frame(number), size)
        try:
            await question.is_over.wait()
        finally:
            del asked[number]
        return question.answer

    def answered(self, session: ProxySession, frame: Answer) -> None:
        question = self._asked.get(session, {}).get(frame.ask)
        if question is not None:
            question.answer = frame
            question.is_over.set()

    def lost(self, session: ProxySession) -> None:
        for question in self._asked.pop(session, {}).values():
            question.is_over.set()

"""A bounded memory of what was appended: of each identity of a channel the place that it got.

Owns, for each channel, generations of identities: one takes what is appended for `interval`, and is forgotten as a
whole after another, so each is known for at least that, and twice that at most. Refuses to grow beyond its limits: it
forgets the oldest generation early instead, and counts that. What is forgotten is given back little by little: a
million identities at once would be a pause.
"""

from collections import deque

FADING = 4  # are given back with each that is added
MAX_GENERATIONS = 16  # of a channel: each new epoch begins one


class _Generation:
    __slots__ = ("begun", "channel", "epoch", "known")

    def __init__(self, channel: str, epoch: str, begun: float) -> None:
        self.channel = channel
        self.epoch = epoch
        self.begun = begun
        self.known: dict[bytes, int] = {}


class Identities:
    """limit: of identities, over all channels. early: generations that were forgotten before their time."""

    def __init__(self, limit: int, interval: float) -> None:
        self._limit = limit
        self._interval = interval
        self._channels: dict[str, list[_Generation]] = {}
        self._all = deque[_Generation]()  # by when they have begun
        self._fading: list[dict[bytes, int]] = []
        self._number = 0
        self.early = 0

    def __len__(self) -> int:
        """Identities that are known."""
        return self._number

    def find(self, channel: str, identity: bytes) -> tuple[str, int] | None:
        """Its epoch and offset; None: it is not known."""
        for generation in self._channels.get(channel, ()):
            offset = generation.known.get(identity)
            if offset is not None:
                return generation.epoch, offset
        return None

    def add(self, channel: str, identity: bytes, epoch: str, offset: int, now: float) -> None:
        """One that is not known."""
        while self._number >= self._limit:
            self.early += 1
            self._forget(self._all.popleft())
        generations = self._channels.setdefault(channel, [])
        if generations and generations[-1].epoch == epoch and now < generations[-1].begun + self._interval:
            generation = generations[-1]
        else:
            if len(generations) >= MAX_GENERATIONS:
                self.early += 1
                self._all.remove(generations[0])
                self._forget(generations[0])
                generations = self._channels.setdefault(channel, [])
            generation = _Generation(channel, epoch, now)
            generations.append(generation)
            self._all.append(generation)
        generation.known[identity] = offset
        self._number += 1
        self._fade()

    def tick(self, now: float) -> None:
        """Forget what is old enough."""
        while self._all and now >= self._all[0].begun + 2 * self._interval:
            self._forget(self._all.popleft())
        self._fade()

    def _forget(self, generation: _Generation) -> None:
        self._number -= len(generation.known)
        self._fading.append(generation.known)
        generations = self._channels[generation.channel]
        generations.remove(generation)
        if not generations:
            del self._channels[generation.channel]

    def _fade(self) -> None:
        for _ in range(FADING):
            if not self._fading:
                return
            if known := self._fading[-1]:
                known.popitem()
            else:
                self._fading.pop()

"""One peer's published stream, at the receiver: what is news, what is missing, and the way back to certainty.

Owns the peer's numbers and what is kept until its facts are complete. Refuses to apply anything twice or out of order,
and anything at all before the subscription is proven. Nobody is given up for a gap: it is repaired by full facts.

UNPROVEN --Proof(nonce) seen, in message p--> ASKING    everything from p on is kept; facts are asked for after that
ASKING   --Facts, number >= p-1-------------> LIVE      the facts replace all; what is kept and later follows
LIVE     --a number is left out-------------> ASKING    from the message after the gap
ASKING   --a number is left out-------------> ASKING    likewise: what was kept before is void
any      --number <= the last one-----------> the same  a duplicate, or something replayed: not applied
any      --restart, or too much is kept-----> UNPROVEN

The proof comes on the same socket as the messages do. So the first message that is missed after it shows by its number,
and facts that are asked for after it are never older than where the stream goes on.
"""

from collections.abc import Sequence as Frames
from enum import Enum

from msgspec import Struct

from holdfast.protocols.peers.frames import Fact, Facts, Proof, Published

PROVE_INTERVAL = 0.2
MAX_KEPT = 10_000  # messages; a peer whose facts take longer than those is asked anew from the beginning


class SequenceState(Enum):
    UNPROVEN = "unproven"
    ASKING = "asking"
    LIVE = "live"


class SequenceCounters(Struct):
    received: int = 0
    gaps: int = 0
    messages_lost: int = 0
    duplicates: int = 0
    replayed: int = 0
    repairs: int = 0
    overflows: int = 0


class Repair(Struct, frozen=True):
    """facts: they replace what is known of the peer. then: what came after them, to be applied in order."""

    facts: list[Fact]
    then: list[Published]


class Sequence:
    """nonce: a random number to begin with; a new one for each proof. ask_interval: between two asks for facts."""

    def __init__(self, nonce: int, ask_interval: float) -> None:
        self.state = SequenceState.UNPROVEN
        self.counters = SequenceCounters()
        self.nonce = nonce
        self.last = 0  # number of the last message that was seen since the proof
        self._ask_interval = ask_interval
        self._asked_at = float("-inf")
        self._resume = 0  # where what is kept begins
        self._covered = 0  # the facts are as of this number
        self._kept: list[tuple[int, Frames[Published]]] = []

    def restart(self) -> None:
        """Nothing that comes counts before a new proof."""
        self.state = SequenceState.UNPROVEN
        self.nonce += 1  # an old proof that is replayed proves nothing
        self._asked_at = float("-inf")
        self._kept = []

    def wants_proof(self, now: float) -> bool:
        """Whether to ask Prove(nonce) now."""
        return self.state is SequenceState.UNPROVEN and self._is_time(now, PROVE_INTERVAL)

    def wants_facts(self, now: float) -> bool:
        """Whether to ask WantFacts now."""
        return self.state is SequenceState.ASKING and self._is_time(now, self._ask_interval)

    def _is_time(self, now: float, interval: float) -> bool:
        if now - self._asked_at < interval:
            return False
        self._asked_at = now
        return True

    def published(self, number: int, frames: Frames[Published]) -> Frames[Published] | None:
        """A message has come. Returns what of it is to be applied now; None: it is no sign of life, nor news."""
        counters = self.counters
        counters.received += 1
        if self.state is SequenceState.UNPROVEN:
            if not any(isinstance(frame, Proof) and frame.nonce == self.nonce for frame in frames):
                return None
            self._resume_from(number, frames)
            return ()
        if number <= self.last:
            if number == self.last:
                counters.duplicates += 1
            else:
                counters.replayed += 1
            return None
        if number > self.last + 1:
            counters.gaps += 1
            counters.messages_lost += number - self.last - 1
            if number > self._covered + 1:  # else the facts have what was lost
                self._resume_from(number, frames)
                return ()
        self.last = number
        if self.state is SequenceState.LIVE:
            return frames if number > self._covered else ()
        self._kept.append((number, frames))
        if len(self._kept) > MAX_KEPT:
            counters.overflows += 1
            self.restart()
        return ()

    def _resume_from(self, number: int, frames: Frames[Published]) -> None:
        self.state = SequenceState.ASKING
        self.last = self._resume = number
        self._covered = 0
        self._kept = [(number, frames)]
        self._asked_at = float("-inf")

    def facts(self, answer: Facts) -> Repair | None:
        """All facts have come. None: they are of no use, being older than where the stream goes on."""
        if self.state is not SequenceState.ASKING or answer.number + 1 < self._resume:
            return None
        self.state = SequenceState.LIVE
        self.counters.repairs += 1
        self._covered = answer.number
        repair = Repair(answer.frames, [f for number, frames in self._kept if number > answer.number for f in frames])
        self._kept = []
        return repair

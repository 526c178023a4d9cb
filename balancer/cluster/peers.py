"""The other proxies, so far as we dial them: what we have of each, and what they are to be asked.

Owns who is dialled and for how long. Whether one counts as heard is balancer.cluster.membership's.
"""

from collections.abc import Callable, Container, Iterator

from msgspec.structs import astuple

from holdfast.balancer.cluster.sequence import Sequence, SequenceCounters, SequenceState
from holdfast.balancer.cluster.times import Times
from holdfast.protocols.peers.frames import Member, Prove, WantFacts


class Peer:
    def __init__(self, member: Member, stream: Sequence, now: float) -> None:
        self.member = member
        self.stream = stream
        self.is_dialled = False
        self.wanted_at = self.since = now


class Peers(dict[str, Peer]):
    """By id. random: 63 bits."""

    def __init__(self, me: Member, times: Times, random: Callable[[], int]) -> None:
        self._me = me
        self._times = times
        self._random = random
        self._gone = SequenceCounters()

    def want(self, member: Member, now: float) -> None:
        """There is a reason to dial it."""
        peer = self.get(member.proxy)
        if peer is not None:
            peer.wanted_at = now
        elif member.proxy != self._me.proxy:
            stream = Sequence(self._random(), self._times.discover_timeout / 3)
            self[member.proxy] = Peer(member, stream, now)

    def tend(self, heard: Container[str], now: float) -> tuple[list[Member], list[str]]:
        """Whom to dial now, and on whom to hang up: not heard, and for long without a reason."""
        patience = self._times.card_ttl + self._times.heartbeat_timeout
        dial = [peer.member for peer in self.values() if not peer.is_dialled]
        hang_up = [
            proxy
            for proxy, peer in self.items()
            if peer.is_dialled and now - peer.wanted_at > patience and proxy not in heard
        ]
        for member in dial:
            self[member.proxy].is_dialled = True
        for proxy in hang_up:
            self._gone = _sum(self._gone, self.pop(proxy).stream.counters)
        return dial, hang_up

    def questions(self, now: float) -> Iterator[tuple[str, Prove | WantFacts]]:
        """What they are to be asked about their streams."""
        for proxy, peer in self.items():
            if peer.stream.wants_proof(now):
                yield proxy, Prove(peer.stream.nonce, self._me, proxy)
            elif peer.stream.wants_facts(now):
                yield proxy, WantFacts()

    def counters(self) -> SequenceCounters:
        """Of all streams, those that have gone as well: counters must not fall."""
        return _sum(self._gone, *(peer.stream.counters for peer in self.values()))

    def live(self) -> set[str]:
        """Those whose stream is proven and whose facts are complete."""
        return {proxy for proxy, peer in self.items() if peer.stream.state is SequenceState.LIVE}

    def restart(self) -> None:
        """Nothing that comes counts before a new proof."""
        for peer in self.values():
            peer.stream.restart()


def _sum(*counters: SequenceCounters) -> SequenceCounters:
    return SequenceCounters(*map(sum, zip(*map(astuple, counters), strict=True)))

"""What must hold after every step, and in the end. A violation names itself and ends the seed."""

from typing import TYPE_CHECKING

from balancer.cluster.sequence import SequenceState
from protocols.peers.frames import Record

if TYPE_CHECKING:
    from tests.sim.processes import Node, Proxy
    from tests.sim.world import World


CHANNELS = 8


def counts_after(word: int) -> dict[str, int]:
    """What a proxy's channels count after it has said so many words, one channel after the other."""
    return {f"word {value % CHANNELS}": value for value in range(max(1, word - CHANNELS + 1), word + 1)}


class Violation(AssertionError):
    """An invariant does not hold."""


class Checks:
    """Each method is called by what can break its invariant, so together they look after every step."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.highest_epoch = 0
        self.masters = 0
        self._records: dict[int, Record] = {}
        self._words: dict[str, list[int]] = {}  # proxy: the value of its channel in each published message

    def fail(self, invariant: str, *what: object) -> None:
        raise Violation(f"{invariant}: {' '.join(map(str, what))}")

    def granted(self, node: "Node") -> None:
        """Acting begins with a grant and with nothing else."""
        acting = self._world.acting()
        if len(acting) > 1:
            self.fail("I1, at most one acts", *((x, self._world.nodes[x].leases.epoch) for x in acting))
        if node.id in acting:
            epoch = node.leases.epoch
            if epoch < self.highest_epoch:
                self.fail("I2, epochs of who acts never fall", node.id, epoch, "after", self.highest_epoch)
            self.masters += epoch > self.highest_epoch
            self.highest_epoch = epoch

    def followed(self, proxy: "Proxy", former: Record, record: Record) -> None:
        if record.version < former.version or (record.epoch < former.epoch and not self._world.store.has_forgotten):
            self.fail("I3, version and epoch never fall", proxy.id, former, record)
        if self._records.setdefault(record.version, record) != record and not self._world.store.has_forgotten:
            self.fail("I4, one record of a version", proxy.id, record, self._records[record.version])

    def written(self, record: Record) -> None:
        self._records.setdefault(record.version, record)

    def writes(self, proxy: "Proxy", record: Record) -> None:
        """From what was really delivered to it, not from what it thinks."""
        membership = proxy.cluster.membership
        present = membership.record
        if proxy.id not in present.ids or proxy.id not in record.ids or proxy.is_resetting:
            return  # it joins, leaves, or has the operator's word
        now = proxy.now
        heard = sum(
            member == proxy.id or now - proxy.delivered.get(member, float("-inf")) <= membership.times.heartbeat_timeout
            for member in present.ids
        )
        if 2 * heard >= len(present.ids):
            return
        if not all(member in record.ids or membership.absence.is_absent(member, now) for member in present.ids):
            self.fail("I5, a minority writes nothing", proxy.id, present, record)

    def said(self, proxy: "Proxy") -> None:
        self._words.setdefault(proxy.id, [0]).append(proxy.word)

    def heard(self, proxy: "Proxy", peer: str) -> None:
        """Whoever is LIVE knows exactly what was said up to the last message that it has."""
        known = proxy.cluster.peers.get(peer)
        if known is None or peer not in self._world.proxies or known.stream.state is not SequenceState.LIVE:
            return
        words, counts = self._words[peer], known.facts.counts
        number, covered = known.stream.last, known.stream._covered
        expected = newest = words[max(number, covered)]
        if covered >= number:  # facts may already have what goes out with the next message
            newest = words[covered + 1] if covered + 1 < len(words) else self._world.proxies[peer].word
        word = max(counts.values(), default=0)
        if not expected <= word <= newest or counts != counts_after(word):
            self.fail("I7, what is known is what was said", proxy.id, peer, number, counts, "expected", expected)

    def is_whole(self) -> bool:
        """I6: one record of exactly the living; one master acts; nobody is fenced; all facts are equal."""
        world = self._world
        proxies = list(world.proxies.values())
        if not proxies or len({proxy.cluster.membership.record for proxy in proxies}) != 1:
            return False
        record = proxies[0].cluster.membership.record
        if set(record.ids) != set(world.proxies):
            return False
        acting = world.acting()
        if len(acting) != 1 or world.nodes[acting[0]].incarnation != record.incarnation:
            return False
        if any(proxy.is_fenced or not proxy.cluster.membership.is_quorate(proxy.now) for proxy in proxies):
            return False
        for channel in map("word {}".format, range(CHANNELS)):
            counts = {proxy.id: counts_after(proxy.word).get(channel, 0) for proxy in proxies}
            counts = {proxy: count for proxy, count in counts.items() if count}
            if any(proxy.cluster.count(channel) != counts for proxy in proxies):
                return False
        return True

    def bound(self) -> float:
        """How long healing may take from now on."""
        world = self._world
        times = world.times
        record = next(iter(self._latest()), Record())
        living = set(world.proxies).intersection(record.ids)
        bound = 3 * times.heartbeat_timeout + 3 * times.lease_wait + 2 * times.discover_timeout + 2.5
        # Who leaves just now may leave a pair behind of which one is dead: then only time can tell.
        is_left = any(proxy.is_leaving for proxy in world.proxies.values())
        for group in (record.ids, record.former):
            if is_left or 2 * len(living.intersection(group)) <= len(group):
                return bound + (times.takeover_timeout + times.card_ttl) * 1.1
        return bound

    def _latest(self) -> list[Record]:
        records = [proxy.cluster.membership.record for proxy in self._world.proxies.values()]
        return sorted(records, key=lambda record: -record.version)

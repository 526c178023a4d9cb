"""What must hold after every step, and in the end. A violation names itself and ends the seed.

I: the cluster. M, N: masters, and what nodes are told. D, E, R: deliveries, effects, requests (tests.sim.books finds
them). S: the state.
"""

from collections import Counter
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any

from holdfast.balancer.cluster.sequence import SequenceState
from holdfast.balancer.directory import NodeState
from holdfast.protocols.peers.frames import Record
from tests.sim.losses import Losses, count_of, undone
from tests.sim.meetings import Meetings
from tests.sim.nodes import EFFECT, OPEN

if TYPE_CHECKING:
    from holdfast import Request
    from tests.sim.nodes import SimNode
    from tests.sim.process import Process
    from tests.sim.proxies import SimProxy
    from tests.sim.world import World


class Violation(AssertionError):
    """An invariant does not hold."""


class Checks:
    """Each method is called by what can break its invariant, so together they look after every step.

    broken: the first violation. It is raised by the world, not here: the program catches what is raised in it.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.broken: Violation | None = None
        self.highest_epoch = 0
        self._master = ""  # who has acted in it
        self.masters = 0
        self.has_reset = False
        self.answered = 0
        self.failed: Counter[str] = Counter()
        self._acts: dict[str, float] = {}  # node: until when it acts
        self._records: dict[int, Record] = {}
        self._drained: dict[int, float] = {}  # incarnation of a node: since when it knows that it is drained
        self._words: dict[str, list[int]] = {}  # proxy: its word in each published message
        self._positions: dict[str, tuple[int, int]] = {}
        self._sets: dict[str, dict[int, list[float]]] = {}  # key: what it was set to: begun at, acknowledged at
        self._again: set[tuple[str, int]] = set()  # key: set to that more than once, by requests that came again
        self.losses = Losses(world)
        self.meetings = Meetings(world)
        self.counting = self.counted = 0  # increments that have begun, that are acknowledged
        self.kicked: dict[int, list[int]] = {}  # client: requests that have it closed
        self.begun: dict[int, list[str]] = {}  # request: the nodes whose handlers have begun with it
        self.taken: set[tuple[str, str, int, int, int]] = set()  # offers: proxy, node, incarnation, request, attempt
        self._tells: dict[int, tuple[str, list[Any]]] = {}
        self._due: list[tuple[Any, int, int, str, str, SimProxy]] = []  # a book, and the effect that must be in it
        self._sent: dict[tuple[int, int, str], set[str]] = {}  # effect, node: proxies to which it sends it
        self._owed: list[tuple[Any, str, str, int, SimProxy]] = []  # by dead nodes: a book, and what is due in it

    def fail(self, invariant: str, *what: object) -> None:
        if self.broken is None:
            self.broken = Violation(f"{invariant}: {' '.join(map(str, what))}")

    def crashed(self, who: str, what: str, error: BaseException | None) -> None:
        violation = Violation(f"F1, nothing crashes: {who} {what}: {error!r}")
        violation.__cause__ = error
        if self.broken is None:
            self.broken = violation

    # --- masters ------------------------------------------------------------------------------------------------------

    def acted(self, node: "SimNode") -> None:
        """A node has done something: it may have begun to act, and to have another state."""
        now = self._world.time
        until = node.acts_until()
        if until > now:
            if self._acts.get(node.id, -inf) != until:
                self._acts[node.id] = until
                self._granted(node, now)
        else:
            self._acts.pop(node.id, None)
        position = node.position
        if position < self._positions.get(node.id, (0, 0)):
            self.fail("S1, a node's state never goes back", node.id, position, "after", self._positions[node.id])
        self._positions[node.id] = position
        if node.node._parts.links.is_drained:
            self._drained.setdefault(node.incarnation, now)

    def stays_drained(self, proxy: "SimProxy") -> None:
        """Looked at after each step of a proxy."""
        for node in proxy.app.directory if self._drained and proxy.is_up else ():
            since = self._drained.get(node.incarnation, inf)
            if node.state is NodeState.READY and proxy.joined[node] > since:
                self.fail("R4, what is drained gets no requests in a later session", proxy.id, node.id)

    def _granted(self, node: "SimNode", now: float) -> None:
        nodes = self._world.nodes
        acting = [id for id, until in self._acts.items() if until > now and id in nodes]
        epoch = node.node.epoch
        if len(acting) > 1:
            self.fail("I1, at most one acts", *((id, nodes[id].node.epoch) for id in acting))
        if epoch < self.highest_epoch:
            self.fail("I2, epochs of who acts never fall", node.id, epoch, "after", self.highest_epoch)
        if epoch > self.highest_epoch:
            self.masters += 1
            self.highest_epoch, self._master = epoch, node.id
        if node.id != self._master:
            self.fail("I2, an epoch has one master", node.id, epoch, "after", self._master)

    # --- the cluster --------------------------------------------------------------------------------------------------

    def followed(self, proxy: "SimProxy", former: Record, record: Record) -> None:
        if record.version < former.version or (record.epoch < former.epoch and not self._world.store.has_forgotten):
            self.fail("I3, version and epoch never fall", proxy.id, former, record)
        self.losses.followed(record)
        if former.cluster not in ("", record.cluster) and self._world.store.has_forgotten:
            self._is_left(
                [self.losses.copy(member) for member in self._world.proxies.values() if member.id in record.ids]
            )
        if proxy.id in record.ids:
            self.meetings.joins(proxy)
        if self._world.is_alone:
            return  # each run has a record of its own
        if self._records.setdefault(record.version, record) != record and not self._world.store.has_forgotten:
            self.fail("I4, one record of a version", proxy.id, record, self._records[record.version])

    def written(self, record: Record) -> None:
        self._records.setdefault(record.version, record)

    def writes(self, proxy: "SimProxy", record: Record) -> None:
        """From what was really delivered to it, not from what it thinks."""
        self.losses.writes()
        membership = proxy.cluster.membership
        present = membership.record
        if proxy.id not in present.ids or proxy.id not in record.ids or proxy.is_resetting:
            return  # it joins, leaves, or has the operator's word
        now = proxy.now
        heard = sum(
            member == proxy.id or now - proxy.delivered.get(member, -inf) <= membership.times.heartbeat_timeout
            for member in present.ids
        )
        if 2 * heard >= len(present.ids):
            return
        missing = [member for member in present.ids if member not in record.ids]
        is_known = self._world.is_one_host and not self._world.proxies.keys() & set(missing)
        if not is_known and not all(membership.absence.is_absent(member, now) for member in missing):
            self.fail("I5, a minority writes nothing", proxy.id, present, record)

    def said(self, process: "Process") -> None:
        self._words.setdefault(process.id, [0]).append(self._world.proxies[process.id].word)

    def heard(self, proxy: "SimProxy", peer: str) -> None:
        """Whoever is LIVE knows exactly what was said up to the last message that it has."""
        known = proxy.cluster.peers.get(peer)
        if known is None or peer not in self._world.proxies or known.stream.state is not SequenceState.LIVE:
            return
        words = self._words[peer]
        number, covered = known.stream.last, known.stream._covered
        expected = newest = words[max(number, covered)]
        if covered >= number:  # facts may already have what goes out with the next message
            newest = words[covered + 1] if covered + 1 < len(words) else self._world.proxies[peer].word
        word = word_of(proxy.cluster.membership.nodes.get(peer, ()))
        if not expected <= word <= newest:
            self.fail("I7, what is known is what was said", proxy.id, peer, number, word, "expected", expected)

    # --- clients ------------------------------------------------------------------------------------------------------

    def closed(self, node: "SimNode", client: int) -> None:
        """A node was told so. Who was frozen for long still has its clients, and so has a half of two clusters; and a
        node that nobody told of the proxy for long has given them up, and says so when it has the state again."""
        world = self._world
        for proxy in world.proxies.values():
            if not proxy.is_up or client not in proxy.app.registry or not proxy.is_alive:
                continue
            is_late = world.time - max(proxy.was_frozen_at, node.gave_up_at(proxy.id)) < world.times.grace
            if not (is_late or world.store.has_forgotten or world.is_copied or self.has_reset):
                self.fail("N2, a client is told as closed when its proxy can't have it", node.id, client, proxy.id)

    # --- requests -----------------------------------------------------------------------------------------------------

    def begins(self, node: "SimNode", number: int, request: "Request") -> None:
        """A handler begins with a request: with what other nodes were lost with, too, but not for ever."""
        begun = self.begun.setdefault(number, [])
        begun.append(node.id)
        if len(begun) > self._world.config.request.max_attempts:
            self.fail("R2, a request ends no more nodes than request.max_attempts", number, *begun)
        exchange: Any = request._exchange
        offer = (exchange.session.proxy, node.name, node.incarnation, exchange.id, exchange.attempt)
        if request.redelivered and offer not in self.taken:
            self.fail("R3, what a node was lost with is offered first", number, *offer)
        if self._world.config.client.ordered:
            self._begins_in_turn(number, request.client.id)

    def _begins_in_turn(self, number: int, client_id: int) -> None:
        """At a node that has slept it may be over long ago, and others after it: but none before it is not."""
        for client in self._world.clients:
            if client.id == client_id and client.is_linked and client.proxy is not None and client.proxy.is_up:
                app = client.proxy.app
                connection = app.clients.connections.get(client_id)
                asked: list[Any] = [entry.event for entry in app.ledger.by_connection().get(connection, ())]
                waiting: list[Any] = [*(connection._waiting or ())] if connection is not None else []
                if any(event.context < number for event in (*asked, *waiting)):
                    self.fail("R6, with client.ordered one begins when the former one is answered", number)

    # --- the state, and effects ---------------------------------------------------------------------------------------

    def sets(self, key: str, number: int) -> None:
        """A node begins to set a key."""
        sets = self._sets.setdefault(key, {})
        if number in sets:
            self._again.add((key, number))
        sets[number] = [self._world.time, inf]

    def was_set(self, node: "SimNode", key: str, number: int, version: int) -> None:
        """A node was told that it is set, and which version that is."""
        self._sets[key][number][1] = self._world.time
        value, has = node.node.state.get(key), node.node.state.version(key)
        if (version == has) != (value == number) and (version == has or (key, number) not in self._again):
            self.fail("S6, what is set has its version", node.id, key, (number, version), "and it has", (value, has))

    def ended(self, process: "Process") -> None:
        """It was killed, or has left."""
        self.losses.ended(process)

    def leads(self, proxy: "SimProxy", term: int) -> None:
        """A keeper begins a term with what it has."""
        states = self.losses.begins(proxy, term)
        if states:
            self._is_left(states)

    def _is_left(self, states: list[dict[str, bytes]]) -> None:
        """No more is promised than one of these has. What a store that forgets made two clusters of is one again."""
        if not states:  # nobody else has any: what this proxy goes on with, it is
            return
        for key, sets in self._sets.items():
            lost = set.intersection(*(undone(sets, state.get(key)) for state in states))
            for number in lost:
                sets[number][1] = inf
        self.counted = min(self.counted, max(map(count_of, states)))

    def is_all_set(self) -> bool:
        return all(end < inf for sets in self._sets.values() for _, end in sets.values())

    def is_set_since(self, key: str, since: float, count: int) -> bool:
        """Whether so many sets of a key that have begun since then are acknowledged."""
        sets = self._sets.get(key, {}).values()
        return sum(start >= since and end < inf for start, end in sets) >= count

    def kicks(self, client: int, number: int) -> None:
        """A client asks that another one is closed, after last words."""
        self.kicked.setdefault(client, []).append(number)

    def tells(self, number: int, channel: str, others: list[int]) -> None:
        """A client asks for a notification to a channel and to clients."""
        books = [client.book for client in self._world.clients if client.book and not client.book.ended]
        members = [(b, b.joined[channel]) for b in books if channel in b.joined and b.joined[channel].is_sure]
        told = [(b, 1, None) for b in books if b.client.id in others]
        self._tells[number] = (channel, [*((b, 0, membership) for b, membership in members), *told])

    def sends(self, node: str, what: list[Any], concerned: set[str]) -> None:
        """A node sends effects of a request to these proxies, or keeps them for them."""
        if what[0] == EFFECT:
            self._sent.setdefault((what[1], what[2], node), set()).update(concerned)

    def told(self, proxy: "SimProxy", number: int, node: str) -> None:
        """The reply, at this proxy, says that it was done: then it must come, or the client is closed."""
        channel, due = self._tells.pop(number, ("", []))
        self._due += [(book, number, place, (channel, membership), node, proxy) for book, place, membership in due]

    def _is_due(self, book: Any, number: int, place: int, of: tuple[str, Any], node: str, proxy: "SimProxy") -> bool:
        """If the node is dead, only where it has sent it, and if the proxy lives that has its word of whom it owes.
        What it held back, because a proxy had nobody in the channel, is gone with it. Who has left meanwhile may not
        have it, and have joined again."""
        channel, membership = of
        if book.ended or not (place or book.joined.get(channel) is membership):
            return False
        is_sent = book.proxy.id in self._sent.get((number, place, node), ())
        return node in self._world.nodes or (is_sent and proxy.is_alive)

    def dies(self, node: "SimNode") -> None:
        """What it has published is due where it is known to have owed it."""
        for proxy, owed, number in node.owes:
            for book in (client.book for client in self._world.clients):
                if book is not None and not book.ended and book.proxy is owed:
                    self._owed += [
                        (book, channel, node.id, last, proxy)
                        for channel, membership in book.joined.items()
                        if membership.is_sure and (last := _last(node.numbered.get((owed.id, channel), {}), number))
                    ]

    # --- in the end ---------------------------------------------------------------------------------------------------

    def is_whole(self) -> bool:
        return not self.lack()

    def lack(self) -> str:
        """I6: what the world lacks to be as if nothing had happened; "": nothing."""
        for look in (self.lack_of_cluster, self._lack_of_master, self._lack_of_nodes, self._lack_of_clients,
                     self._lack_of_state):  # fmt: skip
            lack = look()
            if lack:
                return lack
        return ""

    def lack_of_cluster(self) -> str:
        """One record of exactly the living; nobody is fenced; all facts are equal."""
        proxies = list(self._world.proxies.values())
        if not proxies or not all(proxy.is_up for proxy in proxies):
            return "a proxy that is up"
        records = {proxy.cluster.membership.record for proxy in proxies}
        if len(records) != 1:
            return f"one record: {[(p.id, p.cluster.membership.record.version) for p in proxies]}"
        if set(proxies[0].cluster.membership.record.ids) != set(self._world.proxies):
            return f"a record of the living: {proxies[0].cluster.membership.record.ids}"
        for proxy in proxies:
            if proxy.is_fenced or not proxy.cluster.membership.is_quorate(proxy.now):
                return f"quorum at {proxy.id}"
            for other in proxies:
                if other is not proxy and word_of(proxy.cluster.membership.nodes.get(other.id, ())) != other.word:
                    return f"the facts of {other.id} at {proxy.id}"
        return ""

    def _lack_of_master(self) -> str:
        """One acts, and it is the record's."""
        record = next(iter(self._world.proxies.values())).cluster.membership.record
        acting = self._world.acting()
        if len(acting) != 1 or self._world.nodes[acting[0]].incarnation != record.incarnation:
            return f"a master: {acting} act, the record has {record.master}"
        return ""

    def _lack_of_nodes(self) -> str:
        """Each is ready at each proxy, and knows every client."""
        clients = set()
        for proxy in self._world.proxies.values():
            clients |= {session.id for session in proxy.app.clients.all_sessions()}
        for node in self._world.nodes.values():
            for proxy in self._world.proxies.values():
                known = proxy.app.directory.nodes.get(node.name)
                if known is None or known.incarnation != node.incarnation or known.state is not NodeState.READY:
                    return f"{node.id}, ready at {proxy.id}"
            if not node.knows_clients:
                continue
            if set(node.node.clients) != clients:
                return f"the clients at {node.id}: it has {len(node.node.clients)} of {len(clients)}"
            if {id for id, what in node.told.items() if what == OPEN} != clients:
                return f"the calls of on_open and on_close at {node.id}"
        return ""

    def _lack_of_clients(self) -> str:
        """Each is connected, has its answers and all that was published."""
        for client in self._world.clients:
            book = client.book
            if not client.stays:
                continue
            if book is None or book.ended:
                return f"client {client.number}, connected"
            if book.waiting:
                return f"answers for client {client.number}: {book.waiting}"
            for channel, membership in book.joined.items():
                for node in self._world.nodes.values():
                    published = node.published.get(channel, 0)
                    missing = published > max(membership.since.get(node.id, 0), membership.last.get(node.id, 0))
                    if membership.is_sure and missing and self._world.is_busy is False:
                        return (
                            f"D1, what {node.id} has published in {channel}, at client {client.number}: it has"
                            f" {membership.last.get(node.id, 0)} of {published}"
                        )
        for book, channel, node, number, proxy in self._owed:
            membership = book.joined.get(channel)
            if proxy.is_alive and not book.ended and membership is not None and membership.is_sure:
                last = max(membership.since.get(node, 0), membership.last.get(node, 0))
                if last < number:
                    return f"D1, what {node} has owed in {channel}, at client {book.client.number}: {last} of {number}"
        for book, number, place, channel, node, proxy in self._due:
            if self._is_due(book, number, place, channel, node, proxy) and (number, place) not in book.effects:
                return f"E2, the effect {number}, {place} of a request that was answered, at {book.client.number}"
        return ""

    def _lack_of_state(self) -> str:
        """All nodes have the same, and all that was acknowledged."""
        states = {node.id: (node.position, node.items()) for node in self._world.nodes.values()}
        if len({position for position, _ in states.values()}) > 1:
            return f"one state: {[(id, position) for id, (position, _) in states.items()]}"
        if any(items != next(iter(states.values()))[1] for _, items in states.values()):
            return "S2, equal states at one position"
        for id, (position, items) in states.items():
            lost = {key: after for key, sets in self._sets.items() if (after := undone(sets, items.get(key)))}
            if lost:
                return f"S3, every acknowledged set, at {id} {position}: {lost} came after what it has"
            count = count_of(items)
            if not self.counted <= count <= self.counting:
                return f"S5, a counter counts: {count}, with {self.counted} of {self.counting} acknowledged"
            dead = self._dead_owners(items)
            if dead:
                return f"S4, no key of a client that has gone, at {id}: {dead[:5]}"
        return ""

    def _dead_owners(self, items: dict[str, bytes]) -> list[str]:
        living = {f"own {client.id}" for client in self._world.clients if client.book and not client.book.ended}
        return sorted(key for key in items if key.startswith("own ") and key not in living)

    def bound(self) -> float:
        """How long healing may take from now on."""
        world = self._world
        times = world.times
        record = next(iter(self._latest()), Record())
        living = set(world.proxies).intersection(record.ids)
        bound = 3 * times.heartbeat_timeout + 3 * times.lease_wait + 2 * times.discover_timeout + 2.5
        bound += world.config.request.timeout + times.grace + 5.0  # nodes redial, requests end, clients come back
        # Who leaves just now may leave a pair behind of which one is dead: then only time can tell. So it can where a
        # node knows of another cluster.
        is_open = any(proxy.is_leaving for proxy in world.proxies.values())
        is_open |= any(node.node.epoch > record.epoch for node in world.nodes.values())
        for group in (record.ids, record.former):
            if is_open or 2 * len(living.intersection(group)) <= len(group):
                return bound + (times.takeover_timeout + times.card_ttl) * 1.1
        return bound

    def _latest(self) -> list[Record]:
        records = [p.cluster.membership.record for p in self._world.proxies.values() if p.is_up]
        return sorted(records, key=lambda record: -record.version)


def _last(numbered: dict[int, int], number: int) -> int:
    """The last publication that went with effects up to that number; 0: none did."""
    return max((publication for publication, of in numbered.items() if of <= number), default=0)


def word_of(nodes: Iterable[tuple[str, int]]) -> int:
    """The word among a proxy's published nodes; 0: it has said none."""
    return next((incarnation for node, incarnation in nodes if node == "a word"), 0)

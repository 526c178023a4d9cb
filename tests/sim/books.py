"""What one connection of a client was told, and what it must have been told.

Owns the ledger of notifications: for each run of a node and each channel a gapless, growing run of what was published
while the client was a member, or the connection has ended; nothing twice. And that of requests: one answer to each.
"""

from typing import TYPE_CHECKING, Any

from tests.sim.nodes import CHANNELS, DIRECT, MASTERS, OF_MASTER, PUBLISHED, pack

if TYPE_CHECKING:
    from tests.sim.clients import Client
    from tests.sim.proxies import SimProxy
    from tests.sim.world import World

KINDS = (
    "echo", "echo", "join", "leave", "tell", "tell", "set", "set", "count", "count", "delete", "own", "slow", "stream",
    "kick", "die",
)  # fmt: skip


class Membership:
    """In a channel, from the moment at which it is sure.

    since: run of a node: what it had begun to publish then. first, last: run of a node: the numbers that came.
    """

    def __init__(self) -> None:
        self.is_sure = False
        self.since: dict[str, int] = {}
        self.first: dict[str, int] = {}
        self.last: dict[str, int] = {}


class Book:
    """joined: by channel. effects: what requests did, by number and place. asked: what has no answer yet.

    ended: why the connection is no more; "" while it is. is_known: some node has had a request of it.
    """

    def __init__(self, world: "World", client: "Client", proxy: "SimProxy") -> None:
        self.world = world
        self.client = client
        self.proxy = proxy
        self.ended = ""
        self.is_known = False
        self.joined: dict[str, Membership] = {}
        self.effects: set[tuple[int, int]] = set()
        self.waiting: dict[int, tuple[str, tuple[Any, ...], float]] = {}
        self.answers: dict[int, object] = {}  # what replies said, or the reasons of errors
        self._parts: dict[int, int] = {}
        self._direct: dict[str, int] = {}
        self._leaving: set[str] = set()
        self._epoch = 0
        self._masters: dict[tuple[str, int], int] = {}

    def fail(self, invariant: str, *what: object) -> None:
        self.world.checks.fail(invariant, f"client {self.client.number} at {self.proxy.id}", *what)

    def close(self, why: str) -> None:
        self.ended = why
        if why == "kicked" and not any((number, 1) in self.effects for number in self._kicks()):
            self.fail("E4, last words are delivered before the close", self._kicks())
        self.world.note("client", self.client.number, "is without", self.proxy.id, why)

    def _kicks(self) -> list[int]:
        return self.world.checks.kicked.get(self.client.id, [])

    # --- notifications ------------------------------------------------------------------------------------------------

    def notified(self, what: list[Any]) -> None:
        kind = what[0]
        if kind == PUBLISHED:
            self._published(*what[1:])
        elif kind == DIRECT:
            self._directed(*what[1:])
        elif kind == MASTERS:
            self._by_master(*what[1:])
        else:
            self._effect(*what[1:])

    def _published(self, run: str, channel: str, number: int) -> None:
        membership = self.joined.get(channel)
        if membership is None:
            return  # it is about to be known that this client is no member any more
        last = membership.last.get(run)
        if last is None:
            if membership.is_sure and number > membership.since.get(run, 0) + 1:
                first = membership.since.get(run, 0) + 1
                self.fail("D1, no holes", f"{number} of {run} in {channel} is the first, it should be {first} at most")
        elif number <= last:
            self.fail("D2, nothing twice, and in order", f"{number} of {run} in {channel} after {last}")
        elif number > last + 1:
            self.fail("D1, no holes", f"{number} of {run} in {channel} after {last}")
        membership.first.setdefault(run, number)
        membership.last[run] = number

    def _directed(self, run: str, client: int, number: int) -> None:
        last = self._direct.get(run, 0)
        if client != self.client.id:
            self.fail("D3, what is for one is for nobody else", run, client)
        if number != last + 1:
            self.fail("D1, no holes, nothing twice", f"direct {number} of {run} after {last}")
        self._direct[run] = number

    def _by_master(self, run: str, epoch: int, number: int) -> None:
        if epoch < self._epoch:
            self.fail("M1, nothing of an older epoch", f"epoch {epoch} of {run} after {self._epoch}")
        self._epoch = epoch
        last = self._masters.get((run, epoch))
        if last is not None and number != last + 1:
            self.fail("D1, no holes, nothing twice", f"the master's {number} of epoch {epoch} after {last}")
        self._masters[run, epoch] = number

    def _effect(self, number: int, place: int) -> None:
        if (number, place) in self.effects:
            self.fail("E1, effects of a request are done once", number, place)
        self.effects.add((number, place))

    # --- requests -----------------------------------------------------------------------------------------------------

    def asked(self, number: int, kind: str, arguments: tuple[Any, ...]) -> None:
        self.waiting[number] = (kind, arguments, self.world.time)
        if kind == "join":
            self.joined.setdefault(arguments[0], Membership())
        elif kind == "leave":
            self.joined.pop(arguments[0], None)
            self._leaving.add(arguments[0])
        elif kind == "kick":
            self.world.checks.kicks(arguments[0], number)

    def part(self, number: int, payload: bytes) -> None:
        if number not in self.waiting:
            self.fail("R1, a request is answered once", number)
        place = self._parts[number] = self._parts.get(number, 0) + 1
        if payload != pack(place - 1):
            self.fail("R5, parts of a reply come in order, and each once", number, payload)

    def _answered(self, number: int) -> tuple[str, tuple[Any, ...]]:
        if number not in self.waiting:
            self.fail("R1, a request is answered once", number)
        kind, arguments, _ = self.waiting.pop(number)
        return kind, arguments

    def failed(self, number: int, reason: str) -> None:
        kind, arguments = self._answered(number)
        self.answers[number] = reason
        self.world.checks.failed[reason] += 1
        if kind == "join" and not self.joined[arguments[0]].is_sure:
            self.world.later(0.1, self._ask_again, kind, arguments)

    def _ask_again(self, kind: str, arguments: tuple[Any, ...]) -> None:
        if not self.ended:
            self.client.ask(kind, *arguments)

    def replied(self, number: int, payload: bytes | None) -> None:
        kind, arguments = self._answered(number)
        self.answers[number] = payload
        self.is_known = True
        self.world.checks.answered += 1
        if kind == "join":
            membership = self.joined.get(arguments[0])
            if membership is not None and not membership.is_sure:
                membership.is_sure = True
                # Of the dead too: what they have said last may be on its way.
                membership.since = {node.id: node.published.get(arguments[0], 0) for node in self.world.node_runs}
        elif kind == "tell":
            self.world.checks.told(self.proxy, number, payload.decode())
            if self.client.id in arguments[1] and (number, 1) not in self.effects:
                self.fail("E3, what a handler did comes before its reply", number)
        elif kind == "stream" and (payload is not None or self._parts.pop(number) != arguments[0]):
            self.fail("R5, parts of a reply come in order, and each once", number, payload)
        elif kind == "leave":
            if payload is not None:  # the client is told that it is done, by its own protocol, and nothing else
                self.fail("R6, nothing is said where a node says nothing", number, payload)
            self._leaving.discard(arguments[0])  # of one that failed nobody knows whether it was done

    def next_request(self) -> None:
        """One of the things that a client may want."""
        random = self.world.random
        client = self.client
        if not self.joined:
            client.ask("join", random.choice(CHANNELS))
            client.ask("join", OF_MASTER)
            return
        kind = random.choice(KINDS)
        checks = self.world.checks
        match kind:
            case "echo" | "count":
                client.ask(kind)
            case "join":
                channel = random.choice(CHANNELS)
                if channel not in self.joined and channel not in self._leaving:
                    client.ask("join", channel)
            case "leave":
                channel = random.choice(CHANNELS)
                if channel in self.joined and self.joined[channel].is_sure:
                    client.ask("leave", channel)
            case "tell":
                others = self.world.client_ids()
                channel = random.choice(CHANNELS)
                checks.tells(client.ask("tell", channel, others), channel, others)
            case "kick":
                if random.random() < 0.3:
                    client.ask("kick", random.choice(self.world.clients).id)
            case "die":
                if random.random() < 0.1:
                    client.ask("die")
            case "set":
                key = random.randrange(3) if random.random() < 0.3 else self.world.next_number()
                client.ask("set", f"key {key}")
            case "delete":
                client.ask("delete", f"gone {random.randrange(3)}")
            case "own":
                client.ask("own", f"own {client.id}")
            case "slow":
                client.ask("slow", random.uniform(0.1, 1.0))
            case "stream":
                client.ask("stream", random.randint(1, 5))

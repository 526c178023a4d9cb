"""Whose keys of the state end with a client: the keeper asks the proxies of the owners, and they tell who has gone.

Owns, at the keeper, whom to ask about and when; at an owner's proxy, which of its clients are asked about. A client's
id says which proxy it is of (Member.prefix). A proxy that can have no clients any more, as nodes are told then, has
none: its keys end at that moment. What is lost on the way is asked again with the next sweep. Refuses to believe a
proxy about any clients but its own. What follows when an owner has gone is the keeper's business.

A client may go while a key is on its way to it, and only its own proxy knows at once. So an owner is looked at when the
key is there, ours as those of others, and one that nobody knows as well: it has gone then, as it could a moment later.
"""

from collections import deque
from collections.abc import Callable, Mapping

from holdfast.balancer.state import StateCopy
from holdfast.protocols.nodes.frames import pack_ids, unpack_ids
from holdfast.protocols.peers.replication import Gone, Watch

SWEEP = 5.0  # seconds between two times that all owners are asked about
CHUNK = 8192  # clients in a question: 64 KiB
UNKNOWN_FOR = 5.0  # an owner of a proxy that we know nothing of may be of one that has just joined


def prefix_of(client: int) -> int:
    return client >> 32


class Owners:
    """prefix: of our own clients. is_here: whether one of them is. on_gone: told owners that are nowhere, as
    keeper."""

    def __init__(self, prefix: int, copy: StateCopy) -> None:
        self.is_here: Callable[[int], bool] = lambda client: False
        self.on_gone: Callable[[int], None] = lambda client: None
        self._prefix = prefix
        self._copy = copy
        self._due: deque[int] = deque()
        self._sweeps_at = float("-inf")
        self._known: Mapping[int, str] = {}  # prefix: proxy
        self._heeded: Mapping[int, str] = {}  # the same, as it was when we asked last
        self._unknown: dict[int, float] = {}  # prefix: since when; for ever, if its proxy is gone for good
        self._watched: set[int] = set()  # of our clients that are there
        self._gone: list[int] = []  # of those that were watched, and that nobody has been told of

    # --- as keeper ----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Our term begins: nothing is known of any owner."""
        self._due.clear()
        self._unknown.clear()
        self._heeded = {}
        self._sweeps_at = float("-inf")

    def noted(self, client: int) -> None:
        """A key has this owner now."""
        self._due.append(client)

    def know(self, proxies: Mapping[int, str]) -> None:
        """prefix: proxy, of all that may have clients."""
        self._known = proxies

    def may_own(self, client: int) -> bool:
        """Whether a client of another proxy may be there."""
        prefix = prefix_of(client)
        return prefix != self._prefix and prefix in self._known

    def ask(self, term: int, now: float) -> list[tuple[str, Watch]]:
        """Whom to ask about which owners now; a part of them, if there are many."""
        self._heed()
        if not self._due and now >= self._sweeps_at:
            self._sweeps_at = now + SWEEP
            owners = self._copy.owners()
            self._due.extend(owners)
            missing = set(map(prefix_of, owners)).difference(self._known)
            self._unknown = {prefix: at for prefix, at in self._unknown.items() if prefix in missing}
        questions: dict[str, list[int]] = {}
        for _ in range(min(len(self._due), CHUNK)):
            client = self._due.popleft()
            prefix = prefix_of(client)
            if prefix in self._known and prefix != self._prefix:
                questions.setdefault(self._known[prefix], []).append(client)
            elif prefix == self._prefix:
                if not self.is_here(client):
                    self.on_gone(client)
            elif now - self._unknown.setdefault(prefix, now) > UNKNOWN_FOR:
                self.on_gone(client)
        return [(proxy, Watch(term, pack_ids(clients))) for proxy, clients in questions.items()]

    def _heed(self) -> None:
        """Those whose proxies can't have them any more have gone, and so have such as a key is yet on its way to."""
        gone = self._heeded.keys() - self._known.keys()
        self._heeded = self._known
        if gone:
            self._unknown.update(dict.fromkeys(gone, float("-inf")))
            self._due.extend(owner for owner in self._copy.owners() if prefix_of(owner) in gone)

    def told(self, peer: str, frame: Gone) -> None:
        """Raises FrameError for what is no list of ids."""
        for client in unpack_ids(frame.clients):
            if self._known.get(prefix_of(client)) == peer:
                self.on_gone(client)

    # --- as the owners' proxy -----------------------------------------------------------------------------------------

    def watch(self, frame: Watch) -> Gone | None:
        """The keeper asks. Raises FrameError for what is no list of ids."""
        gone = []
        for client in unpack_ids(frame.clients):
            if prefix_of(client) != self._prefix:
                continue
            if self.is_here(client):
                self._watched.add(client)
            else:
                gone.append(client)
        return Gone(frame.term, pack_ids(gone)) if gone else None

    def closed(self, client: int) -> None:
        """One of our clients has gone."""
        if client in self._watched:
            self._watched.remove(client)
            self._gone.append(client)

    @property
    def has_to_tell(self) -> bool:
        return bool(self._gone)

    def tell(self, term: int) -> Gone | None:
        """What the keeper is to be told now."""
        if not self._gone:
            return None
        gone, self._gone = self._gone, []
        return Gone(term, pack_ids(gone))

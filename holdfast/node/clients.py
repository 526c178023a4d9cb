"""Every client of every proxy, and the telling of who came and who went.

Owns `node.clients` and the order in which on_open and on_close are called: one at a time, in the order it happened,
each client once as opened and once as closed however often sessions are made anew. A proxy that is lost keeps its
clients: it may only have lost us. They are told as closed when no other proxy lists theirs any more, or, where none
ever did, or only such as may not have heard of it, after `forget_timeout`.

A node that does not want clients is told of none. Then there is nothing here but which ids are whose, and the clients
that have asked something lately: to read 400 bytes of headers with each request would cost 5 us.
"""

from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, Set, ValuesView

from holdfast.node.callbacks import Callbacks
from holdfast.node.function import Function
from holdfast.node.orphans import Heir
from holdfast.node.request import Client
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.clients import ClientView

MAX_ASKED = 10_000  # of some 2 KiB
NO_WORD = -1
_NONE: tuple[bytes, Client | None] = (b"", None)
UNKNOWN = "unknown"  # the reason when a client went while nobody could tell us why


class Clients(Mapping[int, Client]):
    """What is known now, by id. Functions are told a little later.

    forget_timeout: in seconds. heir: of what is due when a proxy is no more.
    """

    def __init__(
        self,
        callbacks: Callbacks,
        on_open: Sequence[Function],
        on_close: Sequence[Function],
        forget_timeout: float,
        heir: Heir | None = None,
    ) -> None:
        self.heir = heir or Heir(keeps=False)
        self._by_id: dict[int, Client] = {}
        self._asked: dict[int, tuple[bytes, Client]] = {}  # who brought itself with a request, lately
        self._views: dict[str, ClientView] = {}  # by proxy
        self._prefixes: dict[int, str] = {}  # upper half of clients' ids: their proxy, as it said itself
        self._lost: dict[str, float] = {}  # proxies without a session, and when they are forgotten
        self._listed: Set[str] = frozenset()  # proxies that may live, by the word of another one that is linked
        self._vouched: dict[str, int] = {}  # those that were so once, and with which set
        self._callbacks = callbacks
        self._on_open = on_open
        self._on_close = on_close
        self._forget_timeout = forget_timeout

    def __getitem__(self, client_id: int) -> Client:
        return self._by_id[client_id]

    def __contains__(self, client_id: object) -> bool:
        return client_id in self._by_id

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._by_id))  # a plain function may be in a thread

    def items(self) -> ItemsView[int, Client]:
        return self._by_id.copy().items()  # as in __iter__

    def values(self) -> ValuesView[Client]:
        return self._by_id.copy().values()

    def __len__(self) -> int:
        return len(self._by_id)

    def proxy_of(self, client_id: int) -> str | None:
        """Whose client this is; None if it is none of a proxy that we have been linked to."""
        return self._prefixes.get(client_id >> 32)

    def who_asks(self, frame: frames.Request) -> Client | None:
        """None: the client has gone. Raises FrameError if what is said of it is no client."""
        if not frame.info:
            return self._by_id.get(frame.client)
        info, client = self._asked.get(frame.client, _NONE)
        if client is None or info != frame.info:
            client = Client.of(frames.decode_client(frame.info))
            self._asked[frame.client] = frame.info, client
            if len(self._asked) > MAX_ASKED:
                del self._asked[next(iter(self._asked))]
        return client

    # --- from the sessions, by proxy --------------------------------------------------------------------------------

    def welcome(self, proxy: str, sequence: int, prefix: int) -> None:
        """A session stands. What the proxy's clients are by now follows in pages, if this node wants clients."""
        self._lost.pop(proxy, None)
        self._prefixes[prefix] = proxy
        self.heir.lives(prefix, proxy)
        self._views.setdefault(proxy, ClientView()).welcome(sequence)

    def page(self, proxy: str, frame: frames.Clients) -> None:
        opened, closed = self._views[proxy].page(frame)
        self._close((change.client, change.reason) for change in closed)
        self._open(opened)

    def changes(self, proxy: str, frame: frames.Changes) -> None:
        if self.heir.listens:
            for change in frame.changes:
                if isinstance(change, frames.Closed):
                    self.heir.told(change, proxy)
        for change in self._views[proxy].changes(frame):
            if isinstance(change, frames.Opened):
                self._open([change.client])
            else:
                self._close([(change.client, change.reason)])

    def lost(self, proxy: str, now: float) -> None:
        """The session is over; another may follow."""
        self._lost[proxy] = now + self._forget_timeout

    def forget(self, proxy: str) -> None:
        """The proxy is gone for good: so are its clients."""
        self._lost.pop(proxy, None)
        self._vouched.pop(proxy, None)
        view = self._views.pop(proxy, None)
        if view is not None:
            for prefix in [prefix for prefix, owner in self._prefixes.items() if owner == proxy]:
                del self._prefixes[prefix]
                self.heir.lost(prefix, view)
            self._close((id, view.reason_of(id)) for id in view.clients)

    def introduced(self, listed: Mapping[str, int], latest: int) -> set[str]:
        """Proxies that may have clients, by the word of others: of each the latest set of members with which it is
        listed. One that we have lost and that was listed is gone.

        latest: the latest set with which a linked proxy lists any. Of a lost one that came with a later set who lists
        now may not have heard: those are returned. NO_WORD: nobody lists any, and nothing follows.
        """
        self._listed = listed.keys()
        for proxy, ballot in listed.items():
            self._vouched[proxy] = max(ballot, self._vouched.get(proxy, 0))
        former = [proxy for proxy in self._lost if proxy in self._vouched and proxy not in listed]
        for proxy in former:
            if self._vouched[proxy] <= latest:
                self.forget(proxy)
        if latest > NO_WORD:
            known = listed.keys() | self._views.keys()
            self._vouched = {proxy: ballot for proxy, ballot in self._vouched.items() if proxy in known}
        return {proxy for proxy in former if proxy in self._vouched}

    def forget_lost(self, now: float) -> None:
        """Forget those that have been lost for too long and that none vouches for. To be called about every second."""
        for proxy, deadline in list(self._lost.items()):
            if proxy in self._listed:
                self._lost[proxy] = now + self._forget_timeout
            elif now >= deadline:
                self.forget(proxy)

    # ----------------------------------------------------------------------------------------------------------------

    def _open(self, opened: Iterable[frames.Client]) -> None:
        clients = [Client.of(client) for client in opened]
        known = self._by_id.keys() & {client.id for client in clients}  # of whom something has changed
        self._by_id.update((client.id, client) for client in clients)
        for client in clients:
            if client.id not in known:
                self._callbacks.call_with_state(self._on_open, client)

    def _close(self, gone: Iterable[tuple[int, str]]) -> None:
        """Clients and their reasons; "" is not known."""
        clients = [(self._by_id.pop(id), reason or UNKNOWN) for id, reason in gone]
        for client, reason in clients:
            self._callbacks.call_with_state(self._on_close, client, reason)

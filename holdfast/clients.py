"""Every client of every proxy, and the telling of who came and who went.

Owns `node.clients` and the order in which on_open and on_close are called: one at a time, in the order it happened,
each client once as opened and once as closed however often sessions are made anew. A proxy that is lost keeps its
clients: it may only have lost us. They are told as closed when no other proxy lists theirs any more, or, where none
ever did, after `forget_timeout`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from holdfast.callbacks import Callbacks
from holdfast.request import Client
from protocols.nodes import frames
from protocols.nodes.clients import ClientView

UNKNOWN = "unknown"  # the reason when a client went while nobody could tell us why


class Clients(Mapping[int, Client]):
    """What is known now, by id. Async functions are told a little later.

    on_gone: called at once with the id of each client that has gone. forget_timeout: in seconds.
    """

    def __init__(
        self,
        callbacks: Callbacks,
        on_open: Sequence[Callable[[Client], Any]],
        on_close: Sequence[Callable[[Client, str], Any]],
        on_gone: Callable[[int], None],
        forget_timeout: float,
    ) -> None:
        self._by_id: dict[int, Client] = {}
        self._views: dict[str, ClientView] = {}  # by proxy
        self._prefixes: dict[int, str] = {}  # upper half of clients' ids: their proxy
        self._lost: dict[str, float] = {}  # proxies without a session, and when they are forgotten
        self._listed: frozenset[str] = frozenset()  # proxies that may live, by the word of another one that is linked
        self._vouched: set[str] = set()  # those that were so once
        self._callbacks = callbacks
        self._on_open = on_open
        self._on_close = on_close
        self._on_gone = on_gone
        self._forget_timeout = forget_timeout

    def __getitem__(self, client_id: int) -> Client:
        return self._by_id[client_id]

    def __contains__(self, client_id: object) -> bool:
        return client_id in self._by_id

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def proxy_of(self, client_id: int) -> str | None:
        """Whose client this is; None if we have seen none of that proxy."""
        return self._prefixes.get(client_id >> 32)

    def has_snapshot(self, proxy: str) -> bool:
        """Whether we have been told of all clients of this proxy."""
        view = self._views.get(proxy)
        return view is not None and view.is_synced

    # --- from the sessions, by proxy --------------------------------------------------------------------------------

    def welcome(self, proxy: str, sequence: int) -> None:
        """A session stands. What the proxy's clients are by now follows in pages."""
        self._lost.pop(proxy, None)
        self._views.setdefault(proxy, ClientView()).welcome(sequence)

    def page(self, proxy: str, frame: frames.Clients) -> None:
        opened, closed = self._views[proxy].page(frame)
        self._close([client.id for client in closed], UNKNOWN)
        self._open(proxy, opened)

    def opened(self, proxy: str, frame: frames.Opened) -> None:
        client = self._views[proxy].opened(frame)
        if client is not None:
            self._open(proxy, [client])

    def closed(self, proxy: str, frame: frames.Closed) -> None:
        if self._views[proxy].closed(frame) is not None:
            self._close([frame.client], frame.reason)

    def lost(self, proxy: str, now: float) -> None:
        """The session is over; another may follow."""
        self._lost[proxy] = now + self._forget_timeout

    def forget(self, proxy: str) -> None:
        """The proxy is gone for good: so are its clients."""
        self._lost.pop(proxy, None)
        self._vouched.discard(proxy)
        view = self._views.pop(proxy, None)
        if view is not None:
            for prefix in [prefix for prefix, owner in self._prefixes.items() if owner == proxy]:
                del self._prefixes[prefix]
            self._close(view.clients, UNKNOWN)

    def introduced(self, listed: Collection[str], *, has_word: bool) -> None:
        """Proxies that may have clients, by the word of others. One that we have lost and that was listed is gone.

        has_word: there is a linked proxy that lists any. Without one nothing follows from an empty list.
        """
        self._listed = frozenset(listed)
        self._vouched |= self._listed
        if has_word:
            for proxy in [proxy for proxy in self._lost if proxy in self._vouched and proxy not in self._listed]:
                self.forget(proxy)
            self._vouched &= self._listed | self._views.keys()

    def forget_lost(self, now: float) -> None:
        """Forget those that have been lost for too long and that none vouches for. To be called about every second."""
        for proxy, deadline in list(self._lost.items()):
            if proxy in self._listed:
                self._lost[proxy] = now + self._forget_timeout
            elif now >= deadline:
                self.forget(proxy)

    # ----------------------------------------------------------------------------------------------------------------

    def _open(self, proxy: str, opened: Iterable[frames.Client]) -> None:
        clients = [Client.of(client) for client in opened]
        self._by_id.update((client.id, client) for client in clients)
        for client in clients:
            self._prefixes[client.id >> 32] = proxy
            self._callbacks.call(self._on_open, client)

    def _close(self, ids: Iterable[int], reason: str) -> None:
        clients = [self._by_id.pop(client_id) for client_id in ids]
        for client in clients:
            self._on_gone(client.id)
            self._callbacks.call(self._on_close, client, reason)

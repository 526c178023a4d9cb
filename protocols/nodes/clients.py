"""A node's view of a proxy's clients, fed by the frames Welcome, Clients and Changes.

Owns which clients the node has been told of, and finds the differences, so that each client is told as opened
once and as closed once however often the session is made anew. Refuses a stream with a hole: FrameError, and the
session ends. A new session repairs it. Holds for one proxy; ids of clients never repeat, across runs neither.
"""

from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.announcements import CAME
from holdfast.protocols.nodes.frames import Changes, Client, Clients, Closed, Due, Opened, unpack_ids


class ClientView:
    """The receiving end of balancer.registry.

    coming: of clients, those of whose coming one node is to be told yet. gone: clients that are no more, of which that
    is so. number: up to this change all is known; 0: nothing. newer: of whom more is known, if a snapshot is not
    complete: as of `later`, which is 0 else.

    A session begins with `welcome`; then pages of the snapshot come with changes between them. While they do, `clients`
    also has those of the former session whose fate is not known yet: they are told as closed at the last page.
    """

    def __init__(self) -> None:
        self.clients: dict[int, Client] = {}
        self.coming: set[int] = set()
        self.gone: dict[int, Due] = {}
        self.number = self.later = 0
        self.newer: set[int] = set()
        self._sequence: int | None = None  # None: no session, or its stream has broken
        self._confirmed: set[int] | None = None  # clients that this session's snapshot has told; None: it is complete

    def welcome(self, sequence: int) -> None:
        """A session stands; its snapshot follows. sequence: Welcome.clients_sequence."""
        self._sequence = self.later = sequence
        self._confirmed = set()

    def reason_of(self, id: int) -> str:
        """Why a client has gone, if that was ever told; "": it was not."""
        return self.gone[id].reason if id in self.gone else ""

    def page(self, page: Clients) -> tuple[list[Client], list[Closed]]:
        """A page of the snapshot. Returns who is to be told as opened, or is known and is another now; and with the
        last page, as closed, with the reason if that was ever told."""
        if self._sequence is None or self._confirmed is None:
            raise FrameError("a page of clients came, but no snapshot is on its way")
        opened = []
        for client in page.clients:
            self._confirm(client.id)
            if self.clients.get(client.id) != client:
                self.clients[client.id] = client
                opened.append(client)
        self.coming.difference_update(client.id for client in page.clients)
        self.coming.update(unpack_ids(page.due))
        for due in page.gone:
            self._confirm(due.client.id)
            self.gone[due.client.id] = due
        if not page.last:
            return opened, []
        known = self.clients.keys()
        closed = []
        for id in (known - self._confirmed) | (known & self.gone.keys()):
            del self.clients[id]
            closed.append(Closed(id, self.reason_of(id)))
        self.coming.intersection_update(self.clients)
        for told in self.gone.keys() - self._confirmed:
            del self.gone[told]
        self._confirmed = None
        self.number, self.later, self.newer = self._sequence, 0, set()
        return opened, closed

    def changes(self, frame: Changes) -> list[Opened | Closed]:
        """Returns those that are to be told, with the reason if that was ever told. Raises FrameError if a number is
        missing.

        Not those who are known from a former session as they are; nor who goes during a snapshot, before the page he
        was for.
        """
        self._advance(frame.sequence, len(frame.changes))
        return [told for change in frame.changes if (told := self._apply(change)) is not None]

    def _confirm(self, client: int) -> None:
        """This session has told it, if its snapshot is not complete."""
        if self._confirmed is not None:
            self._confirmed.add(client)
            self.newer.add(client)

    def _apply(self, change: Opened | Closed) -> Opened | Closed | None:
        if isinstance(change, Closed):
            return self._close(change)
        client = change.client
        if change.due:
            self.coming.add(client.id)
        else:
            self.coming.discard(client.id)
        self._confirm(client.id)
        if self.clients.get(client.id) == client:
            return None
        self.clients[client.id] = client
        return change

    def _close(self, change: Closed) -> Closed | None:
        id = change.client
        client = self.clients.pop(id, None)
        self.coming.discard(id)
        # Without one it went before, and one node has been told of it by now.
        reason = change.reason or self.reason_of(id)
        known = self.gone.pop(id, None)
        who = known.client if client is None and known is not None else client
        if change.due and who is not None:
            self.gone[id] = Due(who, reason, change.due >= CAME)
            self._confirm(id)
        return Closed(id, reason) if client is not None else None

    def _advance(self, first: int, count: int) -> None:
        if self._sequence is None or first != self._sequence + 1:
            expected = "a welcome" if self._sequence is None else f"number {self._sequence + 1}"
            self._sequence = None  # nothing more of this stream is to be believed
            raise FrameError(f"expected {expected} in the stream of clients, got number {first}")
        self._sequence += count
        if self._confirmed is None:
            self.number = self._sequence
        else:
            self.later = self._sequence

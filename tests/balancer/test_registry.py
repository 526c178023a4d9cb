"""The stream of clients from end to end: balancer.registry makes it, protocols.nodes.clients takes it."""

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.balancer.registry import ClientRegistry, ClientsSnapshot
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.announcements import CAME, WENT, Due
from holdfast.protocols.nodes.clients import ClientView
from holdfast.protocols.nodes.frames import (
    Changes,
    Client,
    Clients,
    Closed,
    Opened,
    Request,
    Welcome,
    decode_client,
    decode_from_proxy,
    encode_batch,
)


def client(number, **fields):
    given = {"protocol": "websocket", "address": "192.0.2.1:5", "path": "/", "headers": [("host", "a")]}
    return Client(id=number, **{**given, **fields})


def decode(*frames):
    return decode_from_proxy(encode_batch(1, frames))[1]


def pages_of(snapshot, size):
    return decode(*iter(lambda: snapshot.next_page(size), None))


def synced_view(sequence=0, clients=()):
    view = ClientView()
    view.welcome(sequence)
    view.page(Clients(list(clients), last=True))
    return view


class TestRegistry:
    def test_changes_are_numbered_and_in_the_order_in_which_they_happened(self):
        registry = ClientRegistry()
        alice, bob = client(1), client(2**64 - 1, path="/chat?é", headers=[])
        registry.open(alice)
        registry.open(bob)
        registry.close(1, "idle")
        everything = [Opened(alice), Opened(bob), Closed(1, "idle")]
        assert decode(registry.changes()) == [Changes(1, everything)]
        assert decode(registry.changes(told=2)) == [Changes(3, everything[2:])]
        assert (registry.sequence, len(registry), 1 in registry, bob.id in registry) == (3, 1, False, True)

    def test_what_all_have_been_told_is_told_no_more(self):
        registry = ClientRegistry()
        registry.open(client(1))
        untold = registry.untold
        assert untold == {1}
        registry.forget_pending()
        registry.close(1, "idle")
        assert decode(registry.changes()) == [Changes(2, [Closed(1, "idle")])]
        assert untold == set()

    def test_closing_an_unknown_client_takes_no_number(self):
        registry = ClientRegistry()
        registry.close(7, "idle")
        assert (registry.sequence, registry.pending) == (0, [])

    def test_what_is_pending_is_full_at_some_size(self):
        registry = ClientRegistry()
        count = 0
        while not registry.is_full:
            registry.open(client(count, headers=[("x", "y" * 16_000)]))
            count += 1
        assert count == 17
        registry.forget_pending()
        assert not registry.is_full
        while not registry.is_full:
            count += 1
            registry.open(client(count))
            registry.close(count, "idle")
        assert len(registry.pending) < 10_000

    def test_a_client_for_a_request(self):
        registry = ClientRegistry()
        registry.open(client(1))
        request = Request(5, 1, 1, 1000, b"x", False, registry.info(1))
        assert decode_client(decode(request)[0].info) == client(1)
        registry.close(1, "idle")
        assert registry.info(1) == b""

    def test_an_open_id_is_refused(self):
        registry = ClientRegistry()
        registry.open(client(1))
        with pytest.raises(ValueError, match="client 1"):
            registry.open(client(1))
        assert registry.sequence == 1

    def test_an_empty_registry_gives_one_empty_last_page(self):
        assert pages_of(ClientRegistry().snapshot(), 10) == [Clients([], last=True)]

    def test_pages_are_as_long_as_asked_and_the_last_says_so(self):
        registry = ClientRegistry()
        everyone = [client(number) for number in range(4)]
        for each in everyone:
            registry.open(each)
        snapshot = registry.snapshot()
        assert snapshot.sequence == 4
        assert pages_of(snapshot, 2) == [Clients(everyone[:2], last=False), Clients(everyone[2:], last=True)]
        assert snapshot.next_page(2) is None

    def test_a_page_has_what_is_open_when_it_is_made(self):
        registry = ClientRegistry()
        for number in range(3):
            registry.open(client(number))
        snapshot = registry.snapshot()
        registry.close(1, "idle")
        registry.open(client(3))
        assert pages_of(snapshot, 10) == [Clients([client(0), client(2)], last=True)]

    def test_huge_clients_make_a_page_shorter(self):
        registry = ClientRegistry()
        for number in range(40):
            registry.open(client(number, headers=[("x", "y" * 16_000)]))
        lengths = [len(page.clients) for page in pages_of(registry.snapshot(), 500)]
        assert sum(lengths) == 40
        assert max(lengths) == 17


class TestView:
    def test_a_new_session_tells_only_the_differences(self):
        view = synced_view(5, [client(1), client(2)])
        view.welcome(9)
        assert view.page(Clients([client(2)], last=False)) == ([], [])
        assert sorted(view.clients) == [1, 2]
        assert view.page(Clients([client(3)], last=True)) == ([client(3)], [Closed(1, "")])
        assert sorted(view.clients) == [2, 3]

    def test_a_client_of_a_former_session_that_closes_during_the_snapshot_is_told_once(self):
        view = synced_view(0, [client(1)])
        view.welcome(4)
        assert view.changes(Changes(5, [Closed(1, "idle")])) == [Closed(1, "idle")]
        assert view.page(Clients([], last=True)) == ([], [])

    def test_of_one_that_went_it_is_still_to_be_told_that_it_did_when_it_was_told_that_it_came(self):
        view = synced_view(0, [client(1)])
        view.changes(Changes(1, [Closed(1, "idle", CAME | WENT)]))
        view.changes(Changes(2, [Closed(1, "", WENT)]))
        assert view.gone == {1: Due(client(1), "idle", came=False)}
        view.changes(Changes(3, [Closed(1, "")]))
        assert view.gone == {}

    def test_a_client_that_closes_before_its_page_was_never_there(self):
        view = ClientView()
        view.welcome(4)
        assert view.changes(Changes(5, [Closed(1, "idle")])) == []
        assert view.page(Clients([], last=True)) == ([], [])

    def test_a_client_that_opens_during_the_snapshot_is_in_no_page_and_stays(self):
        view = ClientView()
        view.welcome(4)
        assert view.changes(Changes(5, [Opened(client(1))])) == [Opened(client(1))]
        assert view.page(Clients([], last=True)) == ([], [])
        assert list(view.clients) == [1]

    @pytest.mark.parametrize("sequence", [5, 7, 0])
    def test_a_wrong_number_ends_the_stream(self, sequence):
        view = synced_view(5, [client(1)])
        with pytest.raises(FrameError, match="expected number 6"):
            view.changes(Changes(sequence, [Closed(1, "idle")]))
        with pytest.raises(FrameError, match="expected a welcome"):
            view.changes(Changes(6, [Opened(client(2))]))
        assert list(view.clients) == [1]

    def test_numbers_are_checked_during_the_snapshot_too(self):
        view = ClientView()
        view.welcome(5)
        with pytest.raises(FrameError):
            view.changes(Changes(7, [Closed(99, "idle")]))
        with pytest.raises(FrameError):
            view.page(Clients([], last=True))

    def test_a_page_out_of_place_is_refused(self):
        with pytest.raises(FrameError):
            ClientView().page(Clients([], last=True))
        with pytest.raises(FrameError):
            synced_view().page(Clients([], last=True))


class Session:
    """One node, what is under way to it, and what its handlers were told."""

    def __init__(self) -> None:
        self.view = ClientView()
        self.alive: set[int] = set()  # told as opened, and not as closed
        self.finished: set[int] = set()
        self.wire: deque = deque()
        self.snapshot: ClientsSnapshot | None = None
        self.is_connected = False
        self.told = 0  # of what is pending

    def connect(self, registry):
        self.snapshot = registry.snapshot()
        self.is_connected = True
        self.told = len(registry.pending)
        self.wire.append(Welcome(1, "p", 1.0, 4.0, self.snapshot.sequence, []))

    def disconnect(self):
        self.snapshot, self.is_connected = None, False
        self.wire.clear()

    def catch_up(self, registry):
        if self.is_connected and self.told < len(registry.pending):
            self.wire.append(registry.changes(self.told))
        self.told = len(registry.pending)

    def pull(self, registry, size):
        self.catch_up(registry)
        page = self.snapshot.next_page(size)
        if page is None:
            self.snapshot = None
        else:
            self.wire.append(page)

    def deliver(self):
        (frame,) = decode(self.wire.popleft())
        opened, closed = [], []
        match frame:
            case Welcome():
                self.view.welcome(frame.clients_sequence)
            case Clients():
                opened, closed = self.view.page(frame)
            case Changes():
                for change in self.view.changes(frame):
                    if isinstance(change, Opened):
                        self.tell(opened=[change.client.id])
                    else:
                        self.tell(closed=[change.client])
        self.tell([one.id for one in opened], [one.client for one in closed])

    def tell(self, opened=(), closed=()):
        for one in opened:
            assert one not in self.alive | self.finished, "opened is told once"
            self.alive.add(one)
        for one in closed:
            assert one in self.alive, "closed is told once, and only of those that were opened"
            self.alive.remove(one)
            self.finished.add(one)

    def settle(self, registry):
        while self.snapshot is not None:
            self.pull(registry, 3)
        while self.wire:
            self.deliver()


class Stream(RuleBasedStateMachine):
    """One proxy with restarts, and nodes whose sessions break at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = ClientRegistry()
        self.open: set[int] = set()
        self.ids = 0
        self.sessions = [Session() for _ in range(3)]

    @rule()
    def open_client(self):
        self.ids += 1
        self.open.add(self.ids)
        self.registry.open(client(self.ids))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def close_client(self, data):
        gone = data.draw(st.sampled_from(sorted(self.open)))
        self.open.remove(gone)
        self.registry.close(gone, "idle")

    @rule(data=st.data())
    def connect(self, data):
        session = data.draw(st.sampled_from(self.sessions))
        session.disconnect()
        session.connect(self.registry)

    @rule(index=st.integers(0, 2))
    def disconnect(self, index):
        self.sessions[index].disconnect()

    @rule()
    def restart_proxy(self):
        self.registry = ClientRegistry()
        self.open.clear()
        for session in self.sessions:
            session.disconnect()

    @rule(index=st.integers(0, 2), size=st.integers(1, 3))
    def pull(self, index, size):
        if self.sessions[index].snapshot is not None:
            self.sessions[index].pull(self.registry, size)

    @rule(index=st.integers(0, 2))
    def catch_up(self, index):
        self.sessions[index].catch_up(self.registry)

    @rule()
    def tell_all(self):
        for session in self.sessions:
            session.catch_up(self.registry)
            session.told = 0
        self.registry.forget_pending()

    @rule(index=st.integers(0, 2), count=st.integers(1, 4))
    def deliver(self, index, count):
        session = self.sessions[index]
        for _ in range(min(count, len(session.wire))):
            session.deliver()

    @invariant()
    def views_have_what_was_told(self):
        for session in self.sessions:
            assert session.view.clients.keys() == session.alive
        assert len(self.registry) == len(self.open)

    def teardown(self):
        for session in self.sessions:
            if not session.is_connected:
                session.connect(self.registry)
            session.catch_up(self.registry)
            session.settle(self.registry)
            assert session.view.clients == {number: client(number) for number in self.open}
            assert session.alive == self.open


Stream.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestStream = Stream.TestCase

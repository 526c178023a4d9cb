"""Bad content: whatever it is and wherever, the store counts as one that is gone, and one line says why."""

import contextlib
import itertools
import sqlite3
import threading
from socket import SHUT_WR, create_server

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.balancer.cluster.record import from_card, from_store, to_card, to_store
from holdfast.balancer.coordination.base import CoordinationError, MasterRecord
from holdfast.balancer.coordination.contents import MAX_CARD_BYTES, MAX_CARDS, MAX_RECORD_BYTES
from holdfast.balancer.coordination.redis import RedisCoordinator
from holdfast.balancer.coordination.redis_urls import parse_urls
from holdfast.balancer.coordination.sqlite import SqliteCoordinator
from holdfast.protocols.peers.frames import Member, Record
from tests.redis_servers import PATIENCE, RedisServer

MEMBER = Member("p", "tcp://a:1", "tcp://a:2", "host")
RECORD = Record(7, 5, "node", 2**62, "p", 6, (MEMBER,), ("p", "q"), 5)
MANY = 50_000
# Random bytes, alone and in place of a part of what is right; and what testers have broken it with.
right = [to_card(MEMBER), to_store(RECORD).node.encode(), b"7", b"p"]
mixed = st.builds(
    lambda good, at, bad: good[: at % (len(good) + 1)] + bad + good[at % (len(good) + 1) + len(bad) :],
    st.sampled_from(right), st.integers(0, 400), st.binary(min_size=1, max_size=8),
)  # fmt: skip
told = [b"abc", b"", b"1.5", b"-1", b"9" * (1 << 20), b"9007199254740992", b"[" * 20_000, b"\xff\xfe", b"\x91" * 20_000]
content = st.one_of(st.binary(max_size=64), mixed, st.sampled_from([*told, *right]))
some = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def read(coordinator):
    """All that a proxy reads. None: the store counts as gone; it says so in one line that is not long."""
    why = ""
    try:
        return await everything(coordinator)
    except CoordinationError as error:
        why = str(error)
    assert len(why) < 1000
    assert why.isprintable()
    return None


async def everything(coordinator):
    record = from_store(await coordinator.master())
    return record, {proxy: from_card(proxy, card) for proxy, card in (await coordinator.cards()).items()}


async def good(coordinator):
    await coordinator.swap_master(0, to_store(RECORD))
    await coordinator.put_card("p", to_card(MEMBER), PATIENCE)


class TestSqlite:
    @pytest.fixture
    def path(self, tmp_path):
        return str(tmp_path / "store")

    def put(self, path, *statement):
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute(*statement)

    @pytest.mark.parametrize("column", ["cluster.epoch", "cluster.node", "cards.proxy", "cards.card", "cards.ends"])
    @some
    @given(value=st.one_of(content, content.map(lambda it: it.decode("latin-1")), st.integers(-(2**63), 2**63 - 1)))
    def test_anything_in_any_column(self, path, column, value):
        async def main():
            coordinator = SqliteCoordinator(path, PATIENCE)
            table, _, name = column.partition(".")
            try:
                await good(coordinator)
                self.put(path, f"UPDATE {table} SET {name} = ?", (value,))
                await read(coordinator)
                await coordinator.refresh_card("p", PATIENCE)
                self.put(path, "DELETE FROM cards")
                self.put(path, "DELETE FROM cluster")
                assert await read(coordinator) is None
                self.put(path, "INSERT INTO cluster VALUES ('', 0, '')")
                assert await read(coordinator) == (Record(), {})
            finally:
                await coordinator.aclose()

        trio.run(main)

    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM cluster",
            "INSERT INTO cluster VALUES ('', 9, '')",
            "UPDATE cards SET card = 'text'",
            "UPDATE cards SET ends = 'never'",
            f"UPDATE cards SET card = zeroblob({MAX_CARD_BYTES + 1})",
            f"UPDATE cluster SET node = printf('%{MAX_RECORD_BYTES + 1}s', '')",
            "UPDATE cluster SET epoch = 1.5",
            "UPDATE cluster SET epoch = -1",
            "UPDATE cluster SET node = x'ff'",
            "DROP TABLE cards",
        ],
    )
    async def test_says_what_is_wrong(self, path, statement):
        coordinator = SqliteCoordinator(path, PATIENCE)
        await good(coordinator)
        self.put(path, statement)
        with pytest.raises(CoordinationError, match=path):
            await everything(coordinator)
        await coordinator.aclose()

    async def test_many_cards_are_not_read(self, path):
        coordinator = SqliteCoordinator(path, PATIENCE)
        await good(coordinator)
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.executemany("INSERT INTO cards VALUES (?, x'c1', 1e12)", ((f"p{i}",) for i in range(MANY)))
        with pytest.raises(CoordinationError, match=f"at most {MAX_CARDS} cards"):
            await coordinator.cards()
        await coordinator.aclose()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis") / "redis")
    yield server.start()
    server.stop()


class TestRedis:
    KEYS = "{holdfast:test}:cards", "{holdfast:test}:cards:p", "{holdfast:test}:master"

    def coordinator(self, server):
        return RedisCoordinator(parse_urls([server.url]), "test", PATIENCE)

    @pytest.mark.parametrize("place", ["epoch", "node", "proxy", "card", "type"])
    @some
    @given(value=content)
    def test_anything_in_any_place(self, server, place, value):
        cards, card, master = self.KEYS

        async def main():
            coordinator = self.coordinator(server)
            try:
                await good(coordinator)
                with server.client() as client:
                    if place in ("epoch", "node"):
                        client.hset(master, place, value)
                    elif place == "proxy":
                        client.sadd(cards, value)
                        client.set(cards.encode() + b":" + value, to_card(MEMBER))
                    elif place == "card":
                        client.set(card, value)
                    else:
                        client.delete(card, master)
                        client.set(master, value)
                    await read(coordinator)
                    client.flushall()
                assert await read(coordinator) == (Record(), {})
            finally:
                await coordinator.aclose()

        trio.run(main)

    async def test_many_cards_are_not_read(self, server):
        cards, *_ = self.KEYS
        with server.client() as client:
            client.sadd(cards, *range(MANY))
            client.mset({f"{cards}:{number}": b"\xc1" for number in range(MANY)})
        coordinator = self.coordinator(server)
        with pytest.raises(CoordinationError, match=f"at most {MAX_CARDS} cards"):
            await coordinator.cards()
        with server.client() as client:
            client.flushall()
        await coordinator.aclose()

    @pytest.mark.parametrize(
        ("field", "value"), [("node", b"x" * (MAX_RECORD_BYTES + 1)), ("epoch", b"9" * (1 << 20)), ("epoch", b"abc")]
    )
    async def test_says_what_is_wrong(self, server, field, value):
        coordinator = self.coordinator(server)
        await good(coordinator)
        with server.client() as client:
            client.hset(self.KEYS[2], field, value)
        with pytest.raises(CoordinationError, match=f"127.0.0.1:{server.port}.*epoch"):
            await coordinator.master()
        with pytest.raises(CoordinationError, match=f"127.0.0.1:{server.port}.*epoch"):
            await coordinator.swap_master(8, MasterRecord(9, "{}"))
        with server.client() as client:
            client.flushall()
        await coordinator.aclose()


class Impostor:
    """Something at Redis's address: it gives each connection the same bytes, whatever it is asked, and hangs up."""

    def __init__(self):
        self.answer = b""
        self.listener = create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        for _ in itertools.count():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.sendall(self.answer)
                connection.shutdown(SHUT_WR)
                while connection.recv(1 << 16):
                    pass


@pytest.fixture(scope="module")
def impostor():
    impostor = Impostor()
    yield impostor
    impostor.listener.close()


class TestSomethingElse:
    nested = st.integers(1, 20_000).map(lambda depth: b"*1\r\n" * depth)
    reply = st.recursive(
        st.one_of(
            st.sampled_from([b"$-1\r\n", b"*-1\r\n", b":1\r\n", b":x\r\n", b"+OK\r\n", b"-ERR\r\n", b"$99999999\r\n"]),
            content.map(lambda it: b"$%d\r\n%s\r\n" % (len(it), it)),
        ),
        lambda inner: st.lists(inner, max_size=4).map(lambda it: b"*%d\r\n" % len(it) + b"".join(it)),
        max_leaves=8,
    )

    @some
    @given(answer=st.one_of(content, nested, st.lists(reply, max_size=6).map(b"".join)))
    def test_is_a_store_that_is_gone(self, impostor, answer):
        impostor.answer = answer

        async def main():
            coordinator = RedisCoordinator(parse_urls([f"redis://127.0.0.1:{impostor.port}"]), "test", 4.0)
            try:
                await read(coordinator)
                for operation in (coordinator.refresh_card("p", 1.0), coordinator.put_card("p", b"", 1.0)):
                    with contextlib.suppress(CoordinationError):
                        await operation
            finally:
                await coordinator.aclose()

        trio.run(main)

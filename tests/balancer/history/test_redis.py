"""What can happen to a Redis and what it has. What every store promises is in tests/contracts/test_log.py."""

import re
import socket
import threading
import time
from contextlib import suppress

import pytest

from holdfast.balancer.coordination.redis_urls import parse_urls
from holdfast.balancer.history import redis, redis_scripts
from holdfast.balancer.history.base import END, Append, Appended, Keep, LogUnavailable, Page
from holdfast.balancer.history.redis import RedisLog
from tests.redis_servers import PATIENCE, free_port, until

MUCH = 1 << 30
KEEP = Keep(100_000, 0, 3600.0)
P = "{holdfast:test}:history"


@pytest.fixture
def make(redis_server):
    made = []

    def make(*urls, timeout=PATIENCE, max_bytes=MUCH, **options):
        made.append(RedisLog(parse_urls(urls or [redis_server.url]), "test", timeout, max_bytes, **options))
        return made[-1]

    yield make
    for log in made:
        log.close()


@pytest.fixture
def log(make):
    return make()


def append(log, *numbers, channel="c", keep=KEEP, payload=b"payload"):
    return log.append([Append(channel, b"%d" % number, payload, True, b"", keep) for number in numbers], time.time())


def read(log, after=0, limit=1000, channel="c", max_bytes=MUCH):
    return log.read(channel, after, limit, max_bytes, time.time())


def operations(log):
    yield lambda: append(log, 1)
    yield lambda: append(log, 5, keep=Keep(1, 0, 3600.0))
    yield lambda: read(log)
    yield lambda: log.news("former 5", 10)
    yield lambda: log.renew("c", "other")


def fails(log, match):
    for operation in operations(log):
        with pytest.raises(LogUnavailable, match=match):
            operation()


class TestServer:
    def test_killed_and_restarted_with_its_data(self, redis_server, log):
        redis_server.ask("CONFIG", "SET", "appendonly", "yes", "appendfsync", "always")
        until(lambda: not redis_server.client().info("persistence")["aof_rewrite_in_progress"], "the append-only file")
        cursor, _ = log.news("", 10)
        appended = append(log, 1, 2)
        page = read(log)
        redis_server.stop()
        fails(log, f"Redis 127.0.0.1:{redis_server.port}: ")
        redis_server.start("--appendonly", "yes")
        assert read(log) == page
        assert append(log, 2, 3) == [appended[1]._replace(is_new=False), Appended(appended[0].epoch, 3, True)]
        assert log.news(cursor, 10)[1] == [("c", appended[0].epoch, 3)]

    def test_killed_and_restarted_empty(self, redis_server, log):
        cursor, _ = log.news("", 10)
        [first] = append(log, 1)
        redis_server.stop()
        redis_server.start()
        assert read(log) == Page("", 1, 0, [])
        assert log.renew("c", first.epoch) == ""
        [again] = append(log, 1)
        assert (again.offset, again.is_new) == (1, True)
        assert again.epoch != first.epoch
        assert log.news(cursor, 10)[1] == [("c", again.epoch, 1)], "whatever it has is news"

    def test_brought_back_to_what_it_was_gives_offsets_again(self, redis_server, log):
        """Whoever has given out more notices, and renews it."""
        append(log, 1, 2)
        redis_server.ask("SAVE")
        lost = append(log, 3, 4)[-1]
        cursor, _ = log.news("", 10)
        redis_server.stop()
        redis_server.start("--dbfilename", "dump.rdb")
        [again] = append(log, 5)
        assert again == Appended(lost.epoch, 3, True)
        assert log.news(cursor, 10)[1] == [("c", lost.epoch, 3)]
        epoch = log.renew("c", lost.epoch)
        assert epoch != lost.epoch
        assert append(log, 6) == [Appended(epoch, 1, True)]

    def test_has_forgotten_its_scripts(self, redis_server, log):
        append(log, 1)
        redis_server.ask("SCRIPT", "FLUSH")
        assert append(log, 2)[0].offset == 2
        calls = redis_server.client().info("commandstats")
        append(log, 3)
        assert redis_server.client().info("commandstats")["cmdstat_eval"] == calls["cmdstat_eval"], "sent once"

    def test_frozen_fails_within_the_timeout(self, redis_server, make):
        log = make(timeout=0.5)
        append(log, 1)
        with redis_server.frozen():
            for operation in operations(log):
                with pytest.raises(LogUnavailable, match=r"Timeout|not done"):
                    operation()
        assert read(log).last >= 1

    def test_that_has_become_a_replica_is_not_believed(self, redis_server, log):
        append(log, 1)
        redis_server.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        fails(log, "read only replica")
        redis_server.ask("REPLICAOF", "NO", "ONE")
        assert append(log, 1)[0].is_new is False

    def test_without_memory(self, redis_server, log):
        append(log, 1)
        redis_server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(LogUnavailable, match="maxmemory"):
            append(log, 2)
        redis_server.ask("CONFIG", "SET", "maxmemory", "0")
        assert append(log, 2) == [Appended(read(log).epoch, 2, True)], "nothing of it had been done"

    def test_no_connection_is_left_after_closing(self, redis_server, log):
        append(log, 1)
        with redis_server.client() as client:
            assert len(client.client_list()) == 2
            log.close()
            until(lambda: len(client.client_list()) == 1, "the log's connection to be closed")


class TestKeys:
    def test_end_by_themselves_when_nobody_comes(self, redis_server, make):
        log = make(remember_seconds=100.0)
        append(log, 1, keep=Keep(10, 0, 50.0))
        with redis_server.client() as client:
            left = {key.decode(): client.ttl(key) for key in client.scan_iter()}
        assert left.keys() >= {f"{P}:log:c", f"{P}:pub:c", f"{P}:changes", f"{P}:ends", f"{P}:sizes", P}
        assert 40 < left[f"{P}:log:c"] <= 50
        assert 40 < left[f"{P}:pub:c"] <= 50
        assert all(50 <= seconds < 1_000_000 for key, seconds in left.items() if "c" not in key[-2:])

    def test_what_has_ended_leaves_nothing(self, redis_server, make):
        now = [1_800_000_000.0]
        log = make(clock=lambda: now[0])
        for number in range(3 * redis_scripts.ENDED_AT_ONCE):
            append(log, number, channel=f"c{number}", keep=Keep(10, 0, 10.0))
        now[0] += 2000.0
        for _ in range(3):
            log.append([], time.time())
        with redis_server.client() as client:
            assert list(client.scan_iter()) == [P.encode()]
            assert client.hget(P, "size") == b"0"

    def test_of_a_log_that_was_evicted_are_none_of_the_next(self, redis_server, log):
        [first] = append(log, 1)
        for key in ("log", "pub"):
            append(log, 2, 3)
            redis_server.ask("DEL", f"{P}:{key}:c")
            if key == "log":
                assert read(log).epoch == ""
            else:
                assert read(log)[1:] == (read(log).last + 1, read(log).last, []), "nothing is kept"
            [appended] = append(log, 10 if key == "log" else 11)
            assert appended.is_new
            assert read(log).publications[-1].offset == appended.offset
        assert appended.epoch != first.epoch
        with redis_server.client() as client:
            assert int(client.hget(P, "size")) == client.zscore(f"{P}:sizes", "c")


@pytest.mark.parametrize(
    "command",
    [
        ("SET", f"{P}:log:c", "something else"),
        ("SET", f"{P}:pub:c", "something else"),
        ("SET", f"{P}:changes", "something else"),
        ("SET", f"{P}:ends", "something else"),
        ("SET", P, "something else"),
        ("HSET", f"{P}:log:c", "epoch", b"\xff"),
        ("HSET", f"{P}:log:c", "epoch", "e" * 100),
        ("HSET", f"{P}:log:c", "last", "many"),
        ("HSET", f"{P}:log:c", "last", "-1"),
        ("HSET", f"{P}:log:c", "last", "1"),
        ("HSET", f"{P}:log:c", "last", "1e300"),
        ("HSET", f"{P}:log:c", "last", "nan"),
        ("HSET", f"{P}:log:c", "last", "inf"),
        ("HSET", f"{P}:log:c", "age", ""),
        ("HDEL", f"{P}:log:c", "ends"),
        ("XADD", f"{P}:pub:c", "4-1", "p", "x"),
        ("XADD", f"{P}:pub:c", "4-1", "p", "x", "i", "i" * 300, "n", "", "m", "1 100 300"),
        ("XADD", f"{P}:pub:c", "4-1", "p", "x", "i", "i", "n", "n" * 70_000, "m", "1 100 300"),
        ("XADD", f"{P}:pub:c", "4-1", "p", "x", "i", "i", "n", "", "m", "7 100 300"),
        ("XADD", f"{P}:pub:c", "4-1", "p", "x", "i", "i", "n", "", "m", ""),
        ("XADD", f"{P}:pub:c", "99-1", "p", "x", "i", "i", "n", "", "m", "1 100 300"),
        ("ZADD", f"{P}:changes", "1e18", "x" * 5000),
    ],
    ids=lambda command: " ".join(map(str, command))[:60],
)
def test_content_that_is_none_is_one_clear_line(redis_server, log, command):
    cursor, _ = log.news("", 10)
    append(log, 1, 2, 3)
    if command[0] == "SET":
        redis_server.ask("DEL", command[1])
    redis_server.ask(*command)
    said, pages = [], []
    for operation in (lambda: read(log), lambda: log.news(cursor, 10), *operations(log)):
        try:
            pages.append(operation())
        except LogUnavailable as error:
            said.append(str(error))
    assert all(re.match(r"Redis 127\.0\.0\.1:\d+: ", line) and "\n" not in line and len(line) < 400 for line in said)
    wrong = [page for page in pages if isinstance(page, Page) and not page.first <= page.last + 1]
    assert not wrong
    assert said or command[0] == "ZADD", "what is no channel is none that has changed"


def bulk(data):
    return b"$%d\r\n%b\r\n" % (len(data), data)


def of(*parts):
    return b"*%d\r\n" % len(parts) + b"".join(parts)


ENTRY = (5).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in (5, 1, 0, 1)) + b"1-100" + b"1 1 9" + b"ix"


@pytest.mark.parametrize(
    "answer",
    [
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"-ERR something\r\n",
        of(bulk(b"e"), bulk(b"1"), bulk(b"1")),
        of(bulk(b"e"), bulk(b"1"), bulk(b"1"), bulk(b"x")),
        of(bulk(b"e"), bulk(b"1"), bulk(b"1"), bulk(ENTRY[:-1])),
        of(bulk(b"e"), bulk(b"1"), bulk(b"1"), bulk(ENTRY + b"x")),
        of(bulk(b"e"), bulk(b"1"), bulk(b"1"), bulk(ENTRY + ENTRY)),
        of(bulk(b"e"), bulk(b"1"), bulk(b"1"), b":5\r\n"),
        of(bulk(b"e"), bulk(b"3"), bulk(b"1"), bulk(b"")),
        of(bulk(b""), bulk(b"1"), bulk(b"1"), bulk(b"")),
        of(bulk(b"\xff"), bulk(b"1"), bulk(b"1"), bulk(b"")),
        of(bulk(b"e"), bulk(b"1"), bulk(b"9" * 17), bulk(b"")),
        of(bulk(b"e"), bulk(b"1"), bulk(b"1_0"), bulk(b"")),
        of(of(of(bulk(b"e"), bulk(b"0"), b":1\r\n")), b":0\r\n", b":0\r\n"),
        of(of(of(bulk(b"e"), bulk(b"1"), b":2\r\n")), b":0\r\n", b":0\r\n"),
        of(of(of(bulk(b""), bulk(b"1"), b":1\r\n")), b":0\r\n", b":0\r\n"),
        of(of(), b":0\r\n", b":0\r\n"),
    ],
    ids=repr,
)
def test_whatever_answers_is_no_more_than_unavailable(make, answer):
    with Impostor(answer) as address:
        log = make(f"redis://{address}")
        for operation in (lambda: append(log, 1), lambda: read(log)):
            with pytest.raises(LogUnavailable) as raised:
                operation()
            assert "\n" not in str(raised.value)


def test_what_the_impostor_would_have_to_say(make):
    """So that the answers above are refused for what is wrong with them."""
    with Impostor(of(bulk(b"e"), bulk(b"1"), bulk(b"1"), bulk(ENTRY))) as address:
        page = read(make(f"redis://{address}"))
    assert page[:3] == ("e", 1, 1)
    [publication] = page.publications
    assert publication == (1, b"i", b"x", True, b"", 0.1)
    with Impostor(of(of(of(bulk(b"e"), bulk(b"1"), b":1\r\n")), b":0\r\n", b":0\r\n")) as address:
        assert append(make(f"redis://{address}"), 1) == [Appended("e", 1, True)]


class Impostor:
    """At Redis's address: it gives one answer to whatever it is asked."""

    def __init__(self, answer):
        self.answer = answer

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection):
        with suppress(OSError), connection:
            connection.settimeout(PATIENCE)
            while data := connection.recv(1 << 16):
                for command in (b"CLIENT", b"SELECT", b"EVALSHA", b"EVAL\r"):
                    for _ in range(data.count(command)):
                        connection.sendall(self.answer if command.startswith(b"EVAL") else b"+OK\r\n")


def commands(server, operation):
    """What an operation runs in Redis, by name."""
    server.ask("CONFIG", "RESETSTAT")
    operation()
    found = {name: each["calls"] for name, each in server.client().info("commandstats").items()}
    found.pop("cmdstat_config|resetstat")
    return found


def test_what_is_asked_of_a_long_log_costs_what_it_costs_of_a_short_one(redis_server, log):
    append(log, *range(100), channel="short")
    append(log, *range(20_000))
    numbers = iter(range(30_000, 40_000))
    cursor, _ = log.news("", 10)
    for operation in (
        lambda channel: read(log, 40, 10, channel),
        lambda channel: read(log, END, 10, channel),
        lambda channel: append(log, next(numbers), channel=channel),
        lambda channel: log.news(cursor, 10),
    ):
        for channel in ("short", "c"):  # each script is known, and the connection made
            operation(channel)
        short, long = (commands(redis_server, lambda: operation(channel)) for channel in ("short", "c"))  # noqa: B023
        assert short == long


def test_what_is_too_old_is_found_without_walking(redis_server, make):
    now = [1_800_000_000.0]
    log = make(clock=lambda: now[0])
    keep = Keep(100_000, 0, 100.0)
    append(log, *range(10_000), keep=keep)
    now[0] += 99.0
    append(log, 10_000, keep=keep)
    now[0] += 2.0
    assert read(log)[1:3] == (10_001, 10_001)
    assert commands(redis_server, lambda: read(log))["cmdstat_xrange"] < 40
    assert commands(redis_server, lambda: append(log, 10_001, keep=keep))["cmdstat_xrange"] < 40
    with redis_server.client() as client:
        assert client.xlen(f"{P}:pub:c") == 2


def test_a_batch_may_be_of_any_size(log, monkeypatch):
    monkeypatch.setattr(redis, "MAX_APPENDS", 10)
    monkeypatch.setattr(redis, "MAX_APPEND_BYTES", 1000)
    appended = append(log, *range(95))
    assert [each.offset for each in appended] == list(range(1, 96))
    appended = append(log, *range(100, 107), payload=bytes(600))
    assert [each.offset for each in appended] == list(range(96, 103))
    assert {each.epoch for each in appended} == {read(log).epoch}


def test_the_largest_that_is_legitimate_is_read(log):
    size = redis.MAX_PAYLOAD_BYTES
    big = Append("c", b"i" * redis.MAX_IDENTITY_BYTES, bytes(size), True, b"n" * redis.MAX_NOTE_BYTES, KEEP)
    log.append([big], time.time())
    [publication] = read(log).publications
    assert len(publication.payload) == size
    for number in range(redis.MAX_PAGE):
        log.append([big._replace(channel="d", identity=b"%d" % number, payload=b"")], time.time())
    assert len(read(log, channel="d").publications) == redis.MAX_PAGE


def test_less_room_than_before_is_made_in_steps(make):
    append(make(), *range(3000))
    small = make(max_bytes=100_000)
    kept = []
    for number in range(3000, 3020):
        append(small, number)
        page = read(small)
        kept.append(page.last - page.first + 1)
    assert kept[0] == 3001 - redis_scripts.MAKING_ROOM_AT_ONCE
    assert kept[-1] < 100_000 / 200
    assert small.made_room == 3020 - kept[-1]

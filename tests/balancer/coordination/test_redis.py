"""What can happen to a Redis and on the way to it. What every store promises is in tests/contracts."""

import os
import re
import signal
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from holdfast.balancer.coordination.base import CoordinationError, MasterRecord, StoreRefusal
from holdfast.balancer.coordination.redis import RedisCoordinator
from holdfast.balancer.coordination.redis_urls import parse_urls
from tests.redis_servers import PATIENCE, RedisServer, free_port, until

PAGE = Path(__file__).parents[3].joinpath("docs/howto/run-a-cluster.md").read_text(encoding="utf-8")
LONG = 1000.0
RECORD = MasterRecord(4, "a")


@pytest.fixture
async def make(redis_server):
    made = []

    def make(*urls, timeout=PATIENCE, **options):
        made.append(RedisCoordinator(parse_urls(urls or [redis_server.url]), "test", timeout, **options))
        return made[-1]

    yield make
    for coordinator in made:
        await coordinator.aclose()


@pytest.fixture
def coordinator(make):
    return make()


def operations(coordinator):
    """Each operation, ready to be awaited."""
    yield coordinator.put_card("p", b"", LONG)
    yield coordinator.refresh_card("p", LONG)
    yield coordinator.drop_card("p")
    yield coordinator.cards()
    yield coordinator.master()
    yield coordinator.swap_master(9, MasterRecord(10, "b"))


async def fails(coordinator, match):
    for operation in operations(coordinator):
        with pytest.raises(CoordinationError, match=match):
            await operation


class TestServer:
    async def test_killed_and_restarted_with_its_data(self, redis_server, coordinator):
        redis_server.ask("CONFIG", "SET", "appendonly", "yes", "appendfsync", "always")
        until(lambda: not redis_server.client().info("persistence")["aof_rewrite_in_progress"], "the append-only file")
        await coordinator.swap_master(0, RECORD)
        await coordinator.put_card("p", b"card", LONG)
        redis_server.stop()
        await fails(coordinator, f"Redis 127.0.0.1:{redis_server.port}: ")
        redis_server.start("--appendonly", "yes")
        assert await coordinator.master() == RECORD
        assert await coordinator.cards() == {"p": b"card"}

    async def test_killed_and_restarted_empty(self, redis_server, coordinator):
        await coordinator.swap_master(0, RECORD)
        await coordinator.put_card("p", b"card", LONG)
        redis_server.stop()
        redis_server.start()
        assert await coordinator.master() == MasterRecord()
        assert not await coordinator.refresh_card("p", LONG), "so that its owner puts it anew"

    async def test_has_forgotten_its_scripts(self, redis_server, coordinator):
        await coordinator.swap_master(0, RECORD)
        redis_server.ask("SCRIPT", "FLUSH")
        assert await coordinator.master() == RECORD

    async def test_frozen_fails_within_the_timeout(self, redis_server, make):
        connected, unconnected = make(timeout=0.5), make(timeout=0.5)
        await connected.master()
        with redis_server.frozen():
            for coordinator in (connected, unconnected):
                with trio.fail_after(2.0), pytest.raises(CoordinationError, match="Timeout"):
                    await coordinator.master()
        assert await connected.master() == MasterRecord()

    async def test_frozen_does_not_hold_up_the_event_loop(self, redis_server, coordinator):
        await coordinator.swap_master(0, RECORD)
        answers = []

        async def ask():
            answers.append(await coordinator.master())

        redis_server.send(signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            assert answers == []
            redis_server.send(signal.SIGCONT)
        assert answers == [RECORD]

    async def test_frozen_may_do_what_was_cancelled_when_it_wakes_up(self, redis_server, coordinator):
        await coordinator.master()
        with redis_server.frozen(), trio.fail_after(PATIENCE / 8):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(coordinator.swap_master, 0, RECORD)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert await coordinator.master() == RECORD
        assert await coordinator.swap_master(0, RECORD) == RECORD, "it may be repeated"

    async def test_that_is_loading(self, redis_server, coordinator):
        await coordinator.swap_master(0, RECORD)
        with redis_server.client() as client:
            client.mset({f"other{number}": os.urandom(2000) for number in range(50)})
            client.save()
        redis_server.stop()
        # 20 ms a key; it looks after its clients whenever it has loaded 1 KiB
        redis_server.launch("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
        said = []
        with trio.fail_after(PATIENCE):
            while True:
                try:
                    assert await coordinator.master() == RECORD
                    break
                except CoordinationError as error:
                    said.append(str(error))
        assert any("loading" in message for message in said)

    async def test_that_has_become_a_replica_is_not_believed(self, redis_server, coordinator):
        await coordinator.swap_master(0, RECORD)
        await coordinator.put_card("p", b"card", LONG)
        redis_server.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        await fails(coordinator, "read only replica")
        redis_server.ask("REPLICAOF", "NO", "ONE")
        assert await coordinator.master() == RECORD
        assert await coordinator.cards() == {"p": b"card"}

    async def test_after_an_error_it_is_looked_for_anew(self, redis_server, coordinator):
        """Its name may lead to another server by now, while the one that became a replica keeps the connection."""
        await coordinator.master()
        with redis_server.client() as client:
            former = {known["id"] for known in client.client_list()}
            client.replicaof("127.0.0.1", free_port())
            with pytest.raises(CoordinationError):
                await coordinator.master()
            client.replicaof("NO", "ONE")
            await coordinator.master()
            assert len(former - {known["id"] for known in client.client_list()}) == 1

    async def test_after_content_that_is_none_it_is_looked_for_anew(self, redis_server, coordinator):
        await coordinator.master()
        with redis_server.client() as client:
            former = {known["id"] for known in client.client_list()}
            client.hset("{holdfast:test}:master", mapping={"epoch": "none", "node": ""})
            with pytest.raises(CoordinationError, match="expected an integer"):
                await coordinator.master()
            client.delete("{holdfast:test}:master")
            assert await coordinator.master() == MasterRecord()
            assert len(former - {known["id"] for known in client.client_list()}) == 1

    async def test_cut_off_from_its_replicas_is_not_believed_if_it_must_not_write(self, redis_server, coordinator):
        await coordinator.swap_master(0, RECORD)
        redis_server.ask("CONFIG", "SET", "min-replicas-to-write", "1")
        await fails(coordinator, "NOREPLICAS|[Nn]ot enough good replicas")

    async def test_with_something_else_at_its_key(self, redis_server, coordinator):
        redis_server.ask("SET", "{holdfast:test}:master", "something else")
        with pytest.raises(CoordinationError, match="WRONGTYPE"):
            await coordinator.master()

    async def test_without_memory(self, redis_server, coordinator):
        redis_server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(CoordinationError, match="maxmemory"):
            await coordinator.put_card("p", b"", LONG)

    async def test_no_connection_is_left_after_closing(self, redis_server, coordinator):
        await coordinator.master()
        with redis_server.client() as client:
            assert len(client.client_list()) == 2
            await coordinator.aclose()
            until(lambda: len(client.client_list()) == 1, "the coordinator's connection to be closed")

    async def test_the_index_keeps_no_proxies_that_have_gone(self, redis_server, coordinator):
        for number in range(3):
            await coordinator.put_card(f"p{number}", b"", LONG)
        redis_server.ask("DEL", "{holdfast:test}:cards:p0")
        await coordinator.drop_card("p1")
        assert await coordinator.cards() == {"p2": b""}
        assert redis_server.ask("SMEMBERS", "{holdfast:test}:cards") == {b"p2"}


class TestAuthentication:
    async def test_by_password(self, redis_server, make):
        redis_server.ask("CONFIG", "SET", "requirepass", "hunter2")
        assert await make(password="hunter2").master() == MasterRecord()
        await fails(make(), "[Aa]uthentication required")
        await fails(make(password="hunter3"), "invalid username-password pair")

    async def test_by_user(self, redis_server, make):
        """Who may do what the page says, and no more."""
        [(keys, commands)] = re.findall(r"needs the keys `(\S+)` and the\s+commands `([^`]+)`", PAGE)
        redis_server.ask("ACL", "SETUSER", "proxy", "on", ">hunter2", keys, *commands.split())
        url = f"redis://proxy@127.0.0.1:{redis_server.port}"
        coordinator = make(url, password="hunter2")
        for operation in operations(coordinator):
            await operation
        await coordinator.swap_master(0, RECORD)
        await coordinator.put_card("p", b"card", LONG)
        assert await coordinator.cards() == {"p": b"card"}
        assert await coordinator.master() == RECORD
        redis_server.ask("ACL", "SETUSER", "proxy", "-eval")
        await fails(make(url, password="hunter2"), "no permissions")


class TestRefusal:
    """What comes again and again until somebody changes something, and which setting that is about."""

    @pytest.mark.parametrize(
        ("url", "password", "acl", "named"),
        [
            ("redis://{}", "wrong", "", r"invalid username-password.*\(store.password"),
            ("redis://{}", "", "", r"Authentication required.*\(store.password"),
            ("redis://bob@{}", "right", "", r"invalid username-password.*\(store.password"),
            ("redis://{0},redis://{0}", "wrong", "", r"invalid username-password.*\(store.password"),
            ("redis://{}/77", "right", "", r"DB index is out of range \(store.urls\)"),
            ("redis://{0},redis://{0}", "right", "", r"Cluster mode is not enabled.*\(store.urls\)"),
            ("redis+sentinel://{}/m", "right", "", r"unknown command|Sentinel refuses store.sentinel_password"),
            (
                "redis://proxy@{}",
                "right",
                "~elsewhere +@all",
                r"no permissions.*\(what the user in store.urls may do\)",
            ),
            ("redis://proxy@{}", "right", "~* -eval", r"no permissions.*\(what the user in store.urls may do\)"),
            ("redis://proxy@{}", "right", "~* +@all -hmget", r"can't run this command.*\(store.urls\)"),
        ],
    )
    async def test_is_told_from_what_passes(self, redis_server, make, url, password, acl, named):
        redis_server.ask("ACL", "SETUSER", "proxy", "on", ">right", *acl.split())
        redis_server.ask("CONFIG", "SET", "requirepass", "right")
        coordinator = make(*url.format(f"127.0.0.1:{redis_server.port}").split(","), password=password)
        with pytest.raises(StoreRefusal, match=named):
            await coordinator.master()

    async def test_of_a_sentinel(self, make, tmp_path):
        sentinel = RedisServer(tmp_path / "sentinel").start("--requirepass", "right", password="right")
        try:
            coordinator = make(f"redis+sentinel://127.0.0.1:{sentinel.port}/m", sentinel_password="wrong")
            with pytest.raises(StoreRefusal, match=r"refuses store.sentinel_password"):
                await coordinator.master()
        finally:
            sentinel.stop()

    async def test_what_passes_is_none(self, redis_server, make):
        redis_server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(CoordinationError) as full:
            await make().put_card("p", b"card", LONG)
        redis_server.stop()
        with pytest.raises(CoordinationError) as gone:
            await make().master()
        assert StoreRefusal not in (full.type, gone.type)

    async def test_no_tls_where_it_is_expected(self, redis_server, make):
        with pytest.raises(CoordinationError, match=r"it speaks no TLS, or is slow") as failure:
            await make(f"rediss://127.0.0.1:{redis_server.port}", timeout=1.0).master()
        assert failure.type is CoordinationError

    async def test_tls_files_that_are_not_there(self, redis_server, make):
        with pytest.raises(StoreRefusal, match=r"No such file.*\(the TLS options in store.urls\)"):
            await make(f"rediss://127.0.0.1:{redis_server.port}?ssl_ca_certs=/nowhere").master()


class TestTls:
    async def test_with_the_certificate_verified_unless_told_otherwise(self, redis_server, make, certificate):
        file, key = certificate
        port = free_port()
        redis_server.ask("CONFIG", "SET", "tls-cert-file", file, "tls-key-file", key, "tls-auth-clients", "no")
        redis_server.ask("CONFIG", "SET", "tls-port", str(port))
        url = f"rediss://127.0.0.1:{port}"
        assert await make(f"{url}?ssl_ca_certs={file}").master() == MasterRecord()
        assert await make(f"{url}?ssl_cert_reqs=none").master() == MasterRecord()
        await fails(make(url), "certificate verify failed")


class TestSomethingElse:
    @pytest.mark.parametrize(
        "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b":x\r\n", b"$x\r\n", b"*1\r\n", b"\xff"]
    )
    async def test_that_is_no_redis(self, make, answer):
        async def handle(stream):
            await stream.receive_some()
            if answer:
                await stream.send_all(answer)

        async with trio.open_nursery() as nursery:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, handle, [listener])
            url = f"redis://127.0.0.1:{listener.socket.getsockname()[1]}"
            await fails(make(url, timeout=2.0), url.removeprefix("redis://"))
            nursery.cancel_scope.cancel()

    async def test_that_is_no_sentinel(self, redis_server, make):
        await fails(make(f"redis+sentinel://127.0.0.1:{redis_server.port}/main"), "unknown command")

    async def test_where_no_sentinel_is(self, make):
        await fails(make(f"redis+sentinel://127.0.0.1:{free_port()}/main"), "none of these can be reached")

    async def test_that_is_no_cluster(self, redis_server, make):
        await fails(make(redis_server.url, redis_server.url), "Cluster mode is not enabled")

    async def test_where_no_cluster_is(self, make):
        await fails(make(f"redis://127.0.0.1:{free_port()}", f"redis://127.0.0.1:{free_port()}"), "refused")

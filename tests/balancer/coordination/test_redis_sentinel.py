"""A master, a replica and a Sentinel, all real."""

import traceback

import pytest
import trio

from holdfast.balancer.coordination.base import CoordinationError, MasterRecord
from holdfast.balancer.coordination.redis import RedisCoordinator
from holdfast.balancer.coordination.redis_urls import parse_urls
from tests.redis_servers import RedisServer, free_port, until

pytestmark = pytest.mark.slow

LONG = 1000.0
PATIENCE = 60.0
RECORD = MasterRecord(4, "a")
PASSWORD, SENTINELS_PASSWORD = "hunter2", "hunter3"


@pytest.fixture
def servers(tmp_path):
    authentication = ["--requirepass", PASSWORD, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"]
    master = RedisServer(tmp_path / "master", *authentication)
    replica = RedisServer(tmp_path / "replica", *authentication, "--replicaof", f"127.0.0.1 {master.port}")
    folder = tmp_path / "sentinel"
    folder.mkdir()
    configuration = folder / "sentinel.conf"
    configuration.write_text(
        f"""
        sentinel monitor main 127.0.0.1 {master.port} 1
        sentinel auth-pass main {PASSWORD}
        sentinel down-after-milliseconds main 500
        sentinel failover-timeout main 2000
        requirepass {SENTINELS_PASSWORD}
        """
    )
    sentinel = RedisServer(folder, mode=[str(configuration), "--sentinel"])
    sentinel.options = ["--dir", str(folder), "--bind", "127.0.0.1"]
    try:
        master.start(password=PASSWORD)
        replica.start(password=PASSWORD)
        sentinel.start(password=SENTINELS_PASSWORD)
        yield master, replica, sentinel
    finally:
        for server in (master, replica, sentinel):
            server.stop()


def wait_until_it_can_fail_over(master, replica, sentinel):
    def is_well():
        with sentinel.client(password=SENTINELS_PASSWORD) as client:
            [known] = client.sentinel_slaves("main") or [{}]
        return known.get("master-link-status") == "ok" and known["flags"] == "slave"

    until(is_well, "the Sentinel to know that the replica is well")
    with master.client(password=PASSWORD) as client:
        client.set("last", "")
        until(lambda: client.wait(1, 1000) == 1, "the replica to have what came before, too")


@pytest.fixture
async def coordinator(servers):
    # the first is not there: it is passed over
    urls = [f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{servers[2].port}/main"]
    coordinator = RedisCoordinator(parse_urls(urls), "test", 2.0, PASSWORD, SENTINELS_PASSWORD)
    yield coordinator
    await coordinator.aclose()


async def eventually(operation, *args):
    """What it returns when the store is there again, and what it said meanwhile."""
    said = []
    with trio.fail_after(PATIENCE):
        while True:
            try:
                return await operation(*args), said
            except CoordinationError as error:
                said.append(str(error))
                await trio.sleep(0.05)


async def test_goes_on_with_the_replica_when_the_master_is_killed(servers, coordinator):
    await coordinator.swap_master(0, RECORD)
    await coordinator.put_card("p", b"card", LONG)
    wait_until_it_can_fail_over(*servers)
    servers[0].stop()
    record, said = await eventually(coordinator.master)
    assert record == RECORD
    assert said, "there was nobody to ask meanwhile"
    assert await coordinator.cards() == {"p": b"card"}
    second = MasterRecord(5, "b")
    assert await coordinator.swap_master(4, second) == second


def is_alone(role):
    return role[0] == b"slave" or role[2] == []


async def test_nothing_is_told_to_a_master_that_the_sentinel_has_replaced(servers, coordinator):
    """As docs/adr/0011-store-redis.md advises: or what it is told until it becomes a replica would be lost."""
    master, replica, sentinel = servers
    for server in (master, replica):
        server.ask("CONFIG", "SET", "min-replicas-to-write", "1", password=PASSWORD)
    await eventually(coordinator.swap_master, 0, RECORD)
    wait_until_it_can_fail_over(*servers)
    sentinel.ask("SENTINEL", "FAILOVER", "main", password=SENTINELS_PASSWORD)
    until(lambda: replica.ask("ROLE", password=PASSWORD)[0] == b"master", "the replica to be master")
    until(lambda: is_alone(master.ask("ROLE", password=PASSWORD)), "the former one to notice that it has left")
    second = MasterRecord(5, "b")
    record, _ = await eventually(coordinator.swap_master, 4, second)
    assert record == second
    assert replica.ask("HGET", "{holdfast:test}:master", "epoch", password=PASSWORD) == b"5"


async def test_wrong_passwords_are_told_and_not_shown(servers):
    url = f"redis+sentinel://127.0.0.1:{servers[2].port}/main"
    for passwords, message in (
        ((PASSWORD, "hunter4"), "a Sentinel refuses store.sentinel_password"),
        (("hunter4", SENTINELS_PASSWORD), "invalid username-password pair"),
    ):
        coordinator = RedisCoordinator(parse_urls([url]), "test", 5.0, *passwords)
        with pytest.raises(CoordinationError, match=message) as raised:
            await coordinator.master()
        shown = "".join(traceback.format_exception(raised.value))
        assert not any(secret in shown for secret in (PASSWORD, SENTINELS_PASSWORD, "hunter4"))
        await coordinator.aclose()


async def test_a_service_that_the_sentinels_do_not_know(servers):
    url = f"redis+sentinel://127.0.0.1:{servers[2].port}/other"
    coordinator = RedisCoordinator(parse_urls([url]), "test", 5.0, PASSWORD, SENTINELS_PASSWORD)
    with pytest.raises(CoordinationError, match=r"\(other\): none of these"):
        await coordinator.master()
    await coordinator.aclose()

"""A Redis Cluster of three masters, all real."""

import re
import subprocess

import pytest
import trio

from holdfast.balancer.coordination.base import CoordinationError, MasterRecord
from holdfast.balancer.coordination.redis import RedisCoordinator
from holdfast.balancer.coordination.redis_urls import parse_urls
from tests.balancer.coordination.test_redis import PAGE
from tests.redis_servers import RedisServer, free_port, until

pytestmark = pytest.mark.slow

LONG = 1000.0
PATIENCE = 60.0
RECORD = MasterRecord(4, "a")
TAG = "{holdfast:test}"


def redis_cli(*arguments):
    done = subprocess.run(["redis-cli", *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def servers(tmp_path):
    servers = [
        RedisServer(
            tmp_path / str(index),
            *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", str(free_port())),
            *("--appendonly", "yes", "--appendfsync", "always"),
        )
        for index in range(3)
    ]
    try:
        for server in servers:
            server.start()
        redis_cli("--cluster", "create", *(f"127.0.0.1:{server.port}" for server in servers), "--cluster-yes")
        until(lambda: all(b"cluster_state:ok" in s.ask("CLUSTER", "INFO") for s in servers), "the cluster to be one")
        yield servers
    finally:
        for server in servers:
            server.stop()


@pytest.fixture
async def coordinator(servers):
    # one of those that are named is not there: it is passed over
    urls = [f"redis://127.0.0.1:{free_port()}", *(f"{server.url}/0" for server in servers[1:])]
    coordinator = RedisCoordinator(parse_urls(urls), "test", 5.0)
    yield coordinator
    await coordinator.aclose()


def owner_of_the_keys(servers):
    [owner] = [server for server in servers if any(key.startswith(TAG.encode()) for key in server.ask("KEYS", "*"))]
    return owner


async def test_all_keys_are_on_one_node(servers, coordinator):
    await coordinator.put_card("p", b"one", LONG)
    await coordinator.put_card("q", b"two", LONG)
    assert await coordinator.swap_master(0, RECORD) == RECORD
    assert len(owner_of_the_keys(servers).ask("KEYS", "*")) == 4
    assert await coordinator.cards() == {"p": b"one", "q": b"two"}
    await coordinator.drop_card("p")
    assert await coordinator.cards() == {"q": b"two"}
    assert await coordinator.master() == RECORD


async def test_the_keys_are_followed_to_another_node(servers, coordinator):
    await coordinator.swap_master(0, RECORD)
    owner = owner_of_the_keys(servers)
    other = next(server for server in servers if server is not owner)
    slots = ("--cluster-slots", "16384", "--cluster-yes")  # as many as it has
    ids = [server.ask("CLUSTER", "MYID").decode() for server in (owner, other)]
    redis_cli(
        "--cluster",
        "reshard",
        owner.url.removeprefix("redis://"),
        *slots,
        "--cluster-from",
        ids[0],
        "--cluster-to",
        ids[1],
    )
    assert await coordinator.master() == RECORD
    assert owner_of_the_keys(servers) is other


async def test_without_the_node_of_the_keys_it_fails_until_that_is_back(servers, coordinator):
    await coordinator.swap_master(0, RECORD)
    owner = owner_of_the_keys(servers)
    owner.stop()
    for _ in range(2):
        with pytest.raises(CoordinationError, match="Redis Cluster 127"):
            await coordinator.master()
    owner.start()
    with trio.fail_after(PATIENCE):
        while True:
            try:
                assert await coordinator.master() == RECORD
                break
            except CoordinationError:
                await trio.sleep(0.05)


async def test_a_node_alone_does_not_do(servers):
    coordinators = [RedisCoordinator(parse_urls([server.url]), "test", 5.0) for server in servers]
    said = []
    for coordinator in coordinators:
        try:
            await coordinator.master()
        except CoordinationError as error:
            said.append(str(error))
        await coordinator.aclose()
    assert len(said) == 2
    assert all("store.urls must list several nodes" in message for message in said)


async def test_nodes_that_belong_to_nothing_yet(tmp_path):
    alone = RedisServer(tmp_path / "alone", "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    try:
        alone.start()
        coordinator = RedisCoordinator(parse_urls([alone.url, alone.url]), "test", 5.0)
        with pytest.raises(CoordinationError, match="slots"):
            await coordinator.master()
        await coordinator.aclose()
    finally:
        alone.stop()


async def test_a_user_needs_what_the_page_says_for_a_cluster_and_no_more(servers):
    [(keys, commands, more)] = re.findall(
        r"needs the keys `(\S+)` and the\s+commands `([^`]+)`, for a Redis\s+Cluster `([^`]+)` too", PAGE
    )
    for server in servers:
        server.ask("ACL", "SETUSER", "proxy", "on", ">hunter2", keys, *commands.split(), more)
    urls = [f"redis://proxy@127.0.0.1:{server.port}" for server in servers]
    coordinator = RedisCoordinator(parse_urls(urls), "test", PATIENCE, password="hunter2")
    await coordinator.put_card("p", b"card", LONG)
    assert await coordinator.cards() == {"p": b"card"}
    assert await coordinator.swap_master(0, RECORD) == await coordinator.master() == RECORD
    await coordinator.aclose()

"""Logs in a Redis Cluster, and behind Sentinels. What these are is in tests/balancer/coordination."""

import time

import pytest

from holdfast.balancer.coordination.redis_urls import parse_urls
from holdfast.balancer.history.base import Append, Keep, LogUnavailable
from holdfast.balancer.history.redis import RedisLog
from tests.balancer.coordination import test_redis_cluster, test_redis_sentinel
from tests.redis_servers import until

pytestmark = pytest.mark.slow

KEEP = Keep(100, 0, 3600.0)
MUCH = 1 << 30

cluster = test_redis_cluster.servers
sentinels = test_redis_sentinel.servers


def append(log, *numbers, channel="c{x}"):
    appends = [Append(channel, b"%d" % number, b"payload", True, b"", KEEP) for number in numbers]
    return [(each.offset, each.is_new) for each in log.append(appends, time.time())]


def test_a_redis_cluster_has_all_logs_on_one_node(cluster):
    log = RedisLog(parse_urls([f"{server.url}/0" for server in cluster]), "test", 5.0, MUCH)
    cursor, _ = log.news("", 10)
    assert append(log, 1, 2) == [(1, True), (2, True)]
    assert append(log, 1, channel="d") == [(1, True)]
    assert append(log, 2, 3) == [(2, False), (3, True)]
    page = log.read("c{x}", 0, 10, MUCH, time.time())
    assert [each.offset for each in page.publications] == [1, 2, 3]
    assert [each[0] for each in log.news(cursor, 10)[1]] == ["d", "c{x}"]
    assert log.renew("d", "") != ""
    for server in cluster:
        server.ask("SCRIPT", "FLUSH")
    assert append(log, 4) == [(4, True)]
    test_redis_cluster.owner_of_the_keys(cluster)
    log.close()


def test_what_a_replica_has_is_there_when_it_has_become_the_master(sentinels):
    master, replica, sentinel = sentinels
    password = test_redis_sentinel.PASSWORD
    servers = parse_urls([f"redis+sentinel://127.0.0.1:{sentinel.port}/main"])
    log = RedisLog(
        servers, "test", 5.0, MUCH, password=password, sentinel_password=test_redis_sentinel.SENTINELS_PASSWORD
    )
    assert append(log, 1, 2) == [(1, True), (2, True)]
    test_redis_sentinel.wait_until_it_can_fail_over(master, replica, sentinel)
    master.stop()

    def is_done():
        try:
            return append(log, 2, 3)
        except LogUnavailable:
            return None

    until(is_done, "the replica to be the master")
    assert append(log, 1, 2, 3, 4) == [(1, False), (2, False), (3, False), (4, True)]
    log.close()

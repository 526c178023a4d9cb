"""The coordination store of many machines: a Redis, a master that Sentinels name, or a Redis Cluster.

Owns the client of redis-py and the names of the keys: `{holdfast:NAME}:cards` and so on, all with one hash tag. Refuses
to try anything twice: an operation is one attempt, and after an error the next one begins with a new connection, since
the server may be a replica by then, the name may lead elsewhere, the cluster may have another shape. Bounded in each
wait by a part of `timeout`, so that a dead Sentinel or node can be passed over within it, and in all of them by the
whole; what an answer may take is bounded in redis_bounds.
"""

import math
import ssl
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import Connection, SSLConnection
from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from holdfast.balancer.coordination import redis_scripts as scripts
from holdfast.balancer.coordination.base import CoordinationError, Coordinator, MasterRecord, StoreRefusal
from holdfast.balancer.coordination.contents import cards_of, record_of, shown
from holdfast.balancer.coordination.redis_bounds import bounded
from holdfast.balancer.coordination.redis_urls import Arrangement, Servers
from holdfast.balancer.coordination.threads import StoreThread

Result = TypeVar("Result")

# Of a server's error: it is not what store.urls say, or lets this user do too little. Other errors may pass.
NOT_AS_SET = (
    "DB index is out of range",
    "value is not an integer or out of range",  # of a database, too
    "Cluster mode is not enabled",
    "unknown command",
    "can't run this command",
)
STEPS = 4  # that many waits, for a connection or an answer, fit into the time of one operation


class RedisCoordinator(Coordinator):
    """A Coordinator in Redis 5 or later. name: of the cluster; clusters of different names may share a Redis.

    It promises what Redis does: after a failover the last writes may be lost, and a master that is cut off from its
    replicas goes on taking them unless `min-replicas-to-write` is set (docs/adr/0011-store-redis.md).
    """

    def __init__(
        self, servers: Servers, name: str, timeout: float, password: str = "", sentinel_password: str = ""
    ) -> None:
        self._servers = servers
        self._wait = timeout / STEPS
        self._password = password
        self._sentinel_password = sentinel_password
        self._thread = StoreThread(str(servers), timeout)
        self._client: Redis | RedisCluster | None = None
        prefix = f"{{holdfast:{name}}}"
        self._cards = f"{prefix}:cards"
        self._master = f"{prefix}:master"

    async def put_card(self, proxy: str, card: bytes, ttl: float) -> None:
        await self._run(bool, scripts.PUT_CARD, [self._cards, self._card(proxy)], proxy, card, _milliseconds(ttl))

    async def refresh_card(self, proxy: str, ttl: float) -> bool:
        return await self._run(bool, scripts.REFRESH_CARD, [self._card(proxy)], _milliseconds(ttl))

    async def drop_card(self, proxy: str) -> None:
        await self._run(bool, scripts.DROP_CARD, [self._cards, self._card(proxy)], proxy)

    async def cards(self) -> dict[str, bytes]:
        return await self._run(_cards, scripts.CARDS, [self._cards])

    async def master(self) -> MasterRecord:
        return await self._run(_record, scripts.MASTER, [self._master])

    async def swap_master(self, expected: int, record: MasterRecord) -> MasterRecord:
        if record.epoch <= expected:
            raise ValueError(f"expected an epoch greater than {expected}, got {record.epoch}")
        return await self._run(_record, scripts.SWAP_MASTER, [self._master], expected, record.epoch, record.node)

    async def aclose(self) -> None:
        await self._thread.close(self._disconnect)

    def _card(self, proxy: str) -> str:
        return f"{self._cards}:{proxy}"

    async def _run(
        self, read: Callable[[object], Result], script: str, keys: Sequence[str], *args: str | bytes | int
    ) -> Result:
        return await self._thread.call(self._eval, read, script, keys, args)

    # --- in the thread ------------------------------------------------------------------------------------------

    def _eval(
        self, read: Callable[[object], Result], script: str, keys: Sequence[str], args: Sequence[str | bytes | int]
    ) -> Result:
        try:
            if self._client is None:
                self._client = self._connect()
            reply: object = self._client.eval(script, len(keys), *keys, *args)
            return read(reply)
        except CoordinationError as error:
            self._disconnect()
            raise CoordinationError(f"{self._servers}: {error}") from error
        except Exception as error:  # a guard: what answers may be no Redis, and redis-py then raises whatever happens
            self._disconnect()
            # redis-py may put the password into a MasterNotFoundError: it goes no further, not as a cause either
            cause = None if isinstance(error, MasterNotFoundError) else error
            refusal = _refusal(error)
            kind = StoreRefusal if refusal else CoordinationError
            raise kind(f"{self._servers}: {refusal or _what(error, is_tls=self._servers.tls is not None)}") from cause

    def _connect(self) -> Redis | RedisCluster:
        """A client. Only a Redis Cluster's is connected already: it has to know who has which keys."""
        servers = self._servers
        once = Retry(NoBackoff(), 0)
        # RESP 2, because Redis 5 speaks no other
        options: dict[str, Any] = {"socket_timeout": self._wait, "socket_connect_timeout": self._wait, "protocol": 2}
        of_sentinels = {**options, "password": self._sentinel_password or None, "retry": once}
        options |= {"username": servers.username or None, "password": self._password or None, "retry": once}
        if servers.arrangement is Arrangement.CLUSTER:
            nodes = [ClusterNode(host, port) for host, port in servers.nodes]  # type: ignore[no-untyped-call]
            kind = Connection if servers.tls is None else SSLConnection
            options |= {"connection_class": bounded(kind, self._thread.left), **(servers.tls or {})}
            # with a URL, because it leaves the kind of connection to us only then
            host, port = servers.nodes[0]
            url = f"redis://[{host}]:{port}" if ":" in host else f"redis://{host}:{port}"
            return RedisCluster(url=url, startup_nodes=nodes[1:], **options)
        tls = {} if servers.tls is None else {"ssl": True, **servers.tls}
        options |= {"db": servers.database, **tls}
        if servers.arrangement is Arrangement.SENTINEL:
            sentinel = Sentinel(servers.nodes, sentinel_kwargs=of_sentinels | tls, **options)  # type: ignore[no-untyped-call]
            client: Redis = sentinel.master_for(servers.service)  # type: ignore[no-untyped-call]
            clients = [client, *sentinel.sentinels]
        else:
            [(host, port)] = servers.nodes
            client = Redis(host, port, **options)
            clients = [client]
        for each in clients:  # none of them is connected yet
            pool = each.connection_pool
            pool.connection_class = bounded(pool.connection_class, self._thread.left)
        return client

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        client.close()
        if isinstance(client, Redis) and isinstance(client.connection_pool, SentinelConnectionPool):
            for sentinel in client.connection_pool.sentinel_manager.sentinels:
                sentinel.close()


def _refusal(error: BaseException | None) -> str:
    """What is to be set otherwise, at one of its causes; "": nothing that is known, it may answer the next time."""
    while error is not None:
        text = shown(str(error))
        if isinstance(error, AuthenticationError):
            return f"{text} (store.password, and the user in store.urls)"
        if isinstance(error, MasterNotFoundError) and AuthenticationError.__name__ in str(error):
            return "a Sentinel refuses store.sentinel_password"
        if isinstance(error, MovedError):
            return "it belongs to a Redis Cluster, so store.urls must list several nodes"
        if isinstance(error, FileNotFoundError | PermissionError | ssl.SSLError):
            return f"{text} (the TLS options in store.urls)"
        if isinstance(error, NoPermissionError):
            return f"{text} (what the user in store.urls may do)"
        if isinstance(error, ResponseError | RedisClusterException) and any(phrase in text for phrase in NOT_AS_SET):
            return f"{text} (store.urls)"
        error = error.__cause__ or error.__context__
    return ""


def _what(error: Exception, *, is_tls: bool) -> str:
    if is_tls and isinstance(error, RedisTimeoutError):  # a frozen one looks the same, so that is no refusal
        return f"{shown(str(error))}: it speaks no TLS, or is slow"
    if isinstance(error, MasterNotFoundError):
        return "none of these can be reached and knows a living master of this name"
    if not isinstance(error, RedisError | RedisClusterException | OSError):
        return f"no Redis answers there ({type(error).__name__})"
    return shown(str(error))


def _milliseconds(ttl: float) -> int:
    return max(1, math.ceil(ttl * 1000))  # Redis refuses 0


def _record(reply: object) -> MasterRecord:
    if not isinstance(reply, list) or len(reply) != 2:
        raise CoordinationError("expected the record's epoch and content, got something else")
    return record_of(*reply)


def _cards(reply: object) -> dict[str, bytes]:
    if not isinstance(reply, list) or len(reply) % 2:
        raise CoordinationError("expected proxies and cards, got something else")
    return cards_of(zip(reply[::2], reply[1::2], strict=True))

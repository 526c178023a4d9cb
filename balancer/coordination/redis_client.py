"""A client of redis-py for scripts, as stores use it, in a thread.

Refuses to try anything twice: an operation is one attempt, and after an error the next one begins with a new
connection, since the server may be a replica by then, the name may lead elsewhere, the cluster may have another shape.
What an answer may take is bounded in redis_bounds.
"""

import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import Connection, SSLConnection
from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from holdfast.balancer.coordination.base import CoordinationError, StoreRefusal
from holdfast.balancer.coordination.contents import shown
from holdfast.balancer.coordination.redis_bounds import MAX_ANSWER_BYTES, bounded
from holdfast.balancer.coordination.redis_urls import Arrangement, Servers

Result = TypeVar("Result")
Argument = str | bytes | int

# Of a server's error: it is not what store.urls say, or lets this user do too little. Other errors may pass.
NOT_AS_SET = (
    "DB index is out of range",
    "value is not an integer or out of range",  # of a database, too
    "Cluster mode is not enabled",
    "unknown command",
    "can't run this command",
)
STEPS = 4  # that many waits, for a connection or an answer, fit into the time of one operation


class RedisClient:
    """wait: seconds for a connection or an answer. left: seconds for what is under way; raises TimeoutError after."""

    def __init__(
        self,
        servers: Servers,
        wait: float,
        left: Callable[[], float],
        password: str = "",
        sentinel_password: str = "",
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._servers = servers
        self._wait = wait
        self._left = left
        self._password = password
        self._sentinel_password = sentinel_password
        self._max_answer_bytes = max_answer_bytes
        self._client: Redis | RedisCluster | None = None

    def eval(
        self,
        read: Callable[[object], Result],
        script: str,
        keys: Sequence[str],
        args: Sequence[Argument],
        digest: str = "",
    ) -> Result:
        """What `read` makes of the script's answer; it may raise CoordinationError for what can't be one. digest: of a
        long script, which is sent only to a server that does not know it. Raises CoordinationError, or StoreRefusal.
        """
        try:
            if self._client is None:
                self._client = self._connect()
            if digest:
                with suppress(NoScriptError):  # it has restarted, or is another one: nothing was done
                    return read(self._client.evalsha(digest, len(keys), *keys, *args))
            return read(self._client.eval(script, len(keys), *keys, *args))
        except CoordinationError as error:
            self.close()
            raise CoordinationError(f"{self._servers}: {error}") from error
        except Exception as error:  # a guard: what answers may be no Redis, and redis-py then raises whatever happens
            self.close()
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
            options |= {"connection_class": bounded(kind, self._left, self._max_answer_bytes), **(servers.tls or {})}
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
            pool.connection_class = bounded(pool.connection_class, self._left, self._max_answer_bytes)
        return client

    def close(self) -> None:
        """Nothing is connected then; the next operation connects anew."""
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

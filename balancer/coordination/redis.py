"""The coordination store of many machines: a Redis, a master that Sentinels name, or a Redis Cluster.

Owns the names of the keys: `{holdfast:NAME}:cards` and so on, all with one hash tag. Bounded in each wait by a part of
`timeout`, so that a dead Sentinel or node can be passed over within it, and in all of them by the whole.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from holdfast.balancer.coordination import redis_scripts as scripts
from holdfast.balancer.coordination.base import CoordinationError, Coordinator, MasterRecord
from holdfast.balancer.coordination.contents import cards_of, record_of
from holdfast.balancer.coordination.redis_client import STEPS, RedisClient
from holdfast.balancer.coordination.redis_urls import Servers
from holdfast.balancer.coordination.threads import StoreThread

Result = TypeVar("Result")


class RedisCoordinator(Coordinator):
    """A Coordinator in Redis 5 or later. name: of the cluster; clusters of different names may share a Redis.

    It promises what Redis does: after a failover the last writes may be lost, and a master that is cut off from its
    replicas goes on taking them unless `min-replicas-to-write` is set (docs/adr/0011-store-redis.md).
    """

    def __init__(
        self, servers: Servers, name: str, timeout: float, password: str = "", sentinel_password: str = ""
    ) -> None:
        self._thread = StoreThread(str(servers), timeout)
        self._client = RedisClient(servers, timeout / STEPS, self._thread.left, password, sentinel_password)
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
        await self._thread.close(self._client.close)

    def _card(self, proxy: str) -> str:
        return f"{self._cards}:{proxy}"

    async def _run(
        self, read: Callable[[object], Result], script: str, keys: Sequence[str], *args: str | bytes | int
    ) -> Result:
        return await self._thread.call(self._client.eval, read, script, keys, args)


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

"""The proxies and the store of a cluster, as faults see them: who may be killed, and how it is mended.

A proxy is killed when the cluster is whole only, because what is promised holds while more than half of it lives. In
turn it is started anew at once, so that it takes its own place, and after a while, so that the others go on without it;
the store likewise. Both are then where they were, and the store has forgotten everything.
"""

import random
from collections.abc import Callable

import trio

from protocols.errors import HoldfastError
from proxy.chaos.deployment import Deployment
from proxy.chaos.fleet import Fleet
from proxy.chaos.proxies import OwnProxy

KINDS = ("kill-proxy", "kill-store", "kill-together")
LEAST = 3  # proxies, of which one can be killed and more than half of them live, also while there is no store
AWAY = (0.0, 5.0)  # seconds until it is started anew, in turn; a proxy is evicted after 2
WHOLE_PATIENCE = 60.0
POLL_INTERVAL = 0.1


class Servers:
    """surprise: called with what should not have happened."""

    def __init__(
        self, deployment: Deployment, fleet: Fleet, chance: random.Random, surprise: Callable[[str], None]
    ) -> None:
        self._deployment = deployment
        self._fleet = fleet
        self._chance = chance
        self._surprise = surprise
        self._is_mending_proxy = False
        self._is_mending_store = False
        self._last: OwnProxy | None = None
        self._proxies_killed = 0
        self._stores_killed = 0

    @property
    def has_store(self) -> bool:
        """Whether there is one to kill."""
        return self._deployment.redis is not None

    def may(self, kind: str) -> bool:
        """Whether that can be done now. What is done to nodes always can."""
        needs_proxies, needs_store = kind in ("kill-proxy", "kill-together"), kind in ("kill-store", "kill-together")
        return not (needs_proxies and self._is_mending_proxy) and not (needs_store and self._is_mending_store)

    def choose(self) -> OwnProxy:
        """The one to kill: every third time the keeper; not the last one again, which has no clients yet."""
        proxies = [proxy for proxy in self._deployment.own if proxy is not self._last]
        status = self._fleet.status
        if self._proxies_killed % 3 == 2 and status.cluster is not None:
            for proxy in proxies:
                if proxy.id == status.cluster.keeper:
                    return proxy
        return self._chance.choice(proxies)

    async def kill_proxy(self, proxy: OwnProxy) -> None:
        """Returns when it serves again, and the cluster is whole."""
        self._is_mending_proxy = True
        self._last = proxy
        away = AWAY[self._proxies_killed % len(AWAY)]
        self._proxies_killed += 1
        proxy.kill()
        await proxy.process.wait()
        await trio.sleep(away)
        try:
            await proxy.restart()
        except HoldfastError as error:
            self._surprise(str(error))
            return  # and no other will be killed
        with trio.move_on_after(WHOLE_PATIENCE) as patience:
            while not await self._fleet.is_whole():  # noqa: ASYNC110 - it is asked over HTTP
                await trio.sleep(POLL_INTERVAL)
        if patience.cancelled_caught:
            self._surprise(f"the cluster was not whole within {WHOLE_PATIENCE:g} s after {proxy.name} was started anew")
            return
        self._is_mending_proxy = False

    async def kill_store(self) -> None:
        """Returns when it answers again; at once if it is a file."""
        redis = self._deployment.redis
        if redis is None:
            return
        self._is_mending_store = True
        away = AWAY[self._stores_killed % len(AWAY)]
        self._stores_killed += 1
        await redis.kill().wait()
        await trio.sleep(away)
        try:
            await redis.start()
        except HoldfastError as error:
            self._surprise(str(error))
            return
        self._is_mending_store = False

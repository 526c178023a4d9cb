"""Which coordination store, by the configuration. No I/O: a store that can't be reached says so when it is used."""

from balancer.coordination.base import Coordinator
from balancer.coordination.memory import MemoryCoordinator
from balancer.coordination.redis_urls import parse_urls
from balancer.coordination.sqlite import SqliteCoordinator
from balancer.settings import StoreSettings
from protocols.errors import ConfigError


def open_store(settings: StoreSettings) -> Coordinator:
    """The store; who opens it closes it by `aclose`. Raises ConfigError if the settings don't say where it is."""
    if settings.kind == "memory":
        return MemoryCoordinator()
    if settings.kind == "sqlite":
        if not settings.path:
            raise ConfigError("store.path: expected the file that the proxies of this machine share, got nothing")
        return SqliteCoordinator(settings.path, settings.timeout)
    try:
        servers = parse_urls(settings.urls)
    except ValueError as error:
        raise ConfigError(f"store.urls: expected {error}") from error
    # Imported only where it is used: redis-py takes 0.15 s.
    from balancer.coordination.redis import RedisCoordinator

    return RedisCoordinator(servers, settings.name, settings.timeout, settings.password, settings.sentinel_password)

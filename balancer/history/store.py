"""Which store has the logs, by the configuration. No I/O: one that can't be reached says so when it is used."""

from holdfast.balancer.coordination.redis_urls import parse_urls
from holdfast.balancer.history.base import Log
from holdfast.balancer.history.memory import MemoryLog
from holdfast.balancer.history.sqlite import SqliteLog
from holdfast.balancer.settings import HistorySettings, StoreSettings
from holdfast.protocols.errors import ConfigError


def open_log(store: StoreSettings, history: HistorySettings) -> Log:
    """Where coordination is, unless `history.kind` says otherwise: in a file beside its own, so that neither waits for
    the other, or under keys of its own. Who opens it closes it by `close`. Raises ConfigError if the settings don't say
    where it is."""
    kind = store.kind if history.kind == "store" else history.kind
    limits = history.max_bytes, history.remember, history.max_identities
    if kind == "memory":
        return MemoryLog(*limits)
    if kind == "sqlite":
        if not store.path:
            raise ConfigError("store.path: expected a file, beside which that of the logs is, got nothing")
        return SqliteLog(f"{store.path}-history", store.timeout, *limits)
    try:
        servers = parse_urls(store.urls)
    except ValueError as error:
        raise ConfigError(f"store.urls: expected {error}") from error
    # Imported only where it is used: redis-py takes 0.15 s.
    from holdfast.balancer.history.redis import RedisLog

    return RedisLog(servers, store.name, store.timeout, *limits, store.password, store.sentinel_password)

"""`node.state`: what all nodes share, as a mapping of keys to JSON-like values.

Every node has all of it. Changes are put in one order by a proxy, so all nodes see the same changes in the same order;
what is read is what this node has applied, which may be a moment old. Entries outlive nodes; with an owner they end
when that client goes. A key has a version, which no other value of it ever has: what is read and set again can be set
only if nobody else was faster.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
import trio
from msgspec import Struct

from holdfast.node import threads
from holdfast.node.effects import check_version, id_of
from holdfast.node.elsewhere import within_trio
from holdfast.node.errors import StateConflict, StateError, StateRefused
from holdfast.node.plain import check_text
from holdfast.node.replica import PROPOSAL_TIMEOUT, Replica
from holdfast.node.request import Client

# Whoever reads a value may be called from deeper than whoever set it. So there must be room for so many calls, or as
# many lists around it, when it is set: a client may choose how deeply a value is nested, and every node reads it.
DEPTH_MARGIN = 200
_LISTS = b"\x91" * DEPTH_MARGIN  # each is a list with one element, which follows

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


def encode(value: object) -> bytes:
    """A value's bytes. Raises TypeError for what could not be read again: by every node, wherever that is done."""
    try:
        encoded = _encoder.encode(value)
        _decoder.decode(_LISTS + encoded)
    except RecursionError:
        raise TypeError("the value is nested too deeply for the state") from None
    except (msgspec.MsgspecError, UnicodeError, OverflowError) as error:
        raise TypeError(f"msgpack can't say this value: {error}") from error
    return encoded


def decode(value: bytes) -> Any:  # noqa: ANN401 - values are the author's
    """Raises StateError for bytes that `encode` has not made: a node in another language may have set them."""
    try:
        return _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StateError(f"a value of the state can't be read: {error}") from error


class Entry(Struct, frozen=True):
    """What a key is at one moment. version: for `if_version`. owner: the id of the client it ends with; 0: none."""

    value: Any
    version: int
    owner: int = 0


class State:
    """Values are None-free at the top level and what msgpack can say: str, bytes, numbers, bools, lists, dicts.

    Each reading gives a fresh object: changing it changes nothing here. It raises StateError for what another library
    has set and is no msgpack.
    """

    _replica: Replica

    def __init__(self) -> None:
        self._turns: dict[str, trio.Lock] = {}  # of keys that are updated now

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - values are the author's
        return decode(self._replica.view.items[key].value)

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401
        """The value of a key, or this where there is none."""
        item = self._replica.view.items.get(key)
        return default if item is None else decode(item.value)

    def __contains__(self, key: object) -> bool:
        return key in self._replica.view.items

    def __len__(self) -> int:
        return len(self._replica.view.items)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._replica.view.items))

    def items(self, prefix: str = "") -> list[tuple[str, Any]]:
        """Keys that begin with `prefix` and their values, in no order that means anything."""
        items = list(self._replica.view.items.values())  # a plain function may be in a thread
        return [(item.key, decode(item.value)) for item in items if item.key.startswith(prefix)]

    def version(self, key: str) -> int:
        """The version of the key's value, for `if_version`; 0: there is no such key."""
        return self._replica.view.version(key)

    def entry(self, key: str) -> Entry | None:
        """The value and its version of the same moment, for `set(..., if_version=...)`; None: there is no such key.

        In a thread `get` and `version`, one after the other, may be of two different values.
        """
        item = self._replica.view.items.get(key)
        return None if item is None else Entry(decode(item.value), item.version, item.owner)

    async def set(
        self,
        key: str,
        value: Any,  # noqa: ANN401
        owner: Client | int | None = None,
        *,
        if_version: int | None = None,
        if_absent: bool = False,
    ) -> int:
        """Set a key. Returns its version when this node has applied it; other nodes have by then, or will in a moment.

        The version returned is the key's until it is changed again. If it was before this node could know (what it was
        to apply was lost with a proxy), it is one that the key never has from then on: so `if_version` is a conflict
        with either.
        owner: a client (not that of a single HTTP request); when it goes, so does the entry, and at once if it has
        gone already. if_version: only if the key has this version, 0: only if it is not there, as if_absent.
        Raises StateConflict if it does not. Raises StateRefused if a limit of the proxy refuses it, StateError if no
        proxy put it in order within 10 s: then it may still come. Raises TypeError for what msgpack can't say, or is
        nested so deeply that others could not read it (hundreds of levels). If it is cancelled, it may or may not have
        been done.
        """
        if value is None:
            raise TypeError("None can't be a value: delete the key")
        if if_absent:
            if if_version:
                raise ValueError(f"a key that is not there has no version, got if_version={if_version} and if_absent")
            if_version = 0
        change = check_text(key), encode(value), _owner(owner), _expected(if_version)
        return await threads.call(self._replica.propose, *change)

    async def delete(self, key: str, *, if_version: int | None = None) -> None:
        """Delete a key. Nothing happens if there is none. Returns when this node has applied it; raises as `set`."""
        await threads.call(self._replica.propose, check_text(key), None, 0, _expected(if_version))

    async def update(
        self,
        key: str,
        function: Callable[[Any], Any],
        default: Any = None,  # noqa: ANN401
        owner: Client | int | None = None,
    ) -> Any:  # noqa: ANN401
        """Set a key to what `function` makes of its value, or of `default` if there is none. Returns the new value.

        Nothing is lost between reading and setting: if another change came first, it is done again with what the key is
        then. So `function` may be called several times, and should only compute. None deletes the key. owner: as for
        `set`; it is not kept. Updates of one key take turns in this node, in the order in which they came: a key bears
        some hundreds a second. Raises as `set` does, but for StateConflict; StateError also if it is not our turn
        within 10 s.
        """
        return await threads.call(self._update, check_text(key), function, default, owner)

    async def _update(
        self, key: str, function: Callable[[Any], Any], default: object, owner: Client | int | None
    ) -> object:
        async with self._turn(key):
            while True:
                version = self.version(key)
                value = function(self.get(key, default))
                try:
                    if value is not None:
                        await self.set(key, value, owner, if_version=version)
                    elif version:
                        await self.delete(key, if_version=version)
                except StateConflict:
                    continue  # the change that was faster is applied here before we are told
                return value

    def turn(self, key: str) -> AbstractAsyncContextManager[None]:
        """`async with`: one at a time at this node, in the order in which they came, as those of `update`.

        For what takes more than a function, or more than one key: of those that read the same version one wins, and
        the others have done all in vain. Other nodes go on: `if_version` is needed all the same. key: any name. Not
        within itself, nor around an `update` of that key. Raises StateError if it does not come within 10 s.
        """
        return within_trio(self._turn(key))

    @asynccontextmanager
    async def _turn(self, key: str) -> AsyncIterator[None]:
        lock = self._turns.setdefault(key, trio.Lock())
        try:
            with trio.move_on_after(PROPOSAL_TIMEOUT) as scope:
                await lock.acquire()
            if scope.cancelled_caught:
                raise StateError(f"the turn to change {key!r} did not come within {PROPOSAL_TIMEOUT:g} s")
            try:
                yield
            finally:
                lock.release()
        finally:
            if not lock.locked():  # who waits has it at once
                self._turns.pop(key, None)


def _owner(owner: Client | int | None) -> int:
    if isinstance(owner, Client) and owner.protocol == "http":
        raise StateRefused("the client of a single HTTP request has no session, so it can't own a key")
    return 0 if owner is None else id_of(owner)


def _expected(if_version: int | None) -> int:
    return -1 if if_version is None else check_version(if_version)


def follow(state: State, replica: Replica) -> None:
    """From now on it is what this one has: each run of a node has its own. No method: authors are shown those."""
    state._replica = replica

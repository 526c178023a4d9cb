"""Idempotency keys: a request that is sent again with its key is answered again, and not done again.

The table is this process's own, and bounded: the oldest answers make way.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from holdfast.proxy.admin.http import HttpError, Request, Response

KEY = "Idempotency-Key"
MAX_KEY = 128  # characters
SECONDS = 600.0
MAX_KEPT = 20_000  # answers, of some 500 bytes with all around; who publishes 1,000 a second may retry for 20 s


class _Kept(NamedTuple):
    """What a key was used for, and the answer."""

    request: bytes
    answer: Response
    until: float


class Idempotency:
    """clock: seconds, never back."""

    def __init__(self, clock: Callable[[], float], max_kept: int = MAX_KEPT) -> None:
        self._clock = clock
        self._max_kept = max_kept
        self._kept: dict[str, _Kept] = {}  # answers in the order in which they were given
        self._under_way: dict[str, bytes] = {}

    async def once(self, request: Request, answer: Callable[[], Awaitable[Response]]) -> Response:
        """The answer, or the former one if this request has its key and was answered with a success. After a failure
        it is tried again. Raises HttpError: 400, 409, 422."""
        key = request.headers.get(KEY.lower())
        if key is None:
            return await answer()
        if not 0 < len(key) <= MAX_KEY or not all(" " <= character <= "~" for character in key):
            raise HttpError(400, f"{KEY}: expected 1 to {MAX_KEY} characters of printable ASCII")
        self._forget()
        digest = _digest(request)
        kept = self._kept.get(key)
        known = self._under_way.get(key) if kept is None else kept.request
        if known is not None and known != digest:
            raise HttpError(422, f"this {KEY} was used for another request")
        if kept is not None:
            return kept.answer
        if known is not None:
            raise HttpError(409, f"a request with this {KEY} is under way")
        self._under_way[key] = digest
        try:
            response = await answer()
        finally:
            del self._under_way[key]
        if response.status < 300:
            self._kept[key] = _Kept(digest, response, self._clock() + SECONDS)
            if len(self._kept) > self._max_kept:
                del self._kept[next(iter(self._kept))]
        return response

    def _forget(self) -> None:
        now = self._clock()
        while self._kept:
            key = next(iter(self._kept))
            if self._kept[key].until > now:
                break
            del self._kept[key]


def _digest(request: Request) -> bytes:
    """Of all that makes it this request. Headers are not of it: a token may be renewed."""
    head = f"{request.method} {request.target}\n".encode()
    return hashlib.sha256(head + request.body).digest()

"""Who a client is by its token, a JWT, without any node: verified before anything is asked of one, and before 101.

Owns where a token is looked for, what of it counts, what is kept of those that were verified, and when the keys are
read anew. Signature, audience and issuer are PyJWT's to verify; times are looked at here, each time, because what is
kept is asked again later. Refuses what is not for certain: two tokens in one place, keys that a token brings along,
an algorithm that is not its key's. A token is in no message and no log line.

Imported only where there are keys.
"""

import json
import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from math import inf
from os import stat
from typing import Any, NamedTuple
from urllib.parse import unquote

import jwt
import structlog
from jwt.exceptions import InvalidSubjectError

from holdfast.balancer.ledger import Requester
from holdfast.protocols import cookies
from holdfast.protocols.clients.events import HttpRequest, Opened, Request
from holdfast.protocols.clients.upgrade import is_origin_allowed
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import FrameError, HoldfastError
from holdfast.protocols.nodes import carried
from holdfast.protocols.nodes.names import MAX_NAME
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.clients.session import NOBODY, Identity
from holdfast.proxy.config import ClientSettings
from holdfast.proxy.config.jwt_keys import JwtKeys, of_secret, parse, path_of, read
from holdfast.proxy.metrics import Counters

log = structlog.get_logger("holdfast.tokens")

LOOK_INTERVAL = 1.0  # at the file of the keys
MAX_TOKEN_BYTES = 8 << 10  # half of what all headers may have; to look through it takes PyJWT 0.5 ms
# Verified tokens that are kept, by what they take: 20,000 with claims of 200 bytes. One that is found again costs 3 us
# and not 50 to 200. Those that are refused are not kept: nobody can push out the others with them.
MAX_KEPT_BYTES = 8 << 20
KEPT_BYTES = 220  # of each, besides its claims

# Times have to be looked at here, with `now` as an argument, and each time a token comes again.
OPTIONS: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}


class TokenError(HoldfastError):
    """Who the client is was not proven. Its message is one of this file's: nothing of the token."""

    reason = Reason.UNAUTHORIZED

    def __init__(self, message: str, reason: Reason | None = None, *, is_missing: bool = False) -> None:
        super().__init__(message, reason)
        self.is_missing = is_missing
        if not is_missing:  # RFC 6750 section 3.1: who has shown none is told no error
            self.challenge = f'error="invalid_token", error_description="{message}"'


class Verified(NamedTuple):
    """What a token says. claims: JSON. begins, expires: seconds since 1970, by its word; inf: never."""

    user: str
    claims: bytes
    begins: float
    expires: float


class Verifier:
    """value: of client.jwt_keys. audience, issuer: one of which a token must have, if there are any. leeway: seconds by
    which clocks may differ."""

    def __init__(
        self,
        value: str,
        algorithms: Sequence[str] = (),
        audience: Sequence[str] = (),
        issuer: Sequence[str] = (),
        leeway: float = 0.0,
    ) -> None:
        self._path = path_of(value)
        self._keys = JwtKeys() if self._path is not None else of_secret(value, algorithms)
        self._algorithms = algorithms
        self._audience = list(audience) or None
        self._issuer = list(issuer) or None
        self._leeway = leeway
        self._looked_at = -inf
        self._stamp: tuple[int, int, int] | None = None
        self._trouble = ""
        self._kept: dict[bytes, Verified] = {}
        self._kept_bytes = 0

    def verify(self, token: str, now: float) -> Verified:
        """What it says; its `expires` is after `now`, the leeway included. now: seconds since 1970. Raises TokenError.

        Whether the file of the keys is another one is looked at here, once a second at most.
        """
        if self._path is not None and not 0 <= now - self._looked_at < LOOK_INTERVAL:
            self._looked_at = now
            self._look(self._path)
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenError(f"the token is over {MAX_TOKEN_BYTES} bytes, the limit")
        if not token.isascii():
            raise TokenError("the token is not a JWT")
        digest = sha256(token.encode()).digest()
        verified = self._kept.get(digest)
        if verified is None:
            verified = self._decode(token)
            self._keep(digest, verified)
        if verified.expires <= now:
            raise TokenError("the token has expired", Reason.EXPIRED)
        if verified.begins > now:
            raise TokenError("the token is not valid yet")
        return verified

    # --- the keys ---------------------------------------------------------------------------------------------

    def _look(self, path: str) -> None:
        """If the file is another one, its keys are the keys from now on, and what the old ones have verified is not."""
        try:
            status = stat(path)
            stamp = status.st_mtime_ns, status.st_size, status.st_ino
            if stamp == self._stamp:
                return
            data = read(path)
            self._stamp = stamp  # as of before it was read: who writes it meanwhile makes another one
            keys = parse(data, self._algorithms)
        except OSError as error:
            self._complain(path, error.strerror or "can't be read")
        except ValueError as error:
            self._complain(path, f"expected {error}")
        else:
            self._keys, self._trouble = keys, ""
            self._kept.clear()
            self._kept_bytes = 0
            log.info("jwt_keys_read", file=path, count=keys.count)

    def _complain(self, path: str, why: str) -> None:
        if why != self._trouble:
            self._trouble = why
            log.warning("jwt_keys_unusable", file=path, why=why)

    # --- one token --------------------------------------------------------------------------------------------

    def _decode(self, token: str) -> Verified:
        """Whatever the time. Raises TokenError."""
        try:
            # Of a token that is empty behind it: else the rest would be looked through twice.
            header = jwt.get_unverified_header(token.partition(".")[0] + "..")
        except jwt.PyJWTError as error:
            raise TokenError("the token is not a JWT") from error
        algorithm, kid = header.get("alg"), header.get("kid")
        candidates = self._keys.candidates(kid, algorithm) if isinstance(algorithm, str) else []
        if not candidates:
            raise TokenError("the token is not signed by a known key")
        for number, key in enumerate(candidates, 1):
            try:
                claims = jwt.decode(
                    token, key, [key.algorithm_name], OPTIONS, audience=self._audience, issuer=self._issuer
                )
            except jwt.InvalidSignatureError as error:
                if number == len(candidates):
                    raise TokenError("the token is not signed by a known key") from error
            except jwt.PyJWTError as error:
                raise TokenError(_REFUSALS.get(type(error), "the token is not valid")) from error
            else:
                return self._read(claims)
        raise AssertionError("one of them has been the last")

    def _read(self, claims: dict[str, Any]) -> Verified:
        user = claims.get("sub", "")
        if len(user) > MAX_NAME:
            raise TokenError(f"sub in the token is over {MAX_NAME} characters, the limit")
        begins, expires = _time(claims, "nbf", -inf), _time(claims, "exp", inf)
        try:
            encoded = json.dumps(claims, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
            carried.check(encoded, "the claims")
        except (ValueError, RecursionError, FrameError) as error:
            raise TokenError("the claims of the token can't be passed on") from error
        return Verified(user, encoded, begins - self._leeway, expires + self._leeway)

    def _keep(self, digest: bytes, verified: Verified) -> None:
        self._kept[digest] = verified
        self._kept_bytes += KEPT_BYTES + len(verified.claims)
        while self._kept_bytes > MAX_KEPT_BYTES:
            oldest = self._kept.pop(next(iter(self._kept)))
            self._kept_bytes -= KEPT_BYTES + len(oldest.claims)


def _time(claims: dict[str, Any], name: str, default: float) -> float:
    """A claim that is a number (RFC 7519 section 2), and no NaN: these are in no JSON."""
    value = claims.get(name, default)
    if type(value) in (int, float):
        try:
            return float(value)
        except OverflowError:
            pass
    raise TokenError(f"{name} in the token is not a time")


_REFUSALS: dict[type[jwt.PyJWTError], str] = {
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidIssuerError: "the token is from another issuer",
    jwt.MissingRequiredClaimError: "the token lacks its audience or its issuer",
    InvalidSubjectError: "sub in the token is not text",
}


class Source:
    """Where a token is looked for: an entry of client.jwt_from. origins: whose pages may use a cookie."""

    def __init__(self, entry: str, origins: tuple[str, ...]) -> None:
        self._kind, _, self._name = entry.partition(":")
        self._origins = origins
        self._in_query = re.compile(rf"(?:^|&){re.escape(self._name)}=([^&]*)")

    def find(self, headers: Sequence[tuple[str, str]], query: str) -> str:
        """The token; "": there is none here. Raises TokenError if there are several."""
        if self._kind == "header":
            found = [value.strip() for scheme, value in _authorizations(headers) if scheme == "bearer"]
        elif self._kind == "query":
            found = [unquote(value, errors="replace") for value in self._in_query.findall(query)]
        else:
            pairs = cookies.pairs_of(value for name, value in headers if name == "cookie")
            found = [value.strip('"') for name, value in pairs if name == self._name]
        if not any(found):
            return ""
        if len(found) > 1:
            raise TokenError("more than one token")
        if self._kind == "cookie":
            self._check_origin(headers)
        return found[0]

    def _check_origin(self, headers: Sequence[tuple[str, str]]) -> None:
        """A browser sends a cookie whoever's page asks: what another one asks is not its user's wish."""
        for name, value in headers:
            if name == "origin" and not is_origin_allowed(value, self._origins):
                raise TokenError("the Origin is not an allowed one", Reason.ORIGIN_REFUSED)


def _authorizations(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    found = []
    for name, value in headers:
        if name == "authorization":
            scheme, _, credentials = value.partition(" ")
            found.append((scheme.lower(), credentials))
    if len(found) > 1:
        raise TokenError("more than one token")
    return found


class Tokens:
    """Before the sessions (`identify`) and before the dispatch of requests (`request`).

    wall_clock: microseconds since 1970. dispatch: where requests go on to.
    """

    def __init__(
        self,
        settings: ClientSettings,
        dispatch: Callable[[Requester, Request], None],
        reactor: Reactor,
        counters: Counters,
        wall_clock: Callable[[], int],
    ) -> None:
        of = settings
        self._verifier = Verifier(of.jwt_keys, of.jwt_algorithms, of.jwt_audience, of.jwt_issuer, of.jwt_leeway)
        self._sources = [Source(entry, of.origins) for entry in of.jwt_from]
        self._is_required = of.jwt_required
        self._dispatch = dispatch
        self._reactor = reactor
        self._counters = counters
        self._wall_clock = wall_clock

    def identify(self, event: Opened) -> Identity:
        """Who would open a session; NOBODY, without a token where none is required. Raises TokenError."""
        now = self._wall_clock() / 1e6
        verified = self._verify(event.headers, event.query, now)
        if verified is None:
            return NOBODY
        expires = self._reactor.now + verified.expires - now
        return Identity(verified.user, claims=verified.claims, expires=expires)

    def renew(self, token: str, claims: bytes) -> float:
        """A new token for a session that began with these claims: when that ends, by the reactor's clock; inf: never.
        It is of the same user, or of none as that. Raises TokenError."""
        now = self._wall_clock() / 1e6
        outcomes = self._counters.tokens
        try:
            verified = self._verifier.verify(token, now)
            if verified.user != (json.loads(claims).get("sub", "") if claims else ""):
                raise TokenError("the token is another user's")
        except TokenError as error:
            outcomes["expired" if error.reason is Reason.EXPIRED else "refused"] += 1
            raise
        outcomes["verified"] += 1
        return self._reactor.now + verified.expires - now

    def grant(self, token: str, user: str, channel: str) -> tuple[bytes, float]:
        """What a token says of a channel, for a session of this user: its `info`, as JSON, b"" for none, and when it
        expires, by the reactor's clock; inf: never. It names the channel (`channel`, or among `channels`), and no other
        user. Raises TokenError."""
        now = self._wall_clock() / 1e6
        outcomes = self._counters.tokens
        try:
            if not token:
                raise TokenError("a token for the channel is wanted, and none was given", is_missing=True)
            verified = self._verifier.verify(token, now)
            claims = json.loads(verified.claims)
            named = claims.get("channels")
            if claims.get("channel") != channel and not (isinstance(named, list) and channel in named):
                raise TokenError("the token is not for this channel", Reason.REFUSED)
            if user and verified.user and verified.user != user:
                raise TokenError("the token is another user's", Reason.REFUSED)
        except TokenError as error:
            if not error.is_missing:
                outcomes["expired" if error.reason is Reason.EXPIRED else "refused"] += 1
            raise
        outcomes["verified"] += 1
        info = claims.get("info")
        said = b"" if info is None else json.dumps(info, ensure_ascii=False, separators=(",", ":")).encode()
        return said, self._reactor.now + verified.expires - now

    def request(self, connection: Requester, event: Request) -> None:
        """A client asks: over HTTP each request has its token, in a session that was verified before."""
        if type(event) is HttpRequest:
            try:
                query = event.target.partition("?")[2]
                verified = self._verify(event.headers, query, self._wall_clock() / 1e6)
            except TokenError as error:
                connection.fail(event, error)
                return
            if verified is not None:
                event.user, event.claims = verified.user, verified.claims
        self._dispatch(connection, event)

    def _verify(self, headers: Sequence[tuple[str, str]], query: str, now: float) -> Verified | None:
        outcomes = self._counters.tokens
        try:
            token = next((token for source in self._sources if (token := source.find(headers, query))), "")
            if token:
                verified = self._verifier.verify(token, now)
                outcomes["verified"] += 1
                return verified
            outcomes["missing"] += 1
            if self._is_required:
                raise TokenError("a token is wanted, and none was given", is_missing=True)
            return None
        except TokenError as error:
            if not error.is_missing:
                outcomes["expired" if error.reason is Reason.EXPIRED else "refused"] += 1
            raise

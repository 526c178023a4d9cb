"""Tokens that say who somebody is: JSON Web Tokens (RFC 7519), signed with HMAC SHA-256 (HS256).

Pure. A token proves itself: any node that has the secret can verify it, nobody has to be asked, and none has to
remember whom it let in. Nothing but HS256 is accepted, whatever a token's header says.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from re import compile as pattern

import msgspec

from holdfast.kuzzle.errors import error

MAX_LIFETIME = 30 * 24 * 3600.0  # seconds; a revoked token is remembered for so long, so it must have an end

_HEADER = b'{"alg":"HS256","typ":"JWT"}'
_SPAN = pattern(r"([0-9]{1,16})\s*(ms|s|m|h|d)?")  # int() refuses thousands of digits, and no life has so many
_UNITS = {None: 0.001, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Claims(msgspec.Struct, frozen=True):
    """What a token says: whose it is, since when and until when, in seconds since 1970."""

    user: str = msgspec.field(name="_id")
    iat: float
    exp: float


def issue(secret: bytes, user: str, now: float, lifetime: float) -> tuple[str, Claims]:
    """A new token."""
    claims = Claims(user, now, now + lifetime)
    signed = _encode(_HEADER) + b"." + _encode(msgspec.json.encode(claims))
    return (signed + b"." + _sign(secret, signed)).decode(), claims


def verify(secret: bytes, token: str, now: float) -> Claims:
    """The claims of a token. Raises `security.token.invalid` if it is forged, damaged or has ended.

    One error for all three: kuzzle-sdk takes just this one as the call to log in anew, and Kuzzle 2 too answers it
    for a token that has ended.
    """
    try:
        signed, _, signature = token.encode().rpartition(b".")
        # as text: a signature has spellings that decode to the same bytes, and each would be another token to revoke
        if not hmac.compare_digest(signature, _sign(secret, signed)):
            raise error("security.token.invalid")
        claims = msgspec.json.decode(_decode(signed.partition(b".")[2]), type=Claims)
    except (ValueError, msgspec.MsgspecError) as reason:
        raise error("security.token.invalid") from reason
    if now >= claims.exp:
        raise error("security.token.invalid")
    return claims


def fingerprint(token: str) -> str:
    """A name for a token that does not give it away."""
    return sha256(token.encode()).hexdigest()


def lifetime(value: object, default: float) -> float:
    """Seconds, from what a client gives as `expiresIn`: a number of milliseconds, or a string like "2h"."""
    if value is None:
        return default
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 1000 * MAX_LIFETIME:
        raise error("security.token.ttl_exceeded")
    found = _SPAN.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if found is None or not int(found[1]):
        raise error("security.token.invalid_expiration", value)
    seconds = int(found[1]) * _UNITS[found[2]]
    if seconds > MAX_LIFETIME:
        raise error("security.token.ttl_exceeded")
    return seconds


def _sign(secret: bytes, signed: bytes) -> bytes:
    return _encode(hmac.digest(secret, signed, "sha256"))


def _encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _decode(data: bytes) -> bytes:
    return urlsafe_b64decode(data + b"=" * (-len(data) % 4))

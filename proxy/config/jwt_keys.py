"""The keys by which clients' tokens are verified: what `client.jwt_keys` names, a secret or a file, becomes keys.

Owns which of the two it is, what is taken from a file, and that each key is for one algorithm, by its own kind: a token
never chooses how it is verified (RFC 8725 section 3.1), and no public key is ever a secret. Refuses private keys, and
those that are too short. PyJWT makes the keys. Imported only where there are some: it takes 0.1 s and 15 MiB.
"""

import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import InvalidVersion, load_pem_x509_certificate
from jwt import PyJWK, PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from msgspec import Struct

from holdfast.proxy.config.keys import JWT_ALGORITHMS

MAX_FILE_BYTES = 1 << 20
MAX_KEYS = 100
MIN_SECRET_BYTES = 32  # of HS256 (RFC 7518 section 3.2)
# Of the keys that a token does not name, so many are tried at most: each costs up to 0.1 ms, and anybody can ask that.
MAX_TRIED = 8

WANTED = f"a secret of at least {MIN_SECRET_BYTES} bytes (openssl rand -hex 32), or the path of a PEM or JWKS file"
PATHS = ("/", "./", "../", "~")
ENDINGS = (".pem", ".json", ".jwks", ".jwk", ".crt", ".cer", ".key", ".pub", ".txt")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_CURVES = {"EC": "P-256", "OKP": "Ed25519"}  # of ES256, of EdDSA here; who makes a key by `alg` alone takes others too
_PRIVATE = "a file of public keys: there is a private one in it"
_PEM = "a PEM file of public keys or certificates"
_TOO_MANY = f"a file of at most {MAX_KEYS} keys"


class _Jwk(Struct):
    """A key of a JWKS, so far as it is looked at here. d: only private ones have it, and pairs of keys."""

    kty: str
    crv: str | None = None
    kid: str | None = None
    alg: str | None = None
    use: str = "sig"
    key_ops: tuple[str, ...] = ("verify",)
    d: object = None


class JwtKeys:
    """named: those for tokens that name them, by name (kid). others: for all tokens. Each for one algorithm."""

    def __init__(self, keys: Sequence[PyJWK] = ()) -> None:
        self.count = len(keys)
        self.named: dict[str, list[PyJWK]] = {}
        self.others: list[PyJWK] = []
        for key in keys:
            (self.others if key.key_id is None else self.named.setdefault(key.key_id, [])).append(key)
        self._all = list(keys)

    def candidates(self, kid: str | None, algorithm: str) -> list[PyJWK]:
        """Those by which a token of this header may have been signed; MAX_TRIED at most."""
        keys = self._all if kid is None else self.named.get(kid, []) + self.others
        return [key for key in keys if key.algorithm_name == algorithm][:MAX_TRIED]


def path_of(value: str) -> str | None:
    """The file that client.jwt_keys names; None: it is a secret itself.

    What may be meant as a path is none: else a mistyped one would be a secret that others can guess.
    """
    if os.path.isfile(value) or value.startswith(PATHS) or value.lower().endswith(ENDINGS):
        return value
    return value if "/" in value and not _BASE64.fullmatch(value) else None


def read(path: str) -> bytes:
    """The file's content. Raises OSError, and ValueError as `parse`."""
    with open(path, "rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"a PEM or JWKS file of at most {MAX_FILE_BYTES} bytes")
    return data


def load(value: str, algorithms: Sequence[str]) -> JwtKeys:
    """The keys that client.jwt_keys names. Raises ValueError, which says what was expected."""
    path = path_of(value)
    if path is None:
        return of_secret(value, algorithms)
    try:
        data = read(path)
    except OSError as error:
        raise ValueError(f"{WANTED} that can be read ({error.strerror})") from error
    return parse(data, algorithms)


def of_secret(secret: str, algorithms: Sequence[str]) -> JwtKeys:
    """Raises ValueError, which says what was expected."""
    if len(secret.encode()) < MIN_SECRET_BYTES or "-----BEGIN " in secret:
        raise ValueError(WANTED)
    k = urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()
    return _wanted([PyJWK({"kty": "oct", "k": k}, "HS256")], algorithms)


def parse(data: bytes, algorithms: Sequence[str]) -> JwtKeys:
    """The keys in a PEM or JWKS file; of a JWKS those that are not for these algorithms, or not for tokens, are passed
    over (RFC 7517 section 5). algorithms: that may be used; none: all. Raises ValueError, which says what was expected.
    """
    keys = list(islice(_of_pem(data) if b"-----BEGIN " in data else _of_jwks(data), MAX_KEYS + 1))
    if len(keys) > MAX_KEYS:
        raise ValueError(_TOO_MANY)
    return _wanted(keys, algorithms)


def _wanted(keys: list[PyJWK], algorithms: Sequence[str]) -> JwtKeys:
    wanted = [key for key in keys if key.algorithm_name in (algorithms or JWT_ALGORITHMS)]
    if wanted:
        return JwtKeys(wanted)
    if algorithms and keys:
        there = ", ".join(sorted({key.algorithm_name for key in keys}))
        raise ValueError(f"a key for {' or '.join(algorithms)} (client.jwt_algorithms), there is one for {there}")
    raise ValueError(f"a PEM or JWKS file with a key for {', '.join(JWT_ALGORITHMS)}, of 2048 bits (RSA), 32 bytes")


def _of_pem(data: bytes) -> Iterator[PyJWK]:
    place = 0
    while begin := _BEGIN.search(data, place):
        label = begin[1]
        if b"PRIVATE" in label:
            raise ValueError(_PRIVATE)
        end = b"-----END %b-----" % label
        found = data.find(end, begin.end())
        if found < 0:  # not looked for again behind the next beginning: there may be many
            raise ValueError(_PEM)
        place = found + len(end)
        block = data[begin.start() : place]
        try:
            public: object
            if label == b"CERTIFICATE":
                public = load_pem_x509_certificate(block).public_key()
            else:
                public = load_pem_public_key(block)
        except (ValueError, InvalidVersion, UnsupportedAlgorithm) as error:
            raise ValueError(_PEM) from error
        jwk, algorithm = _as_jwk(public)
        key = PyJWK(jwk, algorithm)
        if key.Algorithm.check_key_length(key.key) is not None:
            raise ValueError("RSA keys of at least 2048 bits in the file")
        yield key


def _as_jwk(public: object) -> tuple[dict[str, Any], str]:
    if isinstance(public, RSAPublicKey):
        return RSAAlgorithm.to_jwk(public, as_dict=True), "RS256"
    if isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
        return ECAlgorithm.to_jwk(public, as_dict=True), "ES256"
    if isinstance(public, Ed25519PublicKey):
        return OKPAlgorithm.to_jwk(public, as_dict=True), "EdDSA"
    raise ValueError("keys of RSA, P-256 or Ed25519 in the file")


def _of_jwks(data: bytes) -> Iterator[PyJWK]:
    try:
        said = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("a PEM or JWKS file") from error
    entries = said.get("keys", [said])  # or a single key
    if not isinstance(entries, list):
        return
    if len(entries) > MAX_KEYS:  # those that are not for us have to be looked at, too
        raise ValueError(_TOO_MANY)
    for entry in entries:
        try:
            jwk = msgspec.convert(entry, _Jwk)
        except msgspec.ValidationError:
            continue
        if jwk.d is not None:
            raise ValueError(_PRIVATE)
        is_ours = (jwk.alg is None or jwk.alg in JWT_ALGORITHMS) and _CURVES.get(jwk.kty, jwk.crv) == jwk.crv
        if not is_ours or jwk.use != "sig" or "verify" not in jwk.key_ops:
            continue
        try:
            key = PyJWK(entry)
            is_long = key.Algorithm.check_key_length(key.key) is None
        except (PyJWTError, UnsupportedAlgorithm, LookupError, TypeError, ValueError):  # it says so in many ways
            continue
        if is_long and key.algorithm_name in JWT_ALGORITHMS:
            yield key

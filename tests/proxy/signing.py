"""Keys and tokens for tests: one pair of each kind, made once, and what an issuer does with them."""

import json
from functools import cache
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SECRET = "0123456789abcdef0123456789abcdef"
PAIRS = ("RS256", "ES256", "EdDSA")


def private(algorithm, number=0):
    """Of RS256, ES256 or EdDSA. number: another one."""
    return _private(algorithm, number)


@cache
def _private(algorithm, number):
    if algorithm == "RS256":
        return rsa.generate_private_key(65537, 2048)
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def pem(key) -> bytes:
    """Its public half."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def jwk(algorithm, kid=None, number=0, **fields) -> dict:
    """The public half of a pair as a JWK."""
    kind = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}[algorithm]
    key = kind.to_jwk(private(algorithm, number).public_key(), as_dict=True)
    return {**key, **({} if kid is None else {"kid": kid}), **fields}


def jwks(*keys) -> bytes:
    return json.dumps({"keys": keys}).encode()


def sign(claims, key=SECRET, algorithm="HS256", **header) -> str:
    return jwt.encode(claims, key, algorithm, headers=header)


def written(folder: Path, data: bytes, name="keys") -> str:
    """The path of a file with it, put there in one step as a careful issuer does."""
    path = folder / name
    new = folder / f"{name}.new"
    new.write_bytes(data)
    new.replace(path)
    return str(path)

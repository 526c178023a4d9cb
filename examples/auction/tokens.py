"""Who somebody is, signed, so that each node can check what another gave out: a JWT with HS256, in a few lines."""

import base64
import hashlib
import hmac
import json
import os
import time

LIFETIME = 8 * 3600  # seconds
HEAD = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"  # what it says it is; nothing else is taken

# Every node needs the same one. Set your own: who knows it is whoever they like.
SECRET = os.environ.get("AUCTION_SECRET", "only for the demo, and known to the whole world")


def sign(user: str, lifetime: float = LIFETIME) -> str:
    claims = json.dumps({"sub": user, "exp": int(time.time() + lifetime)})
    said = f"{HEAD}.{_encoded(claims.encode())}"
    return f"{said}.{_seal(said)}"


def check(token: str) -> tuple[str, float]:
    """Who it is, and for how many more seconds. Raises ValueError for a token that is none of ours, or has ended."""
    said, _, seal = token.rpartition(".")
    head, _, claims = said.partition(".")
    if head != HEAD or not hmac.compare_digest(seal.encode(), _seal(said).encode()):
        raise ValueError("log in first")
    read = json.loads(base64.urlsafe_b64decode(claims + "=="))
    if (left := read["exp"] - time.time()) <= 0:
        raise ValueError("the login has ended")
    return str(read["sub"]), left


def _seal(said: str) -> str:
    return _encoded(hmac.digest(SECRET.encode(), said.encode(), hashlib.sha256))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

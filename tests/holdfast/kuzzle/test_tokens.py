"""Tokens: what a node accepts as proof of who somebody is."""

import base64
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kuzzle.errors import KuzzleError
from holdfast.kuzzle.tokens import fingerprint, issue, lifetime, verify

SECRET = b"secret"


def part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def refused(token, now=1000.0, secret=SECRET):
    with pytest.raises(KuzzleError) as caught:
        verify(secret, token, now)
    return caught.value.id, caught.value.status


@given(st.text(), st.floats(1, 1e9))
def test_what_is_issued_is_accepted_until_it_ends(user, seconds):
    token, claims = issue(SECRET, user, 1000.0, seconds)
    assert verify(SECRET, token, 1000.0) == claims
    assert claims.user == user
    assert refused(token, claims.exp) == ("security.token.invalid", 401)


def test_it_is_a_json_web_token():
    token, _ = issue(SECRET, "ada", 1000.0, 60.0)
    header, claims, signature = token.split(".")
    assert json.loads(base64.urlsafe_b64decode(header)) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(claims + "==")) == {"_id": "ada", "iat": 1000.0, "exp": 1060.0}
    assert signature == part(hmac.digest(SECRET, f"{header}.{claims}".encode(), "sha256"))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "é.é.é",
        "a.b.=",
        part(b'{"alg":"none"}') + "." + part(b'{"_id":"ada","iat":0,"exp":9e9}') + ".",
    ],
)
def test_what_is_no_token_is_refused(token):
    assert refused(token) == ("security.token.invalid", 401)


TOKEN, _ = issue(SECRET, "ada", 1000.0, 60.0)


@given(st.integers(0, len(TOKEN) - 1), st.integers(1, 255))
def test_no_byte_can_be_changed(position, flip):
    """Not even the bits of the last letter that mean nothing: a revoked token would come back in another spelling."""
    changed = bytearray(TOKEN.encode())
    changed[position] ^= flip
    assert refused(changed.decode("latin-1")) == ("security.token.invalid", 401)


def test_another_secret_is_refused():
    assert refused(issue(b"other", "ada", 1000.0, 60.0)[0]) == ("security.token.invalid", 401)


def test_claims_must_be_there():
    signed = part(b'{"alg":"HS256"}') + "." + part(b'{"_id":"ada"}')
    assert refused(f"{signed}.{part(hmac.digest(SECRET, signed.encode(), 'sha256'))}") == (
        "security.token.invalid",
        401,
    )


def test_a_fingerprint_names_a_token():
    one, _ = issue(SECRET, "ada", 1000.0, 60.0)
    other, _ = issue(SECRET, "ada", 1001.0, 60.0)
    assert fingerprint(one) == fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 7.0), (1500, 1.5), ("1500", 1.5), ("90s", 90.0), ("5 m", 300.0), ("2h", 7200.0), ("30d", 2592000.0)],
)
def test_lifetimes(value, seconds):
    assert lifetime(value, 7.0) == seconds


@pytest.mark.parametrize(
    ("value", "id"),
    [
        ("31d", "security.token.ttl_exceeded"),
        (0, "security.token.invalid_expiration"),
        (-1, "security.token.invalid_expiration"),
        ("soon", "security.token.invalid_expiration"),
        (True, "security.token.invalid_expiration"),
        ([1], "security.token.invalid_expiration"),
    ],
)
def test_lifetimes_that_are_none(value, id):
    with pytest.raises(KuzzleError) as caught:
        lifetime(value, 7.0)
    assert caught.value.id == id


@pytest.mark.parametrize("value", ["9" * 5000, "9" * 5000 + "h", 10**400, 1e30, "\u0661s"])
def test_lifetimes_of_any_length_are_refused(value):
    with pytest.raises(KuzzleError) as caught:
        lifetime(value, 1.0)
    assert caught.value.status == 400

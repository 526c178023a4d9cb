"""Tokens without a socket: what is believed, what is refused, what is kept, when keys are read anew."""

import base64
import json
import math
import os

import jwt
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.close import Reason
from holdfast.protocols.nodes.names import MAX_NAME
from holdfast.proxy.clients import tokens
from holdfast.proxy.clients.tokens import MAX_TOKEN_BYTES, Source, TokenError, Verifier
from tests.proxy.signing import PAIRS, SECRET, jwk, jwks, pem, private, sign, written

NOW = 1_800_000_000.0


def encoded(said) -> str:
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def refused(verifier, token, now=NOW):
    with pytest.raises(TokenError) as caught:
        verifier.verify(token, now)
    error = caught.value
    assert error.http_status == 401
    assert error.challenge == f'error="invalid_token", error_description="{error}"'
    assert len(token) < 30 or token not in str(error)
    return str(error)


# --- signatures -------------------------------------------------------------------------------------------------


def test_a_good_token():
    verified = Verifier(SECRET).verify(sign({"sub": "ada", "exp": NOW + 60, "roles": ["ü"]}), NOW)
    assert (verified.user, verified.begins, verified.expires) == ("ada", -math.inf, NOW + 60)
    assert json.loads(verified.claims) == {"sub": "ada", "exp": NOW + 60, "roles": ["ü"]}


def test_a_token_that_says_nothing_is_good_and_has_no_end():
    assert Verifier(SECRET).verify(sign({}), NOW) == ("", b"{}", -math.inf, math.inf)


@pytest.mark.parametrize("algorithm", PAIRS)
def test_each_kind_of_key(algorithm, tmp_path):
    verifier = Verifier(written(tmp_path, pem(private(algorithm))))
    assert verifier.verify(sign({"sub": "ada"}, private(algorithm), algorithm), NOW).user == "ada"
    another = sign({"sub": "ada"}, private(algorithm, 1), algorithm)
    assert refused(verifier, another) == "the token is not signed by a known key"


@pytest.mark.parametrize("algorithm", PAIRS)
def test_no_public_key_is_a_secret(algorithm, tmp_path):
    """The classic: everybody has the public key, and signs with it by HMAC."""
    public = pem(private(algorithm))
    verifier = Verifier(written(tmp_path, public))
    for key in (public, public.strip(), json.dumps(jwk(algorithm)).encode()):
        header, claims = encoded({"alg": "HS256", "typ": "JWT"}), encoded({"sub": "ada"})
        said = f"{header}.{claims}".encode()
        signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(said, key)
        assert refused(verifier, f"{header}.{claims}.{encoded(signature)}") == "the token is not signed by a known key"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, "HS512", "RS256", ["HS256"], {}, 5])
def test_a_token_does_not_choose_how_it_is_verified(alg):
    claims = encoded({"sub": "ada"})
    for header in ({"alg": alg}, {"alg": alg, "kid": "a"}, {}):
        for signature in ("", sign({"sub": "ada"}).rpartition(".")[2]):
            refused(Verifier(SECRET), f"{encoded(header)}.{claims}.{signature}")


def test_a_key_that_a_token_brings_along_is_none(tmp_path):
    verifier = Verifier(written(tmp_path, jwks(jwk("ES256", "a"))))
    for header in ({"jwk": jwk("ES256", number=1)}, {"jku": "http://127.0.0.1/"}, {"x5u": "http://127.0.0.1/"}):
        refused(verifier, sign({"sub": "ada"}, private("ES256", 1), "ES256", kid="a", **header))


def test_what_is_declared_critical_and_not_known_is_refused():
    refused(Verifier(SECRET), sign({"sub": "ada"}, crit=["b64"], b64=False))
    refused(Verifier(SECRET), sign({"sub": "ada"}, crit=["x"], x=1))


def test_the_key_that_a_token_names(tmp_path):
    verifier = Verifier(written(tmp_path, jwks(jwk("ES256", "a"), jwk("ES256", "b", 1), jwk("RS256", "c"))))
    by_first, by_second = private("ES256"), private("ES256", 1)
    assert verifier.verify(sign({"sub": "ada"}, by_first, "ES256", kid="a"), NOW).user == "ada"
    assert verifier.verify(sign({"sub": "bob"}, by_second, "ES256", kid="b"), NOW).user == "bob"
    assert verifier.verify(sign({"sub": "cy"}, by_second, "ES256"), NOW).user == "cy"  # any of them
    refused(verifier, sign({}, by_first, "ES256", kid="b"))
    refused(verifier, sign({}, by_first, "ES256", kid="c"))
    refused(verifier, sign({}, by_first, "ES256", kid="d"))


def test_algorithms_that_may_not_be_used(tmp_path):
    verifier = Verifier(written(tmp_path, jwks(jwk("ES256", "a"), jwk("RS256", "b"))), algorithms=["RS256"])
    assert verifier.verify(sign({"sub": "ada"}, private("RS256"), "RS256"), NOW).user == "ada"
    refused(verifier, sign({"sub": "ada"}, private("ES256"), "ES256", kid="a"))


def test_one_changed_letter_is_another_token():
    verifier, token = Verifier(SECRET), sign({"sub": "ada"})
    verifier.verify(token, NOW)
    for place in range(len(token)):
        refused(verifier, token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :])


# --- garbage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [
    "", ".", "..", "...", "a.b.c", "a" * MAX_TOKEN_BYTES, "é.é.é", "\ud800", "\x00", "a b.c d.e f",
    f"{encoded([])}..", f"{encoded(b'[' * 3000)}.x.y", f"{encoded(b'{')}..", f"{encoded(b'9' * 5000)}..",
    f"{encoded({'alg': 'HS256', 'kid': 5})}..", f"{encoded({'alg': 'HS256', 'kid': ['a']})}..",
])  # fmt: skip
def test_garbage_is_no_token(token):
    refused(Verifier(SECRET), token)


def test_before_there_is_a_key_for_it_only_the_header_is_looked_at():
    """The rest is most of it, and whoever has no key would have it read for nothing."""
    token = f"{encoded({'alg': 'RS256'})}.no base64.neither"
    assert refused(Verifier(SECRET), token) == "the token is not signed by a known key"


def test_a_huge_token_is_not_looked_at(monkeypatch):
    monkeypatch.setattr(jwt, "get_unverified_header", None)
    monkeypatch.setattr(jwt, "decode", None)
    assert refused(Verifier(SECRET), "a" * (MAX_TOKEN_BYTES + 1)) == "the token is over 8192 bytes, the limit"


@given(st.text(max_size=60) | st.lists(st.binary(max_size=30).map(encoded), min_size=1, max_size=5).map(".".join))
def test_whatever_comes_it_is_refused_in_one_way(token):
    refused(Verifier(SECRET), token)


def signed(payload: bytes) -> str:
    """As an issuer would that writes odd things, but has the key."""
    said = f"{encoded({'alg': 'HS256'})}.{encoded(payload)}"
    by = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    return f"{said}.{encoded(by.sign(said.encode(), SECRET.encode()))}"


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "the token is not valid"),
        (b"5", "the token is not valid"),
        (b"[]", "the token is not valid"),
        (b"\xff", "the token is not valid"),
        (b"[" * 5000, "the token is not valid"),
        (b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}", None),
        (b'{"a":NaN}', "the claims of the token can't be passed on"),
        (b'{"a":1e999}', "the claims of the token can't be passed on"),
        (b'{"a":"\\ud800"}', "the claims of the token can't be passed on"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "the claims of the token can't be passed on"),
        (b'{"a":' + b"9" * 309 + b"}", "the claims of the token can't be passed on"),
        (b'{"sub":5}', "sub in the token is not text"),
        (b'{"sub":null}', "sub in the token is not text"),
        (b'{"jti":5}', "the token is not valid"),
        (b'{"exp":"soon"}', "exp in the token is not a time"),
        (b'{"exp":"1900000000"}', "exp in the token is not a time"),
        (b'{"exp":true}', "exp in the token is not a time"),
        (b'{"exp":null}', "exp in the token is not a time"),
        (b'{"exp":' + b"9" * 400 + b"}", "exp in the token is not a time"),
        (b'{"nbf":[1]}', "nbf in the token is not a time"),
        (b'{"sub":"' + b"a" * (MAX_NAME + 1) + b'"}', "sub in the token is over 256 characters, the limit"),
        (b'{"aud":"a"}', "the token is for another audience"),
    ],
)
def test_odd_claims(payload, why):
    said = refused(Verifier(SECRET), signed(payload))
    assert why is None or said == why


def test_claims_are_passed_on_as_json():
    assert (
        Verifier(SECRET).verify(signed(b'{ "a" : 1, "a": 18446744073709551616 }'), NOW).claims
        == b'{"a":18446744073709551616}'
    )


# --- claims -----------------------------------------------------------------------------------------------------


def test_a_token_has_its_time():
    verifier = Verifier(SECRET)
    token = sign({"nbf": NOW - 5, "exp": NOW + 5})
    assert refused(verifier, token, NOW - 5.5) == "the token is not valid yet"
    verifier.verify(token, NOW - 5)
    verifier.verify(token, NOW + 4.9)
    assert refused(verifier, token, NOW + 5) == "the token has expired"
    with pytest.raises(TokenError) as caught:
        verifier.verify(token, NOW + 5)
    assert caught.value.reason is Reason.EXPIRED


def test_clocks_may_differ_by_the_leeway():
    verifier = Verifier(SECRET, leeway=10)
    token = sign({"nbf": NOW, "exp": NOW + 5})
    refused(verifier, token, NOW - 10.5)
    assert verifier.verify(token, NOW - 10).expires == NOW + 15
    verifier.verify(token, NOW + 14.9)
    refused(verifier, token, NOW + 15)


def test_the_audience():
    verifier = Verifier(SECRET, audience=["chat", "shop"])
    for audience in ("chat", "shop", ["other", "chat"]):
        verifier.verify(sign({"aud": audience}), NOW)
    for audience in ("other", "chatter", [], ["other"], "", "CHAT"):
        refused(verifier, sign({"aud": audience}))
    assert refused(verifier, sign({"sub": "ada"})) == "the token lacks its audience or its issuer"
    assert refused(verifier, sign({"aud": 5})) == refused(verifier, sign({"aud": [5, "chat"]}))
    assert refused(Verifier(SECRET), sign({"aud": "chat"})) == "the token is for another audience"


def test_the_issuer():
    verifier = Verifier(SECRET, issuer=["https://a", "https://b"])
    verifier.verify(sign({"iss": "https://b"}), NOW)
    for said in ({"iss": "https://a/"}, {"iss": "https://"}, {"iss": ""}):
        assert refused(verifier, sign(said)) == "the token is from another issuer"
    assert refused(verifier, sign({})) == "the token lacks its audience or its issuer"
    refused(verifier, signed(b'{"iss":["https://a"]}'))
    Verifier(SECRET).verify(sign({"iss": "whoever"}), NOW)


# --- what is kept -----------------------------------------------------------------------------------------------


class Counting:
    def __init__(self, monkeypatch):
        self.count = 0
        self._decode = jwt.decode
        monkeypatch.setattr(jwt, "decode", self)

    def __call__(self, *args, **options):
        self.count += 1
        return self._decode(*args, **options)


def test_a_token_is_verified_once_until_it_expires(monkeypatch):
    counting, verifier, token = Counting(monkeypatch), Verifier(SECRET), sign({"sub": "ada", "exp": NOW + 5})
    for _ in range(100):
        verifier.verify(token, NOW)
    for _ in range(100):
        refused(verifier, token, NOW + 5)
    assert counting.count == 1


def test_what_is_kept_is_bounded_and_the_oldest_goes(monkeypatch):
    monkeypatch.setattr(tokens, "MAX_KEPT_BYTES", 10_000)
    counting, verifier = Counting(monkeypatch), Verifier(SECRET)
    said = [sign({"sub": str(number), "text": "x" * 500}) for number in range(100)]
    for token in said:
        verifier.verify(token, NOW)
        assert sum(tokens.KEPT_BYTES + len(each.claims) for each in verifier._kept.values()) == verifier._kept_bytes
        assert verifier._kept_bytes <= 10_000
    assert len(verifier._kept) > 10
    verifier.verify(said[-1], NOW)
    assert counting.count == 100
    verifier.verify(said[0], NOW)
    assert counting.count == 101


def test_what_is_refused_is_not_kept():
    verifier = Verifier(SECRET)
    for number in range(50):
        refused(verifier, sign({"sub": str(number)}, "another secret of thirty-two byte"))
    assert not verifier._kept


# --- keys that change -------------------------------------------------------------------------------------------


def test_keys_are_read_anew_when_the_file_changes(tmp_path):
    first, second = private("ES256"), private("ES256", 1)
    path = written(tmp_path, pem(first))
    verifier = Verifier(path)
    old, new = sign({"sub": "old"}, first, "ES256"), sign({"sub": "new"}, second, "ES256")
    assert verifier.verify(old, NOW).user == "old"
    written(tmp_path, pem(second))
    assert verifier.verify(old, NOW + 0.9).user == "old"  # once a second
    refused(verifier, new, NOW + 0.9)
    assert verifier.verify(new, NOW + 1).user == "new"
    refused(verifier, old, NOW + 1)  # though it was kept


def test_a_clock_that_goes_back_keeps_no_keys_from_being_read(tmp_path):
    verifier = Verifier(written(tmp_path, pem(private("ES256"))))
    verifier.verify(sign({}, private("ES256"), "ES256"), NOW)
    written(tmp_path, pem(private("ES256", 1)))
    verifier.verify(sign({}, private("ES256", 1), "ES256"), NOW - 5000)


@pytest.mark.parametrize("bad", [b"", b"no keys", None])
def test_a_bad_new_file_is_logged_once_and_the_old_keys_stay(tmp_path, bad):
    path = written(tmp_path, pem(private("ES256")))
    verifier, token = Verifier(path), sign({"sub": "ada"}, private("ES256"), "ES256")
    verifier.verify(token, NOW)
    if bad is None:
        os.unlink(path)
    else:
        written(tmp_path, bad)
    with structlog.testing.capture_logs() as lines:
        for second in range(1, 5):
            assert verifier.verify(token, NOW + second).user == "ada"
    [said] = lines
    assert (said["event"], said["log_level"], said["file"]) == ("jwt_keys_unusable", "warning", path)
    written(tmp_path, pem(private("ES256", 1)))
    assert verifier.verify(sign({"sub": "bob"}, private("ES256", 1), "ES256"), NOW + 9).user == "bob"


def test_a_file_that_comes_later(tmp_path):
    verifier, token = Verifier(str(tmp_path / "keys.pem")), sign({"sub": "ada"}, private("ES256"), "ES256")
    refused(verifier, token)
    written(tmp_path, pem(private("ES256")), "keys.pem")
    refused(verifier, token, NOW + 0.5)
    assert verifier.verify(token, NOW + 1).user == "ada"


# --- where it is looked for -------------------------------------------------------------------------------------

ANY = ("*",)


def found(entry, *headers, query="", origins=ANY):
    return Source(entry, origins).find(headers, query)


def test_in_the_header():
    for value in ("Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c "):
        assert found("header", ("host", "a"), ("authorization", value)) == "a.b.c"
    for value in ("Basic a.b.c", "a.b.c", "", "Bearer", "Bearer "):
        assert found("header", ("authorization", value)) == ""
    assert found("header", ("cookie", "authorization=Bearer a.b.c")) == ""


def test_in_a_cookie():
    for value in (
        "token=a.b.c",
        "x=1; token=a.b.c; y=2",
        'token="a.b.c"',
        "xtoken=1;token=a.b.c",
        "token; token=a.b.c",
    ):
        assert found("cookie:token", ("cookie", value)) == "a.b.c"
    for value in ("Token=a.b.c", "xtoken=a.b.c", "token", "", ";;;", "token="):
        assert found("cookie:token", ("cookie", value)) == ""


def test_in_the_query():
    for query in ("token=a.b.c", "x=1&token=a.b.c&y=2", "token=a%2Eb%2ec"):
        assert found("query:token", query=query) == "a.b.c"
    for query in ("", "xtoken=a.b.c", "Token=a.b.c", "token", "token=", "x=token=a.b.c", "&&"):
        assert found("query:token", query=query) == ""
    assert found("query:a.b", query="axb=1&a.b=2") == "2"
    assert not found("query:token", query="token=%ed%a0%80").isascii()


@pytest.mark.parametrize(
    ("entry", "headers", "query"),
    [
        ("header", [("authorization", "Bearer a"), ("authorization", "Bearer a")], ""),
        ("header", [("authorization", "Basic a"), ("authorization", "Bearer a")], ""),
        ("cookie:token", [("cookie", "token=a; token=b")], ""),
        ("cookie:token", [("cookie", "token=a"), ("cookie", "token=b")], ""),
        ("cookie:token", [("cookie", "token=; token=b")], ""),
        ("query:token", [], "token=a&token=b"),
        ("query:token", [], "token=&token=b"),
    ],
)
def test_two_tokens_in_one_place_are_none(entry, headers, query):
    """Who put which there can't be known: a cookie may be another site's below the same domain."""
    with pytest.raises(TokenError, match="more than one token"):
        found(entry, *headers, query=query)


def test_a_cookie_is_not_for_another_origins_pages():
    cookie = ("cookie", "token=a.b.c")
    ours = ("https://a.example",)
    assert found("cookie:token", cookie, origins=ours) == "a.b.c"  # no page of another origin asks without saying so
    assert found("cookie:token", cookie, ("origin", "https://a.example"), origins=ours) == "a.b.c"
    for origin in ("https://b.example", "null", ""):
        with pytest.raises(TokenError) as caught:
            found("cookie:token", cookie, ("origin", origin), origins=ours)
        assert caught.value.http_status == 403
    assert found("header", ("authorization", "Bearer a"), ("origin", "https://b.example"), origins=ours) == "a"

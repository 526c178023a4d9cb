"""What a secret, a PEM or a JWKS file becomes, and what is refused of each."""

import json
import ssl
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from holdfast.proxy.config import jwt_keys
from holdfast.proxy.config.jwt_keys import MAX_FILE_BYTES, MAX_KEYS, MAX_TRIED, load, parse, path_of
from tests.proxy.signing import PAIRS, SECRET, jwk, jwks, pem, private, private_pem, written

CERTIFICATE_KEY = "-----BEGIN CERTIFICATE-----"


def kinds(keys):
    return sorted({key.algorithm_name for key in keys._all})


def test_a_secret_is_for_hs256_and_nothing_else():
    keys = load(SECRET, ())
    assert kinds(keys) == ["HS256"]
    assert [key.key for key in keys.candidates(None, "HS256")] == [SECRET.encode()]
    for algorithm in (*PAIRS, "none", "HS384", ""):
        assert keys.candidates(None, algorithm) == []


@pytest.mark.parametrize("algorithm", PAIRS)
def test_a_public_key_is_for_the_algorithm_of_its_kind_and_never_a_secret(algorithm, tmp_path):
    keys = load(written(tmp_path, pem(private(algorithm))), ())
    assert kinds(keys) == [algorithm]
    assert keys.candidates(None, "HS256") == []


def test_several_keys_of_a_pem_file_count(tmp_path):
    keys = parse(b"a comment\n".join(pem(private(each)) for each in PAIRS) + pem(private("RS256", 1)), ())
    assert keys.count == 4
    assert len(keys.candidates(None, "RS256")) == 2
    assert len(keys.candidates("whatever it names", "RS256")) == 2


def test_a_certificate_counts_by_its_key(tmp_path, certificate):
    with open(certificate[0], "rb") as file:
        data = file.read()
    assert data.startswith(CERTIFICATE_KEY.encode())
    assert parse(data, ()).count == 1


def test_a_certificate_of_no_known_version_is_none(certificate):
    """cryptography says so with an exception that is no ValueError."""
    with open(certificate[0]) as file:
        der = bytearray(ssl.PEM_cert_to_DER_cert(file.read()))
    der[der.index(b"\xa0\x03\x02\x01\x02") + 4] = 7
    with pytest.raises(ValueError, match="a PEM file of public keys or certificates"):
        parse(ssl.DER_cert_to_PEM_cert(bytes(der)).encode(), ())


@pytest.mark.parametrize(
    "data",
    [
        b"-----BEGIN A-----" * (MAX_FILE_BYTES // 17),
        b"-----BEGIN " * (MAX_FILE_BYTES // 11),
        b"-----BEGIN " + b"A" * (MAX_FILE_BYTES - 11),
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n" * (MAX_FILE_BYTES // 60),
        b'{"keys":[' + b'{"kty":"RSA"},' * (MAX_FILE_BYTES // 14 - 1) + b"{}]}",
    ],
    ids=["beginnings", "halves of them", "a long name", "many blocks", "many of a JWKS"],
)
def test_the_largest_file_costs_little_whatever_is_in_it(data):
    """It is read anew in the proxy's turns. Beginnings took the square of their number: minutes of CPU, where this
    takes milliseconds."""
    started = time.process_time()
    with pytest.raises(ValueError, match=r"a PEM|at most 100 keys"):
        parse(data, ())
    assert time.process_time() - started < 5.0


def test_keys_of_a_jwks_are_for_tokens_that_name_them():
    keys = parse(jwks(jwk("RS256", "a"), jwk("RS256", "b", 1), jwk("ES256", "c"), jwk("EdDSA")), ())
    assert [key.key_id for key in keys.candidates("a", "RS256")] == ["a"]
    assert [key.key_id for key in keys.candidates("b", "RS256")] == ["b"]
    assert keys.candidates("a", "ES256") == keys.candidates("d", "RS256") == []
    assert [key.key_id for key in keys.candidates("a", "EdDSA")] == [None]
    assert [key.key_id for key in keys.candidates(None, "RS256")] == ["a", "b"]


def test_no_more_keys_are_tried_than_may():
    keys = parse(jwks(*(jwk("ES256", str(number)) for number in range(MAX_KEYS))), ())
    assert len(keys.candidates(None, "ES256")) == MAX_TRIED


def test_a_secret_in_a_jwks():
    keys = parse(jwks({"kty": "oct", "kid": "s", "k": "QUJD" * 11}), ())
    assert kinds(keys) == ["HS256"]


def odd(private, kind, **fields):
    return kind.to_jwk(private.public_key(), as_dict=True) | {"kid": "odd", **fields}


def test_what_is_not_for_us_is_passed_over():
    theirs = [
        jwk("RS256", "encrypts", use="enc"),
        jwk("RS256", "signs", key_ops=["sign"]),
        jwk("RS256", "other", alg="RS512"),
        jwk("RS256", "wrong", alg="HS256"),
        jwk("RS256", "none", alg="none"),
        {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
        odd(ec.generate_private_key(ec.SECP521R1()), ECAlgorithm, alg="ES256"),
        odd(ec.generate_private_key(ec.SECP256K1()), ECAlgorithm, alg="ES256"),
        odd(ed448.Ed448PrivateKey.generate(), OKPAlgorithm, alg="EdDSA"),
        odd(ed448.Ed448PrivateKey.generate(), OKPAlgorithm),
        {"kty": "oct", "k": "QUJD"},
        {"kty": "oct"},
        {"kty": "RSA", "n": "AA", "e": "AQAB"},
        {"kty": "RSA", "n": 5, "e": []},
        {"kty": 1},
        {"kty": "new"},
        {"alg": ["RS256"], "kty": "RSA"},
        "not a key",
        None,
    ]
    keys = parse(jwks(*theirs, jwk("RS256", "ours")), ())
    assert [key.key_id for key in keys._all] == ["ours"]
    with pytest.raises(ValueError, match="with a key for HS256, RS256, ES256, EdDSA"):
        parse(jwks(*theirs), ())


def test_only_the_algorithms_that_may_be_used_have_keys():
    data = jwks(jwk("RS256", "a"), jwk("ES256", "b"))
    assert kinds(parse(data, ("ES256", "HS256"))) == ["ES256"]
    with pytest.raises(ValueError, match=r"a key for EdDSA \(client.jwt_algorithms\), there is one for ES256, RS256"):
        parse(data, ("EdDSA",))
    with pytest.raises(ValueError, match="a key for RS256 or ES256"):
        load(SECRET, ("RS256", "ES256"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "a PEM or JWKS file"),
        (b"{", "a PEM or JWKS file"),
        (b"[]", "a PEM or JWKS file"),
        (b'{"keys": 5}', "a PEM or JWKS file with a key"),
        (b'{"keys": []}', "a PEM or JWKS file with a key"),
        (b"\xff\xfe", "a PEM or JWKS file"),
        (b"[" * 5000, "a PEM or JWKS file"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "a PEM file of public keys or certificates"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "a PEM file of public keys or"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA", "a PEM file of public keys or certificates"),
        (private_pem(private("ES256")), "a file of public keys: there is a private one in it"),
        (pem(private("ES256")) + private_pem(private("EdDSA")), "a file of public keys: there is a private one in it"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "keys of RSA, P-256 or Ed25519 in the file"),
        (pem(rsa.generate_private_key(65537, 1024)), "RSA keys of at least 2048 bits"),
        (jwks(jwk("ES256", d="AAAA")), "a file of public keys: there is a private one in it"),
        (jwks(*[jwk("ES256")] * (MAX_KEYS + 1)), "a file of at most 100 keys"),
    ],
    ids=range(16),
)
def test_what_is_no_file_of_keys(data, expected):
    with pytest.raises(ValueError, match=expected):
        parse(data, ())


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(jwt_keys, "MAX_FILE_BYTES", 100)
    with pytest.raises(ValueError, match="at most 100 bytes"):
        load(written(tmp_path, b"x" * 101), ())


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda said: json.dumps(said).encode())
)
def test_whatever_a_file_has_it_is_keys_or_one_word_of_what_was_expected(data):
    with pytest.raises(ValueError, match=r"^a PEM|^a file|^keys of|^RSA keys"):
        parse(data, ())


_fields = st.sampled_from(["kty", "kid", "alg", "use", "key_ops", "crv", "x", "y", "n", "e", "k"])
_values = (
    st.none()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["RSA", "EC", "oct", "OKP", "P-256", "Ed25519", "sig"])
)


@given(st.dictionaries(_fields, _values | st.lists(_values, max_size=2)))
def test_an_odd_key_beside_a_good_one_spoils_nothing(odd):
    assert parse(jwks(odd, jwk("ES256", "ours")), ("ES256",)).count >= 1


@pytest.mark.parametrize(
    "value",
    [
        "/etc/jwt.pem", "./a", "../a", "~/a", "keys.pem", "KEYS.JSON", "a.jwks", "a/b",
        "keys/of/the/issuer-2026-11-30-new", "/" + "A" * 60,
    ],
)  # fmt: skip
def test_what_may_be_meant_as_a_path_is_no_secret(value):
    """Whoever can guess a path could sign with it, if a mistyped one were the secret."""
    assert path_of(value) == value
    with pytest.raises(ValueError, match="or the path of a PEM or JWKS file that can be read"):
        load(value, ())


def test_secrets():
    assert path_of(SECRET) is None
    assert path_of("ab+/" * 20 + "==") is None  # base64, as issuers give them
    for short in ("hush", "x" * 31, "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----"):
        with pytest.raises(ValueError, match="a secret of at least 32 bytes"):
            load(short, ())


def test_a_file_without_an_ending_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, pem(private("ES256")), "a-file-with-a-name-as-long-as-a-secret")
    assert kinds(load("a-file-with-a-name-as-long-as-a-secret", ())) == ["ES256"]

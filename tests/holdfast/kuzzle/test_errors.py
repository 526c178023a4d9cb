"""Kuzzle's errors: ids, codes and statuses that programs compare."""

import pytest

from holdfast.kuzzle.errors import CATALOGUE, ForbiddenError, KuzzleError, NotFoundError, error


@pytest.mark.parametrize(
    ("id", "props", "kind", "status", "code", "message"),
    [
        (
            "api.process.controller_not_found",
            ("taxi",),
            "NotFoundError",
            404,
            33685508,
            'API controller "taxi" not found.',
        ),
        ("api.process.action_not_found", ("a", "b"), "NotFoundError", 404, 33685509, 'API action "a":"b" not found'),
        ("api.assert.missing_argument", ("index",), "BadRequestError", 400, 33619971, 'Missing argument "index".'),
        (
            "services.storage.not_found",
            ("1", "i", "c"),
            "NotFoundError",
            404,
            16842763,
            'Document "1" not found in "i":"c".',
        ),
        ("services.storage.unknown_index", ("i",), "PreconditionError", 412, 16842753, 'The index "i" does not exist.'),
        ("security.token.invalid", (), "UnauthorizedError", 401, 117506049, "Invalid token."),
        ("network.http.url_not_found", ("/x",), "NotFoundError", 404, 50397191, "API URL not found: /x."),
    ],
)
def test_an_error_is_what_the_sdk_knows(id, props, kind, status, code, message):
    raised = error(id, *props)
    assert type(raised).__name__ == kind
    assert raised.as_json() == {"status": status, "message": message, "id": id, "code": code, "props": list(props)}


def test_every_id_has_its_own_code_and_code_and_id_agree_on_the_domain():
    assert len({code for _, code, _ in CATALOGUE.values()}) == len(CATALOGUE)
    domains = {"core": 0, "services": 1, "api": 2, "network": 3, "plugin": 4, "security": 7}
    subdomains: dict[int, str] = {}
    for id, (kind, code, message) in CATALOGUE.items():
        domain, subdomain, _ = id.split(".")
        assert code >> 24 == domains[domain]
        assert subdomains.setdefault(code >> 16, subdomain) == subdomain
        assert issubclass(kind, KuzzleError)
        assert 400 <= kind.status < 600
        assert error(id, *["x"] * message.count("{}")).as_json()["message"]


def test_authors_raise_errors_of_their_own():
    raised = NotFoundError("No such taxi", "taxi.fleet.unknown", 0x10010001, ("T1",))
    assert raised.as_json() == {
        "status": 404,
        "message": "No such taxi",
        "id": "taxi.fleet.unknown",
        "code": 0x10010001,
        "props": ["T1"],
    }
    assert ForbiddenError("Not yours").as_json()["id"] == "plugin.runtime.unexpected_error"


def test_props_can_be_anything():
    assert error("network.http.body_parse_failed", ValueError("no")).as_json()["props"] == ["no"]


def test_props_with_braces_are_text():
    assert str(error("services.storage.not_found", "{0}", "{}", "c")) == 'Document "{0}" not found in "{}":"c".'

"""The description is of what is there."""

import re

import msgspec
import pytest

from holdfast.proxy.admin.bodies import Publication
from holdfast.proxy.admin.openapi import description
from holdfast.proxy.admin.routes import ROUTES
from holdfast.proxy.config.keys import SCOPES
from holdfast.proxy.views import Refusal
from tests.proxy.admin.test_api import Caller

NAMES = [route.name for route in ROUTES]


def operation(route):
    return description()["paths"][route.pattern][route.method.lower()]


def test_every_route_is_described_and_nothing_else():
    described = {(method.upper(), path) for path, operations in description()["paths"].items() for method in operations}
    assert described == {(route.method, route.pattern) for route in ROUTES}
    assert len(set(NAMES)) == len(NAMES)


def test_every_reference_leads_somewhere():
    schemas = description()["components"]["schemas"]
    references = set(re.findall(r'"\$ref":"#/components/schemas/(\w+)"', msgspec.json.encode(description()).decode()))
    assert references == set(schemas)


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_examples_are_what_they_are_examples_of(route):
    for kind, example in ((route.body, route.body_example), (route.answer, route.answer_example)):
        if example:
            msgspec.json.decode(example, type=str if kind is bool else kind)
    assert (route.body is None) == (not route.body_example)
    assert route.scope == "" or route.scope in SCOPES


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_a_route_answers_as_it_is_described(route, control):
    """With its examples, and with what is wrong."""
    call = Caller(control, "hush")
    path = re.sub(r"{id}", "n-1" if "nodes" in route.pattern else "0000000000000001", route.pattern)
    path = path.replace("{channel}", "kitchen")
    token = {"authorization": "Bearer hush"}
    status, content, _ = call(route.method, path, token, route.body_example.encode())
    assert status == route.status
    if route.answer not in (str, bool, dict):
        msgspec.convert(content, route.answer)
    told = operation(route)["responses"]
    assert str(status) in told
    if route.scope:
        assert operation(route)["x-scope"] == route.scope
        status, content, _ = call(route.method, path)
        assert (status, str(status) in told) == (401, True)
        msgspec.convert(content, Refusal)


def test_it_is_told_to_everybody(control):
    status, content, _ = Caller(control, "hush")("GET", "/api/openapi.json")
    assert (status, content["openapi"]) == (200, "3.1.0")
    assert content == msgspec.json.decode(msgspec.json.encode(description()))
    assert content["components"]["schemas"]["Message"]["properties"]["payload"] == {}
    message, publication = Publication.__base__.__struct_fields__, Publication.__struct_fields__
    assert set(content["components"]["schemas"]["Publication"]["properties"]) == set(publication)
    assert set(publication) - set(message) == {"messages"}

"""The description of the admin server's API in OpenAPI 3.1, made of the table of routes and of their structs."""

import re
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec

from holdfast.proxy.admin.http import JSON
from holdfast.proxy.admin.idempotency import KEY, MAX_KEY, SECONDS
from holdfast.proxy.admin.routes import OF_A_NODE, ROUTES, Route
from holdfast.proxy.views import Refusal

ABOUT = """What the admin server of a Holdfast proxy shows and does. Every answer of a status from 400 on is a Refusal,
but for 503 of /ready and of /_plugin/cluster/health. HEAD is answered as GET. A token of the configuration is presented
as bearer token; `x-scope` says which scope of `admin.tokens` it takes, and `admin.token` may do everything."""

PATTERNS = {"id": None, "channel": "In percent-encoding: a slash is %2F."}
IDEMPOTENCY = {
    "name": KEY,
    "in": "header",
    "description": f"Chosen by the caller, for this request and each time that it is sent again. A success is answered "
    f"with the former answer for {SECONDS // 60:.0f} minutes, by this proxy alone, and nothing is done again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
}
PREFER = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=5`, as of RFC 7240: so many seconds the caller waits. By then it is done, or refused with "
    "503 or 504; never later than without.",
    "schema": {"type": "string"},
}
COMMON = {400: "What was sent can't be meant.", 403: "A page of another site, or a foreign Host."}
WITH_TOKEN = {401: "No token, where one is configured.", 403: "The token lacks the scope; or a page, or foreign Host."}
WITH_KEY = {
    409: "A request with the same Idempotency-Key is under way.",
    413: "The body is too large.",
    415: "Without a token, a body that is not called application/json.",
    422: "The Idempotency-Key was used for another request.",
}


@cache
def description() -> dict[str, Any]:
    """As it is served."""
    structs: list[type] = [Refusal]
    for route in ROUTES:
        structs += [kind for kind in (route.answer, route.body) if kind not in (None, str, bool, dict)]
    _, components = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Holdfast, admin server", "version": "1", "description": " ".join(ABOUT.split())},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.summary}
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.pattern)
    ]
    parameters += (
        {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in route.query
    )
    refusals = dict(COMMON)
    if route.scope:
        operation |= {"security": [{"token": []}], "x-scope": route.scope}
        refusals |= WITH_TOKEN
    if route.method != "GET":
        parameters += [IDEMPOTENCY, PREFER] if set(OF_A_NODE) <= set(route.refusals) else [IDEMPOTENCY]
        refusals |= WITH_KEY
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        content = {JSON: {"schema": _schema(route.body)} | _example(route.body_example)}
        operation["requestBody"] = {"required": route.name == "publish", "content": content}
    told: dict[str, Any] = {str(route.status): _response(HTTPStatus(route.status).phrase, route)}
    for status, meaning in sorted((refusals | _joined(refusals, route.refusals)).items()):
        is_same = status == 503 and route.name in ("ready", "cluster_health")
        told[str(status)] = _response(meaning, route) if is_same else _refusal(meaning)
    operation["responses"] = told
    return operation


def _joined(common: dict[int, str], own: tuple[tuple[int, str], ...]) -> dict[int, str]:
    return {status: f"{common[status]} {meaning}" if status in common else meaning for status, meaning in own}


def _response(meaning: str, route: Route) -> dict[str, Any]:
    if route.answer is str:
        return {"description": meaning, "content": {"text/plain": {"schema": {"type": "string"}}}}
    example = _example(route.answer_example) if meaning == HTTPStatus(route.status).phrase else {}
    return {"description": meaning, "content": {JSON: {"schema": _schema(route.answer)} | example}}


def _refusal(meaning: str) -> dict[str, Any]:
    return {"description": meaning, "content": {JSON: {"schema": _schema(Refusal)}}}


def _schema(kind: type) -> dict[str, Any]:
    if kind is bool:
        return {"enum": ["ok", "ko"]}
    if kind is dict:
        return {"type": "object"}
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _example(text: str) -> dict[str, Any]:
    return {"example": msgspec.json.decode(text)} if text else {}

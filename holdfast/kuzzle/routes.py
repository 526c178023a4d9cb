"""HTTP routes: a method and a path template to a controller, an action and arguments.

Owns the table of Kuzzle's own routes for the actions that this package and its examples know, and the tree that
finds a route. A word of a template wins over a parameter (`:index`) if a route lies behind it.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote

from holdfast import ConfigError
from holdfast.protocols.paths import Branch

VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")

# Kuzzle 2, lib/api/httpRoutes.js. A client of the SDK learns them from server:publicApi.
NATIVE: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("auth", "checkToken"): (("POST", "/_checkToken"),),
    ("auth", "getCurrentUser"): (("GET", "/_me"),),
    ("auth", "login"): (("POST", "/_login/:strategy"),),
    ("auth", "logout"): (("POST", "/_logout"),),
    ("collection", "create"): (("PUT", "/:index/:collection"),),
    ("collection", "exists"): (("GET", "/:index/:collection/_exists"),),
    ("collection", "list"): (("GET", "/:index/_list"),),
    ("document", "count"): (("POST", "/:index/:collection/_count"),),
    ("document", "create"): (
        ("POST", "/:index/:collection/_create"),
        ("POST", "/:index/:collection/:_id/_create"),
    ),
    ("document", "createOrReplace"): (("PUT", "/:index/:collection/:_id"),),
    ("document", "delete"): (("DELETE", "/:index/:collection/:_id"),),
    ("document", "exists"): (("GET", "/:index/:collection/:_id/_exists"),),
    ("document", "get"): (("GET", "/:index/:collection/:_id"),),
    ("document", "replace"): (("PUT", "/:index/:collection/:_id/_replace"),),
    ("document", "search"): (("POST", "/:index/:collection/_search"),),
    ("document", "update"): (("PATCH", "/:index/:collection/:_id/_update"),),
    ("index", "create"): (("POST", "/:index/_create"),),
    ("index", "exists"): (("GET", "/:index/_exists"),),
    ("index", "list"): (("GET", "/_list"),),
    ("realtime", "list"): (("GET", "/_listSubscriptions"),),
    ("realtime", "publish"): (("POST", "/:index/:collection/_publish"),),
    ("server", "info"): (("GET", "/"), ("GET", "/_serverInfo")),
    ("server", "now"): (("GET", "/_now"),),
    ("server", "publicApi"): (("GET", "/_publicApi"),),
}


class Route(NamedTuple):
    verb: str
    path: str
    controller: str
    action: str


class Routes:
    """The routes of a node. Two for one verb and path are a mistake of the author and raise ConfigError."""

    def __init__(self) -> None:
        self._trees: dict[str, Branch[Route]] = {verb: Branch() for verb in VERBS}
        self._actions: dict[tuple[str, str], list[Route]] = {}

    def add(self, controller: str, action: str, http: Iterable[tuple[str, str]] | None = None) -> None:
        """Give an action its routes. If none are named: Kuzzle's own, else `GET /_/controller/action` in kebab-case."""
        if http is None:
            default = ("GET", f"/_/{_kebab(controller)}/{_kebab(action)}")
            http = NATIVE.get((controller, action), (default,))
        routes = self._actions.setdefault((controller, action), [])
        for verb, path in http:
            if verb not in VERBS or not path.startswith("/"):
                raise ConfigError(
                    f"a route is a pair of one of {', '.join(VERBS)} and /path, got {verb!r} and {path!r}"
                )
            words = [None if segment.startswith(":") else segment for segment in _segments(path)]
            branch = self._trees[verb].grow(words)
            if branch.item is not None:
                raise ConfigError(f"{verb} {path} is a route already: {branch.item}")
            branch.item = Route(verb, path, controller, action)
            routes.append(branch.item)

    def find(self, verb: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route for a request, with the values of its parameters."""
        found = self._trees[verb].find([unquote(segment) for segment in _segments(path)], lambda route: route)
        if found is None:
            return None
        route, values = found
        names = [segment[1:] for segment in _segments(route.path) if segment.startswith(":")]
        return route, dict(zip(names, values, strict=True))

    def public_api(self) -> dict[str, Any]:
        """What server:publicApi answers: the SDK builds its URLs from it."""
        api: dict[str, Any] = {}
        for (controller, action), routes in self._actions.items():
            entry: dict[str, Any] = {"action": action, "controller": controller}
            if routes:
                entry["http"] = [{"path": route.path, "url": route.path, "verb": route.verb} for route in routes]
            api.setdefault(controller, {})[action] = entry
        return api


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]

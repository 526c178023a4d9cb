"""The controller `auth` with the one strategy `local`: name and password for a token, and what a token is good for.

Tokens are signed, so every node can verify what another one issued, and nothing is stored for a login. What is
stored is a logout: the token's name and the client that has logged out, until the token would have ended by itself.
Subscriptions made with it end too.
"""

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from holdfast.kuzzle import tokens
from holdfast.kuzzle.errors import KuzzleError, error
from holdfast.kuzzle.expiring import PREFIX, REVOKED, Expiring
from holdfast.kuzzle.tokens import Claims
from holdfast.kuzzle.wire import ANONYMOUS, Action, Request

STRATEGY = "local"


class LocalAuth:
    """users: passwords by name, in clear: for demonstrations and tests. A name is the user's id too.

    on_logout: told the request whose token is good for nothing any more.
    """

    def __init__(
        self,
        expiring: Expiring,
        users: Mapping[str, str],
        secret: bytes,
        lifetime: float,
        on_logout: Callable[[Request], Awaitable[None]],
    ) -> None:
        self._expiring = expiring
        self._users = users
        self._secret = secret
        self._lifetime = lifetime
        self._on_logout = on_logout

    def actions(self) -> dict[str, Action]:
        return {
            "login": self.login,
            "logout": self.logout,
            "checkToken": self.check_token,
            "getCurrentUser": self.get_current_user,
        }

    def authenticate(self, request: Request) -> None:
        """Say in the request whom its token names, if it has one. Raises `security.token.invalid`."""
        if request.jwt is None:
            return
        # A logout that is delivered again finds its token revoked already, by itself.
        is_logout = (request.controller, request.action) == ("auth", "logout")
        claims = self._verify(request.jwt, revoked_too=is_logout and request.redelivered)
        request.user, request.token, request.token_ends = claims.user, tokens.fingerprint(request.jwt), claims.exp

    def is_revoked(self, token: str) -> bool:
        """token: its name; "": none."""
        return token != "" and self._expiring.get(_revocation(token)) is not None

    def _verify(self, token: str, revoked_too: bool = False) -> Claims:
        claims = tokens.verify(self._secret, token, time.time())
        if not revoked_too and self.is_revoked(tokens.fingerprint(token)):
            raise error("security.token.invalid")
        return claims

    async def login(self, request: Request) -> dict[str, Any]:
        strategy = request.string("strategy")
        if strategy != STRATEGY:
            raise error("security.credentials.unknown_strategy", strategy)
        name, password = request.body_string("username"), request.body_string("password")
        # The same work whether or not there is such a user: the time it takes says nothing.
        is_right = hmac.compare_digest(password.encode(), self._users.get(name, "").encode())
        if name not in self._users or not is_right:
            raise error("plugin.strategy.missing_user", "wrong username or password")
        lifetime = tokens.lifetime(request.args.get("expiresIn"), self._lifetime)
        token, claims = tokens.issue(self._secret, name, time.time(), lifetime)
        return {"_id": name, "jwt": token, "expiresAt": int(claims.exp * 1000), "ttl": int(lifetime * 1000)}

    async def logout(self, request: Request) -> dict[str, Any]:
        request.require_login()
        assert request.jwt is not None
        until = self._verify(request.jwt, revoked_too=True).exp
        await self._expiring.set(_revocation(request.token), {"client": request.client}, until)
        await self._on_logout(request)
        return {"acknowledged": True}

    async def check_token(self, request: Request) -> dict[str, Any]:
        token = request.object_body().get("token")
        if token is None:
            return {"valid": True, "kuid": ANONYMOUS, "expiresAt": -1}
        if not isinstance(token, str):
            raise error("api.assert.invalid_type", "body.token", "string")
        try:
            claims = self._verify(token)
        except KuzzleError as refused:
            return {"valid": False, "state": str(refused)}
        return {"valid": True, "kuid": claims.user, "expiresAt": int(claims.exp * 1000)}

    async def get_current_user(self, request: Request) -> dict[str, Any]:
        if request.user == ANONYMOUS:
            return {"_id": ANONYMOUS, "_source": {"profileIds": ["anonymous"], "name": "Anonymous"}, "strategies": []}
        return {"_id": request.user, "_source": {"profileIds": ["default"]}, "strategies": [STRATEGY]}


def _revocation(token: str) -> str:
    return REVOKED.removeprefix(PREFIX) + token

"""Who may do what: admin.token all, each of admin.tokens what its scope says."""

import hmac

from holdfast.proxy.admin.http import CHALLENGE, HttpError
from holdfast.proxy.config.keys import SCOPES
from holdfast.proxy.config.sections import AdminSettings

READ, PUBLISH, OPERATE, ALL = SCOPES


class Access:
    """The tokens that there are. is_open: there is none, so nothing proves anything."""

    def __init__(self, settings: AdminSettings) -> None:
        scoped = [(ALL, settings.token)] if settings.token else []
        for token in settings.tokens:
            scope, _, secret = token.partition(":")
            scoped.append((scope, secret))
        self._scoped = [(scope, secret.encode()) for scope, secret in scoped]
        self.is_open = not scoped

    def scopes(self, authorization: str) -> set[str]:
        """What the header's bearer token may do; nothing at all: it is none of ours. All of them are compared, each in
        a time that tells nothing of it."""
        token = bearer(authorization).encode()  # bytes, because compare_digest refuses text beyond ASCII
        return {scope for scope, secret in self._scoped if hmac.compare_digest(token, secret)}

    def check(self, authorization: str, scope: str) -> None:
        """Raises HttpError: 401 without a token of ours, 403 with one that may do other things only."""
        scopes = self.scopes(authorization)
        if not scopes:
            raise HttpError(401, _unknown(authorization), CHALLENGE)
        if scopes.isdisjoint((scope, ALL)):
            raise HttpError(403, f"this token may not: it takes one of the scope {scope}")


def bearer(authorization: str) -> str:
    """The header's bearer token; "": there is none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _unknown(authorization: str) -> str:
    """What is told to who has none of ours. By its form alone: no word says how near it is to one."""
    token = bearer(authorization)
    if not token:
        got = ", got one without Bearer" if authorization.partition(" ")[0].lower() not in ("", "bearer") else ""
        return f"expected the header Authorization: Bearer TOKEN with admin.token, or one of admin.tokens{got}"
    scope, colon, _ = token.partition(":")
    hint = f"; without its scope: of {scope}:TOKEN there, TOKEN" if colon and scope in SCOPES else ""
    return f"the token that was given is neither admin.token nor one of admin.tokens{hint}"

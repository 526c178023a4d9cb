"""Who may do what: admin.token all, each of admin.tokens what its scope says."""

import hmac

from holdfast.proxy.admin.http import CHALLENGE, HttpError
from holdfast.proxy.config.sections import AdminSettings

READ, PUBLISH, OPERATE, ALL = "read", "publish", "operate", "*"


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
        scheme, _, given = authorization.partition(" ")
        token = given.strip().encode()  # bytes, because compare_digest refuses text beyond ASCII
        found = {scope for scope, secret in self._scoped if hmac.compare_digest(token, secret)}
        return found if scheme.lower() == "bearer" else set()

    def check(self, authorization: str, scope: str) -> None:
        """Raises HttpError: 401 without a token of ours, 403 with one that may do other things only."""
        scopes = self.scopes(authorization)
        if not scopes:
            what = "admin.token, or one of admin.tokens"
            raise HttpError(401, f"expected the header Authorization: Bearer TOKEN with {what}", CHALLENGE)
        if scopes.isdisjoint((scope, ALL)):
            raise HttpError(403, f"this token may not: it takes one of the scope {scope}")

"""CURVE on the sockets of a proxy: its key pair, and which public keys may connect to it.

Owns the keys; balancer.links.guard asks for them. All proxies of a cluster have the same key pair, so to each
other they are server and client with it.
"""

import zmq

from holdfast.protocols.errors import ConfigError
from holdfast.protocols.nodes.keys import decode_key


class Curve:
    """authorized_keys: a folder of public key files; "": any key, for when the token decides and CURVE only encrypts.

    Raises ConfigError if there is no such key pair.
    """

    def __init__(self, secret_key_file: str, authorized_keys: str) -> None:
        import zmq.auth

        try:
            self._public, self._secret = zmq.auth.load_certificate(secret_key_file)
            self._key = decode_key(self._public)
            if self._secret is not None:
                decode_key(self._secret)
        except (OSError, ValueError) as error:
            raise ConfigError(f"node.curve_secret_key_file: can't read {secret_key_file}: {error}") from error
        if self._secret is None:
            raise ConfigError(f"node.curve_secret_key_file: {secret_key_file} holds no secret key")
        self._authorized: set[bytes] | None = None
        if authorized_keys:
            try:
                self._authorized = {decode_key(key) for key in zmq.auth.load_certificates(authorized_keys)}
            except (OSError, ValueError) as error:
                raise ConfigError(f"node.curve_authorized_keys: can't read {authorized_keys}: {error}") from error

    def is_authorized(self, key: bytes) -> bool:
        """Whether who has the secret of this public key may come to the node port."""
        return self._authorized is None or key in self._authorized

    def is_ours(self, key: bytes) -> bool:
        """Whether it is a proxy of our cluster."""
        return key == self._key

    def apply(self, socket: "zmq.Socket[bytes]") -> None:
        """To a socket that will be bound."""
        socket.curve_server = True
        socket.curve_secretkey = self._secret
        socket.curve_publickey = self._public

    def apply_to_peer(self, socket: "zmq.Socket[bytes]") -> None:
        """To a socket that will connect to another proxy."""
        socket.curve_serverkey = self._public
        socket.curve_secretkey = self._secret
        socket.curve_publickey = self._public

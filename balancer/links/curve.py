"""CURVE on the sockets of a proxy: its key pair, and which public keys may connect to it.

Owns the keys and the thread that libzmq asks about them. All proxies of a cluster have the same key pair, so to each
other they are server and client with it.
"""

import zmq

from protocols.errors import ConfigError


class Curve:
    """authorized_keys: a folder of public key files; "": any key, for when the token decides and CURVE only encrypts.

    Raises ConfigError if there is no such key pair.
    """

    def __init__(self, secret_key_file: str, authorized_keys: str) -> None:
        import zmq.auth

        try:
            self._public, self._secret = zmq.auth.load_certificate(secret_key_file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"node.curve_secret_key_file: can't read {secret_key_file}: {error}") from error
        if self._secret is None:
            raise ConfigError(f"node.curve_secret_key_file: {secret_key_file} holds no secret key")
        self._authorized_keys = authorized_keys

    def start(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        """Decide for all sockets of this context who may connect."""
        from zmq.auth.thread import ThreadAuthenticator

        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        location = self._authorized_keys or zmq.auth.CURVE_ALLOW_ANY
        self._authenticator.configure_curve(domain="*", location=location)

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

    def stop(self) -> None:
        self._authenticator.stop()

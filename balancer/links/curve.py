"""CURVE on the sockets of a proxy: its key pair, and which public keys may connect to it.

Owns the keys; balancer.links.guard asks for them. All proxies of a cluster have the same key pair, so to each
other they are server and client with it.
"""

import time
from collections.abc import Callable

import structlog
import zmq
from zmq.utils import z85

from holdfast.complaints import Complaints
from holdfast.protocols.errors import ConfigError
from holdfast.protocols.nodes.keys import decode_key

LOOK_INTERVAL = 1.0  # seconds between two looks into the folder, whoever knocks
TELL_INTERVAL = 1.0  # and between two lines of whom we do not know

log = structlog.get_logger("holdfast.links")


class Curve:
    """authorized_keys: a folder of public key files; "": any key, for when the token decides and CURVE only encrypts.
    What is put there or taken away counts for handshakes from then on, a second later at most.

    Raises ConfigError if there is no such key pair.
    """

    def __init__(self, secret_key_file: str, authorized_keys: str, clock: Callable[[], float] = time.monotonic) -> None:
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
        self._folder = authorized_keys
        self._clock = clock
        self._authorized: set[bytes] = set()
        self._looked_at = clock()
        self._told_at = float("-inf")
        self._complaints = Complaints()  # of each key
        if authorized_keys:
            try:
                self._authorized = self._look()
            except (OSError, ValueError) as error:
                raise ConfigError(f"node.curve_authorized_keys: can't read {authorized_keys}: {error}") from error

    def _look(self) -> set[bytes]:
        import zmq.auth

        return {decode_key(key) for key in zmq.auth.load_certificates(self._folder)}

    def is_authorized(self, key: bytes) -> bool:
        """Whether who has the secret of this public key may come to the node port. Called in the thread that libzmq
        asks."""
        if not self._folder:
            return True
        now = self._clock()
        if now - self._looked_at >= LOOK_INTERVAL:
            self._looked_at = now
            try:
                self._authorized = self._look()
            except (OSError, ValueError) as error:  # perhaps one that is being written
                log.warning("authorized_keys_unreadable", folder=self._folder, error=str(error))
        if key in self._authorized:
            return True
        shown = z85.encode(key).decode()
        if now - self._told_at >= TELL_INTERVAL and self._complaints.is_due(shown, now):
            self._told_at = now
            log.info("key_not_authorized", key=shown)
        return False

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

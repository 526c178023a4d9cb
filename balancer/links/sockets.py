"""What all ZeroMQ sockets of a proxy are asked in the same way."""

import zmq


def bind(socket: "zmq.Socket[bytes]", address: str) -> str:
    """Returns the address as bound, the port filled in. Raises OSError that names it; then the socket is still open."""
    socket.ipv6 = "[" in address
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise OSError(error.errno, f"can't bind {address}: {zmq.strerror(error.errno or 0)}") from error
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)

"""A way to a proxy's node link that can be closed to nodes and stay open for proxies."""

import trio

from tests.waiting import PATIENCE


class Forwarder:
    """A task. Passes connections on; the routing id, which comes in ZMTP's handshake, tells whose one is."""

    def __init__(self, endpoint: str) -> None:
        self._target = ("127.0.0.1", int(endpoint.rpartition(":")[2]))
        self._refuses = False
        self._of_nodes: set[trio.CancelScope] = set()

    async def run(self, *, task_status) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{listener.socket.getsockname()[1]}"
        await trio.serve_listeners(self._serve, [listener], task_status=task_status)

    def refuse_nodes(self, refuses: bool) -> None:
        """Those that are there are cut off."""
        self._refuses = refuses
        if refuses:
            for scope in list(self._of_nodes):
                scope.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            try:
                async with await trio.open_tcp_stream(*self._target) as other, stream, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass, stream, other, scope, nursery.cancel_scope)
                    nursery.start_soon(self._pass, other, stream, None, nursery.cancel_scope)
            except* (OSError, trio.BrokenResourceError):
                pass
        self._of_nodes.discard(scope)

    async def _pass(self, source, sink, scope, both) -> None:
        """scope: of the whole connection, where the dialling side's words come by. both: ends with either direction."""
        said = b""
        async for data in source:
            said = (said + data)[:512]
            if scope is not None and b"\x08Identity\x00\x00\x00\x10N" in said:
                self._of_nodes.add(scope)
                if self._refuses:
                    scope.cancel()
                scope = None
            with trio.fail_after(PATIENCE):
                await sink.send_all(data)
        both.cancel()

"""What something at Redis's address can make a proxy hold and wait for; and that what is legitimate fits."""

import contextlib
import socket
import ssl
import threading

import pytest

from holdfast.balancer.coordination.base import CoordinationError, MasterRecord
from holdfast.balancer.coordination.contents import MAX_CARD_BYTES, MAX_CARDS, MAX_NAME_LENGTH, MAX_RECORD_BYTES
from holdfast.balancer.coordination.redis import RedisCoordinator
from holdfast.balancer.coordination.redis_bounds import MAX_ANSWER_BYTES, MAX_NODES, MAX_SLOTS, wrong_with
from holdfast.balancer.coordination.redis_urls import parse_urls
from tests.redis_servers import PATIENCE

LOTS = 64 << 20  # more than a limit lets pass, with what is underway in buffers; little enough to fail without one
CHUNK = 1 << 16
NOTHING = b"*2\r\n$-1\r\n$-1\r\n"  # no record has been written yet


class Impostor:
    """At Redis's address: each connection that asks something is left to `answer`, which is in a thread of its own.

    sent: bytes, of the connection that got most. closed: set when a connection was closed by its other end.
    """

    def __init__(self):
        self.answer = stream(b"", b"")
        self.tls = None
        self.sent = 0
        self.closed = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection):
        sent = 0
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            stack.enter_context(connection)
            connection.settimeout(PATIENCE)
            if self.tls:
                connection = stack.enter_context(self.tls.wrap_socket(connection, server_side=True))
            while connection.recv(CHUNK):
                for piece in self.answer():
                    connection.sendall(piece)
                    sent += len(piece)
                    self.sent = max(self.sent, sent)
        self.closed.set()


def stream(head, piece):
    """What is sent once a command has come: for as long as it is taken, up to LOTS."""

    def answer():
        yield head
        if piece:
            for _ in range(LOTS // len(piece)):
                yield piece

    return answer


@pytest.fixture
def impostor():
    impostor = Impostor()
    yield impostor
    impostor.listener.shutdown(socket.SHUT_RDWR)
    impostor.listener.close()


@pytest.fixture
async def make():
    made = []

    def make(urls, timeout=PATIENCE):
        made.append(RedisCoordinator(parse_urls(urls), "test", timeout))
        return made[-1]

    yield make
    for coordinator in made:
        await coordinator.aclose()


ARRANGEMENTS = [["redis://{}"], ["redis+sentinel://{}/main"], ["redis://{}", "redis://{}/0"]]


@pytest.mark.parametrize("urls", ARRANGEMENTS, ids=["single", "sentinel", "cluster"])
@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"$4000000000\r\n", b"x" * CHUNK),
        (b"+", b"x" * CHUNK),
        (b"*100000000\r\n", b":1\r\n" * (CHUNK // 4)),
        (b"*100000000\r\n", b"-\r\n" * (CHUNK // 4)),
    ],
    ids=["bulk", "line", "array", "errors"],
)
async def test_an_answer_without_end_is_not_taken(impostor, make, urls, head, piece):
    impostor.answer = stream(head, piece)
    coordinator = make([url.format(impostor.address) for url in urls])
    with pytest.raises(CoordinationError):
        await coordinator.master()
    assert impostor.sent < LOTS / 2, f"its limit is {MAX_ANSWER_BYTES}, the rest is the kernel's buffers"


@pytest.mark.parametrize("urls", ARRANGEMENTS, ids=["single", "sentinel", "cluster"])
async def test_an_answer_that_drips_holds_the_thread_until_the_timeout_only(impostor, make, urls):
    over = threading.Event()

    def drip():
        yield b"$4000000000\r\n"
        while not over.wait(0.02):  # far less than what one wait may take
            yield b"x"

    impostor.answer = drip
    coordinator = make([url.format(impostor.address) for url in urls], timeout=1.0)
    try:
        with pytest.raises(CoordinationError):
            await coordinator.master()
        assert impostor.closed.wait(PATIENCE / 2), "by the one who had asked"
    finally:
        over.set()


@pytest.mark.parametrize("drips", [False, True])
@pytest.mark.parametrize("urls", ARRANGEMENTS, ids=["single", "sentinel", "cluster"])
async def test_over_tls(impostor, make, certificate, urls, drips):
    over = threading.Event()

    def drip():
        yield b"$4000000000\r\n"
        while not over.wait(0.02):
            yield b"x"

    impostor.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    impostor.tls.load_cert_chain(*certificate)
    impostor.answer = drip if drips else stream(b"$4000000000\r\n", b"x" * CHUNK)
    urls = [url.format(impostor.address).replace("redis", "rediss") + "?ssl_cert_reqs=none" for url in urls]
    coordinator = make(urls, timeout=2.0 if drips else PATIENCE)
    try:
        with pytest.raises(CoordinationError):
            await coordinator.master()
        assert impostor.closed.wait(PATIENCE / 2)
        assert 0 < impostor.sent < LOTS / 2
    finally:
        over.set()


async def test_after_one_that_drips_the_next_is_dialed(impostor, make):
    def drip():
        yield b"$4000000000\r\n"
        while not impostor.closed.wait(0.02):
            yield b"x"

    impostor.answer = drip
    coordinator = make([f"redis://{impostor.address}"], timeout=1.0)
    with pytest.raises(CoordinationError):
        await coordinator.master()
    impostor.answer = stream(NOTHING, b"")  # the former goes on, as one does that a Redis has replaced
    for _ in range(3):
        with contextlib.suppress(CoordinationError):  # its thread may be just ending
            assert await coordinator.master() == MasterRecord()
            return
    pytest.fail("nobody was asked anew")


NODE = b"*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n"
MANY = 1001


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"*1\r\n*3\r\n:0\r\n:2000000\r\n" + NODE % 1, "16384 slots"),
        (b"*1\r\n*3\r\n+0\r\n+2000000\r\n" + NODE % 1, "no Redis Cluster"),
        (b"*1\r\n*3\r\n$1\r\n0\r\n$7\r\n2000000\r\n" + NODE % 1, "no Redis Cluster"),
        (b"*1\r\n*3\r\n:0\r\n+2000000\r\n" + NODE % 1, "no Redis Cluster"),
        (b"*16\r\n" + (b"*3\r\n:0\r\n:2000\r\n" + NODE % 1) * 16, "16384 slots"),
        (b"*1\r\n*%d\r\n:0\r\n:16383\r\n" % (2 + MANY) + b"".join(map(NODE.__mod__, range(MANY))), "1000 nodes"),
        (b"*1\r\n*4\r\n:0\r\n:16383\r\n" + NODE % 1 + b"*2\r\n$9\r\n127.0.0.1\r\n+2\r\n", "without address"),
        (b"*1\r\n*4\r\n:0\r\n:16383\r\n" + NODE % 1 + b"*0\r\n", "without address"),
        (b"*1\r\n*0\r\n", "no Redis Cluster"),
        (b"+OK\r\n", "no Redis Cluster"),
    ],
    ids=["integers", "lines", "bulks", "mixed", "ranges", "nodes", "port", "no address", "no range", "no list"],
)
async def test_a_map_that_no_cluster_has_is_not_gone_through(impostor, make, answer, why):
    impostor.answer = stream(answer, b"")
    with pytest.raises(CoordinationError, match=why) as raised:
        await make([f"redis://{impostor.address}", f"redis://{impostor.address}/0"]).master()
    assert "\n" not in str(raised.value)


def test_the_map_of_the_largest_cluster_is_read():
    ranges = [
        [slot, slot, *([b"127.0.0.1", 1 + (slot + copy) % MAX_NODES, b"id"] for copy in range(3))]
        for slot in range(MAX_SLOTS)
    ]
    assert not wrong_with(ranges)


async def test_the_largest_that_is_legitimate_is_read(redis_server, make):
    coordinator = make([redis_server.url])
    record = MasterRecord(1, "\n" * MAX_RECORD_BYTES)
    assert await coordinator.swap_master(0, record) == record
    names = [str(number).rjust(MAX_NAME_LENGTH, "p") for number in range(MAX_CARDS)]
    key = "{holdfast:test}:cards"
    with redis_server.client() as client:
        client.sadd(key, *names)
        client.mset({f"{key}:{name}": b"\0" * MAX_CARD_BYTES for name in names})
    assert await coordinator.cards() == dict.fromkeys(names, b"\0" * MAX_CARD_BYTES)

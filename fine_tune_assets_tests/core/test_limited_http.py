"""Everything that is not body is limited, slow and idle connections are closed, and one source can't take all connections.

Ordinary requests, one after the other, are answered.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from fine_tune_assets.core.limited_http import MAX_HEADER_BYTES, build_server_options, limit_sources
from fine_tune_assets.core.settings import ConnectionSettings
from fine_tune_assets.engines.running_server import free_port

SHORT = ConnectionSettings(header_seconds=0.3, body_seconds=0.6, idle_seconds=0.3)
POST = b"POST / HTTP/1.1\r\nhost: a\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"


async def _echo_length(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body's length; `/duplex` sends 50 MB first, `/unread` does not read it, `/source` sends the caller's
    address, `/large` 50 MB."""
    if scope["path"] == "/duplex":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 50_000_000, "more_body": True})
    size, is_more = 0, scope["path"] != "/unread"
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, is_more = size + len(message.get("body", b"")), message.get("more_body", False)
    texts = {"/source": scope["client"][0], "/large": "x" * 50_000_000 if scope["path"] == "/large" else ""}
    text = texts.get(scope["path"], str(size))
    await asyncio.sleep(0.5 if scope["path"] == "/slow" else 0)
    headers = [(b"trailer-seen", b"1")] if any(name == b"late" for name, _ in scope["headers"]) else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


@contextmanager
def _serving(connections: ConnectionSettings) -> Iterator[int]:
    number = free_port()
    app = limit_sources(_echo_length, connections)
    options = build_server_options(connections)
    server = uvicorn.Server(uvicorn.Config(app, port=number, lifespan="off", log_level="error", **options))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield number
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with _serving(ConnectionSettings()) as number:
        yield number


@pytest.fixture(scope="module")
def short() -> Iterator[int]:
    with _serving(SHORT) as number:
        yield number


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def _read_to_end(connection: socket.socket) -> bytes:
    found = b""
    try:
        while part := connection.recv(65_536):
            found += part
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 100_000,
        b"GET / HTTP/1.1\r\nhost: a\r\nx: ",
        CHUNKED + b"0\r\nx: ",
        CHUNKED + b"1;",
    ],
    ids=["address", "header", "trailer", "chunk extension"],
)
def test_an_endless_line_is_refused_early(port: int, head: bytes) -> None:
    """200 MB took as much memory or more, without a key."""
    assert _send_endlessly(port, head, b"y" * 20_000) < 8_000_000


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\n", b"a: b\r\n"),
        (CHUNKED + b"0\r\n", b"a: b\r\n"),
        (CHUNKED, b"1;" + b"e" * 200 + b"\r\nx\r\n"),
        (CHUNKED, b"0" * 200 + b"1\r\nx\r\n"),
    ],
    ids=["headers", "trailers", "chunk extensions", "chunk sizes"],
)
def test_endless_parts_are_refused_early(port: int, head: bytes, part: bytes) -> None:
    """100 MB of short trailers took 1.8 GB."""
    assert _send_endlessly(port, head, part * (20_000 // len(part))) < 8_000_000


def _send_endlessly(port: int, head: bytes, part: bytes) -> int:
    sent = 0
    with _connect(port) as connection:
        try:
            connection.sendall(head)
            for _ in range(500):
                connection.sendall(part)
                sent += len(part)
        except OSError:  # the server has closed the connection
            pass
    return sent


def test_trailers_do_not_become_headers(port: int) -> None:
    """A proxy that removes a header from requests would not see it in a trailer."""
    with _connect(port) as connection:
        connection.sendall(
            POST + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nlate: 1\r\n\r\n"
        )
        reply = _read_to_end(connection)
    assert reply.startswith(b"HTTP/1.1 200")
    assert b"trailer-seen" not in reply


def test_requests_on_one_connection_are_each_counted_anew(port: int) -> None:
    """Large bodies and many requests with ordinary headers pass."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        for size in (0, 1_000_000, 3, MAX_HEADER_BYTES * 2):
            reply = client.post("/", content=b"b" * size, headers={"x": "y" * (MAX_HEADER_BYTES // 4)})
            assert (reply.status_code, reply.text) == (200, str(size))


def test_a_body_may_arrive_in_the_smallest_chunks(port: int) -> None:
    """Their sizes and line ends are five times the body."""
    size = 60_000
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.post("/", content=(b"b" for _ in range(size))).text == str(size)


def test_requests_that_arrive_together_are_all_answered(port: int) -> None:
    """Pipelined requests wait for each other; none ends the connection of the others."""
    with _connect(port) as connection:
        request = b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab"
        connection.sendall(request * 3 + b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert _read_to_end(connection).count(b"HTTP/1.1 200") == 4


@pytest.mark.parametrize(
    ("first", "again", "status"),
    [
        (b"", b"", b"408"),
        (b"", b"\r\n", b"408"),
        (b"GET / HTTP/1.1\r\n", b"", b"408"),
        (b"GET / HTTP/1.1\r\nx: ", b"y", b"408"),
        (POST + b"content-length: 9\r\n\r\n", b"", b"408"),
        (POST + b"content-length: 900\r\n\r\n", b"b", b"408"),
        (CHUNKED, b"1\r\nb\r\n", b"408"),
        (CHUNKED + b"0\r\n", b"a: b\r\n", b"408"),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"", b"200"),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\r\n", b"200"),
    ],
    ids=[
        "nothing", "empty lines", "no more headers", "slow header", "no body", "slow body", "slow chunks", "slow trailers",
        "idle after an answer", "empty lines after an answer",
    ],
)  # fmt: skip
def test_a_slow_or_idle_connection_is_closed(short: int, first: bytes, again: bytes, status: bytes) -> None:
    """Whatever the caller sends to keep it open."""
    with _connect(short) as connection:
        connection.sendall(first)
        connection.settimeout(0.05)
        ends, found = time.monotonic() + 20, b""
        while time.monotonic() < ends:
            try:
                part = connection.recv(65_536)
                if not part:
                    break
                found += part
            except TimeoutError:
                with suppress(OSError):
                    connection.send(again)
            except ConnectionResetError:
                break
        else:
            pytest.fail("The connection is still open.")
    assert found.split(b" ")[1] == status


def test_an_answer_that_takes_longer_than_the_deadlines_arrives() -> None:
    """They concern what the caller sends, not how long the service works."""
    slow = ConnectionSettings(header_seconds=0.2, body_seconds=0.2, idle_seconds=0.2)
    with _serving(slow) as number:
        assert httpx.post(f"http://127.0.0.1:{number}/slow", content=b"abc", trust_env=False).text == "3"


def test_a_caller_that_does_not_read_its_answer_is_disconnected(short: int) -> None:
    """Otherwise its connection would stay open for ever."""
    with _connect(short) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            _send_empty_lines(connection, seconds=20)


def test_an_answer_that_was_paused_does_not_end_the_deadline_of_a_body() -> None:
    """A caller that reads late would otherwise keep its unfinished request open for ever."""
    with _serving(ConnectionSettings(body_seconds=2.0)) as number, _connect(number) as connection:
        connection.sendall(b"POST /duplex HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nx")
        time.sleep(0.5)  # so that the answer is paused
        started = time.monotonic()
        try:
            while connection.recv(1_000_000):
                assert time.monotonic() - started < 10
        except ConnectionResetError:
            pass
        assert time.monotonic() - started < 10


def _send_empty_lines(connection: socket.socket, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        connection.sendall(b"\r\n")
        time.sleep(0.05)


def test_the_connection_is_closed_after_an_answer_with_an_unread_body(port: int) -> None:
    """The rest of the body must not be read as the next request, and the caller can read the answer."""
    with _connect(port) as connection:
        connection.sendall(b"POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n\r\n")
        connection.sendall(b"b" * 1_000_000)
        time.sleep(0.2)
        connection.sendall(b"b" * 1_000_000)
        reply = b""
        while part := connection.recv(65_536):
            reply += part
    assert reply.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in reply.lower()
    assert reply.count(b"HTTP/1.1") == 1


def _hold(stack: ExitStack, port: int, count: int) -> list[socket.socket]:
    return [stack.enter_context(_connect(port)) for _ in range(count)]


def test_one_source_cannot_take_all_connections() -> None:
    """Another address is answered meanwhile; on loopback, every address of 127.0.0.0/8 is this machine."""
    with _serving(ConnectionSettings(per_source=3)) as port, ExitStack() as stack:
        _hold(stack, port, 3)
        time.sleep(0.2)
        assert _read_to_end(stack.enter_context(_connect(port))).split(b" ")[1] == b"429"
        other = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=other) as client:
            assert client.get(f"http://127.0.0.1:{port}/").status_code == 200


def test_a_source_that_closes_its_connections_is_answered_again() -> None:
    """A limit that is never lifted would lock users out."""
    with _serving(ConnectionSettings(per_source=2)) as port:
        for _ in range(3):
            with ExitStack() as stack:
                _hold(stack, port, 2)
            time.sleep(0.2)
            assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 200


@pytest.fixture
def ask() -> Iterator[Callable[[int, str, str], httpx.Response]]:
    with httpx.Client(trust_env=False, timeout=20) as client:

        def ask(port: int, path: str, source: str) -> httpx.Response:
            return client.get(f"http://127.0.0.1:{port}{path}", headers={"x-forwarded-for": source})

        yield ask


def test_only_a_trusted_proxy_names_the_source(port: int, ask: Callable[[int, str, str], httpx.Response]) -> None:
    """Otherwise each caller could pretend to be many."""
    assert ask(port, "/source", "10.9.8.7").text == "127.0.0.1"
    with _serving(ConnectionSettings(trusted_proxies="127.0.0.0/8, 10.0.0.1")) as trusting:
        assert ask(trusting, "/source", "10.9.8.7").text == "10.9.8.7"
        assert ask(trusting, "/source", "1.2.3.4, 10.9.8.7, 10.0.0.1").text == "10.9.8.7"


def test_behind_a_trusted_proxy_requests_are_counted_per_source() -> None:
    """All connections come from the proxy: its own number is not limited, that of each caller is."""
    connections = ConnectionSettings(per_source=2, trusted_proxies="127.0.0.1")
    with _serving(connections) as port:

        async def ask_at_once() -> list[int]:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                sources = ["10.0.0.1"] * 4 + ["10.0.0.2"] * 2
                requests = [client.get("/slow", headers={"x-forwarded-for": source}) for source in sources]
                first = [reply.status_code for reply in await asyncio.gather(*requests)]
                again = await client.get("/", headers={"x-forwarded-for": "10.0.0.1"})
                return [*first, again.status_code]

        statuses = asyncio.run(ask_at_once())
    assert sorted(statuses[:4]) == [200, 200, 429, 429]
    assert statuses[4:] == [200, 200, 200]

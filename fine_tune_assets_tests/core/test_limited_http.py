"""Endless headers are refused before they fill the memory; ordinary requests, one after the other, are not."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from fine_tune_assets.core.limited_http import MAX_HEADER_BYTES, LimitedHttpProtocol
from fine_tune_assets.engines.running_server import free_port


async def _echo_length(scope: Scope, receive: Receive, send: Send) -> None:
    size, is_more = 0, True
    while scope["type"] == "http" and is_more:
        message = await receive()
        size, is_more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    number = free_port()
    server = uvicorn.Server(
        uvicorn.Config(_echo_length, port=number, http=LimitedHttpProtocol, lifespan="off", log_level="error")
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield number
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("head", [b"GET /" + b"x" * 100_000, b"GET / HTTP/1.1\r\nhost: a\r\nx: "])
def test_endless_headers_are_refused_early(port: int, head: bytes) -> None:
    """A header of 200 MB took as much memory, without a key."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(head)
            for _ in range(400):
                connection.sendall(b"y" * 20_000)
                sent += 20_000
        except OSError:  # the server has closed the connection
            pass
    assert sent < 8_000_000


def test_requests_on_one_connection_are_each_counted_anew(port: int) -> None:
    """Large bodies and many requests with ordinary headers pass."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        for size in (0, 1_000_000, 3, MAX_HEADER_BYTES * 2):
            reply = client.post("/", content=b"b" * size, headers={"x": "y" * (MAX_HEADER_BYTES // 4)})
            assert (reply.status_code, reply.text) == (200, str(size))

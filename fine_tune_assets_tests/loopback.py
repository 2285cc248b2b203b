"""Servers in a thread of the test process: the standard library's, and ASGI applications in Uvicorn.

They notice within milliseconds that they are to stop. Both libraries look every tenth to half of a second, which a thousand tests
would wait for.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import BaseServer, ThreadingMixIn, UnixStreamServer
from typing import Any

import uvicorn

POLL_SECONDS = 0.005


class StreamServer(ThreadingMixIn, UnixStreamServer):
    """Serve over a Unix socket, like engines."""

    daemon_threads = True


@contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)


class _Server(uvicorn.Server):
    async def main_loop(self) -> None:
        await self.on_tick(0)
        while not self.should_exit:
            await asyncio.sleep(POLL_SECONDS)


def start_app(app: Any, port: int, **options: Any) -> Callable[[], None]:
    """Serve an ASGI application on loopback, and return a function that stops it."""
    server = _Server(uvicorn.Config(app, host="127.0.0.1", port=port, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)

    def stop() -> None:
        server.should_exit = True
        thread.join(20)

    return stop

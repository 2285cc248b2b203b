"""Refused streams never count as served, and no burst profits from another one's prompts."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from benchmarks.gpu_proof.serving import measure_streams, used_card_bytes
from benchmarks.serving_load import Reached

STREAMS = 3


class CountedServer:
    """Answers each prompt with one word, after it has refused the first `refused` ones that count."""

    def __init__(self, refused: int) -> None:
        self.refused, self.prompts, self._lock = refused, list[str](), threading.Lock()

    def is_refused(self, body: dict[str, Any]) -> bool:
        with self._lock:
            self.prompts.append(body["messages"][-1]["content"])
            self.refused -= 1
            return self.refused >= 0

    @contextmanager
    def listening(self) -> Iterator[Reached]:
        counted = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if counted.is_refused(body):
                    self.send_error(429)
                    return
                self.send_response(200)
                self.end_headers()
                event = {"choices": [{"delta": {"content": "word"}}]}
                self.wfile.write(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())

            def log_message(self, *_: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Reached(f"http://127.0.0.1:{server.server_port}/v1", "key")
        finally:
            server.shutdown()
            server.server_close()


class Installation:
    engine = "an engine"

    def __init__(self, alone: Reached, gateway: Reached) -> None:
        self.alone, self.gateway = alone, gateway

    def engine_alone(self, number: int) -> Reached:  # noqa: ARG002
        return self.alone


def measure(refused: int) -> tuple[dict[str, Any], list[str], list[str]]:
    """The figures, and the prompts that the engine and the gateway received."""
    engine, gateway = CountedServer(0), CountedServer(refused)
    with ExitStack() as stack:
        installation: Any = Installation(*(stack.enter_context(one.listening()) for one in (engine, gateway)))
        return measure_streams(installation, STREAMS, 4, dry=False), engine.prompts, gateway.prompts


def test_refused_streams_miss_the_target_whatever_the_speed() -> None:
    figures, _, _ = measure(refused=1)
    assert figures["gateway"]["told_to_come_again"] == 1
    assert figures["meets_target"] is False


def test_a_burst_without_a_complete_stream_fails_the_part() -> None:
    """It has no times to show."""
    with pytest.raises(RuntimeError):
        measure(refused=STREAMS)


def test_no_prompt_is_sent_twice() -> None:
    """The second to send it would find it in the engine's cache, and look faster."""
    _, engine, gateway = measure(refused=0)
    assert len(engine) == 3 * STREAMS  # the first burst does not count
    assert len(gateway) == 2 * STREAMS
    assert len({*engine, *gateway}) == len(engine) + len(gateway)


def test_the_memory_of_a_machine_without_a_card_is_unknown() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert used_card_bytes() is None

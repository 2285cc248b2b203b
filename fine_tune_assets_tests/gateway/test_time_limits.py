"""Time limits for slow callers and endless answers, each of which occupies a slot."""

import json
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fine_tune_assets.core.limited_http import build_server_options
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.gateway.gateway_app import create_app
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import request_entries
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets_tests.gateway.answers.answering import make_live
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.loopback import StreamServer, serving, start_app

LIMIT_SECONDS = 1


def _codes(ledger: Ledger) -> list[tuple[int, str | None]]:
    with ledger.read() as connection:
        rows = connection.execute(request_entries.select().order_by(request_entries.c.position)).mappings()
        return [(row["status"], row["code"]) for row in rows]


def test_a_slow_body_gets_408(tmp_path: Path) -> None:
    """The limit of 30 s is 0.5 s here. The request log names the caller."""
    settings = Settings(data_dir=tmp_path / "d", connections={"body_seconds": 0.5})
    ledger = fresh_ledger(settings)
    key, port = create_key(ledger, "a", ["chat"]), free_port()
    stop = start_app(create_app(settings), port, log_level="error", **build_server_options(settings.connections))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key.secret}\r\ncontent-length: 9\r\n\r\n{{"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(head.encode())
            assert connection.recv(1000).split(b" ")[1] == b"408"
    finally:
        stop()
    assert _codes(ledger) == [(408, "body_incomplete")]
    ledger.close()


class _Endless(BaseHTTPRequestHandler):
    """An engine whose answer does not end."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        chunk = {"choices": [{"index": 0, "delta": {"content": "on "}, "finish_reason": None}]}
        try:
            for _ in range(300):
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            pass  # the gateway closed the connection, as expected

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Path]:
    with serving(StreamServer(str(tmp_path / "e.sock"), _Endless)):
        yield tmp_path / "e.sock"


def test_an_endless_stream_is_cut_off_with_an_error_event(tmp_path: Path, endless: Path) -> None:
    """The status was sent before, so the error is in the stream: an incomplete answer must not look complete."""
    settings = Settings(data_dir=tmp_path / "d", gateway={"timeout_seconds": LIMIT_SECONDS})
    ledger = fresh_ledger(settings)
    make_live(settings, ledger, endless, "One.")
    key = create_key(ledger, "a", ["chat"]).secret
    with TestClient(create_app(settings)) as client:
        headers, body = {"authorization": f"Bearer {key}"}, {"messages": [{"role": "user", "content": "hi"}]}
        began = time.monotonic()
        reply = client.post("/v1/chat/completions", json={**body, "stream": True}, headers=headers)
        assert time.monotonic() - began < 20
    events = [json.loads(line[6:]) for line in reply.text.split("\n") if line.startswith("data: {")]
    assert reply.status_code == 200
    assert events[0]["choices"][0]["delta"]["content"] == "on "
    assert events[-1]["error"]["code"] == "engine_timeout"
    assert "[DONE]" not in reply.text
    assert _codes(ledger) == [(200, "engine_timeout")]
    ledger.close()

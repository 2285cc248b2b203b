"""Who is too slow: a caller who sends by the byte, and a model that comes to no end. Each holds a place that others wait for."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.app import create_app
from fine_tune_assets.gateway.requests import requests
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.schema import request_lines
from fine_tune_assets_tests.gateway.answers.test_chat import make_live
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.loopback import StreamServer, serving

LIMIT_SECONDS = 1


def _codes(ledger: Ledger) -> list[tuple[int, str | None]]:
    with ledger.read() as connection:
        rows = connection.execute(request_lines.select().order_by(request_lines.c.position)).mappings()
        return [(row["status"], row["code"]) for row in rows]


def test_a_body_that_comes_too_slowly_is_408_and_the_place_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a minute is the code's; here half a second, for a body that takes ten."""
    monkeypatch.setattr(requests, "_READ_SECONDS", 0.5)
    settings = Settings(data_dir=tmp_path / "d")
    ledger = fresh_ledger(settings.database_url)
    key = create_key(ledger, "a", ["chat"]).secret

    async def dripping() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.1)

    async def send() -> tuple[httpx.Response, float]:
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                began = time.monotonic()
                headers = {"authorization": f"Bearer {key}"}
                reply = await client.post("/v1/chat/completions", content=dripping(), headers=headers)
                return reply, time.monotonic() - began

    reply, took = asyncio.run(send())
    assert (reply.status_code, reply.json()["error"]["code"]) == (408, "body_too_slow")
    assert took < 8
    assert _codes(ledger) == [(408, "body_too_slow")]
    ledger.close()


class _Endless(BaseHTTPRequestHandler):
    """A model that goes on and on."""

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
            pass  # the gateway hung up, as it should

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Path]:
    with serving(StreamServer(str(tmp_path / "e.sock"), _Endless)):
        yield tmp_path / "e.sock"


def test_a_stream_that_comes_to_no_end_is_cut_off_and_says_so(tmp_path: Path, endless: Path) -> None:
    """Within the stream, since its status went out long ago: no client may take half an answer for a whole one."""
    settings = Settings(data_dir=tmp_path / "d", gateway={"timeout_seconds": LIMIT_SECONDS})
    ledger = fresh_ledger(settings.database_url)
    make_live(settings, ledger, endless, "One.")
    key = create_key(ledger, "a", ["chat"]).secret
    with TestClient(create_app(settings)) as client:
        headers, asked = {"authorization": f"Bearer {key}"}, {"messages": [{"role": "user", "content": "hi"}]}
        began = time.monotonic()
        reply = client.post("/v1/chat/completions", json={**asked, "stream": True}, headers=headers)
        assert time.monotonic() - began < 20
    events = [json.loads(line[6:]) for line in reply.text.split("\n") if line.startswith("data: {")]
    assert reply.status_code == 200
    assert events[0]["choices"][0]["delta"]["content"] == "on "
    assert events[-1]["error"]["code"] == "engine_timeout"
    assert "[DONE]" not in reply.text
    assert _codes(ledger) == [(200, "engine_timeout")]
    ledger.close()

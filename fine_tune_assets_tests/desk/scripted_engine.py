"""A real gateway in front of a small engine with scripted answers. The engine can wait before the last piece."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.web_services import redact_exceptions
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.gateway.gateway_app import create_app
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.gateway.answers.answering import live_at
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.loopback import StreamServer, serving, start_app
from fine_tune_assets_tests.serving.tiny_releases import build_empty_release


@dataclass
class Speaker:
    pieces: list[str] = field(default_factory=lambda: ["A cough, ", "since Monday."])
    may_end: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    release_id: str = ""

    def events(self) -> Iterator[bytes]:
        for number, piece in enumerate(self.pieces):
            if number == len(self.pieces) - 1:
                self.may_end.wait(60)
            yield _event({"index": 0, "delta": {"content": piece}, "finish_reason": None})
        yield _event({"index": 0, "delta": {}, "finish_reason": "stop"})
        yield b"data: [DONE]\n\n"


def _event(choice: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"id": "c", "choices": [choice]}).encode() + b"\n\n"


@contextmanager
def speaking(path: Path) -> Iterator[Speaker]:
    speaker = Speaker()
    speaker.may_end.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            speaker.asked.append(asked["messages"][-1]["content"])
            self.send_response(200)
            self.end_headers()
            for event in speaker.events():
                self.wfile.write(event)
                self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    with serving(StreamServer(str(path), Handler)):
        try:
            yield speaker
        finally:
            speaker.may_end.set()


@contextmanager
def asking(settings: Settings, socket: Path, files: dict[str, str] | None = None) -> Iterator[tuple[Settings, Speaker]]:
    """Settings whose gateway runs, with a live release."""
    own = changed(settings, gateway={"port": free_port()})
    ledger: Ledger = fresh_ledger(own)
    with speaking(socket) as speaker:
        speaker.release_id = build_empty_release(own, ledger, "You are brief.", files or {})
        live_at(own, ledger, socket, speaker.release_id)
        app = redact_exceptions(create_app(own))  # type: ignore[arg-type]
        stop = start_app(app, own.gateway.port, log_level="warning")
        try:
            yield own, speaker
        finally:
            stop()
            ledger.close()

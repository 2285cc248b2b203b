"""A real HTTP server on loopback with scripted replies, for tests of judges."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fine_tune_assets_tests.loopback import serving

Said = tuple[int, Any]
"""Status and JSON body."""
MODEL = "llama-judge"


class ChatServerOfATest:
    """`posts` holds the body of every request in order of arrival."""

    def __init__(self, say: Callable[[dict[str, Any]], Said], key: str = "", root: str = "/models/llama") -> None:
        self.posts: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                entry = {"id": MODEL, "created": time.time(), "root": root}
                self._answer(200, {"data": [entry]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.posts.append(body)
                self._answer(*say(body))

            def _answer(self, status: int, body: Any) -> None:
                if key and self.headers.get("Authorization") != f"Bearer {key}":
                    status, body = 401, {"error": {"message": "no"}}
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    @contextmanager
    def running(self) -> Iterator["ChatServerOfATest"]:
        with serving(self._http):
            yield self


def completion(
    text: str,
    first_token: dict[str, float] | None = None,
    finish: str = "stop",
    tokens: Sequence[tuple[str, dict[str, float]]] = (),
) -> Said:
    """A chat completion in the OpenAI format. `tokens`: text and alternatives of each, or of the first only."""
    entries = [_token(*token) for token in tokens or ([("x", first_token)] if first_token else [])]
    logprobs = {"content": entries} if entries else None
    choice = {"message": {"content": text}, "finish_reason": finish, "logprobs": logprobs}
    return 200, {"choices": [choice]}


def _token(text: str, alternatives: dict[str, float]) -> dict[str, Any]:
    listed = [
        {"token": other, "bytes": list(other.encode()), "logprob": value} for other, value in alternatives.items()
    ]
    return {"token": text, "bytes": list(text.encode()), "logprob": 0.0, "top_logprobs": listed}


def grade_reply(grade: int = 7, evidence: str = "", reason: str = "It is so.") -> str:
    """A reply with the same grade, 1 to 10, for every criterion."""
    names = ("factual_accuracy", "completeness", "tone", "format")
    return json.dumps({name: {"evidence": evidence, "reason": reason, "score": grade - 1} for name in names})

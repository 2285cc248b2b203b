"""Stands in for Dagster's webserver on its socket: records what it receives, and answers GraphQL by the operation's name."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from fine_tune_assets.core.dagster_ui import webserver_socket
from fine_tune_assets_tests.loopback import StreamServer, serving


@dataclass
class ScriptedWebserver:
    answers: Mapping[str, Any]
    """Name of the operation → its data."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[Mapping[str, Any]] = field(default_factory=list)


@contextmanager
def scripted_webserver(run_folder: Path, answers: Mapping[str, Any]) -> Iterator[ScriptedWebserver]:
    """`run_folder`: of the installation."""
    made = ScriptedWebserver(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            made.headers.append({name.lower(): value for name, value in self.headers.items()})
            made.bodies.append(body)
            name = next((name for name in made.answers if name in body["query"]), "")
            content = json.dumps({"data": made.answers.get(name, {})}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    path = webserver_socket(run_folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with serving(StreamServer(str(path), Handler)):
        yield made

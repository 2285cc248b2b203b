"""The background traffic of the correction loop: a request that fails or is cut counts once, as what it was."""

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from examples.correction_loop.clients import Tally, Traffic, http_client
from fine_tune_assets_tests.loopback import serving

WHOLE = json.dumps({"choices": [{"finish_reason": "stop", "message": {"content": "Hello."}}]})
STREAM = 'data: {"choices": []}\n\ndata: [DONE]\n\n'


def _tally(answer: str = WHOLE, stream: str = STREAM, status: int = 200, missing_bytes: int = 0) -> Tally:
    """Of at least four requests to a server that answers like this."""

    class Handler(BaseHTTPRequestHandler):
        log_message: Callable[..., None] = lambda *_: None

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body = stream if request["stream"] else answer
            self.send_response(status)
            self.send_header("x-release-id", "r-1")
            self.send_header("content-length", str(len(body) + missing_bytes))
            self.end_headers()
            self.wfile.write(body.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server), http_client(f"http://127.0.0.1:{server.server_port}") as client:
        with Traffic(client, "key", pause_seconds=0.01) as traffic:
            deadline = time.monotonic() + 30
            while traffic.tally.requests < 4 and time.monotonic() < deadline:
                time.sleep(0.02)
        return traffic.tally


def test_complete_answers_and_streams_count_with_their_release() -> None:
    tally = _tally()
    assert (tally.failed, tally.by_release) == ({}, {"r-1": tally.complete})


@pytest.mark.parametrize("stream", ['data: {"choices": []}\n\n', 'data: {"error": {"code": "engine_error"}}\n\n'])
def test_a_stream_without_its_end_is_cut(stream: str) -> None:
    """A switch that stops an engine too soon looks like this, and the gateway reports it under the status 200."""
    tally = _tally(stream=stream)
    assert set(tally.failed) == {"cut"}
    assert tally.complete > 0


@pytest.mark.parametrize("status", [429, 503])
def test_another_status_is_a_failed_request(status: int) -> None:
    """Also one that a polite client would send again."""
    tally = _tally(status=status)
    assert tally.failed == {str(status): tally.requests}


@pytest.mark.parametrize("answer", ["{}", "no JSON"])
def test_an_answer_of_another_form_is_a_failed_request(answer: str) -> None:
    """It must not end the client: from then on no request could fail."""
    tally = _tally(answer)
    assert tally.failed.total() >= 2
    assert tally.complete >= 1


def test_a_connection_that_ends_early_is_a_failed_request() -> None:
    """An engine or a gateway that was killed."""
    tally = _tally(missing_bytes=100)
    assert set(tally.failed) == {"RemoteProtocolError"}
    assert tally.complete == 0

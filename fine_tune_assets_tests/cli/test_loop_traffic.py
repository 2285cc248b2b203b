"""The client that asks all the time: a request that fails or is cut is counted, once, as what it was."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fine_tune_assets.cli.loop.traffic import Tally, Traffic
from fine_tune_assets_tests.loopback import serving

_WHOLE = json.dumps({"choices": [{"finish_reason": "stop", "message": {"content": "Hello."}}]})
_STREAM = 'data: {"choices": []}\n\n'


@contextmanager
def _server(answer: Callable[[BaseHTTPRequestHandler, bool], None]) -> Iterator[str]:
    """A server on loopback that answers as it is told; `answer` gets the request and whether it asks for a stream."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer(self, bool(body["stream"]))

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


def _send(request: BaseHTTPRequestHandler, status: int, body: str, length: int | None = None) -> None:
    request.send_response(status)
    request.send_header("x-release-id", "r-1")
    request.send_header("content-length", str(len(body) if length is None else length))
    request.end_headers()
    request.wfile.write(body.encode())


def _asked(answer: Callable[[BaseHTTPRequestHandler, bool], None], count: int = 4) -> Tally:
    with _server(answer) as url, Traffic(url, "key") as traffic:
        deadline = time.monotonic() + 30
        while traffic.tally.asked < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return traffic.stop()


def test_whole_answers_and_whole_streams_count_with_their_release() -> None:
    """So that it is seen which release answered."""
    tally = _asked(
        lambda request, is_stream: _send(request, 200, f"{_STREAM}data: [DONE]\n\n" if is_stream else _WHOLE)
    )
    assert tally.failed == {}
    assert tally.by_release == {"r-1": tally.whole}


def test_a_stream_without_its_end_is_cut() -> None:
    """A switch that stops an engine too soon looks exactly so."""
    tally = _asked(lambda request, is_stream: _send(request, 200, _STREAM if is_stream else _WHOLE))
    assert set(tally.failed) == {"cut"}
    assert tally.whole > 0


def test_a_stream_that_says_that_it_broke_is_cut() -> None:
    """The gateway tells it in the stream, under the status 200."""
    broken = 'data: {"error": {"code": "engine_error"}}\n\n'
    tally = _asked(lambda request, is_stream: _send(request, 200, broken if is_stream else _WHOLE))
    assert set(tally.failed) == {"cut"}


@pytest.mark.parametrize("status", [429, 502, 503])
def test_every_other_status_is_a_failed_request(status: int) -> None:
    """Also those that a polite client would send again."""
    tally = _asked(lambda request, _: _send(request, status, "{}"))
    assert tally.failed == {str(status): tally.asked}


@pytest.mark.parametrize("body", ["{}", "no JSON"])
def test_an_answer_that_is_none_is_a_failed_request(body: str) -> None:
    """It must not end the client: from then on no request could fail."""
    tally = _asked(lambda request, is_stream: _send(request, 200, f"{_STREAM}data: [DONE]" if is_stream else body))
    assert tally.failed.total() >= 2
    assert tally.whole >= 1


def test_a_connection_that_ends_early_is_a_failed_request() -> None:
    """An engine or a gateway that was killed."""
    tally = _asked(lambda request, _: _send(request, 200, "half", length=100))
    assert set(tally.failed) == {"RemoteProtocolError"}
    assert tally.whole == 0

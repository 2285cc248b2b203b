"""Concurrency limit, retries on the other colour, and outcome counts. Fake engines on real sockets make failures reproducible."""

import asyncio
import gc
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.listen_addresses import count_connections, socket_address, socket_path
from fine_tune_assets.gateway.answers.chat_completions import ChatService
from fine_tune_assets.gateway.answers.crash_tracker import CrashTracker
from fine_tune_assets.gateway.answers.engine_client import AnswerLimits, EngineClients, send_request
from fine_tune_assets.gateway.answers.identifier_filter import OFF, AnswerGate
from fine_tune_assets.gateway.callers.authentication import Caller
from fine_tune_assets.gateway.gateway_app import create_app
from fine_tune_assets.gateway.records.outcome_counts import OutcomeCounter
from fine_tune_assets.gateway.records.request_record import RequestRecord
from fine_tune_assets.gateway.records.traffic import TrafficObserver
from fine_tune_assets.gateway.requests.request_models import ChatRequest
from fine_tune_assets.gateway.wire_format import ApiError
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import KeyLimits, create_key
from fine_tune_assets.ledger.serving.crash_suspects import CrashSuspect, find_refused, list_suspects
from fine_tune_assets.ledger.serving.deployments import Deployment, switch_traffic
from fine_tune_assets.ledger.serving.request_outcomes import RequestOutcomes
from fine_tune_assets.ledger.serving.rollbacks import roll_back
from fine_tune_assets.ledger.serving.routing_targets import RoutingTarget
from fine_tune_assets_tests.gateway.answers.answering import (
    Answering,
    Engine,
    answering,
    listening,
    make_live,
    outcomes_of,
    ready_at,
)
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.loopback import StreamServer, serving
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.tiny_releases import build_empty_release


@dataclass
class Two:
    """A live deployment and the previous one."""

    client: TestClient
    ledger: Ledger
    new: Engine
    old: Engine
    live: Deployment
    before: Deployment

    def ask(self, **fields: object) -> httpx.Response:
        return self.client.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}], **fields}
        )

    def outcomes(self, deployment: Deployment) -> RequestOutcomes:
        return outcomes_of(self.ledger, deployment)


def connections_of(deployment: Deployment) -> int:
    path = socket_path(deployment.engine_url or "")
    assert path is not None
    return count_connections(socket_address(path.resolve()))


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    settings = Settings(data_dir=tmp_path / "d", gateway={"max_concurrent_requests": 1})
    ledger, old, new = fresh_ledger(settings), Engine(), Engine()
    with listening(tmp_path / "old.sock", old), listening(tmp_path / "new.sock", new):
        before = make_live(settings, ledger, tmp_path / "old.sock", "One.")
        live = make_live(settings, ledger, tmp_path / "new.sock", "Two.")
        headers = {"Authorization": f"Bearer {create_key(ledger, 'asks', ['chat']).secret}"}
        with TestClient(create_app(settings), headers=headers) as client:
            yield Two(client, ledger, new, old, live, before)
    ledger.close()


def test_requests_beyond_the_limit_get_429_and_slots_are_freed(two: Two) -> None:
    """A leaked slot per request would close the gateway within a day."""
    two.new.may_answer.clear()
    first = threading.Thread(target=two.ask)
    first.start()
    wait(lambda: two.new.asked > 0)
    assert connections_of(two.live) == 1
    refused = two.ask()
    assert refused.status_code == 429
    assert refused.headers["retry-after"]
    two.new.may_answer.set()
    first.join()
    for fields in ({}, {"stream": True}, {"stream": "x"}, {}):
        assert two.ask(**fields).status_code == (400 if fields.get("stream") == "x" else 200)
    assert two.outcomes(two.live).failed == 0


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_failed_request_is_retried_on_the_previous_release(two: Two, is_stream: bool) -> None:
    """The answer names its release, and the failure counts for the live one."""
    two.new.status = 500
    reply = two.ask(stream=is_stream)
    assert (reply.status_code, reply.headers["x-release-id"]) == (200, two.before.release_id)
    assert (two.outcomes(two.live).failed, two.outcomes(two.live).answered) == (1, 0)
    assert two.outcomes(two.before).answered == 1


def test_a_request_that_fails_twice_at_a_deployment_counts_once(two: Two) -> None:
    """One request must not count twice towards a rollback."""
    two.new.status = two.old.status = 500
    assert two.ask(model=two.live.release_id).status_code == 502
    assert two.new.asked == 2
    assert two.outcomes(two.live).failed == 1
    assert two.ask().status_code == 502
    assert two.outcomes(two.before).failed == 1


def test_keys_and_clients_of_stopped_engines_are_dropped(two: Two, tmp_path: Path) -> None:
    """Keys must not stay in memory, and a gateway that runs for a year sees many engines."""
    settings = Settings(data_dir=tmp_path / "d")
    counter, gate, traffic = OutcomeCounter(two.ledger), AnswerGate(OFF, None), TrafficObserver(settings, two.ledger)
    chat = ChatService(settings, two.ledger, counter, gate, traffic)
    question = ChatRequest.model_validate({"messages": [{"role": "user", "content": "hi"}]})
    caller = Caller("key:0", "asks", frozenset({"chat"}), None, None)

    async def ask() -> None:
        await chat.answer(question, caller, RequestRecord("/v1/chat/completions"), lambda: lambda: None)
        assert (chat.engines.urls, chat.engines.keyed_deployments) == ({two.live.engine_url}, {two.live.deployment_id})
        roll_back(two.ledger, "operator")
        await chat.answer(question, caller, RequestRecord("/v1/chat/completions"), lambda: lambda: None)
        assert (chat.engines.urls, chat.engines.keyed_deployments) == (
            {two.before.engine_url},
            {two.before.deployment_id},
        )

    asyncio.run(ask())


def test_an_answer_in_progress_completes_after_its_engine_is_dropped(two: Two) -> None:
    """After a switch, the previous engine completes its answers."""
    two.new.body, url = b"x" * 3_000_000, two.live.engine_url or ""

    async def ask() -> int:
        clients = EngineClients()
        answer = await send_request(clients.get_client(url), "sesame", {"stream": True}, AnswerLimits(60, 60))
        clients.retain_only(())
        gc.collect()
        return sum([len(chunk) async for chunk in answer.chunks()])

    assert asyncio.run(ask()) == len(two.new.body)


def test_a_manually_rolled_back_release_gets_no_retries(two: Two) -> None:
    """The operator may know of a fault that no status code shows."""
    roll_back(two.ledger, "operator", standby_until=datetime.now(UTC) + timedelta(hours=1))
    two.old.status = 500
    assert two.ask().status_code == 502
    assert (two.old.asked, two.new.asked) == (2, 0)


def test_a_request_that_names_a_release_is_not_retried_on_another(two: Two) -> None:
    """The caller measures or corrects that release."""
    two.new.status = 500
    assert two.ask(model=two.live.release_id).status_code == 502
    assert two.old.asked == 0


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "the maximum context length is 2048", (400, "context_length_exceeded")),
        (500, "The model produced output that does not match the expected peg-native format", (502, "unreadable_call")),
    ],
)
def test_a_request_that_no_release_can_answer_is_not_retried_and_not_counted(
    two: Two, status: int, message: str, expected: tuple[int, str]
) -> None:
    """Context overflow is worded differently by each engine. llama.cpp answers an unparsable tool call with 500, so callers
    could otherwise cause a rollback."""
    error = {"code": status, "type": "server_error", "message": message}
    two.new.status, two.new.body = status, json.dumps({"error": error}).encode()
    reply = two.ask()
    assert (reply.status_code, reply.json()["error"]["code"]) == expected
    assert two.old.asked == 0
    two.new.status, two.new.body = 200, b"{}"
    two.ask()
    assert (two.outcomes(two.live).requests, two.outcomes(two.live).failed) == (1, 0)


@contextmanager
def dying(path: Path, after: bytes = b"") -> Iterator[list[bytes]]:
    """An engine that closes each connection after the request, and after these bytes of a stream; the requests that it got."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            if after:
                self.send_response(200)
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(after), after))
                self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: object) -> None:
            pass

    with serving(StreamServer(str(path), Handler)):
        yield bodies


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[tuple[Two, list[bytes]]]:
    """The live release's engine ends at every request; the previous release answers."""
    settings = Settings(data_dir=tmp_path / "d")
    ledger, old = fresh_ledger(settings), Engine()
    with listening(tmp_path / "old.sock", old), dying(tmp_path / "new.sock") as bodies:
        before = make_live(settings, ledger, tmp_path / "old.sock", "One.")
        live = make_live(settings, ledger, tmp_path / "new.sock", "Two.")
        headers = {"Authorization": f"Bearer {create_key(ledger, 'asks', ['chat']).secret}"}
        with TestClient(create_app(settings), headers=headers) as client:
            yield Two(client, ledger, Engine(), old, live, before), bodies
    ledger.close()


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_request_during_which_an_engine_stopped_is_not_sent_to_another_and_refused_when_it_returns(
    fragile: tuple[Two, list[bytes]], is_stream: bool
) -> None:
    """One request could otherwise end every engine, one after the other."""
    two, bodies = fragile
    first = two.ask(stream=is_stream)
    assert (first.status_code, first.json()["error"]["code"]) == (502, "engine_stopped")
    again = two.ask(stream=not is_stream)
    assert (again.status_code, again.json()["error"]["code"]) == (400, "request_stops_engine")
    assert (len(bodies), two.old.asked) == (1, 0)
    assert two.outcomes(two.live).failed == 1
    other = two.ask(messages=[{"role": "user", "content": "another"}])
    assert other.json()["error"]["code"] == "engine_stopped"


def test_the_ledger_knows_a_request_that_stopped_an_engine_only_by_its_keyed_hash(
    fragile: tuple[Two, list[bytes]],
) -> None:
    """Requests contain report text. A plain hash of a short one could be guessed."""
    two, bodies = fragile
    two.ask()
    (suspect,) = list_suspects(two.ledger, datetime.now(UTC) - timedelta(minutes=1))
    assert (suspect.deployment_id, len(suspect.fingerprint)) == (two.live.deployment_id, 64)
    assert suspect.caller.startswith("key:")
    plain = [sha256(text).hexdigest() for text in (b"hi", bodies[0])]
    assert suspect.fingerprint not in plain


def test_a_stopped_engine_counts_against_the_key_and_not_the_person(fragile: tuple[Two, list[bytes]]) -> None:
    """One key under two names would look like two callers, and its requests like a fault of the release."""
    two, _ = fragile
    key = create_key(two.ledger, "acts", ["chat", "on_behalf_of"])
    headers = {"Authorization": f"Bearer {key.secret}", "x-on-behalf-of": "Person One"}
    two.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]}, headers=headers)
    (suspect,) = list_suspects(two.ledger, datetime.now(UTC) - timedelta(minutes=1))
    assert suspect.caller == f"key:{key.key_id}"


def test_every_gateway_process_refuses_the_request_once_the_engine_has_restarted(tmp_path: Path) -> None:
    """A restarted engine has another address; the list that a process read a moment ago does not hold the request yet."""
    settings = Settings(data_dir=tmp_path)
    ledger = fresh_ledger(settings)
    deployment = make_live(settings, ledger, tmp_path / "before.sock", "One.")
    target = RoutingTarget(deployment.deployment_id, "r", "releases/r", "live", "unix:before", None)
    first, second = CrashTracker(ledger), CrashTracker(ledger)
    fingerprint = first.fingerprint(target, {"messages": []})

    async def stop_engine_once() -> None:
        await second.require_harmless(target, fingerprint)
        await first.report(target, fingerprint, "key:a")
        with pytest.raises(ApiError):
            await second.require_harmless(replace(target, engine_url="unix:after"), fingerprint)

    asyncio.run(stop_engine_once())
    ledger.close()


def test_a_broken_stream_is_reported_too(tmp_path: Path) -> None:
    """The engine stopped after the first token."""
    settings = Settings(data_dir=tmp_path / "d")
    ledger = fresh_ledger(settings)
    chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
    with dying(tmp_path / "e.sock", after=chunk):
        make_live(settings, ledger, tmp_path / "e.sock", "One.")
        headers = {"Authorization": f"Bearer {create_key(ledger, 'asks', ['chat']).secret}"}
        with TestClient(create_app(settings), headers=headers) as client:
            body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
            assert "stream_broken" in client.post("/v1/chat/completions", json=body).text
            assert client.post("/v1/chat/completions", json=body).status_code == 400
    ledger.close()


@pytest.mark.parametrize(
    ("suspects", "refused"),
    [
        ([("e1", "r1")], {"r1"}),
        ([("e1", "r1"), ("e1", "r2")], set()),
        ([("e1", "r1"), ("e1", "r2"), ("e2", "r1"), ("e2", "r3")], {"r1"}),
        ([("e1", "r1"), ("e1", "r1"), ("e1", "r2")], set()),
    ],
)
def test_requests_that_were_there_by_chance_are_not_refused(suspects: list[tuple[str, str]], refused: set[str]) -> None:
    """An engine under load answers many requests when it stops; one of them is the cause."""
    now = datetime.now(UTC)
    assert find_refused([CrashSuspect("d", engine, request, "c", now) for engine, request in suspects]) == refused


def test_a_caller_who_leaves_before_the_answer_frees_the_engine(tmp_path: Path) -> None:
    """The gateway closes the connection, at which llama.cpp and vLLM stop generating."""
    is_asked, is_closed = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            is_asked.set()
            self.connection.settimeout(30)
            if self.connection.recv(1) == b"":
                is_closed.set()

        def log_message(self, *_: object) -> None:
            pass

    settings = Settings(data_dir=tmp_path / "d")
    ledger, statuses = fresh_ledger(settings), list[int]()

    async def leave(app: Any, secret: str) -> None:
        body = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()
        messages = iter([{"type": "http.request", "body": body}])

        async def receive() -> dict[str, Any]:
            message = next(messages, None)
            while message is None and not is_asked.is_set():
                await asyncio.sleep(0.01)
            return message or {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        path, headers = "/v1/chat/completions", [(b"authorization", f"Bearer {secret}".encode())]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        await asyncio.wait_for(app(scope, receive, send), 20)

    with serving(StreamServer(str(tmp_path / "e.sock"), Handler)):
        make_live(settings, ledger, tmp_path / "e.sock", "One.")
        secret = create_key(ledger, "asks", ["chat"]).secret
        with TestClient(create_app(settings)) as client:
            client.portal.call(leave, client.app, secret)  # type: ignore[union-attr]
        assert is_closed.wait(20)
    assert statuses == [499]
    ledger.close()


@pytest.mark.parametrize("fields", [{}, {"stream": True}])
def test_an_engine_without_a_first_token_in_time_is_given_up(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Streams have a separate limit for the first token; a whole answer has one limit."""
    limits = {"first_token_seconds": 1, "timeout_seconds": 20} if fields else {"timeout_seconds": 1}
    engine = Engine()
    with answering(Answering, tmp_path, engine, scopes=["chat"], gateway=limits) as made:
        engine.may_answer.clear()
        began = time.monotonic()
        reply = made.client.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}], **fields}
        )
        assert time.monotonic() - began < 10
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "engine_timeout")
        engine.may_answer.set()


def test_a_caller_has_a_limit_of_open_requests_of_its_own(tmp_path: Path) -> None:
    """Others are not refused meanwhile."""
    engine = Engine()
    with answering(Answering, tmp_path, engine, scopes=["chat"]) as made:
        limited = create_key(made.ledger, "limited", ["chat"], limits=KeyLimits(open_requests=1)).secret
        engine.may_answer.clear()
        body = {"messages": [{"role": "user", "content": "hi"}]}

        def post(key: str | None = None) -> httpx.Response:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            return made.client.post("/v1/chat/completions", json=body, headers=headers)

        first = threading.Thread(target=post, args=(limited,))
        first.start()
        wait(lambda: engine.asked == 1)
        refused = post(limited)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        second = threading.Thread(target=post)
        second.start()
        wait(lambda: engine.asked == 2)
        engine.may_answer.set()
        first.join()
        second.join()
        assert post(limited).status_code == 200


def test_a_request_that_waited_through_a_switch_is_answered_by_the_new_release(tmp_path: Path) -> None:
    """Its turn came at an engine that users had left."""
    settings = Settings(data_dir=tmp_path / "d", llama={"parallel": 1})
    ledger, old, new = fresh_ledger(settings), Engine(), Engine()
    with listening(tmp_path / "old.sock", old), listening(tmp_path / "new.sock", new):
        make_live(settings, ledger, tmp_path / "old.sock", "One.")
        headers = {"Authorization": f"Bearer {create_key(ledger, 'asks', ['chat']).secret}"}
        with TestClient(create_app(settings), headers=headers) as client:
            old.may_answer.clear()
            body, replies = {"messages": [{"role": "user", "content": "hi"}]}, list[httpx.Response]()
            threads = [
                threading.Thread(target=lambda: replies.append(client.post("/v1/chat/completions", json=body)))
                for _ in range(2)
            ]
            for thread in threads:
                thread.start()
            wait(lambda: old.asked == 1)
            time.sleep(0.6)
            release_id = build_empty_release(settings, ledger, "Two.", {})
            ready = ready_at(settings, ledger, tmp_path / "new.sock", release_id)
            switch_traffic(ledger, ready.deployment_id)
            old.may_answer.set()
            for thread in threads:
                thread.join()
    assert [reply.status_code for reply in replies] == [200, 200]
    assert (old.asked, new.asked) == (1, 1)
    ledger.close()

"""Requests are observed without delaying them, and only sums of enough requests are stored."""

import json
import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.drift.exchange_features import Exchange
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.gateway.records import traffic as module
from fine_tune_assets.gateway.records.traffic import (
    QUEUE_LENGTH,
    ObservedExchange,
    TrafficObserver,
    assemble_exchange,
    last_user_text,
)
from fine_tune_assets.gateway.requests.request_models import ChatRequest, CompletionRequest
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import request_features
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.serving.rollout import deploy_release
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.gateway.conftest import SERVICES, Installation
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.tiny_releases import build_release

MARKER = "Zebrafinch"


def _exchange(
    prompt: str = f"The patient {MARKER} has a cough.", answer: str = f"{MARKER} coughs."
) -> ObservedExchange:
    body = {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]}
    return ObservedExchange("r-1", prompt, (json.dumps(body).encode(),), None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, drift={"minimum_requests": 5, "window_hours": 1})


def _rows(ledger: Ledger) -> list[dict[str, Any]]:
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(request_features.select()).mappings()]


def test_a_window_with_too_few_requests_is_carried_over_to_the_next(settings: Settings, ledger: Ledger) -> None:
    """Sums of three requests would reveal details of each."""
    traffic, noon = TrafficObserver(settings, ledger), datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    for _ in range(3):
        traffic.add(_exchange(), noon)
    traffic.write(noon)
    assert _rows(ledger) == []
    later = noon + timedelta(hours=1)
    for _ in range(2):
        traffic.add(_exchange(), later)
    traffic.write(later)
    (row,) = _rows(ledger)
    assert row["requests"] == 5
    assert row["window_start"] == noon
    assert row["window_end"] == datetime(2026, 5, 1, 14, tzinfo=UTC)
    traffic.add(_exchange(), later)
    traffic.write(later)
    assert len(_rows(ledger)) == 1


def test_no_text_is_in_the_ledger_or_the_log(
    settings: Settings, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even of an unreadable answer."""
    caplog.set_level(logging.DEBUG)
    traffic = TrafficObserver(settings, ledger)
    traffic.start()
    for _ in range(5):
        traffic.observe(_exchange())
    traffic.observe(ObservedExchange("r-1", MARKER, (f"no JSON {MARKER}".encode(),), None))
    traffic.close()
    (row,) = _rows(ledger)
    assert (row["requests"], row["unread"]) == (5, 1)
    assert MARKER.lower() not in f"{row} {caplog.text}".lower()
    for path in settings.data_dir.rglob("*"):
        assert not path.is_file() or MARKER.encode() not in path.read_bytes()


def test_a_stuck_worker_delays_no_request_and_dropped_requests_are_counted(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer waits for feature extraction."""
    stuck, may_continue = threading.Event(), threading.Event()

    def read(exchange: ObservedExchange) -> Exchange:
        stuck.set()
        assert may_continue.wait(60)
        return assemble_exchange(exchange)

    monkeypatch.setattr(module, "assemble_exchange", read)
    traffic = TrafficObserver(settings, ledger)
    traffic.start()
    traffic.observe(_exchange())
    assert stuck.wait(60)
    started = time.monotonic()
    for _ in range(QUEUE_LENGTH + 7):
        traffic.observe(_exchange())
    assert time.monotonic() - started < 5  # a blocking put would never return
    may_continue.set()
    wait(lambda: not traffic.queue_size)
    traffic.close()
    (row,) = _rows(ledger)
    assert (row["requests"], row["unread"]) == (QUEUE_LENGTH + 1, 7)


def test_sums_are_written_later_if_the_ledger_is_unreachable(settings: Settings, ledger: Ledger) -> None:
    """They are kept and counted once."""
    traffic, at = TrafficObserver(settings, ledger), datetime(2026, 5, 1, tzinfo=UTC)
    for _ in range(5):
        traffic.add(_exchange(), at)
    with ledger.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE request_features RENAME TO away")
    traffic.write(at)
    with ledger.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO request_features")
    assert _rows(ledger) == []
    traffic.write(at)
    assert [row["requests"] for row in _rows(ledger)] == [5]


def test_the_last_user_turn_is_extracted_from_every_request_form() -> None:
    """Without the release's prompt, passages and earlier turns, which were observed before."""
    turns = [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "new"},
    ]
    parts = [{"role": "user", "content": [{"type": "text", "text": "part"}]}]
    others = [{"role": "system", "content": "s"}]
    for messages, text in ((turns, "new"), (parts, "part"), (others, "")):
        assert last_user_text(ChatRequest.model_validate({"messages": messages})) == text
    for prompt in ("p", ["p"]):
        assert last_user_text(CompletionRequest.model_validate({"prompt": prompt})) == "p"


def test_a_streamed_answer_is_assembled() -> None:
    """With its finish reason."""
    pieces = [{"choices": [{"delta": {"role": "assistant"}}]}, {"choices": [{"delta": {"content": "A "}}]}]
    pieces += [{"choices": [{"delta": {"content": "cough."}}]}, {"choices": [{"delta": {}, "finish_reason": "length"}]}]
    found = assemble_exchange(ObservedExchange("r-1", "p", tuple(json.dumps(piece).encode() for piece in pieces), True))
    assert (found.answer, found.finish_reason, found.has_passages) == ("A cough.", "length", True)


@pytest.mark.slow
def test_a_real_gateway_counts_each_request_form_once_and_stores_no_text(tmp_path: Path) -> None:
    """With the real engine. Counts are written when the gateway ends."""
    settings = Settings(data_dir=tmp_path, gateway={"port": free_port()}, threads=2, drift={"minimum_requests": 3})
    ledger = fresh_ledger(settings)
    try:
        start_services(settings, SERVICES)
        release_id = build_release(settings, ledger, "You are brief.")
        deploy_release(ledger, release_id, timeout_seconds=120)
        key = create_key(ledger, "asks", ["chat"]).secret
        here = Installation(settings, ledger, key, key, release_id)
        message = [{"role": "user", "content": f"The patient {MARKER} has a cough and no fever."}]
        for is_stream in (False, True):
            body = {"model": "live", "messages": message, "max_tokens": 4, "stream": is_stream}
            assert here.post("/v1/chat/completions", key, json=body).status_code == 200
        body = {"model": "live", "prompt": message[0]["content"], "max_tokens": 4}
        assert here.post("/v1/completions", key, json=body).status_code == 200
    finally:
        stop_services(settings, SERVICES)
        rows = _rows(ledger)
        ledger.close()
    assert [(row["release_id"], row["requests"]) for row in rows] == [(release_id, 3)]
    assert json.loads(rows[0]["counts"])["language"] == {"en": 3}
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or path.suffix == ".gguf" or MARKER.encode() not in path.read_bytes(), path.name

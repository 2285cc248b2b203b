"""Requests are read off their path, and only sums of enough of them are kept."""

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
from fine_tune_assets.gateway.records.traffic import QUEUE_LENGTH, Heard, Traffic, asked_text, exchange_of
from fine_tune_assets.gateway.requests.request_models import ChatRequest, CompletionRequest
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.schema import request_features
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets.serving.switch import serve_release
from fine_tune_assets_tests.gateway.conftest import SERVICES, Installation
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.tiny import build_release

MARKER = "Zebrafinch"


def _heard(prompt: str = f"The patient {MARKER} has a cough.", answer: str = f"{MARKER} coughs.") -> Heard:
    body = {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]}
    return Heard("r-1", prompt, (json.dumps(body).encode(),), None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, drift={"minimum_requests": 5, "window_hours": 1})


def _rows(ledger: Ledger) -> list[dict[str, Any]]:
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(request_features.select()).mappings()]


def test_a_window_of_too_few_is_not_written_and_goes_into_the_next(settings: Settings, ledger: Ledger) -> None:
    """Sums of three requests would say something of each."""
    traffic, noon = Traffic(settings, ledger), datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    for _ in range(3):
        traffic.add(_heard(), noon)
    traffic.write(noon)
    assert _rows(ledger) == []
    later = noon + timedelta(hours=1)
    for _ in range(2):
        traffic.add(_heard(), later)
    traffic.write(later)
    (row,) = _rows(ledger)
    assert row["requests"] == 5
    assert row["window_start"] == noon
    assert row["window_end"] == datetime(2026, 5, 1, 14, tzinfo=UTC)
    traffic.add(_heard(), later)
    traffic.write(later)
    assert len(_rows(ledger)) == 1


def test_nothing_of_what_was_said_is_in_the_ledger_or_the_log(
    settings: Settings, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """Also of an answer that can't be read."""
    caplog.set_level(logging.DEBUG)
    traffic = Traffic(settings, ledger)
    traffic.start()
    for _ in range(5):
        traffic.note(_heard())
    traffic.note(Heard("r-1", MARKER, (f"no JSON {MARKER}".encode(),), None))
    traffic.close()
    (row,) = _rows(ledger)
    assert (row["requests"], row["dropped"]) == (5, 1)
    assert MARKER.lower() not in f"{row} {caplog.text}".lower()
    for path in settings.data_dir.rglob("*"):
        assert not path.is_file() or MARKER.encode() not in path.read_bytes()


def test_a_stuck_worker_delays_nothing_and_what_it_misses_is_counted(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer waits for a figure."""
    stuck, go_on = threading.Event(), threading.Event()

    def read(heard: Heard) -> Exchange:
        stuck.set()
        assert go_on.wait(60)
        return exchange_of(heard)

    monkeypatch.setattr(module, "exchange_of", read)
    traffic = Traffic(settings, ledger)
    traffic.start()
    traffic.note(_heard())
    assert stuck.wait(60)
    started = time.monotonic()
    for _ in range(QUEUE_LENGTH + 7):
        traffic.note(_heard())
    assert time.monotonic() - started < 5  # a put that waited would never have come back
    go_on.set()
    wait(lambda: not traffic.waiting)
    traffic.close()
    (row,) = _rows(ledger)
    assert (row["requests"], row["dropped"]) == (QUEUE_LENGTH + 1, 7)


def test_a_ledger_that_is_away_gets_the_sums_later(settings: Settings, ledger: Ledger) -> None:
    """They are kept, and counted once."""
    traffic, at = Traffic(settings, ledger), datetime(2026, 5, 1, tzinfo=UTC)
    for _ in range(5):
        traffic.add(_heard(), at)
    with ledger.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE request_features RENAME TO away")
    traffic.write(at)
    with ledger.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO request_features")
    assert _rows(ledger) == []
    traffic.write(at)
    assert [row["requests"] for row in _rows(ledger)] == [5]


def test_the_last_turn_of_the_user_is_read_in_every_form() -> None:
    """Not what the release or documents add, and not the turns before: they were read when they came."""
    turns = [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "new"},
    ]
    parts = [{"role": "user", "content": [{"type": "text", "text": "part"}]}]
    others = [{"role": "system", "content": "s"}]
    for messages, text in ((turns, "new"), (parts, "part"), (others, "")):
        assert asked_text(ChatRequest.model_validate({"messages": messages})) == text
    for prompt in ("p", ["p"]):
        assert asked_text(CompletionRequest.model_validate({"prompt": prompt})) == "p"


def test_a_streamed_answer_is_put_together() -> None:
    """Piece by piece, with the reason for its end."""
    pieces = [{"choices": [{"delta": {"role": "assistant"}}]}, {"choices": [{"delta": {"content": "A "}}]}]
    pieces += [{"choices": [{"delta": {"content": "cough."}}]}, {"choices": [{"delta": {}, "finish_reason": "length"}]}]
    found = exchange_of(Heard("r-1", "p", tuple(json.dumps(piece).encode() for piece in pieces), True))
    assert (found.answer, found.finish_reason, found.has_passages) == ("A cough.", "length", True)


@pytest.mark.slow
def test_a_real_gateway_counts_each_form_of_a_request_once_and_writes_no_word(tmp_path: Path) -> None:
    """With the real engine; what was counted is written when the gateway ends."""
    settings = Settings(data_dir=tmp_path, gateway={"port": free_port()}, threads=2, drift={"minimum_requests": 3})
    ledger = fresh_ledger(settings.database_url)
    try:
        start_services(settings, SERVICES)
        release_id = build_release(settings, ledger, "You are brief.")
        serve_release(ledger, release_id, timeout_seconds=120)
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

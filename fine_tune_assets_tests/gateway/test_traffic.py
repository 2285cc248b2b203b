"""Requests are read off their path, and only sums of enough of them are kept."""

import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.traffic import QUEUE_LENGTH, Heard, Traffic, asked_text, exchange_of
from fine_tune_assets.ledger.api_keys import create_key
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.schema import request_features
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets.serving.switching import serve_release
from fine_tune_assets_tests.gateway.conftest import SERVICES, Installation, free_port
from fine_tune_assets_tests.serving.tiny import build_release

MARKER = "Zebrafinch"


def _heard(prompt: str = f"The patient {MARKER} has a cough.", answer: str = f"{MARKER} coughs.") -> Heard:
    body = {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]}
    return Heard("r-1", prompt, (json.dumps(body).encode(),), None)


def _encode(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.full((len(texts), 384), 384**-0.5, dtype=np.float32)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, drift_minimum_requests=5, drift_window_hours=1, drift_embedded_percent=100)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    opened = open_ledger(settings.database_url)
    yield opened
    opened.close()


def _rows(ledger: Ledger) -> list[dict[str, Any]]:
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(request_features.select()).mappings()]


def test_a_window_of_too_few_is_not_written_and_goes_into_the_next(settings: Settings, ledger: Ledger) -> None:
    """Sums of three requests would say something of each."""
    traffic, noon = Traffic(settings, ledger, _encode, lambda: 0.0), datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    for _ in range(3):
        traffic.add(_heard(), noon)
    traffic.write(noon)
    assert _rows(ledger) == []
    later = noon + timedelta(hours=1)
    for _ in range(2):
        traffic.add(_heard(), later)
    traffic.write(later)
    (row,) = _rows(ledger)
    assert (row["requests"], row["embedded"]) == (5, 5)
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
    traffic = Traffic(settings, ledger, _encode)
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


def test_a_stuck_worker_delays_nothing_and_what_it_misses_is_counted(settings: Settings, ledger: Ledger) -> None:
    """No answer waits for a figure."""
    stuck, go_on = threading.Event(), threading.Event()

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        stuck.set()
        assert go_on.wait(60)
        return _encode(texts)

    traffic = Traffic(settings, ledger, encode)
    traffic.start()
    traffic.note(_heard())
    assert stuck.wait(60)
    started = time.monotonic()
    for _ in range(QUEUE_LENGTH + 7):
        traffic.note(_heard())
    assert time.monotonic() - started < 5  # a put that waited would never have come back
    go_on.set()
    deadline = time.monotonic() + 60
    while traffic.waiting and time.monotonic() < deadline:
        time.sleep(0.05)
    traffic.close()
    (row,) = _rows(ledger)
    assert (row["requests"], row["dropped"]) == (QUEUE_LENGTH + 1, 7)


def test_a_share_of_the_requests_is_embedded_and_with_none_no_encoder_is_loaded(
    settings: Settings, ledger: Ledger
) -> None:
    """What the encoder costs is a setting."""
    for percent, expected in ((100, 20), (25, 5), (0, 0)):
        traffic = Traffic(
            Settings(**{**vars(settings), "drift_embedded_percent": percent}), ledger, _encode, lambda: 0.0
        )
        at = datetime(2026, 5, 1, percent % 24, tzinfo=UTC)
        for _ in range(20):
            traffic.add(_heard(), at)
        traffic.write(at)
        assert _rows(ledger)[-1]["embedded"] == expected


def test_an_encoder_that_takes_long_is_asked_less_often(settings: Settings, ledger: Ledger) -> None:
    """It computes on the cores that the engine computes on: a twentieth of one at most."""
    seconds = [0.0]

    def slow(texts: Sequence[str]) -> NDArray[np.float32]:
        seconds[0] += 0.125
        return _encode(texts)

    traffic, at = Traffic(settings, ledger, slow, lambda: seconds[0]), datetime(2026, 5, 1, tzinfo=UTC)
    for _ in range(100):
        traffic.add(_heard(), at)
        seconds[0] += 0.125
    traffic.write(at)
    (row,) = _rows(ledger)
    assert (row["requests"], row["embedded"]) == (100, 6)


def test_a_ledger_that_is_away_gets_the_sums_later(settings: Settings, ledger: Ledger) -> None:
    """They are kept, and counted once."""
    traffic, at = Traffic(settings, ledger, _encode), datetime(2026, 5, 1, tzinfo=UTC)
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
    assert asked_text({"messages": turns}) == "new"
    assert asked_text({"messages": [{"role": "user", "content": [{"type": "text", "text": "part"}]}]}) == "part"
    assert asked_text({"messages": [{"role": "system", "content": "s"}]}) == ""
    assert (asked_text({"prompt": "p"}), asked_text({"prompt": ["p"]})) == ("p", "p")


def test_a_streamed_answer_is_put_together() -> None:
    """Piece by piece, with the reason for its end."""
    pieces = [{"choices": [{"delta": {"role": "assistant"}}]}, {"choices": [{"delta": {"content": "A "}}]}]
    pieces += [{"choices": [{"delta": {"content": "cough."}}]}, {"choices": [{"delta": {}, "finish_reason": "length"}]}]
    found = exchange_of(Heard("r-1", "p", tuple(json.dumps(piece).encode() for piece in pieces), True))
    assert (found.answer, found.finish_reason, found.has_passages) == ("A cough.", "length", True)


@pytest.mark.slow
def test_a_real_gateway_counts_each_form_of_a_request_once_and_writes_no_word(tmp_path: Path) -> None:
    """With the real engine and encoder; what was counted is written when the gateway ends."""
    settings = Settings(
        data_dir=tmp_path, gateway_port=free_port(), threads=2, drift_minimum_requests=3, drift_embedded_percent=100
    )
    ledger = open_ledger(settings.database_url)
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
    assert 1 <= rows[0]["embedded"] <= 3  # more take more of a core than may be taken
    assert json.loads(rows[0]["counts"])["language"] == {"en": 3}
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or path.suffix == ".gguf" or MARKER.encode() not in path.read_bytes(), path.name

"""Limits, request log and metrics of the application, with a fake engine on a real socket."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from fine_tune_assets.gateway.gateway_app import create_app
from fine_tune_assets.gateway.records.journal import (
    SYNC_INTERVAL_SECONDS,
    Entry,
    Journal,
    JournalWriteError,
    merge_anonymous,
)
from fine_tune_assets.ledger.audit.request_log import RequestEntry, record_requests, verify_requests
from fine_tune_assets.ledger.people.api_keys import KeyLimits, create_key
from fine_tune_assets_tests.gateway.answers.answering import Answering, Engine, answering
from fine_tune_assets_tests.gateway.callers.whole_answers import WHOLE
from fine_tune_assets_tests.ledger.ledger_rows import owned_key
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.serving.load import wait

MARKER = "Zebrafinch-7731"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": f"Hi {MARKER}"}]}


@dataclass
class Running(Answering):
    def ask(self, key: str, path: str = "/v1/chat/completions", body: Any = ASK) -> Any:
        return self.client.post(path, json=body, headers={"Authorization": f"Bearer {key}"})


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with answering(Running, tmp_path, Engine(body=json.dumps(WHOLE).encode())) as made:
        yield made


def test_requests_beyond_the_limit_get_429_with_retry_after(running: Running) -> None:
    """OpenAI's client waits for Retry-After."""
    now = datetime.now(UTC)
    if now.second > 50:
        time.sleep(61 - now.second)
    key = create_key(running.ledger, "a", ["chat"], limits=KeyLimits(3)).secret
    other = create_key(running.ledger, "b", ["chat"], limits=KeyLimits(3)).secret
    replies = [running.ask(key) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies] == ["2", "1", "0", "0"]
    assert replies[3].json()["error"]["code"] == "rate_limit_exceeded"
    assert 0 < int(replies[3].headers["retry-after"]) <= 60
    assert running.engine.asked == 3
    assert running.ask(other).status_code == 200


def test_usage_survives_a_restart_of_the_gateway(running: Running) -> None:
    """A restart must not reset a limit."""
    now = datetime.now(UTC)
    if now.second > 45:
        time.sleep(61 - now.second)
    key = create_key(running.ledger, "a", ["chat"], limits=KeyLimits(2, 100)).secret
    assert running.ask(key).headers["x-ratelimit-remaining-tokens"] == "100"
    with TestClient(create_app(running.settings)) as client:
        headers = {"Authorization": f"Bearer {key}"}
        second = client.post("/v1/chat/completions", json=ASK, headers=headers)
        assert (second.status_code, second.headers["x-ratelimit-remaining-tokens"]) == (200, "58")
        assert client.post("/v1/chat/completions", json=ASK, headers=headers).status_code == 429


def test_a_used_up_token_budget_refuses_requests_until_the_next_day(running: Running) -> None:
    """42 tokens per answer: the third starts with 16 left and is the last."""
    key = create_key(running.ledger, "a", ["chat"], limits=KeyLimits(None, 100)).secret
    assert [running.ask(key).status_code for _ in range(4)] == [200, 200, 200, 429]
    reply = running.ask(key)
    assert reply.json()["error"]["code"] == "token_budget_exceeded"
    assert reply.headers["x-ratelimit-remaining-tokens"] == "0"
    assert int(reply.headers["retry-after"]) <= 86400


def test_each_request_leaves_a_line_without_text(running: Running) -> None:
    """Caller, route, release and outcome; equal prompts have equal hashes."""
    key = create_key(running.ledger, "a", ["chat"])
    for _ in range(2):
        running.ask(key.secret)
    running.ask(key.secret, body={"messages": MARKER})
    running.ask(key.secret, "/v1/embeddings")
    lines = running.lines()
    assert [(line["caller"], line["route"], line["status"], line["code"]) for line in lines] == [
        (f"key:{key.key_id}", "/v1/chat/completions", 200, None),
        (f"key:{key.key_id}", "/v1/chat/completions", 200, None),
        (f"key:{key.key_id}", "/v1/chat/completions", 400, "invalid_request"),
        (f"key:{key.key_id}", "/v1/embeddings", 403, "wrong_scope"),
    ]
    first = lines[0]
    assert (first["release_id"], first["tokens_in"], first["tokens_out"], first["identifier_count"]) == (
        running.release_id, 30, 12, None,
    )  # fmt: skip
    assert first["prompt_hash"] == lines[1]["prompt_hash"] != lines[2]["prompt_hash"]
    assert MARKER not in repr(lines)
    assert verify_requests(running.ledger).is_intact


def test_the_line_of_a_correction_names_its_release_only_if_it_exists(running: Running) -> None:
    """Text that a caller invents must not enter the log."""
    key = owned_key(running.ledger, "a", ["chat", "correct"]).secret
    texts = dict.fromkeys(("instruction", "answer", "corrected_answer"), "x")
    for release_id, status in ((running.release_id, 201), (f"r-{MARKER}", 404)):
        assert running.ask(key, "/v1/corrections", {"release_id": release_id, **texts}).status_code == status
    running.ask(key, "/v1/corrections", {"release_id": running.release_id, "rating": "up"})
    running.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
    lines = running.lines()
    assert [(line["route"], line["release_id"]) for line in lines] == [
        ("/v1/corrections", running.release_id),
        ("/v1/corrections", None),
        ("/v1/corrections", running.release_id),
        ("/v1/models", running.release_id),
    ]
    assert MARKER not in repr(lines)


def test_the_line_is_written_before_the_answer_ends(running: Running) -> None:
    """A kill after the last byte loses no line."""
    key = create_key(running.ledger, "a", ["chat"]).secret
    running.engine.body = b'data: {"choices": [{"delta": {"content": "x"}}]}\n\ndata: [DONE]\n\n'
    for stream in (False, True):
        headers = {"Authorization": f"Bearer {key}"}
        if not stream:
            running.engine.body, stream_body = json.dumps(WHOLE).encode(), running.engine.body
        with running.client.stream(
            "POST", "/v1/chat/completions", json={**ASK, "stream": stream}, headers=headers
        ) as r:
            text = "".join(r.iter_text())
            assert len(running.lines()) == 1 + stream
        if not stream:
            running.engine.body = stream_body
    assert text.endswith("data: [DONE]\n\n")


def test_no_answer_is_sent_if_its_line_can_not_be_written(running: Running) -> None:
    """Every answer must be in the log."""
    key = create_key(running.ledger, "a", ["chat"]).secret
    with running.ledger.begin() as connection:
        connection.execute(sa.text("ALTER TABLE request_entries RENAME TO away"))
    reply = running.ask(key)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_available")
    with running.ledger.begin() as connection:
        connection.execute(sa.text("ALTER TABLE away RENAME TO request_entries"))
    assert running.ask(key).status_code == 200
    assert [line["status"] for line in running.lines()] == [200]


def test_a_flood_of_anonymous_refusals_is_merged_into_few_lines(running: Running) -> None:
    """Otherwise callers without a key could fill the disk. Unknown paths are the caller's text and are not logged."""
    for number in range(30):
        running.ask("fta_0_0")
        running.client.get(f"/{MARKER}-{number}")
    wait(lambda: sum(line["request_count"] for line in running.lines()) >= 60, 20)
    lines = running.lines()
    assert len(lines) < 30
    assert {(line["caller"], line["route"], line["code"]) for line in lines} == {
        (None, "/v1/chat/completions", "invalid_api_key"), (None, "other", "not_found"),
    }  # fmt: skip
    assert verify_requests(running.ledger).is_intact


def test_anonymous_lines_are_merged_and_others_are_not() -> None:
    """Each request of a known caller is evidence."""
    anonymous = RequestEntry(
        datetime.now(UTC), None, "/v1/models", 401, "invalid_api_key", None, None, None, 1, None, None
    )
    known = replace(anonymous, caller="key:a")
    assert merge_anonymous([anonymous, known, anonymous, known, replace(anonymous, code="x")]) == [
        replace(anonymous, request_count=2), known, known, replace(anonymous, code="x"),
    ]  # fmt: skip


@pytest.mark.anyio
async def test_writers_share_transactions_and_a_broken_ledger_raises(tmp_path: Path) -> None:
    """300 concurrent writers must not need 300 transactions."""
    ledger = fresh_ledger(f"sqlite:///{tmp_path / 'l.db'}")
    line = RequestEntry(datetime.now(UTC), "key:a", "/v1/models", 200, None, None, None, None, 1, None, None)
    commits: list[object] = []
    sa.event.listen(ledger.engine, "commit", commits.append)
    journal = Journal(ledger, 0, sync_each_commit=False)
    await asyncio.gather(*(journal.write(Entry(line)) for _ in range(300)))
    assert len(commits) < 30
    assert verify_requests(ledger).entry_count == 300
    with ledger.begin() as connection:
        connection.execute(sa.text("DROP TABLE request_entries"))
    with pytest.raises(JournalWriteError):
        await journal.write(Entry(line))
    await journal.close()
    ledger.close()


@pytest.mark.anyio
@pytest.mark.parametrize("syncs_each", [False, True])
async def test_lines_are_synced_to_disk_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syncs_each: bool
) -> None:
    """A power failure must lose at most a second. If each line is synced, the periodic sync does nothing."""
    synced: list[str] = []
    ledger = fresh_ledger(f"sqlite:///{tmp_path / 'l.db'}")
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")))
    line = RequestEntry(datetime.now(UTC), "key:a", "/v1/models", 200, None, None, None, None, 1, None, None)
    journal = Journal(ledger, 0, sync_each_commit=syncs_each)
    keeping = asyncio.create_task(journal.sync_forever())
    await journal.write(Entry(line))
    assert synced == []
    await asyncio.sleep(2 * SYNC_INTERVAL_SECONDS)
    assert synced == ([] if syncs_each else [f"{tmp_path / 'l.db'}-wal"])
    keeping.cancel()
    await journal.write(Entry(line))
    await journal.close()
    assert len(synced) == (0 if syncs_each else 2)
    ledger.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_the_running_gateway_prunes_old_lines(running: Running) -> None:
    """At its start and every hour."""
    old = datetime.now(UTC) - timedelta(days=400)
    record_requests(running.ledger, [RequestEntry(old, None, "x", 200, None, None, None, None, 1, None, None)], {}, old)
    with TestClient(create_app(running.settings)):
        wait(lambda: not running.lines(), 20)
    assert verify_requests(running.ledger).is_intact


def test_metrics_count_by_route_status_and_release_without_callers(running: Running) -> None:
    """More people can see a dashboard than the request log."""
    key = create_key(running.ledger, f"ward {MARKER}", ["chat", "metrics"])
    running.ask(key.secret)
    running.ask("fta_0_0")
    text = running.client.get("/metrics", headers={"Authorization": f"Bearer {key.secret}"}).text
    release = running.release_id
    labels = f'{{release="{release}",route="/v1/chat/completions",status="200"}}'
    assert f"fine_tune_requests_total{labels} 1.0" in text
    assert 'release="none",route="/v1/chat/completions",status="401"} 1.0' in text
    assert f'fine_tune_tokens_total{{direction="out",release="{release}"}} 12.0' in text
    assert f'fine_tune_first_token_seconds_count{{release="{release}"}} 1.0' in text
    assert "fine_tune_requests_in_flight 1.0" in text
    assert MARKER not in text
    assert key.key_id not in text

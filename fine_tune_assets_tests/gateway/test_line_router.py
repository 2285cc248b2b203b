"""Two product lines behind one gateway: each answers with its own model, keys and request log."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from fine_tune_assets.core.product_lines import create_line
from fine_tune_assets.core.settings import Settings, select_line
from fine_tune_assets.gateway.gateway_app import create_line_apps
from fine_tune_assets.gateway.line_router import LineRouter
from fine_tune_assets.gateway.requests.request_parsing import MAX_BODY_BYTES
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, SealError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import corrections, request_entries
from fine_tune_assets.ledger.people.api_keys import accept_key, copy_secret, create_key, revoke_key, rotate_key
from fine_tune_assets.ledger.serving.deployments import switch_traffic
from fine_tune_assets_tests.gateway.answers.answering import Engine, listening, ready_at
from fine_tune_assets_tests.gateway.canary_gateway import said
from fine_tune_assets_tests.ledger.ledger_rows import owned_key
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.serving.tiny_releases import build_empty_release


@dataclass
class Line:
    settings: Settings
    ledger: Ledger
    engine: Engine
    release_id: str
    key: str


@dataclass
class TwoLines:
    main: Line
    law: Line
    client: TestClient

    def ask(self, key: str, **fields: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": "hi"}], **fields}
        return self.client.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})


def _line(settings: Settings, socket: Path, engine: Engine) -> Line:
    ledger = fresh_ledger(settings)
    release_id = build_empty_release(settings, ledger, f"You serve {settings.line or 'main'}.", {})
    switch_traffic(ledger, ready_at(settings, ledger, socket, release_id).deployment_id)
    return Line(
        settings, ledger, engine, release_id, owned_key(ledger, f"asks {settings.line}", ["chat", "correct"]).secret
    )


@pytest.fixture
def two(short_path: Path) -> Iterator[TwoLines]:
    settings = Settings(data_dir=short_path / "d", drift={"enabled": False})
    create_line(settings, "law", "law_contracts")
    engines = {"": Engine(body=said("clinical")), "law": Engine(body=said("legal"))}
    with listening(short_path / "a.sock", engines[""]), listening(short_path / "b.sock", engines["law"]):
        main = _line(settings, short_path / "a.sock", engines[""])
        law = _line(select_line(settings, "law"), short_path / "b.sock", engines["law"])
        with TestClient(create_line_apps(settings)) as client:
            yield TwoLines(main, law, client)
    main.ledger.close()
    law.ledger.close()


def _text(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])


def _releases(ledger: Ledger) -> list[str | None]:
    with ledger.read() as connection:
        return list(connection.execute(sa.select(request_entries.c.release_id)).scalars())


def test_the_model_name_selects_the_line(two: TwoLines) -> None:
    """An application of the legal department must never get the clinical model's answer."""
    assert _text(two.ask(two.main.key, model="main")) == "clinical"
    assert _text(two.ask(two.law.key, model="law")) == "legal"
    assert _text(two.ask(two.law.key, model=two.law.release_id)) == "legal"


def test_live_means_the_live_release_of_the_key_s_line(two: TwoLines) -> None:
    assert _text(two.ask(two.main.key)) == "clinical"
    assert _text(two.ask(two.law.key, model="live")) == "legal"


def test_each_line_records_its_requests_in_its_own_log(two: TwoLines) -> None:
    two.ask(two.main.key)
    two.ask(two.law.key, model="law")
    assert _releases(two.main.ledger) == [two.main.release_id]
    assert _releases(two.law.ledger) == [two.law.release_id]


def test_a_key_of_one_line_never_reaches_the_other(two: TwoLines) -> None:
    for key, model in ((two.main.key, "law"), (two.law.key, two.main.release_id), (two.law.key, "main")):
        reply = two.ask(key, model=model)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert (two.main.engine.asked, two.law.engine.asked) == (0, 0)


def test_an_accepted_key_reaches_both_models_with_the_scopes_of_each(two: TwoLines) -> None:
    key_id = two.main.key.split("_")[1]
    accept_key(two.law.ledger, two.main.ledger, key_id, ["chat"], by="operator")
    assert _text(two.ask(two.main.key, model="law")) == "legal"
    assert _text(two.ask(two.main.key)) == "clinical"
    models = two.client.get("/v1/models", headers={"Authorization": f"Bearer {two.main.key}"}).json()["data"]
    assert {one["id"] for one in models} == {"live", two.main.release_id, "law", two.law.release_id}
    correction = {
        "release_id": two.law.release_id,
        "instruction": "i",
        "input": "x",
        "answer": "a",
        "corrected_answer": "b",
    }
    sent = two.client.post("/v1/corrections", json=correction, headers={"Authorization": f"Bearer {two.main.key}"})
    assert (sent.status_code, sent.json()["error"]["code"]) == (403, "wrong_scope")


def test_a_rotated_and_a_revoked_key_lose_their_secret_in_every_line(two: TwoLines) -> None:
    key_id = two.main.key.split("_")[1]
    accept_key(two.law.ledger, two.main.ledger, key_id, ["chat"], by="operator")

    new = rotate_key(two.main.ledger, key_id, timedelta(0))
    copy_secret(two.law.ledger, two.main.ledger, key_id, by="operator")
    assert two.ask(two.main.key, model="law").status_code == 401
    assert _text(two.ask(new.secret, model="law")) == "legal"
    revoke_key(two.law.ledger, key_id)
    assert two.ask(new.secret, model="law").status_code == 401
    assert _text(two.ask(new.secret)) == "clinical"


def test_a_key_is_accepted_once_and_only_if_it_exists(two: TwoLines) -> None:
    key_id = two.main.key.split("_")[1]
    accept_key(two.law.ledger, two.main.ledger, key_id, ["chat"], by="operator")
    with pytest.raises(LedgerError):
        accept_key(two.law.ledger, two.main.ledger, key_id, ["chat"], by="operator")
    with pytest.raises(UnknownRecordError):
        accept_key(two.law.ledger, two.main.ledger, "0" * 12, ["chat"], by="operator")
    revoked = create_key(two.main.ledger, "revoked", ["chat"]).key_id
    revoke_key(two.main.ledger, revoked)
    with pytest.raises(LedgerError):
        accept_key(two.law.ledger, two.main.ledger, revoked, ["chat"], by="operator")


def test_a_forged_key_is_not_accepted(two: TwoLines) -> None:
    """Whoever can write to one line's database must not get a valid key of another line."""
    key_id = create_key(two.main.ledger, "forged", ["chat"]).key_id
    with two.main.ledger.engine.begin() as connection:
        connection.exec_driver_sql("update api_keys set secret_hash = 'x' where key_id = ?", (key_id,))
    with pytest.raises(SealError):
        accept_key(two.law.ledger, two.main.ledger, key_id, ["chat"], by="operator")


def test_a_correction_goes_to_the_line_of_its_release(two: TwoLines) -> None:
    """Otherwise a lawyer's correction would be reviewed by physicians, and be trained on by their model."""
    body = {"release_id": two.law.release_id, "instruction": "i", "input": "x", "answer": "a", "corrected_answer": "b"}
    sent = two.client.post("/v1/corrections", json=body, headers={"Authorization": f"Bearer {two.law.key}"})
    assert sent.status_code == 201
    for line, count in ((two.main, 0), (two.law, 1)):
        with line.ledger.read() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(corrections)).scalar() == count


def test_only_the_models_of_the_key_s_line_are_listed(two: TwoLines) -> None:
    models = two.client.get("/v1/models", headers={"Authorization": f"Bearer {two.law.key}"}).json()["data"]
    assert [one["id"] for one in models] == ["law", two.law.release_id]
    assert two.client.get("/v1/models").status_code == 401


def test_a_correction_of_a_release_that_two_lines_know_goes_to_the_line_of_the_key(two: TwoLines) -> None:
    """The same release can be imported into several lines. The desk sends corrections with the key of its line."""
    assert build_empty_release(two.law.settings, two.law.ledger, "You serve main.", {}) == two.main.release_id
    body = {"release_id": two.main.release_id, "instruction": "i", "input": "x", "answer": "a", "corrected_answer": "b"}
    body |= {"error_kind": "tone", "severity": "low"}
    for line in (two.law, two.main):
        headers = {"Authorization": f"Bearer {line.key}", "Idempotency-Key": "k-1"}
        reply = two.client.post("/v1/corrections", json=body, headers=headers)
        assert reply.status_code == 201, reply.text
        with line.ledger.read() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(corrections)).scalar() == 1


def test_a_gateway_is_ready_when_every_line_with_a_release_is(two: TwoLines) -> None:
    deadline, ready = time.monotonic() + 30, {"main": "ready", "law": "ready"}
    while (reply := two.client.get("/ready")).json()["lines"] != ready and time.monotonic() < deadline:
        time.sleep(0.1)  # each line checks whether it needs the sentence encoder
    assert (reply.status_code, reply.json()["lines"]) == (200, ready)


def test_a_line_whose_ledger_is_damaged_does_not_take_the_others_out_of_service(two: TwoLines) -> None:
    while two.client.get("/ready").json()["lines"]["main"] != "ready":
        time.sleep(0.1)
    with two.law.ledger.engine.begin() as connection:
        connection.exec_driver_sql("update deployments set engine_url = 'unix:/x'")
    reply = two.client.get("/ready")
    assert (reply.status_code, reply.json()["lines"]) == (200, {"main": "ready", "law": "not ready"})


def test_faulty_bodies_get_the_same_errors_as_with_one_line(two: TwoLines) -> None:
    headers = {"Authorization": f"Bearer {two.law.key}"}
    for content, status in ((b"{", 400), (b"[1]", 400), (b"x" * (MAX_BODY_BYTES + 1), 413), (b'{"model": 5}', 400)):
        reply = two.client.post("/v1/chat/completions", content=content, headers=headers)
        assert (reply.status_code, "error" in json.loads(reply.content)) == (status, True)
    assert two.ask("nonsense").status_code == 401
    assert two.client.get("/v1/nothing", headers=headers).status_code == 404


def test_streams_pass_through_the_router(two: TwoLines) -> None:
    two.law.engine.body = (
        b"".join(
            b"data: "
            + json.dumps({"choices": [{"index": 0, "delta": {"content": part}, "finish_reason": end}]}).encode()
            + b"\n\n"
            for part, end in (("le", None), ("gal", "stop"))
        )
        + b"data: [DONE]\n\n"
    )
    reply = two.ask(two.law.key, model="law", stream=True)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.rstrip().endswith("[DONE]")


def test_a_line_that_can_t_be_opened_does_not_stop_the_others(two: TwoLines) -> None:
    settings = two.main.settings
    for name, text in (("broken", "recipe: demo_smollm2\nport: 1\n"), ("damaged", "recipe: demo_smollm2\n")):
        (settings.layout.lines / name / "ledger").mkdir(parents=True)
        (settings.layout.lines / name / "line.yaml").write_text(text, encoding="utf-8")
    (settings.layout.lines / "damaged" / "ledger" / "ledger.db").write_bytes(b"not a database" * 1000)
    with TestClient(create_line_apps(settings)) as client:
        assert _text(replace(two, client=client).ask(two.law.key, model="law")) == "legal"


def test_without_further_lines_there_is_no_router(tmp_path: Path) -> None:
    assert not isinstance(create_line_apps(Settings(data_dir=tmp_path)), LineRouter)

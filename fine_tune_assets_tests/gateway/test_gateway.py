"""The gateway over real HTTP, with OpenAI's client and a real engine."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import openai
import pytest
from starlette.testclient import TestClient

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.engines.listen_addresses import open_client, socket_path
from fine_tune_assets.gateway.gateway_app import create_app
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.people.api_keys import create_key, revoke_key
from fine_tune_assets.ledger.reviews.correction_records import list_corrections
from fine_tune_assets.ledger.reviews.feedback import count_feedback_by_release
from fine_tune_assets.serving.rollout import deploy_release
from fine_tune_assets.tables.correction_rows import WithheldCorrection
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.gateway.conftest import Installation
from fine_tune_assets_tests.ledger.ledger_rows import live_of, owned_key
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.tiny_releases import build_release, engine_process

MARKER = "Zebrafinch-7731"
ASK = {"model": "live", "messages": [{"role": "user", "content": f"Say yes. {MARKER}"}], "max_tokens": 5}
V1 = [("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("POST", "/v1/corrections")]
"""`test_matrix` covers the other routes, without a server."""


def test_a_question_is_answered_by_the_live_release(installation: Installation) -> None:
    raw = installation.openai().chat.completions.with_raw_response.create(**ASK)  # type: ignore[call-overload]
    answer = raw.parse()
    assert raw.headers["x-release-id"] == installation.release_id
    assert answer.choices[0].message.content
    assert answer.model == installation.release_id
    assert answer.usage.completion_tokens > 0


def test_models_lists_the_alias_and_the_live_release(installation: Installation) -> None:
    """A client that lists models finds a name that works."""
    assert [model.id for model in installation.openai().models.list()] == ["live", installation.release_id]


@pytest.mark.parametrize(("method", "path"), V1)
@pytest.mark.parametrize("header", [None, "Bearer", "Bearer fta_0_0", "Basic abc", "fta_0_0"])
def test_without_a_known_key_every_route_answers_401(
    installation: Installation, method: str, path: str, header: str | None
) -> None:
    """Authentication comes before the body is read."""
    headers = {"Authorization": header} if header else {}
    reply = httpx.request(method, installation.url + path, headers=headers, content=b"{", trust_env=False)
    assert reply.status_code == 401
    assert reply.json()["error"]["type"] == "authentication_error"
    assert reply.headers["www-authenticate"] == "Bearer"


def test_an_expired_and_a_revoked_key_answer_401(installation: Installation) -> None:
    """In the running gateway, at once."""
    expired = create_key(installation.ledger, "expired", ["chat"], datetime.now(UTC) - timedelta(seconds=1))
    revoked = create_key(installation.ledger, "revoked", ["chat"])
    assert installation.openai(revoked.secret).models.list()
    revoke_key(installation.ledger, revoked.key_id)
    codes = [installation.post("/v1/chat/completions", k.secret, json=ASK) for k in (expired, revoked)]
    assert [(c.status_code, c.json()["error"]["code"]) for c in codes] == [
        (401, "expired_api_key"),
        (401, "revoked_api_key"),
    ]


def test_a_key_of_another_scope_answers_403(installation: Installation) -> None:
    """A chat key can't write training data, and a correction key can't chat."""
    only_correct = owned_key(installation.ledger, "corrects only", ["correct"]).secret
    assert installation.post("/v1/corrections", installation.chat_key, json={}).status_code == 403
    assert installation.post("/v1/chat/completions", only_correct, json=ASK).status_code == 403


@pytest.mark.parametrize("path", ["/", "/docs", "/v1/openapi.json", "/redoc", "/v1/responses", "/tokenize", "/v1"])
def test_routes_that_are_not_listed_do_not_exist(installation: Installation, path: str) -> None:
    """Routes of the frameworks or the engine are not exposed."""
    reply = httpx.get(installation.url + path, trust_env=False)
    assert reply.status_code == 404
    assert "error" in reply.json()


def test_health_needs_no_key_and_reveals_nothing(installation: Installation) -> None:
    """It is for load balancers, but public."""
    assert httpx.get(f"{installation.url}/health", trust_env=False).json() == {"status": "ok"}
    assert httpx.get(f"{installation.url}/ready", trust_env=False).json() == {"status": "ready"}
    assert httpx.post(f"{installation.url}/health", trust_env=False).status_code == 405


def test_a_body_over_the_limit_is_refused_with_and_without_its_length(installation: Installation) -> None:
    """One caller must not exhaust the memory."""

    def chunks():  # type: ignore[no-untyped-def]
        yield from [b"x" * 100_000] * 11

    for content in (b"x" * 1_000_001, chunks()):
        reply = installation.post("/v1/chat/completions", installation.chat_key, content=content)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"messages": NaN}'])
def test_a_body_that_is_not_a_json_object_gets_400(installation: Installation, content: bytes) -> None:
    """Not a crash, and not a traceback."""
    reply = installation.post("/v1/chat/completions", installation.chat_key, content=content)
    assert reply.status_code == 400


def test_an_unpaired_surrogate_gets_400(installation: Installation) -> None:
    """JSON can contain it, but it is not a character and can't be encoded."""
    ask = ASK | {"messages": [{"role": "user", "content": f"{MARKER} \ud800"}]}
    correction = _correction(installation) | {"corrected_answer": f"{MARKER} \udfff"}
    for path, body in (("/v1/chat/completions", ask), ("/v1/corrections", correction)):
        reply = installation.post(path, installation.correct_key, content=json.dumps(body))
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_request")
        assert "surrogate" in reply.json()["error"]["message"]
        assert MARKER not in reply.text
    paired = ASK | {"messages": [{"role": "user", "content": "\U0001f600"}]}
    assert installation.post("/v1/chat/completions", installation.chat_key, content=json.dumps(paired)).is_success


def test_a_question_longer_than_the_context_gets_its_own_code(installation: Installation) -> None:
    """The most common error with long reports."""
    ask = ASK | {"messages": [{"role": "user", "content": f"{MARKER} " * 2000}]}
    reply = installation.post("/v1/chat/completions", installation.chat_key, json=ask)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert MARKER not in reply.text


def _correction(installation: Installation) -> dict[str, str]:
    texts = {name: f"{MARKER} {name}" for name in ("instruction", "input", "answer", "corrected_answer")}
    return {"release_id": installation.release_id, **texts}


def test_a_correction_is_stored_once_under_the_keys_name(installation: Installation) -> None:
    """201 means that it is on disk; a retry adds nothing."""
    body, headers = _correction(installation), {"Idempotency-Key": "one"}
    replies = [
        installation.post("/v1/corrections", installation.correct_key, json=body, headers=headers) for _ in range(2)
    ]
    assert [reply.status_code for reply in replies] == [201, 201]
    assert replies[0].json() == replies[1].json()
    key = read_or_create_key(installation.settings.layout.keys, KEY_NAME)
    kept = [c for c in list_corrections(installation.ledger, key) if c.correction_id == replies[0].json()["id"]]
    assert [(c.author, c.corrected_answer) for c in kept] == [("corrects", body["corrected_answer"])]
    conflict = installation.post(
        "/v1/corrections", installation.correct_key, json=body | {"answer": "other"}, headers=headers
    )
    assert conflict.status_code == 409


def test_a_key_that_acts_for_a_user_does_not_share_the_users_idempotency_keys(installation: Installation) -> None:
    """Otherwise it could learn what the user sent with another key, or keep it from being stored."""
    body, headers = _correction(installation), {"Idempotency-Key": "shared"}
    own = installation.post("/v1/corrections", installation.correct_key, json=body, headers=headers)
    acting = create_key(installation.ledger, "acts", ["correct", "on_behalf_of"]).secret
    headers["x-on-behalf-of"] = "corrects"
    for content in (body, body | {"answer": "other"}):
        for_user = installation.post("/v1/corrections", acting, json=content, headers=headers)
        assert for_user.status_code == (201 if content is body else 409)
        assert own.json().get("id") not in for_user.text


def listed(installation: Installation, key: str, headers: dict[str, str] | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", **(headers or {})}
    return httpx.get(f"{installation.url}/v1/corrections", headers=headers, timeout=60, trust_env=False)


def test_an_author_sees_how_far_each_own_correction_is(installation: Installation) -> None:
    """A correction that can't be used was only counted. The list has no text, and nothing of other people."""
    sent = installation.post("/v1/corrections", installation.correct_key, json=_correction(installation)).json()["id"]
    other = owned_key(installation.ledger, "other author", ["correct"]).secret
    foreign = installation.post("/v1/corrections", other, json=_correction(installation)).json()["id"]
    row = {"correction_id": sent, "scrubber_version": "v", "has_identifiers": False}
    path = installation.settings.layout.table("withheld_corrections")
    write_table(path, table_from_rows([row], WithheldCorrection.SCHEMA))
    reply = listed(installation, installation.correct_key)
    assert reply.status_code == 200
    (found,) = (one for one in reply.json()["data"] if one["id"] == sent)
    assert (found["state"], found["release_id"]) == ("not scrubbed", installation.release_id)
    assert "too much time" in found["reason"]
    assert foreign not in reply.text
    assert MARKER not in reply.text
    assert [one["id"] for one in listed(installation, other).json()["data"]] == [foreign]


def test_a_key_that_acts_for_a_user_does_not_list_the_users_corrections(installation: Installation) -> None:
    """It would learn what the user sent with another key."""
    sent = installation.post("/v1/corrections", installation.correct_key, json=_correction(installation)).json()["id"]
    acting = create_key(installation.ledger, "lists", ["correct", "on_behalf_of"]).secret
    reply = listed(installation, acting, {"x-on-behalf-of": "corrects"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "own_key_required")
    assert sent not in reply.text


def test_a_correction_that_no_model_can_have_written_is_refused(installation: Installation) -> None:
    """The limit of the body alone would let a word of a million characters through."""
    body = _correction(installation) | {"corrected_answer": "x" * 990_000}
    reply = installation.post("/v1/corrections", installation.correct_key, json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "text_too_long")


def test_feedback_is_stored_without_text(installation: Installation) -> None:
    """A rating needs no better answer."""
    body = {"release_id": installation.release_id, "rating": "up"}
    reply = installation.post("/v1/corrections", installation.correct_key, json=body)
    assert (reply.status_code, reply.json()["object"]) == (201, "feedback")
    assert count_feedback_by_release(installation.ledger)[installation.release_id]["up"] >= 1
    refused = installation.post("/v1/corrections", installation.correct_key, json=body | {"answer": MARKER})
    assert refused.status_code == 400
    assert MARKER not in refused.text


def test_corrections_beyond_the_daily_limit_get_429(installation: Installation) -> None:
    """One key must not flood the reviewers."""
    settings, key = installation.settings, owned_key(installation.ledger, "sends much", ["correct"]).secret
    headers = {"Authorization": f"Bearer {key}"}
    with TestClient(create_app(changed(settings, corrections_daily_limit=2))) as client:
        replies = [client.post("/v1/corrections", json=_correction(installation), headers=headers) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [201, 201, 429]
    assert replies[-1].json()["error"]["code"] == "daily_limit_reached"
    assert replies[-1].headers["retry-after"]


def test_users_texts_are_in_no_file_in_clear(installation: Installation) -> None:
    """Not in the database, its write-ahead log, or any log."""
    assert installation.post("/v1/corrections", installation.correct_key, json=_correction(installation)).is_success
    assert installation.post("/v1/chat/completions", installation.chat_key, json=ASK).is_success
    data_dir = installation.settings.data_dir
    files = [p for folder in ("ledger", "run", "keys") for p in (data_dir / folder).rglob("*") if p.is_file()]
    assert any(p.name == "ledger.db" for p in files)
    assert any(p.name == "engine.log" for p in files)
    assert [p.name for p in files if MARKER.encode() in p.read_bytes()] == []


def test_the_engine_refuses_a_gateway_key(installation: Installation) -> None:
    """Only the gateway has the engine's key, even for processes of the same user."""
    live = live_of(installation.ledger)
    assert live.engine_url is not None
    with open_client(live.engine_url, installation.chat_key, 30) as client:
        assert client.post("chat/completions", json=ASK).status_code == 401


def test_the_engine_has_no_port_and_a_private_socket(installation: Installation) -> None:
    """vLLM has routes without authentication, so other users must not reach it."""
    live = live_of(installation.ledger)
    path = socket_path(live.engine_url or "")
    assert path is not None
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    identity = engine_process(installation.settings, live.deployment_id)
    listening = {fields[9] for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])}
    held = {os.readlink(entry) for entry in Path(f"/proc/{identity.pid}/fd").iterdir() if entry.is_symlink()}
    assert not {f"socket:[{inode}]" for inode in listening} & held
    tried = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os, socket; os.setuid(65534); socket.socket(socket.AF_UNIX).connect({str(path)!r})",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if os.getuid() == 0:  # only root can switch to another user
        assert "PermissionError" in tried.stderr


def test_a_gateway_open_to_the_network_is_refused(installation: Installation) -> None:
    """Keys would be sent in clear text."""
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0"):
        create_app(changed(installation.settings, gateway={"host": "0.0.0.0"}))
    with socket.socket() as probe:
        probe.settimeout(2)
        assert probe.connect_ex(("127.0.0.2", installation.settings.gateway.port)) != 0


def test_a_switch_with_requests_in_progress_loses_none(installation: Installation) -> None:
    """Users must not notice a switch."""
    client = installation.openai()
    before = live_of(installation.ledger)
    following = build_release(installation.settings, installation.ledger, "You are very brief.")

    def ask(number: int) -> tuple[str, str]:
        if number % 2:
            raw = client.chat.completions.with_raw_response.create(**(ASK | {"max_tokens": 40}))  # type: ignore[call-overload]
            return raw.headers["x-release-id"], raw.parse().choices[0].finish_reason
        reply = installation.post("/v1/chat/completions", installation.chat_key, json=ASK | {"stream": True})
        assert reply.text.rstrip().endswith("[DONE]")
        lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: {")]
        return reply.headers["x-release-id"], json.loads(lines[-1])["choices"][0]["finish_reason"]

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(ask, number) for number in range(8)]
        deploy_release(installation.ledger, following, timeout_seconds=120)
        futures += [pool.submit(ask, number) for number in range(8, 24)]
        answers = [future.result(timeout=120) for future in futures]
    assert {reason for _, reason in answers} <= {"stop", "length"}
    assert {release_id for release_id, _ in answers} == {before.release_id, following}
    assert answers[-1][0] == following


def test_a_stream_ends_with_an_error_if_its_engine_dies_and_the_engine_restarts(installation: Installation) -> None:
    """An incomplete answer must not look complete, and no operator is needed."""
    live = live_of(installation.ledger)
    engine = engine_process(installation.settings, live.deployment_id)
    client = installation.openai()
    long = ASK | {"max_tokens": 400, "messages": [{"role": "user", "content": "Tell a long story."}], "stream": True}
    stream = client.chat.completions.create(**long)  # type: ignore[call-overload]
    next(iter(stream))
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(openai.APIError) as broken:
        list(stream)
    assert broken.value.code == "stream_broken"
    wait(lambda: installation.post("/v1/chat/completions", installation.chat_key, json=ASK).status_code == 200)
    assert client.chat.completions.create(**ASK).choices[0].message.content  # type: ignore[call-overload]

"""Probes check the engine that will serve users against the judged model."""

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.prompts.conversations import escape_messages
from fine_tune_assets.core.releases.release_folders import ReleaseError, ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.listen_addresses import open_client
from fine_tune_assets.engines.llama_cpp import start_llama_cpp
from fine_tune_assets.engines.running_server import stop_engine, wait_until_healthy
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import request_deployment
from fine_tune_assets.serving.reconciliation import SupervisorTimings
from fine_tune_assets.serving.release_probes import (
    PROBES,
    Probe,
    ProbeSet,
    compare_replies,
    read_probes,
    result_from_json,
)
from fine_tune_assets.serving.supervisor import Supervisor
from fine_tune_assets_tests.ledger.ledger_rows import deployment_of
from fine_tune_assets_tests.serving.supervisor_ticks import tick_until
from fine_tune_assets_tests.serving.tiny_releases import build_release, tiny_gguf

PROMPT = "You are brief."
PACE = SupervisorTimings(drain_minimum_seconds=0.2, stop_grace_seconds=5, startup_timeout_seconds=60)
QUESTIONS = ("Name a colour.", "Say zanzibarplant.")


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Probes with the real engine's answers."""
    engine = start_llama_cpp(tiny_gguf(), "judged", tmp_path_factory.mktemp("judged"), threads=2, die_with_parent=True)
    wait_until_healthy(engine, 60)
    with open_client(engine.url, engine.api_key, 60) as client:
        found = [_probe(client, question) for question in QUESTIONS]
    stop_engine(engine, 5)
    return {"minimum_greedy_agreement": 1.0, "probes": found}


def _probe(client: Any, question: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    escaped = escape_messages([{"role": "system", "content": PROMPT}, *messages], ())  # type: ignore[list-item]
    body = {"messages": escaped, "temperature": 0, "max_tokens": 8}
    content = client.post("chat/completions", json=body).json()
    usage = content["usage"]
    return {
        "messages": messages,
        "prompt_tokens": usage["prompt_tokens"],
        "answer": content["choices"][0]["message"]["content"],
        "answer_tokens": 8,
    }


def _outcome(settings: Settings, ledger: Ledger, probes: dict[str, Any]) -> Any:
    supervisor = Supervisor(settings, ledger, PACE)
    try:
        name = request_deployment(ledger, build_release(settings, ledger, PROMPT, probes)).deployment_id
        tick_until(supervisor, lambda: deployment_of(ledger, name).state in ("ready", "failed"))
        return deployment_of(ledger, name)
    finally:
        supervisor.close()


def test_an_engine_that_passes_its_probes_is_ready_with_the_result(
    settings: Settings, ledger: Ledger, probes: dict[str, Any]
) -> None:
    """No file outside the release contains the probes' text, not even engine logs."""
    found = _outcome(settings, ledger, probes)
    assert found.state == "ready"
    findings = result_from_json(found.probes)
    assert findings is not None
    assert (findings.probe_count, findings.matching_prompts, findings.matching_answers) == (2, 2, 2)
    files = [p for folder in ("run", "ledger") for p in (settings.data_dir / folder).rglob("*") if p.is_file()]
    assert [p.name for p in files if b"zanzibarplant" in p.read_bytes().lower()] == []


@pytest.mark.parametrize("change", [{"prompt_tokens": 3}, {"answer": "Nothing like it."}])
def test_an_engine_that_fails_its_probes_is_never_ready(
    settings: Settings, ledger: Ledger, probes: dict[str, Any], change: dict[str, Any]
) -> None:
    """With another template, tokenizer or export, the served model differs from the judged one."""
    changed = [probes["probes"][0], probes["probes"][1] | change]
    found = _outcome(settings, ledger, probes | {"probes": changed})
    assert found.state == "failed"
    assert "1 of 2" in found.detail
    assert "zanzibar" not in found.detail


def test_all_prompts_and_a_minimum_share_of_answers_must_match() -> None:
    """Rounding changes some answers; another template changes the number of tokens."""
    probe = Probe(({"role": "user", "content": "x"},), 5, "yes ", 2)
    probes = ProbeSet(0.5, (probe, probe))
    assert compare_replies(probes, [(5, "yes"), (5, "no")]).has_passed
    assert not compare_replies(probes, [(5, "no"), (5, "no")]).has_passed
    assert not compare_replies(probes, [(5, "yes"), (6, "yes")]).has_passed


@pytest.mark.parametrize(
    "content",
    ["{", "{}", '{"minimum_greedy_agreement": 1, "probes": []}', '{"minimum_greedy_agreement": 2, "probes": [{}]}'],
)
def test_invalid_probes_are_refused(tmp_path: Path, content: str) -> None:
    """An empty list would always pass."""
    (tmp_path / PROBES).write_text(content)
    release = ReleaseFolder(tmp_path, "r-1", {"files": {PROBES: "x"}})
    with pytest.raises(ReleaseError, match="r-1"):
        read_probes(release)
    assert read_probes(ReleaseFolder(tmp_path, "r-1", {"files": {}})) is None


def test_a_probe_result_survives_the_ledger() -> None:
    assert result_from_json(None) is None
    assert result_from_json(
        json.dumps({"probe_count": 2, "matching_prompts": 2, "matching_answers": 1, "minimum_greedy_agreement": 0.5})
    )

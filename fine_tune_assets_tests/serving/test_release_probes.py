"""What a release was judged with is asked again at the endpoint that will serve users."""

import json
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.prompts.chat import plain_messages
from fine_tune_assets.core.releases.release_folders import ReleaseError, ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.addresses import open_client
from fine_tune_assets.engines.llama_cpp import start_llama_cpp
from fine_tune_assets.engines.running_server import stop_engine, wait_until_healthy
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import want_release
from fine_tune_assets.serving.reconciliation import Pace
from fine_tune_assets.serving.release_probes import PROBES, Probe, ProbeSet, compare, findings_of, read_probes
from fine_tune_assets.serving.supervisor import Supervisor
from fine_tune_assets_tests.ledger.made import deployment_of
from fine_tune_assets_tests.serving.ticking import tick_until
from fine_tune_assets_tests.serving.tiny import build_release, tiny_gguf

PROMPT = "You are brief."
PACE = Pace(drain_minimum_seconds=0.2, stop_grace_seconds=5, startup_seconds=60)
QUESTIONS = ("Name a colour.", "Say zanzibarplant.")


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """As the real engine answers them."""
    engine = start_llama_cpp(tiny_gguf(), "judged", tmp_path_factory.mktemp("judged"), threads=2, die_with_parent=True)
    wait_until_healthy(engine, 60)
    with open_client(engine.url, engine.api_key, 60) as client:
        found = [_probe(client, question) for question in QUESTIONS]
    stop_engine(engine, 5)
    return {"minimum_same_greedy": 1.0, "probes": found}


def _probe(client: Any, question: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    asked = plain_messages([{"role": "system", "content": PROMPT}, *messages], ())  # type: ignore[list-item]
    body = {"messages": asked, "temperature": 0, "max_tokens": 8}
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
        name = want_release(ledger, build_release(settings, ledger, PROMPT, probes)).deployment_id
        tick_until(supervisor, lambda: deployment_of(ledger, name).state in ("ready", "failed"))
        return deployment_of(ledger, name)
    finally:
        supervisor.close()


def test_an_engine_that_answers_as_judged_is_ready_with_its_figures(
    settings: Settings, ledger: Ledger, probes: dict[str, Any]
) -> None:
    """And what was asked is in no file but the release's own: engines log what they like."""
    found = _outcome(settings, ledger, probes)
    assert found.state == "ready"
    findings = findings_of(found.probes)
    assert findings is not None
    assert (findings.asked, findings.same_prompt, findings.same_answer) == (2, 2, 2)
    files = [p for folder in ("run", "ledger") for p in (settings.data_dir / folder).rglob("*") if p.is_file()]
    assert [p.name for p in files if b"zanzibarplant" in p.read_bytes().lower()] == []


@pytest.mark.parametrize("change", [{"prompt_tokens": 3}, {"answer": "Nothing like it."}])
def test_an_engine_that_answers_otherwise_is_never_ready(
    settings: Settings, ledger: Ledger, probes: dict[str, Any], change: dict[str, Any]
) -> None:
    """Another template, tokenizer or export: what was judged is not what would be served."""
    changed = [probes["probes"][0], probes["probes"][1] | change]
    found = _outcome(settings, ledger, probes | {"probes": changed})
    assert found.state == "failed"
    assert "1 of 2" in found.detail
    assert "zanzibar" not in found.detail


def test_the_share_of_equal_answers_counts_and_every_prompt() -> None:
    """Rounding changes some answers; a template changes the number of tokens."""
    probe = Probe(({"role": "user", "content": "x"},), 5, "yes ", 2)
    probes = ProbeSet(0.5, (probe, probe))
    assert compare(probes, [(5, "yes"), (5, "no")]).is_passed
    assert not compare(probes, [(5, "no"), (5, "no")]).is_passed
    assert not compare(probes, [(5, "yes"), (6, "yes")]).is_passed


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"minimum_same_greedy": 1, "probes": []}', '{"minimum_same_greedy": 2, "probes": [{}]}']
)
def test_probes_that_prove_nothing_are_no_probes(tmp_path: Path, content: str) -> None:
    """An empty list would pass for a proof."""
    (tmp_path / PROBES).write_text(content)
    release = ReleaseFolder(tmp_path, "r-1", {"files": {PROBES: "x"}})
    with pytest.raises(ReleaseError, match="r-1"):
        read_probes(release)
    assert read_probes(ReleaseFolder(tmp_path, "r-1", {"files": {}})) is None


def test_figures_survive_the_ledger() -> None:
    assert findings_of(None) is None
    assert findings_of(json.dumps({"asked": 2, "same_prompt": 2, "same_answer": 1, "minimum_same_greedy": 0.5}))

"""A changed document changes the answer without training, with real supervisor, gateway, sensor and engine."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import openai
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.releases.release_folders import RETRIEVAL
from fine_tune_assets.core.settings import PREFIX, Settings, load_settings
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s08_merged_weights.release_parts import build_retrieval_contract
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.retrieval.lance_store import LanceStore
from fine_tune_assets.serving.rollout import deploy_release
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.conftest import _keep_lines, replace_file
from fine_tune_assets_tests.defs.reported_sources import reported_by
from fine_tune_assets_tests.defs.s09_served_models.knowledge_runs import run
from fine_tune_assets_tests.gateway.conftest import SERVICES
from fine_tune_assets_tests.gateway.live_questions import QUESTION, TEMPLATE
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.retrieval.conftest import pgvector_url
from fine_tune_assets_tests.serving.tiny_releases import build_release

pytestmark = pytest.mark.slow  # starts an engine, and embeds the documents twice


@pytest.fixture(params=["lancedb", "pgvector"])
def settings(
    request: pytest.FixtureRequest, installation_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """With the index in the data folder, and in PostgreSQL by one setting."""
    if request.param == "pgvector":
        monkeypatch.setenv(f"{PREFIX}KNOWLEDGE_URL", pgvector_url(request))
    shutil.copytree(PROJECT_DIR / "data" / "knowledge", installation_dir / "knowledge")
    _keep_lines(installation_dir / "evaluation" / "abilities" / "pubmed_qa.jsonl", 6)
    own = changed(load_settings(), gateway={"port": free_port()}, threads=2)
    try:
        start_services(own, SERVICES)
        yield own
    finally:
        stop_services(own, SERVICES)


def test_the_served_answer_follows_the_policy_within_a_minute(settings: Settings, instance: dg.DagsterInstance) -> None:
    """20 days, then 25, from the same release. OpenAI's client also reads a stream's citations."""
    own = {"enabled": True, "passages": 1, "template": TEMPLATE}
    contract = replace(build_retrieval_contract(Installation().recipe), **own)
    ledger = fresh_ledger(settings)
    release_id = build_release(settings, ledger, "You answer questions.", files={RETRIEVAL: contract.as_json()})
    deploy_release(ledger, release_id, timeout_seconds=240)
    key = create_key(ledger, "asks", ["chat"]).secret
    client = openai.OpenAI(api_key=key, base_url=f"{settings.gateway_address}/v1", max_retries=0)

    def ask() -> tuple[str, str, str]:
        raw = client.chat.completions.with_raw_response.create(
            model="live", messages=[{"role": "user", "content": QUESTION}], max_tokens=16
        )
        body = raw.parse()
        (citation,) = body.citations  # type: ignore[attr-defined]
        return body.choices[0].message.content or "", citation["source"], raw.headers["x-knowledge-index"]

    reported_by(instance)
    assert run(instance).success
    text, source, first = ask()
    assert ("20 days" in text, source) == (True, "paid-time-off.md"), text

    policy = settings.layout.knowledge / "paid-time-off.md"
    replace_file(policy, policy.read_bytes().replace(b"have 20 days", b"have 25 days"))
    changed = time.monotonic()
    assert reported_by(instance) == {"knowledge"}
    assert run(instance).success
    assert bool(LanceStore(settings.layout.knowledge_indexes).list_indexes()) == (not settings.knowledge.url)
    while (found := ask())[2] == first:
        assert time.monotonic() - changed < 60
        time.sleep(0.2)
    assert ("25 days" in found[0], "20 days" in found[0]) == (True, False), found[0]
    assert time.monotonic() - changed < 60

    parts = list(
        client.chat.completions.create(
            model="live", messages=[{"role": "user", "content": QUESTION}], max_tokens=16, stream=True
        )
    )
    assert "25 days" in "".join(part.choices[0].delta.content or "" for part in parts)
    assert parts[-1].citations[0]["title"]  # type: ignore[attr-defined]
    assert parts[-1].citation_check["counts"] == {}  # type: ignore[attr-defined]
    ledger.close()

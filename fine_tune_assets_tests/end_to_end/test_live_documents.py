"""`make up` in daily use: a document is changed in its folder, and what users are answered changes with it. The real daemon
notices, makes the index and switches to it; supervisor, gateway and engine go on as they are."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import openai
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.releases.release_folders import RETRIEVAL
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.defs.local_run import create_databases
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s08_merged_weights.release_parts import build_retrieval_contract
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.serving.rollout import deploy_release
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.conftest import _keep_lines, replace_file, write_recipe
from fine_tune_assets_tests.end_to_end.daemon_waits import until, until_quiet
from fine_tune_assets_tests.gateway.live_questions import QUESTION, TEMPLATE
from fine_tune_assets_tests.serving.tiny_releases import build_release

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SERVICES = ("supervisor", "gateway", "code-server", "dagster-daemon")
MADE = ("knowledge_chunks", "knowledge_indexes", "served_knowledge")
FIRST_SECONDS = 300
"""The daemon starts, and everything else that is new in a new installation is made too."""
WITHIN_SECONDS = 60
QUIET_SECONDS = 15


@dataclass(frozen=True)
class Said:
    text: str
    citations: list[dict[str, Any]]
    index: str
    release_id: str


@pytest.fixture
def running(installation_dir: Path, instance: dg.DagsterInstance) -> Iterator[Settings]:
    """An installation that answers from documents, and whose base model's folder does not exist, so that no training starts."""
    write_recipe(installation_dir, base_model={"folder": str(installation_dir / "no-such-model")})
    shutil.copytree(PROJECT_DIR / "data" / "knowledge", installation_dir / "knowledge")
    _keep_lines(installation_dir / "evaluation" / "abilities" / "pubmed_qa.jsonl", 6)
    settings = changed(load_settings(), gateway={"port": free_port()})
    create_databases(instance)
    try:
        start_services(settings, SERVICES)
        yield settings
    finally:
        stop_services(settings, SERVICES)


def asker(settings: Settings) -> Callable[[], Said]:
    """Through the gateway of a live release, as any application asks."""
    ledger = open_ledger(settings)
    own = {"enabled": True, "passages": 1, "template": TEMPLATE}
    contract = replace(build_retrieval_contract(Installation().recipe), **own)
    release_id = build_release(settings, ledger, "You answer questions.", files={RETRIEVAL: contract.as_json()})
    deploy_release(ledger, release_id, timeout_seconds=240)
    key = create_key(ledger, "asks", ["chat"]).secret
    ledger.close()
    client = openai.OpenAI(api_key=key, base_url=f"{settings.gateway_address}/v1", max_retries=0)

    def ask() -> Said:
        raw = client.chat.completions.with_raw_response.create(
            model="live", messages=[{"role": "user", "content": QUESTION}], max_tokens=16
        )
        body = raw.parse()
        text, citations = body.choices[0].message.content or "", getattr(body, "citations", [])
        return Said(text, citations, raw.headers["x-knowledge-index"], raw.headers["x-release-id"])

    return ask


def materializations(instance: dg.DagsterInstance, asset: str) -> int:
    return len(instance.fetch_materializations(dg.AssetKey(asset), limit=100).records)


def test_a_changed_document_changes_the_answer_within_a_minute_without_manual_steps(
    running: Settings, instance: dg.DagsterInstance
) -> None:
    """20 days, then 25, as a person writes it into the file: another passage is cited, and the model says it. No run trains or
    builds a release: the same one answers."""
    ask = asker(running)
    until(lambda: ask().citations != [], running, FIRST_SECONDS, "an answer from documents")
    until_quiet(instance, running, QUIET_SECONDS, FIRST_SECONDS)
    before, made = ask(), {name: materializations(instance, name) for name in MADE}
    assert ("20 days" in before.text, before.citations[0]["source"]) == (True, "paid-time-off.md"), before.text

    policy = running.layout.knowledge / "paid-time-off.md"
    replace_file(policy, policy.read_bytes().replace(b"have 20 days", b"have 25 days"))
    changed, last = time.monotonic(), before

    def follows() -> bool:
        nonlocal last
        last = ask()
        return "25 days" in last.text

    until(follows, running, WITHIN_SECONDS, "another answer")
    print(f"\nThe answer followed the document after {time.monotonic() - changed:.1f} s.")
    assert "20 days" not in last.text
    assert last.index != before.index
    assert last.citations[0]["source"] == "paid-time-off.md"
    assert last.citations[0]["passage_id"] != before.citations[0]["passage_id"]
    assert last.release_id == before.release_id
    until_quiet(instance, running, QUIET_SECONDS, FIRST_SECONDS)
    assert {name: materializations(instance, name) - made[name] for name in MADE} == dict.fromkeys(MADE, 1)
    assert not {"adapters", "releases"} & {key.to_user_string() for key in instance.all_asset_keys()}

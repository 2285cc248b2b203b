"""A changed document is in what is retrieved, through the real graph; and an index that finds too little answers nobody."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.defs.platform.automation import latest_event
from fine_tune_assets.defs.platform.resources import Installation, Worker, parquet_tables
from fine_tune_assets.defs.s08_merged_weights.release_parts import retrieval_contract
from fine_tune_assets.defs.s09_served_models.knowledge import (
    every_document_was_read,
    knowledge_documents,
    knowledge_indexes,
    retrieval_finds_the_passage,
    served_knowledge,
)
from fine_tune_assets.defs.sources import knowledge_version
from fine_tune_assets.ledger.serving.live_knowledge import live_knowledge
from fine_tune_assets.retrieval.question_passages import LiveKnowledge
from fine_tune_assets_tests.conftest import _keep_lines, replace_file, write_recipe
from fine_tune_assets_tests.defs.test_sources import _reported
from fine_tune_assets_tests.lineage.made import filled

GRAPH = [
    knowledge_documents, every_document_was_read, knowledge_indexes, retrieval_finds_the_passage, served_knowledge,
]  # fmt: skip
ASKED = [{"role": "user", "content": "How many days of paid time off a year do full-time staff have?"}]


@pytest.fixture
def knowledge_dir(installation_dir: Path) -> Path:
    shutil.copytree(PROJECT_DIR / "data" / "knowledge", installation_dir / "knowledge")
    _keep_lines(installation_dir / "evaluation" / "abilities" / "pubmed_qa.jsonl", 6)
    return installation_dir / "knowledge"


def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    resources = {"installation": Installation(), "worker": Worker(), "io_manager": parquet_tables}
    return dg.materialize(GRAPH, instance=instance, resources=resources, raise_on_error=False)


def prompt() -> str:
    installation = Installation()
    with installation.ledger() as ledger:
        knowledge = LiveKnowledge(load_settings(), ledger)
        contract = retrieval_contract(installation.recipe)
        return knowledge.prepare(ASKED, (), contract, datetime(2026, 6, 1, tzinfo=UTC)).messages[-1]["content"]


@pytest.mark.slow
def test_a_changed_policy_changes_what_is_answered_from(knowledge_dir: Path, instance: dg.DagsterInstance) -> None:
    """20 days, then 25: the file is noticed, the index follows, and nobody trained anything."""
    assert {"knowledge", "recipe/knowledge", "labelled_questions"} <= _reported(instance)
    assert run(instance).success
    assert "20 days" in prompt()
    versions = {
        name: _version(instance, name) for name in ("knowledge_chunks", "knowledge_indexes", "served_knowledge")
    }
    policy = knowledge_dir / "paid-time-off.md"
    replace_file(policy, policy.read_bytes().replace(b"have 20 days", b"have 25 days"))
    assert _reported(instance) == {"knowledge"}
    assert run(instance).success
    assert "25 days" in prompt()
    assert "20 days" not in prompt()
    assert all(_version(instance, name) != version for name, version in versions.items())
    _a_broken_document_costs_only_itself(knowledge_dir, instance)
    _a_closed_gate_leaves_the_old_index(knowledge_dir, instance)


def _a_broken_document_costs_only_itself(knowledge_dir: Path, instance: dg.DagsterInstance) -> None:
    (knowledge_dir / "new.md").write_text("---\nlable: x\n---\nText", encoding="utf-8")
    done = run(instance)
    assert done.success
    checks = {one.check_name: one for one in done.get_asset_check_evaluations()}
    assert checks["retrieval_finds_the_passage"].passed
    assert not checks["every_document_was_read"].passed
    assert "25 days" in prompt()
    (knowledge_dir / "new.md").unlink()
    found = CliRunner().invoke(main, ["knowledge", "search", "How many days of paid time off a year?"])
    assert "25 days" in found.output, found.output


def _a_closed_gate_leaves_the_old_index(knowledge_dir: Path, instance: dg.DagsterInstance) -> None:
    """Its own question asks for a passage that no document holds: what served before goes on."""
    own = knowledge_dir.parent / "evaluation" / "retrieval" / "own_questions.jsonl"
    own.parent.mkdir()
    own.write_text('{"question": "When does the canteen open?", "source": "canteen.md"}\n', encoding="utf-8")
    policy = knowledge_dir / "paid-time-off.md"
    replace_file(policy, policy.read_bytes().replace(b"have 25 days", b"have 30 days"))
    done = run(instance)
    assert not done.success
    assert {one.check_name for one in done.get_asset_check_evaluations() if not one.passed} == {
        "retrieval_finds_the_passage"
    }
    assert "25 days" in prompt()
    contract = retrieval_contract(Installation().recipe)
    with Installation().ledger() as ledger:
        live = live_knowledge(ledger, contract.index_format)
    assert live is not None
    assert live.index_fingerprint != _version(instance, "knowledge_indexes")


def _version(instance: dg.DagsterInstance, name: str) -> str | None:
    known = latest_event(instance, dg.AssetKey(name))
    return None if known is None else known.version


@pytest.mark.usefixtures("installation_dir")
@pytest.mark.parametrize("row", [{"is_passed": False, "why": "recall is low"}, {"is_passed": None}])
def test_an_index_that_did_not_pass_does_not_become_live(row: dict[str, Any]) -> None:
    """Also when the step is started by hand, past the check."""
    table = filled("knowledge_indexes", [{"index_fingerprint": "a" * 64, "format_fingerprint": "f" * 64, **row}])
    assert not retrieval_finds_the_passage(table).passed
    with pytest.raises(dg.Failure, match="did not pass its checks"):
        served_knowledge(Installation(), table)


@pytest.mark.usefixtures("installation_dir")
def test_an_index_that_is_not_there_does_not_become_live() -> None:
    table = filled(
        "knowledge_indexes", [{"index_fingerprint": "a" * 64, "format_fingerprint": "f" * 64, "is_passed": True}]
    )
    with pytest.raises(dg.Failure, match="fine-tune materialize knowledge_indexes"):
        served_knowledge(Installation(), table)


def test_a_query_is_asked_again_when_its_rows_are_old(knowledge_dir: Path) -> None:
    """A database tells nobody of a change."""
    installation, now = Installation(), datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert knowledge_version(installation, now) == knowledge_version(installation, now + timedelta(days=1))
    (knowledge_dir / "prices.sql.yaml").write_text("query: SELECT 1\nurl_env: KNOWLEDGE_URL_X\nrefresh_minutes: 30\n")
    assert knowledge_version(installation, now) == knowledge_version(installation, now + timedelta(minutes=29))
    assert knowledge_version(installation, now) != knowledge_version(installation, now + timedelta(minutes=30))


def test_the_check_command_names_what_can_not_be_read(knowledge_dir: Path) -> None:
    assert CliRunner().invoke(main, ["knowledge", "check"]).exit_code == 0
    (knowledge_dir / "new.md").write_text("---\nlable: x\n---\nText", encoding="utf-8")
    found = CliRunner().invoke(main, ["knowledge", "check"])
    assert found.exit_code == 1
    assert "new.md: not read (bad_facts). unknown key lable" in found.output


def test_a_template_without_its_places_is_refused(installation_dir: Path) -> None:
    write_recipe(installation_dir, retrieval={"template": "{question}"})
    with pytest.raises(Exception, match="each once"):
        _ = Installation().recipe

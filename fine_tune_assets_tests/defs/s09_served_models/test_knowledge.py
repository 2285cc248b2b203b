"""Through the real graph, retrieval finds a changed document, and an index with too little recall never goes live."""

import json
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
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s08_merged_weights.release_parts import build_retrieval_contract
from fine_tune_assets.defs.s09_served_models.knowledge import retrieval_meets_floors, served_knowledge
from fine_tune_assets.defs.sources import knowledge_version
from fine_tune_assets.ledger.serving.live_indexes import find_live_index
from fine_tune_assets.retrieval.retriever import Retriever
from fine_tune_assets_tests.conftest import _keep_lines, replace_file, write_recipe
from fine_tune_assets_tests.defs.reported_sources import reported_by
from fine_tune_assets_tests.defs.s09_served_models.knowledge_runs import run
from fine_tune_assets_tests.lineage.stored_data import filled

ASKED = [{"role": "user", "content": "How many days of paid time off a year do full-time staff have?"}]


@pytest.fixture
def knowledge_dir(installation_dir: Path) -> Path:
    shutil.copytree(PROJECT_DIR / "data" / "knowledge", installation_dir / "knowledge")
    _keep_lines(installation_dir / "evaluation" / "abilities" / "pubmed_qa.jsonl", 6)
    return installation_dir / "knowledge"


def prompt() -> str:
    installation = Installation()
    with installation.ledger() as ledger:
        knowledge = Retriever(load_settings(), ledger)
        contract = build_retrieval_contract(installation.recipe)
        return knowledge.prepare(ASKED, (), contract, datetime(2026, 6, 1, tzinfo=UTC)).messages[-1]["content"]


@pytest.mark.slow
def test_a_changed_policy_changes_what_is_answered_from(knowledge_dir: Path, instance: dg.DagsterInstance) -> None:
    """20 days, then 25: the change is detected and the index is updated, without any training."""
    assert {"knowledge", "labelled_questions"} <= reported_by(instance)
    assert run(instance).success
    assert "20 days" in prompt()
    versions = {
        name: _version(instance, name) for name in ("knowledge_chunks", "knowledge_indexes", "served_knowledge")
    }
    policy = knowledge_dir / "paid-time-off.md"
    replace_file(policy, policy.read_bytes().replace(b"have 20 days", b"have 25 days"))
    assert reported_by(instance) == {"knowledge"}
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
    assert checks["retrieval_meets_floors"].passed
    assert not checks["every_document_is_readable"].passed
    assert "25 days" in prompt()
    (knowledge_dir / "new.md").unlink()
    question = ["knowledge", "search", "How many days of paid time off a year?"]
    assert "25 days" in CliRunner().invoke(main, question).output
    found = json.loads(CliRunner().invoke(main, [*question, "--json"]).stdout)
    assert "25 days" in found["passages"][0]["text"]


def _a_closed_gate_leaves_the_old_index(knowledge_dir: Path, instance: dg.DagsterInstance) -> None:
    """The installation's own question needs a passage that no document contains, so the previous index stays live."""
    own = knowledge_dir.parent / "evaluation" / "retrieval" / "own_questions.jsonl"
    own.parent.mkdir()
    own.write_text('{"question": "When does the canteen open?", "source": "canteen.md"}\n', encoding="utf-8")
    policy = knowledge_dir / "paid-time-off.md"
    replace_file(policy, policy.read_bytes().replace(b"have 25 days", b"have 30 days"))
    done = run(instance)
    assert not done.success
    assert {one.check_name for one in done.get_asset_check_evaluations() if not one.passed} == {
        "retrieval_meets_floors"
    }
    assert "25 days" in prompt()
    contract = build_retrieval_contract(Installation().recipe)
    with Installation().ledger() as ledger:
        live = find_live_index(ledger, contract.index_format)
    assert live is not None
    assert live.index_fingerprint != _version(instance, "knowledge_indexes")


def _version(instance: dg.DagsterInstance, name: str) -> str | None:
    known = latest_event(instance, dg.AssetKey(name))
    return None if known is None else known.version


@pytest.mark.usefixtures("installation_dir")
@pytest.mark.parametrize("row", [{"is_passed": False, "failure_reason": "recall is low"}, {"is_passed": None}])
def test_an_index_that_failed_its_checks_does_not_go_live(row: dict[str, Any]) -> None:
    """Applies to a run by hand without the check too."""
    table = filled("knowledge_indexes", [{"index_fingerprint": "a" * 64, "format_fingerprint": "f" * 64, **row}])
    assert not retrieval_meets_floors(table).passed
    with pytest.raises(dg.Failure, match=f"GateClosedError: .*{'a' * 16}"):
        served_knowledge(Installation(), table)


@pytest.mark.usefixtures("installation_dir")
def test_an_index_that_is_not_there_does_not_become_live() -> None:
    table = filled(
        "knowledge_indexes", [{"index_fingerprint": "a" * 64, "format_fingerprint": "f" * 64, "is_passed": True}]
    )
    with pytest.raises(dg.Failure, match="fine-tune materialize knowledge_indexes"):
        served_knowledge(Installation(), table)


def test_a_query_runs_again_when_its_rows_are_old(knowledge_dir: Path) -> None:
    """A database sends no notification of a change."""
    installation, now = Installation(), datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert knowledge_version(installation, now) == knowledge_version(installation, now + timedelta(days=1))
    (knowledge_dir / "prices.sql.yaml").write_text("query: SELECT 1\nurl_env: KNOWLEDGE_URL_X\nrefresh_minutes: 30\n")
    assert knowledge_version(installation, now) == knowledge_version(installation, now + timedelta(minutes=29))
    assert knowledge_version(installation, now) != knowledge_version(installation, now + timedelta(minutes=30))


def test_the_check_command_names_what_can_not_be_read(knowledge_dir: Path) -> None:
    assert CliRunner().invoke(main, ["knowledge", "check", "--json"]).exit_code == 0
    (knowledge_dir / "new.md").write_text("---\nlable: x\n---\nText", encoding="utf-8")
    found = CliRunner().invoke(main, ["knowledge", "check", "--json"])
    assert found.exit_code == 1
    errors = {row["source"]: row["error"] for row in json.loads(found.stdout) if row["error"]}
    assert list(errors) == ["new.md"]
    assert errors["new.md"].startswith("invalid_metadata: ")


def test_a_template_without_its_places_is_refused(installation_dir: Path) -> None:
    write_recipe(installation_dir, retrieval={"template": "{question}"})
    with pytest.raises(Exception, match="each once"):
        _ = Installation().recipe

"""Lapsed approvals: every gate closes for an instruction set with a lapsed approval, and the production model is reported."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from click.testing import CliRunner

from fine_tune_assets.approval.lapsed_approvals import LAPSE_REASONS, UNREVIEWED
from fine_tune_assets.cli.main import main
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.releases.release_folders import write_manifest
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s04_approved_examples.current_decisions import (
    PRODUCTION_CHECK,
    UNAPPROVED_EXAMPLES,
    production_model_uses_only_approved_examples,
    report_production_approvals,
    require_still_approved,
)
from fine_tune_assets.defs.s05_instruction_sets.set_evidence import _select_replayable
from fine_tune_assets.defs.s06_adapters.adapters import _decide_due, adapters, read_training_set
from fine_tune_assets.defs.s07_judge_scores.judge_scores import judge_scores
from fine_tune_assets.defs.s07_judge_scores.promotion_verdicts import gather_stored_evidence
from fine_tune_assets.defs.s08_merged_weights.merged_weights import merged_weights
from fine_tune_assets.defs.s09_served_models.served_models import served_models
from fine_tune_assets.instructions.assembly import DroppedExample
from fine_tune_assets.instructions.stored_sets import PROVENANCE, StoredInstructionSet, write_instruction_set
from fine_tune_assets.judging.verdicts.evidence import EvidenceTables
from fine_tune_assets.ledger.reviews.decision_records import revoke_decision
from fine_tune_assets.ledger.serving.deployments import (
    list_deployments,
    record_state,
    request_deployment,
    switch_traffic,
)
from fine_tune_assets.ledger.serving.release_records import record_release
from fine_tune_assets.ledger.serving.verdict_documents import write_document
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.tables.merging_rows import BuiltRelease
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets.tables.training_rows import Adapter, BaseModel, TrainingPlan
from fine_tune_assets.training.training_due import TrainingDue
from fine_tune_assets_tests.defs.trained_versions import trained_by_recipe
from fine_tune_assets_tests.instructions.examples import SEARCH, approved, built, example, subjects_in
from fine_tune_assets_tests.ledger.ledger_rows import make_release, make_verdict, record_decision, record_promoted
from fine_tune_assets_tests.lineage.stored_data import filled, store
from fine_tune_assets_tests.record_factory import made

pytestmark = pytest.mark.usefixtures("installation_dir")
TRAINED, TESTED = subjects_in("train", 60)[-1], subjects_in("test", 60)[-1]


def _approve(subject: str = TRAINED, finding: str = "A rash.", **facts: Any) -> dict[str, Any]:
    """Record an expert's decision, by default an approval, and return the row of `approved_examples`."""
    row = example(subject, finding)
    draft = {name: row[name] for name in ("example_id", "fingerprint", "report_id", "task")}
    with Installation().ledger() as ledger:
        decision = {"decision": "approve", "output": None, "reviewer": "expert", **facts}
        decision_id = record_decision(ledger, **draft, **decision).decision_id
    kind = {"approval_kind": "expert", "approved_by": "expert"}
    return {**row, **kind, "decision_id": decision_id, "decision_ids": [decision_id]}


def _revoke(row: dict[str, Any]) -> None:
    with Installation().ledger() as ledger, ledger.begin() as connection:
        revoke_decision(connection, row["decision_id"], "chief", "wrong patient", datetime.now(UTC))


def _store(*rows: dict[str, Any], **changes: Any) -> StoredInstructionSet:
    installation = Installation()
    facts = {"recipe": installation.recipe.name, "split_salt": installation.recipe.split.salt, "system_prompt": "Care."}
    return write_instruction_set(installation.layout.instruction_sets, built(extra=rows, **changes), facts, SEARCH)


def _refusal(act: Callable[[], Any]) -> str:
    with pytest.raises((dg.Failure, GateClosedError)) as refused:
        act()
    return str(refused.value.description if isinstance(refused.value, dg.Failure) else refused.value)


def _adapter(stored: StoredInstructionSet) -> Adapter:
    return made(
        Adapter,
        adapter_id="adapter-1",
        base_fingerprint="base-1",
        instruction_set_fingerprint=stored.fingerprint,
    )


def _table(name: str, schema: pa.Schema, row: dict[str, Any]) -> pa.Table:
    return filled(name, [row]).cast(schema)


def _promote(stored: StoredInstructionSet) -> str:
    """Store a verdict that promotes the adapter, and its release."""
    verdict = make_verdict("promote", instruction_set_fingerprint=stored.fingerprint)
    release = make_release(verdict, "r-1")
    layout = Installation().layout
    write_document(layout.verdicts, layout.keys, verdict)
    with Installation().ledger() as ledger:
        record_verdict(ledger, verdict)
        record_release(ledger, release)
    return release.release_id


def _go_live(release_id: str) -> None:
    with Installation().ledger() as ledger:
        deployment_id = request_deployment(ledger, release_id).deployment_id
        record_state(ledger, deployment_id, "starting")
        record_state(ledger, deployment_id, "ready", engine_url="http://127.0.0.1:1/v1", engine_key=b"k")
        switch_traffic(ledger, deployment_id)


def _served(stored: StoredInstructionSet, release_id: str) -> Any:
    folder = Installation().layout.releases / release_id
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, {"engine": "llama_cpp"})
    named = {
        "release_id": release_id,
        "folder": f"releases/{release_id}",
        "instruction_set_fingerprint": stored.fingerprint,
    }
    with dg.build_asset_context() as context:
        return served_models(context, Installation(), _table("releases", BuiltRelease.SCHEMA, named))


@pytest.mark.parametrize("subject", [TRAINED, TESTED], ids=["train", "test"])
@pytest.mark.parametrize("reason", ["revoked", "rejected", "repaired"])
def test_a_set_with_a_lapsed_approval_is_refused_with_id_and_reason(subject: str, reason: str) -> None:
    """Applies to the test split too, since grades rest on it. The error names the command that helps."""
    row = _approve(subject)
    stored = _store(row)
    require_still_approved(Installation(), stored)
    if reason == "revoked":
        _revoke(row)
    else:
        repaired = {"output": "Ice.", "approved_fingerprint": "of the repair"} if reason == "repaired" else {}
        _approve(subject, reviewer="other", **{"decision": "reject" if reason == "rejected" else "approve", **repaired})
    with pytest.raises(GateClosedError) as refused:
        require_still_approved(Installation(), stored)
    for expected in (f"(1 {reason})", row["example_id"], "fine-tune trace example", "fine-tune materialize"):
        assert expected in str(refused.value)


def test_a_set_without_provenance_is_refused() -> None:
    """A gate without its evidence stays closed."""
    stored = _store(_approve())
    (stored.folder / PROVENANCE).unlink()
    assert stored.folder.name in _refusal(lambda: require_still_approved(Installation(), stored))


def test_a_revoked_approval_closes_all_later_gates_and_makes_a_training_due(instance: dg.DagsterInstance) -> None:
    """A model that was trained on the example can't be judged, merged or deployed, and the next training excludes it."""
    installation, row = Installation(), _approve()
    old = _store(row)
    release_id = _promote(old)
    store(installation.layout, "adapters", [_adapter(old).to_row()])
    store(installation.layout, "base_models", [{"fingerprint": "base-1"}])
    _report(instance, old)
    assert _decide_due(instance, installation, minimum=None) is TrainingDue.NOT_DUE
    assert read_training_set(installation, old.fingerprint) == old

    _revoke(row)
    tables = (
        table_from_records(Adapter, [_adapter(old)]),
        _table("base_models", BaseModel.SCHEMA, {"fingerprint": "base-1"}),
    )
    with dg.build_asset_context(instance=instance) as context:
        common = context, installation, Worker()
        refusals = [
            _refusal(lambda: adapters(*common, old.table, tables[1], TrainingPlan.SCHEMA.empty_table())),
            _refusal(lambda: judge_scores(*common, *tables)),
            _refusal(lambda: gather_stored_evidence(installation, _adapter(old), _empty_evidence())),
            _refusal(lambda: merged_weights(*common, *tables)),
            _refusal(lambda: read_training_set(installation, old.fingerprint)),
            _refusal(lambda: _served(old, release_id)),
        ]
    assert ["(1 revoked)" in refusal for refusal in refusals] == [True] * 6
    with installation.ledger() as ledger:
        assert list_deployments(ledger) == []
    # The current set still contains the example, so a training would be refused.
    assert _decide_due(instance, installation, minimum=1) is TrainingDue.NOT_DUE
    new = _store()
    _report(instance, new)
    assert _decide_due(instance, installation, minimum=None) is TrainingDue.NOW


def _empty_evidence() -> EvidenceTables:
    return EvidenceTables(*(filled(name, []) for name in ("judge_scores", "judge_agreement", "retained_abilities")))


def _report(instance: dg.DagsterInstance, stored: StoredInstructionSet) -> None:
    for asset, version in (("instruction_sets", stored.fingerprint), ("adapters", "1"), ("base_models", "b")):
        tags = {"dagster/data_version": version, **trained_by_recipe()}
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, tags=tags))


def test_a_lapsed_approval_does_not_stop_the_production_model() -> None:
    """A ward may depend on it, so people decide."""
    row = _approve()
    stored = _store(row)
    release_id = _promote(stored)
    _go_live(release_id)
    _revoke(row)
    assert _served(stored, release_id).metadata["colour"] == "blue"


def test_a_lapsed_approval_fails_the_check_of_the_production_model_once(instance: dg.DagsterInstance) -> None:
    """A revocation does not trigger served_models, so without this event its check would stay green."""

    def tick() -> list[bool]:
        events = report_production_approvals(instance, Installation())
        for event in events:
            instance.report_runless_asset_event(event)
        return [event.passed for event in events]

    def checked() -> tuple[bool, dict[str, Any]]:
        result = production_model_uses_only_approved_examples(Installation())
        assert isinstance(result, dg.AssetCheckResult)
        assert result.severity == dg.AssetCheckSeverity.WARN
        return result.passed, {name: value.value for name, value in result.metadata.items()}

    rows = [_approve(), _approve(TESTED, "A cough at night.")]
    assert (tick(), checked()) == ([], (True, {}))
    release_id = _promote(_store(*rows))
    _go_live(release_id)
    assert (tick(), checked()) == ([], (True, {UNAPPROVED_EXAMPLES: 0, "release": "r-1"}))
    _revoke(rows[1])
    assert tick() == [], "A test example was not trained on."
    _revoke(rows[0])
    assert tick() == [False]
    assert tick() == []
    passed, metadata = checked()
    reason = metadata.pop("reason")
    assert (passed, metadata) == (False, {UNAPPROVED_EXAMPLES: 1, "release": "r-1", "revoked_since": 1})
    assert "r-1" in reason
    assert "fine-tune materialize" in reason
    key = dg.AssetCheckKey(dg.AssetKey("served_models"), PRODUCTION_CHECK)
    assert len(instance.event_log_storage.get_asset_check_execution_history(key, limit=5)) == 1
    (warning,) = json.loads(_call("status", "--json"))["production"]["warnings"]
    assert "1 examples that are no longer approved" in warning
    (lapsed,) = json.loads(_call("trace", "release", "r-1", "--json"))["revoked_examples"]
    assert (lapsed["example_id"], lapsed["split"], lapsed["reason"]) == (rows[0]["example_id"], "train", "revoked")
    traced = json.loads(_call("trace", "example", rows[0]["example_id"], "--json"))
    assert [place["revocation_reason"] for place in traced["sets"]] == ["revoked"]
    _approve()
    assert tick() == [True], "A reviewer approved exactly this text again."


def test_a_production_model_whose_set_was_removed_fails_the_check(instance: dg.DagsterInstance) -> None:
    """The examples are unknown, so the result has no count instead of 0."""
    with Installation().ledger() as ledger:
        record_promoted(ledger, "r-2")
    _go_live("r-2")
    result = production_model_uses_only_approved_examples(Installation())
    assert isinstance(result, dg.AssetCheckResult)
    assert (result.passed, UNAPPROVED_EXAMPLES in result.metadata, "reason" in result.metadata) == (False, False, True)
    assert report_production_approvals(instance, Installation()) == []


def _call(*arguments: str) -> str:
    done = CliRunner().invoke(main, [*arguments])
    assert done.exit_code == 0, done.output
    return str(done.output)


def test_replay_excludes_overruled_and_unreviewed_examples_with_a_reason() -> None:
    """A replayed example needs a current approval. Examples of the new set are neither replayed nor listed as excluded."""
    installation = Installation()
    subjects = subjects_in("train", 64)[60:]
    kept, revoked, rejected, present = (_approve(name, f"Earlier {name}.") for name in subjects)
    scrubber = scrubber_version(installation.recipe.scrubber)
    rows = [kept, revoked, rejected, present]
    earlier = _with_scrubber([row["report_id"] for row in [*approved().to_pylist(), *rows]], scrubber)
    _store(*rows, reports=earlier)
    _revoke(revoked)
    _approve(rejected["subject_key"], f"Earlier {rejected['subject_key']}.", reviewer="other", decision="reject")
    found, dropped = _select_replayable(installation, approved(subjects=20, extra=[_plain(present)]))
    assert [one.example_id for one in found] == [kept["example_id"]]
    assert DroppedExample(revoked["example_id"], LAPSE_REASONS["revoked"]) in dropped
    assert DroppedExample(rejected["example_id"], LAPSE_REASONS["rejected"]) in dropped
    trusted = [one for one in dropped if one.reason == UNREVIEWED]
    assert len(trusted) == len(dropped) - 2 > 0
    assert present["example_id"] not in {one.example_id for one in dropped}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "decision_ids"}


def _with_scrubber(report_ids: list[str], scrubber: str) -> dict[str, Any]:
    from fine_tune_assets.instructions.provenance import ReportFacts

    return {report_id: ReportFacts("f", scrubber, None) for report_id in report_ids}


def test_replay_excludes_examples_that_rest_on_a_restricted_document() -> None:
    """The document was open when the example was approved, but the new model answers every user."""
    installation = Installation()
    subjects = subjects_in("train", 64)[60:62]
    kept, restricted = (_approve(name, f"Earlier {name}.") | {"report_id": f"correction/{name}"} for name in subjects)
    scrubber = scrubber_version(installation.recipe.scrubber)
    _store(
        kept,
        restricted,
        reports=_with_scrubber([row["report_id"] for row in [*approved().to_pylist(), kept, restricted]], scrubber),
    )
    passage = {"source": "pay.md", "labels": ["hr"]}
    row = {"correction_id": subjects[1], "knowledge_index": "f" * 64, "passages": [passage]}
    store(installation.layout, "scrubbed_corrections", [row, {"correction_id": subjects[0]}])
    found, dropped = _select_replayable(installation, approved(subjects=20))
    assert [example.example_id for example in found] == [kept["example_id"]]
    assert restricted["example_id"] in {example.example_id for example in dropped}

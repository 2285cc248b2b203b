"""A decision that was taken back, on the graph's side: every gate in which what was built on it closes, and who is told."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from click.testing import CliRunner

from fine_tune_assets.approval.still_approved import UNREVIEWED
from fine_tune_assets.cli.main import main
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.releases.release_folders import write_manifest
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s04_approved_examples.standing_decisions import (
    FALLEN,
    LIVE_CHECK,
    live_release_learned_only_what_is_approved,
    news_of_decisions,
    require_decisions_stand,
)
from fine_tune_assets.defs.s05_instruction_sets.set_evidence import _replayable
from fine_tune_assets.defs.s06_adapters.adapters import TRAINED_BY, _due, adapters, set_learned_from
from fine_tune_assets.defs.s07_judge_scores.judge_scores import judge_scores
from fine_tune_assets.defs.s07_judge_scores.promotion_verdicts import evidence_on
from fine_tune_assets.defs.s08_merged_weights.merged_weights import merged_weights
from fine_tune_assets.defs.s09_served_models.served_models import served_models
from fine_tune_assets.instructions.assembly import Dropped
from fine_tune_assets.instructions.stored_sets import PROVENANCE, StoredInstructionSet, write_instruction_set
from fine_tune_assets.judging.verdicts.evidence import Tables
from fine_tune_assets.ledger.reviews.reviews import revoke_decision
from fine_tune_assets.ledger.serving.deployments import deployments, report_state, switch_live, want_release
from fine_tune_assets.ledger.serving.releases import record_release
from fine_tune_assets.ledger.serving.verdict_documents import write_document
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.phi.scrubbing import scrubber_version
from fine_tune_assets.recipes.sections import section_fingerprints
from fine_tune_assets.tables.merging import BuiltRelease
from fine_tune_assets.tables.records import table_from
from fine_tune_assets.tables.training import Adapter, BaseModel, ExampleLength, TrainingPlan, TrainingPreflight
from fine_tune_assets.training.decisions import Due
from fine_tune_assets_tests.instructions.examples import SEARCH, approved, built, example, patients_in
from fine_tune_assets_tests.ledger.made import make_release, make_verdict, record_decision, record_promoted
from fine_tune_assets_tests.lineage.made import filled, store
from fine_tune_assets_tests.made_records import made

pytestmark = pytest.mark.usefixtures("installation_dir")
PATIENT, TESTED = patients_in("train", 60)[-1], patients_in("test", 60)[-1]


def _approve(patient: str = PATIENT, finding: str = "A rash.", **facts: Any) -> dict[str, Any]:
    """An example that an expert approves as it was drafted; the row of `approved_examples`."""
    row = example(patient, finding)
    named = {name: row[name] for name in ("example_id", "fingerprint", "report_id", "task")}
    with Installation().ledger() as ledger:
        said = {"decision": "approve", "output": None, "reviewer": "expert", **facts}
        decision_id = record_decision(ledger, **named, **said).decision_id
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
    """The verdict that would let the adapter through, and its release."""
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
        deployment_id = want_release(ledger, release_id).deployment_id
        report_state(ledger, deployment_id, "starting")
        report_state(ledger, deployment_id, "ready", engine_url="http://127.0.0.1:1/v1", engine_key=b"k")
        switch_live(ledger, deployment_id)


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


@pytest.mark.parametrize("patient", [PATIENT, TESTED], ids=["trained on", "tested on"])
@pytest.mark.parametrize("how", ["revoked", "rejected", "repaired"])
def test_a_set_that_holds_what_is_not_approved_any_more_is_refused_by_name_and_reason(patient: str, how: str) -> None:
    """Also of the test split: the grades would rest on it. Who reads the error must know what to do."""
    row = _approve(patient)
    stored = _store(row)
    require_decisions_stand(Installation(), stored)
    if how == "revoked":
        _revoke(row)
    else:
        repaired = {"output": "Ice.", "approved_fingerprint": "of the repair"} if how == "repaired" else {}
        _approve(patient, reviewer="other", **{"decision": "reject" if how == "rejected" else "approve", **repaired})
    with pytest.raises(GateClosedError) as refused:
        require_decisions_stand(Installation(), stored)
    assert f"1 examples of the instruction set are not approved any more (1 {how}): {row['example_id']}." in str(
        refused.value
    )
    assert "fine-tune materialize" in str(refused.value)


def test_a_set_that_does_not_say_who_approved_it_is_refused() -> None:
    """A gate without its evidence stays closed."""
    stored = _store(_approve())
    (stored.folder / PROVENANCE).unlink()
    assert "does not say by which decisions" in _refusal(lambda: require_decisions_stand(Installation(), stored))


def test_a_revoked_approval_closes_training_judging_merging_and_serving_and_makes_a_training_due(
    instance: dg.DagsterInstance,
) -> None:
    """The whole reach of one revocation: what was trained on it goes nowhere any more, and the next training is without it."""
    installation, row = Installation(), _approve()
    old = _store(row)
    release_id = _promote(old)
    store(installation.layout, "adapters", [_adapter(old).as_row()])
    store(installation.layout, "base_models", [{"fingerprint": "base-1"}])
    _report(instance, old)
    assert _due(instance, installation, minimum=None) is Due.NOT
    assert set_learned_from(installation, old.fingerprint) == old

    _revoke(row)
    tables = (
        table_from(Adapter, [_adapter(old)]),
        _table("base_models", BaseModel.SCHEMA, {"fingerprint": "base-1"}),
    )
    looked_at = tuple(
        schema.empty_table() for schema in (ExampleLength.SCHEMA, TrainingPreflight.SCHEMA, TrainingPlan.SCHEMA)
    )
    with dg.build_asset_context(instance=instance) as context:
        common = context, installation, Worker()
        refusals = [
            _refusal(lambda: adapters(*common, old.table, tables[1], *looked_at)),
            _refusal(lambda: judge_scores(*common, *tables)),
            _refusal(lambda: evidence_on(installation, _adapter(old), _no_figures())),
            _refusal(lambda: merged_weights(*common, *tables)),
            _refusal(lambda: set_learned_from(installation, old.fingerprint)),
            _refusal(lambda: _served(old, release_id)),
        ]
    assert ["are not approved any more (1 revoked)" in refusal for refusal in refusals] == [True] * 6
    with installation.ledger() as ledger:
        assert deployments(ledger) == []
    # The set in hand holds it still: a training on it would only be refused.
    assert _due(instance, installation, minimum=1) is Due.NOT
    new = _store()
    _report(instance, new)
    assert _due(instance, installation, minimum=None) is Due.NOW


def _no_figures() -> Tables:
    return Tables(*(filled(name, []) for name in ("judge_scores", "judge_agreement", "retained_abilities")))


def _report(instance: dg.DagsterInstance, stored: StoredInstructionSet) -> None:
    trained_by = {TRAINED_BY: section_fingerprints(Installation().recipe)["training"]}
    for asset, version in (("instruction_sets", stored.fingerprint), ("adapters", "1"), ("base_models", "b")):
        tags = {"dagster/data_version": version, **trained_by}
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, tags=tags))


def test_what_serves_already_is_marked_and_not_stopped() -> None:
    """It may be all that a ward has: that is for people to weigh."""
    row = _approve()
    stored = _store(row)
    release_id = _promote(stored)
    _go_live(release_id)
    _revoke(row)
    assert _served(stored, release_id).metadata["colour"] == "blue"


def test_the_live_release_that_learned_what_is_not_approved_any_more_is_told_of_once(
    instance: dg.DagsterInstance,
) -> None:
    """Nothing of served_models is made by a revocation, so its check would stay green for ever."""

    def tick() -> list[bool]:
        events = news_of_decisions(instance, Installation())
        for event in events:
            instance.report_runless_asset_event(event)
        return [event.passed for event in events]

    def checked() -> tuple[bool, dict[str, Any]]:
        result = live_release_learned_only_what_is_approved(Installation())
        assert isinstance(result, dg.AssetCheckResult)
        assert result.severity == dg.AssetCheckSeverity.WARN
        return result.passed, {name: value.value for name, value in result.metadata.items()}

    rows = [_approve(), _approve(TESTED, "A cough at night.")]
    assert (tick(), checked()) == ([], (True, {}))
    release_id = _promote(_store(*rows))
    _go_live(release_id)
    assert (tick(), checked()) == ([], (True, {FALLEN: 0, "release": "r-1"}))
    _revoke(rows[1])
    assert tick() == [], "It was only measured on."
    _revoke(rows[0])
    assert tick() == [False]
    assert tick() == []
    passed, told = checked()
    why = "The live release r-1 learned from 1 examples that are not approved any more: train again."
    assert (passed, told) == (False, {FALLEN: 1, "release": "r-1", "revoked_since": 1, "why": why})
    key = dg.AssetCheckKey(dg.AssetKey("served_models"), LIVE_CHECK)
    assert len(instance.event_log_storage.get_asset_check_execution_history(key, limit=5)) == 1
    assert "it learned from 1 examples that are not approved any more: train again" in _call("status")
    assert f"{rows[0]['example_id']} any more (learned from): revoked" in _call("trace", "release", "r-1")
    assert "train  not approved any more: revoked" in _call("trace", "example", rows[0]["example_id"])
    _approve()
    assert tick() == [True], "Somebody read it again and approved exactly this text."


def test_of_a_live_release_whose_set_is_gone_nobody_can_say_that_all_is_well(instance: dg.DagsterInstance) -> None:
    """A count of 0 would be a claim."""
    with Installation().ledger() as ledger:
        record_promoted(ledger, "r-2")
    _go_live("r-2")
    result = live_release_learned_only_what_is_approved(Installation())
    assert isinstance(result, dg.AssetCheckResult)
    assert (result.passed, FALLEN in result.metadata, "why" in result.metadata) == (False, False, True)
    assert news_of_decisions(instance, Installation()) == []


def _call(*arguments: str) -> str:
    done = CliRunner().invoke(main, [*arguments])
    assert done.exit_code == 0, done.output
    return str(done.output)


def test_replay_leaves_out_what_was_overruled_or_never_reviewed_and_says_so() -> None:
    """What is trained on again must be approved by somebody now. What the present set has by itself is no loss."""
    installation = Installation()
    patients = patients_in("train", 64)[60:]
    kept, revoked, rejected, present = (_approve(name, f"Earlier {name}.") for name in patients)
    scrubber = scrubber_version(installation.recipe.scrub)
    rows = [kept, revoked, rejected, present]
    earlier = _with_scrubber([row["report_id"] for row in [*approved().to_pylist(), *rows]], scrubber)
    _store(*rows, reports=earlier)
    _revoke(revoked)
    _approve(rejected["patient_key"], f"Earlier {rejected['patient_key']}.", reviewer="other", decision="reject")
    found, dropped = _replayable(installation, approved(patients=20, extra=[_plain(present)]))
    assert [one.example_id for one in found] == [kept["example_id"]]
    assert {Dropped(revoked["example_id"], "its approval was revoked")} < set(dropped)
    assert {Dropped(rejected["example_id"], "it was rejected since")} < set(dropped)
    trusted = [one for one in dropped if one.reason == UNREVIEWED]
    assert len(trusted) == len(dropped) - 2 > 0
    assert present["example_id"] not in {one.example_id for one in dropped}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "decision_ids"}


def _with_scrubber(report_ids: list[str], scrubber: str) -> dict[str, Any]:
    from fine_tune_assets.instructions.provenance import ReportFacts

    return {report_id: ReportFacts("f", scrubber, None) for report_id in report_ids}


def test_replay_leaves_out_what_rests_on_a_document_that_not_everyone_may_see() -> None:
    """It was approved when everybody might; the model that is trained now answers everybody."""
    installation = Installation()
    patients = patients_in("train", 64)[60:62]
    kept, closed = (_approve(name, f"Earlier {name}.") | {"report_id": f"correction/{name}"} for name in patients)
    scrubber = scrubber_version(installation.recipe.scrub)
    _store(
        kept,
        closed,
        reports=_with_scrubber([row["report_id"] for row in [*approved().to_pylist(), kept, closed]], scrubber),
    )
    passage = {"source": "pay.md", "labels": ["hr"]}
    row = {"correction_id": patients[1], "knowledge_index": "f" * 64, "passages": [passage]}
    store(installation.layout, "scrubbed_corrections", [row, {"correction_id": patients[0]}])
    found, dropped = _replayable(installation, approved(patients=20))
    assert [one.example_id for one in found] == [kept["example_id"]]
    assert Dropped(closed["example_id"], "it rests on a document that not everyone may see") in dropped

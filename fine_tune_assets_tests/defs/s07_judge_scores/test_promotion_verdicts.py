"""The verdict as an asset: from tables to a signed document, a row in the ledger, checks, and what people see."""

import json
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s07_judge_scores.promotion_verdicts import (
    candidate_beats_incumbent,
    candidate_has_no_regression,
    fingerprint_inputs,
    promotion_verdicts,
    verdict_allows_release,
)
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, write_instruction_set
from fine_tune_assets.judging.verdicts.verdict_metrics import FAMILIES
from fine_tune_assets.ledger.serving.verdict_documents import DOCUMENT
from fine_tune_assets.ledger.serving.verdicts import find_latest_verdict
from fine_tune_assets.tables.judging_rows import DocumentAnswer, JudgeScore, RetainedAbility
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets_tests.conftest import COMPLAINT_TASKS, write_recipe
from fine_tune_assets_tests.instructions.examples import SEARCH, built, example, subjects_in
from fine_tune_assets_tests.judging.verdict_inputs import (
    agreement,
    checked,
    criteria,
    from_documents,
    remembered,
    robust,
)
from fine_tune_assets_tests.lineage.stored_data import filled

PATIENTS = 12
LIMITS = {
    "gate": {"minimum_examples": 10, "minimum_group_examples": 6, "verdicts_per_year": 1},
    "split": {"minimum_examples": 40},
    "tasks": [{**COMPLAINT_TASKS[0], "name": "plan"}],
    "review": {"guidelines": {}},
}


@pytest.fixture
def stored(installation_dir: Any) -> StoredInstructionSet:
    write_recipe(installation_dir, **LIMITS)
    rows = [
        example(patient, f"A {30 + 40 * (i % 2)}-year-old woman, case {i}.", f"Walk {i}.")
        for i, patient in enumerate(subjects_in("test", PATIENTS))
    ]
    return write_instruction_set(Installation().layout.instruction_sets, built(extra=rows), {"seed": 7}, SEARCH)


def _materialized(
    stored: StoredInstructionSet,
    gain: float,
    ability: float,
    documents: pa.Table | None = None,
) -> dg.MaterializeResult[pa.Table]:
    examples = [row for row in stored.table.to_pylist() if row["split"] == "test" and not row["is_general"]]
    assert len(examples) >= PATIENTS
    row = {"adapter_id": "adapter-1", "answer": "a", "reason": "r", "unsupported_numbers": 0, "is_finished": True}
    scores = [
        {
            **row,
            "model": model,
            "model_fingerprint": fingerprint,
            "score": grade + (i % 3) / 10 * by,
            **criteria(grade + (i % 3) / 10 * by),
            "judge_version": "j",
            "judge_kind": "folder",
        }
        | {name: asked[name] for name in ("example_id", "subject_key")}
        for model, fingerprint, grade, by in (("base", "base-1", 4.0, 0), ("adapter", "adapter-1", 4.0 + gain, 1))
        for i, asked in enumerate(examples)
    ]
    abilities = [
        {
            "ability": name,
            "adapter_id": "adapter-1",
            "question_count": 100,
            "base_accuracy": 0.6,
            "adapter_accuracy": ability,
            "base_only_correct": max(0, round(100 * (0.6 - ability))),
            "adapter_only_correct": max(0, round(100 * (ability - 0.6))),
        }
        | {"low": -0.1, "high": 0.1}
        for name in sorted(path.stem for path in (Installation().layout.evaluation / "abilities").glob("*.jsonl"))
    ]
    named = {
        "adapter_id": "adapter-1", "base_fingerprint": "base-1", "instruction_set_fingerprint": stored.fingerprint,
        "recipe_fingerprint": "recipe-1", "base_kl_divergence": 0.5, "first_validation_loss": 2.0, "best_validation_loss": 1.0,
    }  # fmt: skip
    answers = Installation().layout.evaluation / "judge" / "rated_summaries.csv"
    made = promotion_verdicts(
        installation=Installation(),
        adapters=filled("adapters", [named]).cast(Adapter.SCHEMA),
        judge_scores=(graded := table_from_rows(scores, JudgeScore.SCHEMA)),
        retained_abilities=table_from_rows(abilities, RetainedAbility.SCHEMA),
        judge_agreement=agreement(judge="j", labelled=fingerprint_file(answers)),
        answer_checks=checked(graded),
        robustness_results=robust("adapter-1"),
        memorization_results=remembered("adapter-1"),
        document_answers=DocumentAnswer.SCHEMA.empty_table() if documents is None else documents,
    )
    assert isinstance(made, dg.MaterializeResult)
    return made


def _checks(verdicts: pa.Table) -> dict[str, dg.AssetCheckResult]:
    checks = (verdict_allows_release, candidate_beats_incumbent, candidate_has_no_regression)
    found = {}
    for check in checks:
        result = check(installation=Installation(), promotion_verdicts=verdicts)
        assert isinstance(result, dg.AssetCheckResult)
        found[next(iter(check.check_keys)).name] = result
    return found


def test_a_better_candidate_is_promoted_and_the_document_is_what_the_ledger_holds(stored: StoredInstructionSet) -> None:
    """One document: in the file, in the ledger and in the UI."""
    made = _materialized(stored, gain=1.0, ability=0.6)
    (row,) = made.value.to_pylist()
    assert row["decision"] == "promote", row["reasons"]
    installation = Installation()
    document = json.loads((installation.layout.verdicts / row["verdict_id"] / DOCUMENT).read_text(encoding="utf-8"))
    with installation.ledger() as ledger:
        key = {
            "adapter_id": "adapter-1",
            "base_fingerprint": "base-1",
            "instruction_set_fingerprint": stored.fingerprint,
        }
        verdict = find_latest_verdict(ledger, **key)
    assert verdict is not None
    assert json.loads(verdict.evidence) == document["evidence"] == made.metadata["evidence"].value
    assert {f["family"] for f in document["evidence"]["metrics"]} == {*FAMILIES} - {"documents"}
    assert document["evidence"]["fingerprints"]["instruction_set"] == stored.fingerprint
    assert all(check.passed for check in _checks(made.value).values())


@pytest.mark.usefixtures("installation_dir")
def test_the_document_names_the_questions_and_the_weights_that_answered_for_the_incumbent() -> None:
    """An incumbent on another base model answers with what it was released from: its adapter alone is not what was compared."""
    copa = fingerprint_file(Installation().layout.evaluation / "abilities" / "copa.jsonl")
    named = fingerprint_inputs(Installation(), "weights-1")
    assert (named["ability_questions_copa"], named["incumbent_weights"]) == (copa, "weights-1")
    assert "incumbent_weights" not in fingerprint_inputs(Installation(), "")


def test_what_people_see_has_the_figures_and_pictures_and_no_text_of_a_report(stored: StoredInstructionSet) -> None:
    """The UI has no login."""
    metadata = _materialized(stored, gain=1.0, ability=0.6).metadata
    assert "| target | grade |" in str(metadata["metrics"].value)
    assert str(metadata["plots"].value).count("data:image/png;base64,") == 6
    shown = json.dumps({name: str(value) for name, value in metadata.items()})
    assert "year-old" not in shown


def test_the_checks_say_which_half_of_the_gate_is_closed(stored: StoredInstructionSet) -> None:
    """The candidate is better but forgets: the gain is accepted, and the regression leads to a refusal."""
    made = _materialized(stored, gain=1.0, ability=0.1)
    assert made.value.to_pylist()[0]["decision"] == "refuse"
    found = _checks(made.value)
    assert {name: check.passed for name, check in found.items()} == {
        "verdict_allows_release": False,
        "candidate_beats_incumbent": True,
        "candidate_has_no_regression": False,
    }
    assert "copa" in str(found["candidate_has_no_regression"].metadata[REASON].value)
    worse = _checks(_materialized(stored, gain=-1.0, ability=0.6).value)
    assert not worse["candidate_beats_incumbent"].passed


def test_made_again_it_is_the_same_verdict(stored: StoredInstructionSet) -> None:
    """A signature of an approver counts for this one only: it must not be lost by looking again."""
    first, second = (_materialized(stored, gain=0.2, ability=0.6).value for _ in range(2))
    assert first == second


def test_a_recipe_that_answers_from_documents_requires_that_it_was_measured(
    stored: StoredInstructionSet, installation_dir: Any
) -> None:
    """The recipe alone decides: `gate.requires` need not name it, and answers without retrieval are not missing."""
    write_recipe(installation_dir, **LIMITS, retrieval={"enabled": True})
    missing = _materialized(stored, gain=1.0, ability=0.6).value.to_pylist()[0]
    assert missing["decision"] == "hold"
    assert any("`fine-tune materialize document_answers`" in reason for reason in missing["reasons"])
    good = from_documents(adapter_id="adapter-1", base_id="base-1")
    made = _materialized(stored, gain=1.0, ability=0.6, documents=good)
    assert made.value.to_pylist()[0]["decision"] == "promote"
    assert {f["family"] for f in made.metadata["evidence"].value["metrics"]} == {*FAMILIES}
    worse = from_documents(adapter_id="adapter-1", base_id="base-1", is_cited=40)
    assert _materialized(stored, gain=1.0, ability=0.6, documents=worse).value.to_pylist()[0]["decision"] == "refuse"

"""What a verdict rests on: figures about exactly this adapter and exactly its instruction set's test split."""

from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import load_missed_terms
from fine_tune_assets.defs.s07_judge_scores.promotion_verdicts import gather_stored_evidence
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, write_instruction_set
from fine_tune_assets.judging.verdicts.evidence import EvidenceTables
from fine_tune_assets.judging.verdicts.promotion_rule import decide_promotion
from fine_tune_assets.ledger.reviews.identifier_marks import record_mark
from fine_tune_assets.tables.judging_rows import JudgeAgreement, JudgeScore, RetainedAbility
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets_tests.instructions.examples import SEARCH, built
from fine_tune_assets_tests.record_factory import made

pytestmark = pytest.mark.usefixtures("installation_dir")
LEARNED = {"base_kl_divergence": 0.5, "first_validation_loss": 2.0, "best_validation_loss": 1.0}


@pytest.fixture
def stored() -> StoredInstructionSet:
    return write_instruction_set(Installation().layout.instruction_sets, built(), {"seed": 7}, SEARCH)


def _scores(stored: StoredInstructionSet, split: str, adapter_id: str = "new") -> pa.Table:
    examples = [row for row in stored.table.to_pylist() if row["split"] == split and not row["is_general"]]
    assert examples
    row = {"answer": "a", "reason": "r", "unsupported_numbers": 0, "is_finished": True, "judge_version": "j"}
    models = (("base", "base-1", 4.0), ("adapter", adapter_id, 6.0))
    rows = [
        {"model": model, "model_fingerprint": fingerprint, "score": score, "adapter_id": adapter_id, **row}
        | {name: example[name] for name in ("example_id", "subject_key")}
        for model, fingerprint, score in models
        for example in examples
    ]
    return table_from_rows(rows, JudgeScore.SCHEMA)


def _gather(stored: StoredInstructionSet, scores: pa.Table) -> Any:
    adapter = made(
        Adapter,
        adapter_id="new",
        base_fingerprint="base-1",
        instruction_set_fingerprint=stored.fingerprint,
        recipe_fingerprint="recipe-1",
        **LEARNED,
    )
    tables = EvidenceTables(scores, JudgeAgreement.SCHEMA.empty_table(), RetainedAbility.SCHEMA.empty_table())
    return gather_stored_evidence(Installation(), adapter, tables)


def test_grades_on_the_sets_own_test_split_count(stored: StoredInstructionSet) -> None:
    evidence = _gather(stored, _scores(stored, "test"))
    assert (evidence.target.incumbent, evidence.target.candidate) == (4.0, 6.0)
    assert evidence.instruction_set_fingerprint == stored.fingerprint


@pytest.mark.parametrize("split", ["train", "validation"])
def test_grades_on_other_examples_do_not(stored: StoredInstructionSet, split: str) -> None:
    """The same adapter may come from a set with another test split, or training examples may have been graded."""
    with pytest.raises(GateClosedError, match=rf"{stored.folder.name}.*`fine-tune materialize judge_scores`"):
        _gather(stored, _scores(stored, split))


def test_grades_of_another_adapter_do_not(stored: StoredInstructionSet) -> None:
    with pytest.raises(GateClosedError, match="another adapter"):
        _gather(stored, _scores(stored, "test", adapter_id="old"))


def test_a_candidate_that_learned_a_missed_identifier_gets_no_verdict(stored: StoredInstructionSet) -> None:
    """A reviewer marked the identifier during the training, so the model may repeat it."""
    scores = _scores(stored, "test")
    learned = next(row for row in stored.table.to_pylist() if row["split"] == "train" and not row["is_general"])
    with Installation().ledger() as ledger:
        record_mark(
            ledger,
            ledger.key,
            report_id="b/1",
            batch="b",
            subject_key=learned["subject_key"],
            kind="NAME",
            term=learned["messages"][-1]["content"].split()[0].strip(".,"),
            labelled_case="{}",
            marked_by="expert-1",
        )
    load_missed_terms(Installation())  # as the desk does when it records a mark
    with pytest.raises(GateClosedError, match=r"^1 examples .*`fine-tune materialize instruction_sets`"):
        _gather(stored, scores)


def test_a_task_whose_questions_are_there_and_that_was_not_measured_is_named(stored: StoredInstructionSet) -> None:
    """A table with a row less must not pass for one without a loss."""
    evidence = _gather(stored, _scores(stored, "test"))
    asked = [name for family, name in evidence.expected if family == "abilities"]
    assert asked == sorted(path.stem for path in (Installation().layout.evaluation / "abilities").glob("*.jsonl"))
    assert len(asked) > 5
    assert any(
        "copa (abilities)" in reason for reason in decide_promotion(evidence, Installation().recipe.gate).reasons
    )


def test_a_candidate_that_learned_nothing_gets_no_verdict(
    stored: StoredInstructionSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its grades are the base model's, whatever they are."""
    monkeypatch.setitem(LEARNED, "base_kl_divergence", 0.0)
    with pytest.raises(GateClosedError, match=r"Adapter new .*learning_rate"):
        _gather(stored, _scores(stored, "test"))

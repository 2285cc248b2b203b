"""What earlier sets tested is known, and a gap in that knowledge closes the gate."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.erased_sets import REMAINING, ErasedSet, write_erased
from fine_tune_assets.instructions.assembly import Dropped
from fine_tune_assets.instructions.earlier_sets import earlier_tests, read_replayable, sort_out
from fine_tune_assets.instructions.provenance import ReportFacts
from fine_tune_assets.instructions.stored_sets import InstructionSetError, StoredInstructionSet, write_instruction_set
from fine_tune_assets_tests.instructions.examples import SEARCH, SPLIT, approved, built

FACTS = {"recipe": "r", "split_salt": SPLIT.salt, "test_fraction": SPLIT.test_fraction}


def store(root: Path, facts: dict[str, Any] | None = None, scrubber: str | None = "s1") -> StoredInstructionSet:
    reports = {report: ReportFacts("f", scrubber, None) for report in approved().column("report_id").to_pylist()}
    return write_instruction_set(root, built(reports=reports), facts or FACTS, SEARCH)


def exam_of(stored: StoredInstructionSet, column: str) -> set[str]:
    return {row[column] for row in stored.table.to_pylist() if row["split"] == "test"}


def test_test_patients_and_examples_of_every_set_with_the_salt_are_known(tmp_path: Path) -> None:
    """One forgotten set would be enough to teach its exam."""
    stored = store(tmp_path)
    found = earlier_tests(tmp_path, SPLIT)
    assert found.by_this_rule == exam_of(stored, "patient_key")
    assert found.by_another_rule == frozenset()
    assert set(found.examples) == exam_of(stored, "fingerprint")
    assert earlier_tests(tmp_path, SPLIT, besides=stored.fingerprint).patients == frozenset()


def test_patients_of_another_rule_are_told_apart(tmp_path: Path) -> None:
    """Only they can be in the wrong place now."""
    stored = store(tmp_path, {**FACTS, "test_fraction": 0.5})
    store(tmp_path, {**FACTS, "test_from": "2025-01-01"})
    assert earlier_tests(tmp_path, SPLIT).by_another_rule == exam_of(stored, "patient_key")
    by_time = replace(SPLIT, test_from="2025-01-01")
    assert earlier_tests(tmp_path, by_time).by_this_rule == exam_of(stored, "patient_key")


def test_another_salt_starts_anew(tmp_path: Path) -> None:
    """It is what the recipe changes for that."""
    store(tmp_path)
    assert earlier_tests(tmp_path, replace(SPLIT, salt="another")).patients == frozenset()
    assert earlier_tests(tmp_path / "absent", SPLIT).patients == frozenset()


@pytest.mark.parametrize("name", ["manifest.json", "instruction_set.parquet"])
def test_a_set_that_cannot_be_read_closes_the_gate(tmp_path: Path, name: str) -> None:
    """Without it nobody can say whom it tested on."""
    stored = store(tmp_path)
    (stored.folder / name).write_text("{")
    with pytest.raises(InstructionSetError, match=f"{stored.folder.name} can't be read"):
        earlier_tests(tmp_path, SPLIT)


def test_what_an_earlier_set_trained_on_can_be_replayed_with_its_provenance(tmp_path: Path) -> None:
    """Content and evidence come back together, general data stays behind."""
    stored = store(tmp_path)
    found = read_replayable(tmp_path, "r", SPLIT.salt, "s1")
    train = [row for row in stored.table.to_pylist() if row["split"] == "train" and not row["is_general"]]
    assert {example.example_id for example in found} == {row["example_id"] for row in train}
    outputs = {row["example_id"]: row["messages"][-1]["content"] for row in train}
    assert {example.example_id: example.output for example in found} == outputs
    assert {example.report_fingerprint for example in found} == {"f"}


@pytest.mark.parametrize(("recipe", "scrubber"), [("another", "s1"), ("r", "s2")])
def test_another_recipes_examples_and_what_an_earlier_scrubber_left_are_not_replayed(
    tmp_path: Path, recipe: str, scrubber: str
) -> None:
    """A rule that was added for a leak would be of no use if old texts came back."""
    store(tmp_path)
    assert read_replayable(tmp_path, recipe, SPLIT.salt, scrubber) == []


def test_what_may_not_be_replayed_is_counted_with_its_reason(tmp_path: Path) -> None:
    """A revoked decision takes its example out of every later training, and nothing goes without a word."""
    store(tmp_path)
    first, *others = read_replayable(tmp_path, "r", SPLIT.salt, "s1")
    why = {first.fingerprint: "its approval was revoked"}
    kept, dropped = sort_out([first, *others], lambda example: why.get(example.fingerprint))
    assert (kept, dropped) == (others, [Dropped(first.example_id, "its approval was revoked")])


def test_a_changed_set_is_not_replayed_from(tmp_path: Path) -> None:
    """What comes back must be what was approved."""
    stored = store(tmp_path)
    path = stored.folder / "train.alpaca.json"
    path.write_text(path.read_text().replace("Rest 1", "Rest 9"))
    with pytest.raises(InstructionSetError, match="was changed"):
        read_replayable(tmp_path, "r", SPLIT.salt, "s1")


def test_of_a_set_with_an_erased_patient_the_others_are_remembered(tmp_path: Path) -> None:
    """An erasure must not let the rest of the exam into training, nor close the gate for ever."""
    stored = store(tmp_path)
    gone, *others = sorted(exam_of(stored, "patient_key"))
    table = stored.provenance
    assert table is not None
    for path in stored.folder.iterdir():
        path.unlink()
    write_erased(stored.folder, ErasedSet(stored.fingerprint, "2026-01-01", ("x",), {"test": 1}, FACTS))
    pq.write_table(table.filter(pc.not_equal(pc.fill_null(table["patient_key"], ""), gone)), stored.folder / REMAINING)
    assert earlier_tests(tmp_path, SPLIT).by_this_rule == set(others)
    assert read_replayable(tmp_path, "r", SPLIT.salt, "s1") == []

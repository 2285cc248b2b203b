"""Earlier sets: their test splits are known, and an unreadable set closes the gate."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.erased_sets import REMAINING_FILE, ErasedSet, write_erased_set
from fine_tune_assets.instructions.assembly import DroppedExample
from fine_tune_assets.instructions.earlier_sets import filter_replayable, read_earlier_tests, read_replayable
from fine_tune_assets.instructions.provenance import ReportFacts
from fine_tune_assets.instructions.stored_sets import InstructionSetError, StoredInstructionSet, write_instruction_set
from fine_tune_assets_tests.instructions.examples import SEARCH, SPLIT, approved, built

FACTS = {"recipe": "r", "split_salt": SPLIT.salt, "test_fraction": SPLIT.test_fraction}


def store(root: Path, facts: dict[str, Any] | None = None, scrubber: str | None = "s1") -> StoredInstructionSet:
    reports = {report: ReportFacts("f", scrubber, None) for report in approved().column("report_id").to_pylist()}
    return write_instruction_set(root, built(reports=reports), facts or FACTS, SEARCH)


def values_of_test_split(stored: StoredInstructionSet, column: str) -> set[str]:
    return {row[column] for row in stored.table.to_pylist() if row["split"] == "test"}


def test_the_test_splits_of_every_set_with_the_salt_are_known(tmp_path: Path) -> None:
    """One missed set would let its test questions into training."""
    stored = store(tmp_path)
    found = read_earlier_tests(tmp_path, SPLIT)
    assert found.same_rule == values_of_test_split(stored, "subject_key")
    assert found.other_rules == frozenset()
    assert set(found.examples) == values_of_test_split(stored, "fingerprint")
    assert read_earlier_tests(tmp_path, SPLIT, exclude=stored.fingerprint).subjects == frozenset()


def test_subjects_of_another_rule_are_separate(tmp_path: Path) -> None:
    """Only these can be in another split now."""
    stored = store(tmp_path, {**FACTS, "test_fraction": 0.5})
    store(tmp_path, {**FACTS, "test_from": "2025-01-01"})
    assert read_earlier_tests(tmp_path, SPLIT).other_rules == values_of_test_split(stored, "subject_key")
    by_time = replace(SPLIT, test_from="2025-01-01")
    assert read_earlier_tests(tmp_path, by_time).same_rule == values_of_test_split(stored, "subject_key")


def test_another_salt_resets_the_test_split(tmp_path: Path) -> None:
    store(tmp_path)
    assert read_earlier_tests(tmp_path, replace(SPLIT, salt="another")).subjects == frozenset()
    assert read_earlier_tests(tmp_path / "absent", SPLIT).subjects == frozenset()


@pytest.mark.parametrize("name", ["manifest.json", "instruction_set.parquet"])
def test_an_unreadable_set_closes_the_gate(tmp_path: Path, name: str) -> None:
    """Its test subjects are unknown."""
    stored = store(tmp_path)
    (stored.folder / name).write_text("{")
    with pytest.raises(InstructionSetError, match=stored.folder.name):
        read_earlier_tests(tmp_path, SPLIT)


def test_train_examples_of_an_earlier_set_can_be_replayed_with_provenance(tmp_path: Path) -> None:
    """Content and provenance are restored; general data is excluded."""
    stored = store(tmp_path)
    found = read_replayable(tmp_path, "r", SPLIT.salt, "s1")
    train = [row for row in stored.table.to_pylist() if row["split"] == "train" and not row["is_general"]]
    assert {example.example_id for example in found} == {row["example_id"] for row in train}
    outputs = {row["example_id"]: row["messages"][-1]["content"] for row in train}
    assert {example.example_id: example.output for example in found} == outputs
    assert {example.report_fingerprint for example in found} == {"f"}


@pytest.mark.parametrize(("recipe", "scrubber"), [("another", "s1"), ("r", "s2")])
def test_examples_of_another_recipe_or_scrubber_are_not_replayed(tmp_path: Path, recipe: str, scrubber: str) -> None:
    """Old texts would bypass a new scrubbing rule."""
    store(tmp_path)
    assert read_replayable(tmp_path, recipe, SPLIT.salt, scrubber) == []


def test_dropped_replays_have_a_reason(tmp_path: Path) -> None:
    """A revocation removes its example from every later training, visibly."""
    store(tmp_path)
    first, *others = read_replayable(tmp_path, "r", SPLIT.salt, "s1")
    why = {first.fingerprint: "its approval was revoked"}
    kept, dropped = filter_replayable([first, *others], lambda example: why.get(example.fingerprint))
    assert (kept, dropped) == (others, [DroppedExample(first.example_id, "its approval was revoked")])


def test_a_changed_set_is_not_replayed(tmp_path: Path) -> None:
    """Replayed content must be the approved content."""
    stored = store(tmp_path)
    path = stored.folder / "train.alpaca.json"
    path.write_text(path.read_text().replace("Rest 1", "Rest 9"))
    with pytest.raises(InstructionSetError, match=stored.folder.name):
        read_replayable(tmp_path, "r", SPLIT.salt, "s1")


def test_other_test_subjects_of_a_set_with_an_erasure_are_remembered(tmp_path: Path) -> None:
    """An erasure must neither let other test examples into training nor close the gate permanently."""
    stored = store(tmp_path)
    erased, *others = sorted(values_of_test_split(stored, "subject_key"))
    table = stored.provenance
    assert table is not None
    for path in stored.folder.iterdir():
        path.unlink()
    write_erased_set(stored.folder, ErasedSet(stored.fingerprint, "2026-01-01", ("x",), {"test": 1}, FACTS))
    pq.write_table(
        table.filter(pc.not_equal(pc.fill_null(table["subject_key"], ""), erased)), stored.folder / REMAINING_FILE
    )
    assert read_earlier_tests(tmp_path, SPLIT).same_rule == set(others)
    assert read_replayable(tmp_path, "r", SPLIT.salt, "s1") == []

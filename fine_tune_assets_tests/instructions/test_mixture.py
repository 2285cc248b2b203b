"""What is mixed into train: the right share, every kind fairly, and the same for the same seed."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.instructions.assembly import Dropped, build_instruction_set
from fine_tune_assets.instructions.mixture import choose, mix_counts
from fine_tune_assets.instructions.provenance import ReportFacts
from fine_tune_assets.instructions.set_examples import SetExample, approved_example
from fine_tune_assets.tables.approval import ApprovedExample
from fine_tune_assets.tables.instructions import GeneralExample
from fine_tune_assets.tables.records import records_of
from fine_tune_assets_tests.instructions.examples import approved, around, example, general, patients_in, rules


def chosen(examples: Sequence[GeneralExample], count: int, seed: int) -> list[GeneralExample]:
    return choose(examples, lambda example: (example.source, example.kind), count, seed)


@given(count=st.integers(0, 50), more=st.integers(0, 10), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_a_larger_mix_only_adds_and_each_kind_of_each_source_has_its_share(count: int, more: int, seed: int) -> None:
    """More training data must not swap the general data that is already in."""
    examples = list(records_of(GeneralExample, general({"large": 40, "small": 10})))
    fewer = chosen(examples, count, seed)
    larger = {example.example_id for example in chosen(examples, count + more, seed)}
    assert len(fewer) == count
    assert {example.example_id for example in fewer} <= larger
    for source, share in (("large", 0.4), ("small", 0.1)):
        for kind in ("kind 0", "kind 1"):
            found = sum((example.source, example.kind) == (source, kind) for example in fewer)
            assert abs(found - count * share) <= 1.5


def test_another_seed_chooses_others() -> None:
    """Else the seed would be a setting that does nothing."""
    examples = list(records_of(GeneralExample, general()))
    first, second = ({example.example_id for example in chosen(examples, 20, seed)} for seed in (1, 2))
    assert first != second


def test_the_licence_of_what_is_mixed_in_stays_with_the_set() -> None:
    """Whoever redistributes the set needs it."""
    result = build_instruction_set(approved(), general(), rules(), around())
    assert result.licences == {"large": "MIT", "small": "MIT"}


def test_fractions_that_leave_nothing_to_the_approved_examples_are_refused() -> None:
    """A recipe that can't work says so."""
    with pytest.raises(RecipeError, match="must stay below 1"):
        mix_counts(rules(0.6, 0.4), 10, 0)


OLD = patients_in("train", 60)[30:]


def earlier(patient: str, finding: str) -> SetExample:
    approved = ApprovedExample.of({**example(patient, finding), "decision_ids": ["d1"]})
    return approved_example(approved, "train", {approved.report_id: ReportFacts("f", "s", None)})


def test_replayed_examples_are_the_fraction_of_train_that_was_asked_for_and_say_where_they_come_from() -> None:
    """What was learned and is no longer drafted is kept in memory, as far as the recipe says."""
    rows = [earlier(patient, f"Earlier {patient}.") for patient in OLD]
    result = build_instruction_set(approved(), general(), rules(0.1, 0.2), around(replayable=rows))
    train = [row for row in result.table.to_pylist() if row["split"] == "train"]
    replayed = [row for row in train if row["patient_key"] in OLD]
    assert len(replayed) == result.replayed == result.replay_wanted
    assert abs(len(replayed) - 0.2 * len(train)) <= 1
    assert abs(sum(row["is_general"] for row in train) - 0.1 * len(train)) <= 1
    provenance = {row["example_id"]: row for row in result.provenance.to_pylist()}
    assert all(provenance[row["example_id"]]["report_fingerprint"] == "f" for row in replayed)
    assert all(provenance[row["example_id"]]["decision_ids"] == ["d1"] for row in replayed)


def test_nothing_is_replayed_that_is_tested_on_present_or_like_what_another_split_holds() -> None:
    """Replay is a way back into training: every gate of the first way holds for it too."""
    (tested,) = patients_in("test", 1)
    present = approved().to_pylist()[0]
    rows = [
        earlier(tested, "Of a test patient."),
        replace(earlier(OLD[0], present["input"]), fingerprint=present["fingerprint"]),
        earlier(OLD[1], "A rash on the left arm. Now"),
    ]
    exam = example(tested, "A rash on the left arm.")
    fallen = Dropped("e-old", "its approval was revoked")
    surroundings = around(replayable=rows, not_replayable=[fallen])
    result = build_instruction_set(approved(extra=[exam]), general(), rules(0.1, 0.4), surroundings)
    assert result.replayed == 0
    assert result.replay_wanted > 0
    assert fallen in result.replay_left_out, "What could not be replayed is said."
    reasons = {one.example_id: one.reason for one in result.replay_left_out}
    assert reasons[rows[2].example_id].startswith("near duplicate of ")


def test_the_replay_is_the_same_for_any_order() -> None:
    """Its choice is seeded by content."""
    rows = [earlier(patient, f"Earlier {patient}.") for patient in OLD]
    results = [
        build_instruction_set(approved(), general(), rules(0.1, 0.1), around(replayable=order))
        for order in (rows, rows[::-1])
    ]
    assert isinstance(results[0].table, pa.Table)
    assert results[0].table.equals(results[1].table)

"""The mix of train: the right shares, proportional by kind, deterministic by seed."""

from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.instructions.assembly import DroppedExample, build_instruction_set
from fine_tune_assets.instructions.mixture import count_mixed_in, sample_by_kind
from fine_tune_assets.instructions.provenance import ReportFacts
from fine_tune_assets.instructions.set_examples import SetExample, approved_example
from fine_tune_assets.tables.approval_rows import ApprovedExample
from fine_tune_assets.tables.instruction_rows import GeneralExample
from fine_tune_assets.tables.record_classes import iter_records, table_from_rows
from fine_tune_assets_tests.instructions.examples import approved, around, example, general, rules, subjects_in


def chosen(table: pa.Table, count: int, seed: int) -> list[GeneralExample]:
    examples = list(iter_records(GeneralExample, table))
    return [examples[row] for row in sample_by_kind(table, ("source", "kind"), count, seed)]


def chosen_row_by_row(examples: Iterable[GeneralExample], count: int, seed: int) -> list[str]:
    """The ids that the first version of the choice took, which had every example in memory."""
    kinds: dict[tuple[str, str], list[GeneralExample]] = {}
    for one in examples:
        kinds.setdefault((one.source, one.kind), []).append(one)
    placed: list[tuple[float, str]] = []
    for of_kind in kinds.values():
        hashed = sorted((keyed_hash(str(seed).encode(), one.fingerprint), one.example_id) for one in of_kind)
        placed += [((rank + 0.5) / len(of_kind), one_id) for rank, (_, one_id) in enumerate(hashed)]
    return [one_id for _, one_id in sorted(placed)[:count]]


@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 9)), max_size=60),
    count=st.integers(0, 70),
    seed=st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_the_choice_is_the_same_as_row_by_row(rows: list[tuple[str, str, int]], count: int, seed: int) -> None:
    """Otherwise an update of the software would train another model from the same data. Fingerprints may repeat."""
    made = [
        {**row, "source": source, "kind": kind, "fingerprint": f"{text}", "example_id": f"{number:03}"}
        for number, (row, (source, kind, text)) in enumerate(zip(general().to_pylist() * 2, rows, strict=False))
    ]
    table = table_from_rows(reversed(made), GeneralExample.SCHEMA)
    expected = chosen_row_by_row(iter_records(GeneralExample, table), count, seed)
    assert [one.example_id for one in chosen(table, count, seed)] == expected
    parts = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    assert [one.example_id for one in chosen(parts, count, seed)] == expected


@given(count=st.integers(0, 50), more=st.integers(0, 10), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_a_larger_mix_only_adds_and_keeps_the_shares_of_kinds(count: int, more: int, seed: int) -> None:
    """More training data must not replace general data."""
    examples = general({"large": 40, "small": 10})
    fewer = chosen(examples, count, seed)
    larger = {example.example_id for example in chosen(examples, count + more, seed)}
    assert len(fewer) == count
    assert {example.example_id for example in fewer} <= larger
    for source, share in (("large", 0.4), ("small", 0.1)):
        for kind in ("kind 0", "kind 1"):
            found = sum((example.source, example.kind) == (source, kind) for example in fewer)
            assert abs(found - count * share) <= 1.5


def test_another_seed_chooses_others() -> None:
    """Otherwise the seed would have no effect."""
    examples = general()
    first, second = ({example.example_id for example in chosen(examples, 20, seed)} for seed in (1, 2))
    assert first != second


def test_the_set_keeps_the_licences_of_mixed_in_data() -> None:
    """Redistribution requires them."""
    result = build_instruction_set(approved(), general(), rules(), around())
    assert result.licences == {"large": "MIT", "small": "MIT"}


def test_fractions_without_room_for_approved_examples_are_refused() -> None:
    with pytest.raises(RecipeError, match="replay_fraction"):
        count_mixed_in(rules(0.6, 0.4), 10, 0)


OLD = subjects_in("train", 60)[30:]


def earlier(subject: str, finding: str) -> SetExample:
    approved = ApprovedExample.from_row({**example(subject, finding), "decision_ids": ["d1"]})
    return approved_example(approved, "train", {approved.report_id: ReportFacts("f", "s", None)})


def test_replayed_examples_have_the_requested_fraction_and_their_provenance() -> None:
    """Replay counters forgetting of examples that are no longer drafted."""
    rows = [earlier(subject, f"Earlier {subject}.") for subject in OLD]
    result = build_instruction_set(approved(), general(), rules(0.1, 0.2), around(replayable=rows))
    train = [row for row in result.table.to_pylist() if row["split"] == "train"]
    replayed = [row for row in train if row["subject_key"] in OLD]
    assert len(replayed) == result.replayed == result.replay_target
    assert abs(len(replayed) - 0.2 * len(train)) <= 1
    assert abs(sum(row["is_general"] for row in train) - 0.1 * len(train)) <= 1
    provenance = {row["example_id"]: row for row in result.provenance.to_pylist()}
    assert all(provenance[row["example_id"]]["report_fingerprint"] == "f" for row in replayed)
    assert all(provenance[row["example_id"]]["decision_ids"] == ["d1"] for row in replayed)


def test_test_present_and_duplicate_examples_are_not_replayed() -> None:
    """Every gate of new examples applies to replayed ones too."""
    (tested,) = subjects_in("test", 1)
    present = approved().to_pylist()[0]
    rows = [
        earlier(tested, "Of a test subject."),
        replace(earlier(OLD[0], present["input"]), fingerprint=present["fingerprint"]),
        earlier(OLD[1], "A rash on the left arm. Now"),
    ]
    test_example = example(tested, "A rash on the left arm.")
    revoked = DroppedExample("e-old", "its approval was revoked")
    context = around(replayable=rows, not_replayable=[revoked])
    result = build_instruction_set(approved(extra=[test_example]), general(), rules(0.1, 0.4), context)
    assert result.replayed == 0
    assert result.replay_target > 0
    assert revoked in result.replay_dropped
    reasons = {one.example_id: one.reason for one in result.replay_dropped}
    assert reasons[rows[2].example_id].startswith("near duplicate of ")


def test_the_replay_is_the_same_for_any_order() -> None:
    """The choice is seeded by content."""
    rows = [earlier(subject, f"Earlier {subject}.") for subject in OLD]
    results = [
        build_instruction_set(approved(), general(), rules(0.1, 0.1), around(replayable=order))
        for order in (rows, rows[::-1])
    ]
    assert isinstance(results[0].table, pa.Table)
    assert results[0].table.equals(results[1].table)

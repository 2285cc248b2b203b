"""The mix of train: the right shares, proportional by kind, deterministic by seed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.core.errors import GateClosedError, RecipeError
from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.instructions.assembly import (
    DroppedExample,
    InstructionSet,
    UnknownMixSourceError,
    build_instruction_set,
)
from fine_tune_assets.instructions.leakage import EvaluationText
from fine_tune_assets.instructions.mixture import count_mixed_in, sample_by_kind
from fine_tune_assets.instructions.provenance import ReportFacts
from fine_tune_assets.instructions.set_examples import SetExample, approved_example
from fine_tune_assets.recipes.schema import BUNDLED, PREVIOUS_SET
from fine_tune_assets.tables.approval_rows import ApprovedExample
from fine_tune_assets.tables.instruction_rows import GeneralExample, count_by_reason
from fine_tune_assets.tables.record_classes import iter_records, table_from_rows
from fine_tune_assets_tests.instructions.examples import SEARCH, approved, around, example, general, rules, subjects_in


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
    with pytest.raises(RecipeError, match="mix"):
        count_mixed_in({BUNDLED: 0.6, PREVIOUS_SET: 0.4}, 10, 0)


def mixed(*tables: pa.Table, **weights: float) -> InstructionSet:
    return build_instruction_set(approved(), pa.concat_tables(tables), rules(**weights), around())


CHATS = general({"chats": 40}, "Chat {}?", "chats")


def sources_of(result: InstructionSet) -> dict[str, int]:
    return dict(Counter(row["source"] for row in result.table.to_pylist() if row["is_general"]))


def test_each_source_has_its_share_of_the_train_split() -> None:
    """A team chooses how much of which data its model gets."""
    result = mixed(general(), CHATS, fraction=0.1, chats=0.3)
    train = result.table.column("split").to_pylist().count("train")
    chats = sources_of(result)["chats"]
    bundled = sum(sources_of(result).values()) - chats
    assert abs(chats - 0.3 * train) <= 0.5
    assert abs(bundled - 0.1 * train) <= 0.5
    counts = {name: (one.wanted, one.given) for name, one in result.mixed.items() if one.wanted}
    assert counts == {BUNDLED: (bundled, bundled), "chats": (chats, chats)}


def test_data_that_the_mix_does_not_name_is_not_mixed_in() -> None:
    """An import alone changes no model."""
    assert "chats" not in sources_of(mixed(general(), CHATS, fraction=0.2))


def test_an_unknown_source_closes_the_gate_and_lists_the_known_ones() -> None:
    """A misspelt source would train without the data that the recipe names."""
    with pytest.raises(GateClosedError, match=r"chat, .* bundled, chats, previous_set") as caught:
        mixed(general(), CHATS, fraction=0.1, chat=0.1)
    assert isinstance(caught.value, UnknownMixSourceError)


def test_a_small_source_says_how_many_rows_it_gave() -> None:
    """Other sources do not fill the gap: their shares are the recipe's."""
    few = CHATS.slice(0, 3)
    result = mixed(general(), few, fraction=0.1, chats=0.3)
    assert (result.mixed["chats"].given, sources_of(result)["chats"]) == (3, 3)
    assert result.mixed["chats"].wanted > 3
    assert result.mixed[BUNDLED].given == result.mixed[BUNDLED].wanted


def test_a_row_of_two_sources_is_taken_once() -> None:
    """Two copies would count twice in training."""
    copies = [{**row, "source": "copies", "example_id": f"c-{n}"} for n, row in enumerate(CHATS.to_pylist())]
    again = table_from_rows([{**row, "mix_source": "copies"} for row in copies], GeneralExample.SCHEMA)
    result = mixed(CHATS, again, fraction=0, chats=0.3, copies=0.3)
    fingerprints = [row["fingerprint"] for row in result.table.to_pylist() if row["is_general"]]
    assert len(set(fingerprints)) == len(fingerprints)
    assert set(count_by_reason(result.mixed["copies"].dropped)) == {"exactly the same example"}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_general_row_that_repeats_a_domain_example_is_left_out(split: str) -> None:
    """In train it would count twice; in the other splits it would leak."""
    (subject,) = subjects_in(split, 1)
    near = "Chest pain since last night after a long walk uphill with no fever, better at rest."
    own = example(subject, near, "Rest.")
    row = {**CHATS.to_pylist()[0], "instruction": near.replace("uphill", "downhill"), "output": "Rest."}
    table = table_from_rows([row, *CHATS.slice(1, 2).to_pylist()], GeneralExample.SCHEMA)
    result = build_instruction_set(approved(extra=[own]), table, rules(0, chats=0.5), around())
    assert own["example_id"] in result.table.column("example_id").to_pylist()
    assert count_by_reason(result.mixed["chats"].dropped) == {f"near duplicate in {split}": 1}
    assert sources_of(result) == {"chats": 2}


def test_a_general_row_whose_answers_people_rated_is_left_out() -> None:
    """These answers measure the judge. Domain examples may repeat them, since the judge does not grade its own labels."""
    judged = (EvaluationText("rated 1", "Name three rivers in the north of the country.", "The Elbe."),)
    search = replace(SEARCH, judged=judged)
    row = {**CHATS.to_pylist()[0], "instruction": judged[0].input}
    table = table_from_rows([row, *CHATS.slice(1, 2).to_pylist()], GeneralExample.SCHEMA)
    result = build_instruction_set(approved(), table, rules(0, chats=0.5), around(leak_search=search))
    assert count_by_reason(result.mixed["chats"].dropped) == {"exact duplicate in judged": 1}
    own = example(subjects_in("train", 1)[0], judged[0].input)
    assert build_instruction_set(approved(extra=[own]), table, rules(0), around(leak_search=search)).dropped == ()


def test_without_general_data_the_set_has_domain_examples_alone() -> None:
    """The bundled folders may be removed."""
    empty = GeneralExample.SCHEMA.empty_table()
    result = build_instruction_set(approved(), empty, rules(0.2), around())
    assert (result.mixed[BUNDLED].given, result.table.num_rows) == (0, 40)
    assert result.mixed[BUNDLED].wanted > 0


def test_the_order_of_sources_in_the_recipe_does_not_matter() -> None:
    """A sorted recipe is the same recipe."""
    orders = [{BUNDLED: 0.1, "chats": 0.2}, {"chats": 0.2, BUNDLED: 0.1}]
    tables = [
        build_instruction_set(
            approved(), pa.concat_tables([general(), CHATS]), replace(rules(), mix=mix), around()
        ).table
        for mix in orders
    ]
    assert tables[0].equals(tables[1])


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
    assert len(replayed) == result.replayed == result.mixed[PREVIOUS_SET].wanted
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
    replay = result.mixed[PREVIOUS_SET]
    assert replay.wanted > 0
    assert revoked in replay.dropped
    reasons = {one.example_id: one.reason for one in replay.dropped}
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

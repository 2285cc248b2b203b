"""What an instruction set has to show before a GPU is spent: each check closes."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.defs.platform.automation import DATA_VERSION
from fine_tune_assets.defs.platform.metadata import WHY
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import APPROVED, LEFT_OUT, deciding_facts
from fine_tune_assets.defs.s05_instruction_sets.set_checks import (
    every_approved_example_is_accounted_for,
    final_texts_hold_no_identifier,
    nothing_leaks_between_splits,
    patients_stay_in_test,
    set_is_large_enough,
)
from fine_tune_assets.defs.s05_instruction_sets.set_evidence import VECTORS, leak_search
from fine_tune_assets.instructions.leaks import LeakSearch
from fine_tune_assets.instructions.stored_sets import LeakageError, StoredInstructionSet, write_instruction_set
from fine_tune_assets.lineage.instruction_sets import left_out_file, write_left_out
from fine_tune_assets.tables.instructions import InstructionRow
from fine_tune_assets.tables.records import table_of
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.instructions.examples import SEARCH, SPLIT, built

NOTHING_FOUND = {"findings": {}, "texts": 40, "scrubber_version": "s"}


@pytest.fixture(autouse=True)
def recipe(installation_dir: Path) -> None:
    """With the split that the examples of these tests are assigned by."""
    split = {
        name: getattr(SPLIT, name) for name in ("validation_fraction", "test_fraction", "salt", "minimum_examples")
    }
    write_recipe(installation_dir, split=split)


def store(
    instance: dg.DagsterInstance, identifiers: Any = NOTHING_FOUND, search: LeakSearch = SEARCH, **metadata: Any
) -> StoredInstructionSet:
    whole = built()
    evidence = {} if identifiers is None else {"identifiers": identifiers}
    root, facts = Installation().layout.instruction_sets, deciding_facts(Installation().recipe)
    stored = write_instruction_set(root, whole, facts, search, evidence)
    write_left_out(root, stored.fingerprint, [asdict(dropped) for dropped in whole.dropped])
    told = {APPROVED: whole.approved, LEFT_OUT: len(whole.dropped), "replayed": whole.replayed, **metadata}
    tags = {DATA_VERSION: stored.fingerprint}
    instance.report_runless_asset_event(dg.AssetMaterialization("instruction_sets", tags=tags, metadata=told))
    return stored


def result_of(check: Any, instance: dg.DagsterInstance, table: pa.Table) -> dg.AssetCheckResult:
    context = dg.build_asset_check_context(instance=instance)
    made = check(context, installation=Installation(), instruction_sets=table)
    assert isinstance(made, dg.AssetCheckResult)
    return made


CHECKS: list[Callable[..., Any]] = [
    nothing_leaks_between_splits,
    patients_stay_in_test,
    every_approved_example_is_accounted_for,
    final_texts_hold_no_identifier,
]


@pytest.mark.parametrize("check", CHECKS)
def test_a_sound_set_passes(instance: dg.DagsterInstance, check: Any) -> None:
    """Else the tests below would prove nothing."""
    stored = store(instance)
    assert result_of(check, instance, stored.table).passed


@pytest.mark.parametrize("check", [nothing_leaks_between_splits, patients_stay_in_test, final_texts_hold_no_identifier])
def test_a_table_that_is_not_the_stored_one_closes_the_gate(instance: dg.DagsterInstance, check: Any) -> None:
    """The evidence is of another table."""
    stored = store(instance)
    with pytest.raises(dg.Failure, match="not the table in hand"):
        result_of(check, instance, stored.table.slice(1))


def test_a_set_without_a_certificate_closes_the_gate(instance: dg.DagsterInstance) -> None:
    """A set of before there were certificates, after an update."""
    stored = store(instance)
    manifest = {**stored.manifest}
    del manifest["evidence"]
    (stored.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(dg.Failure, match="was changed after it was written"):
        result_of(nothing_leaks_between_splits, instance, stored.table)


def test_a_test_patient_of_an_earlier_set_who_is_trained_on_closes_the_gate(instance: dg.DagsterInstance) -> None:
    """Old scores and new ones would not be of the same exam, and the exam would be taught."""
    earlier = store(instance)
    rows = earlier.table.to_pylist()
    (moved, *_) = sorted({row["patient_key"] for row in rows if row["split"] == "test"})
    swapped = [{**row, "split": "train" if row["patient_key"] == moved else row["split"]} for row in rows]
    swapped.sort(key=lambda row: (row["split"], row["example_id"]))
    # As a faulty building would leave it: the splits of all three tables agree.
    order = [row["example_id"] for row in swapped]
    whole = built()

    def moved_table(table: pa.Table) -> pa.Table:
        by_id = {row["example_id"]: row for row in table.to_pylist()}
        splits = {row["example_id"]: row["split"] for row in swapped}
        return pa.Table.from_pylist([{**by_id[i], "split": splits[i]} for i in order], schema=table.schema)

    faulty = replace(
        whole,
        table=table_of(swapped, InstructionRow.SCHEMA),
        examples=moved_table(whole.examples),
        provenance=moved_table(whole.provenance),
    )
    root, facts = Installation().layout.instruction_sets, deciding_facts(Installation().recipe)
    stored = write_instruction_set(root, faulty, facts, SEARCH, {"identifiers": NOTHING_FOUND})
    tags = {DATA_VERSION: stored.fingerprint}
    instance.report_runless_asset_event(dg.AssetMaterialization("instruction_sets", tags=tags))
    found = result_of(patients_stay_in_test, instance, stored.table)
    assert not found.passed
    assert found.metadata["patients_trained_now"].value == 1
    assert "1 patients and 1 examples" in str(found.metadata[WHY].value)


def test_a_stored_set_that_cannot_be_read_closes_the_gate(instance: dg.DagsterInstance) -> None:
    """Nobody can say whom it tested on."""
    stored = store(instance)
    (stored.folder.parent / "0123").mkdir()
    with pytest.raises(dg.Failure, match="0123 can't be read"):
        result_of(patients_stay_in_test, instance, stored.table)


@pytest.mark.parametrize("told", [{APPROVED: 41}, {LEFT_OUT: 1}, {"replayed": 2}])
def test_an_example_that_is_neither_kept_nor_named_closes_the_gate(
    instance: dg.DagsterInstance, told: dict[str, int]
) -> None:
    """Rows in are rows kept and rows left out."""
    stored = store(instance, **told)
    assert not result_of(every_approved_example_is_accounted_for, instance, stored.table).passed


def test_a_left_out_example_without_a_reason_on_record_closes_the_gate(instance: dg.DagsterInstance) -> None:
    """A count alone does not tell whose example is missing, or why."""
    stored = store(instance, **{APPROVED: built().approved + 1, LEFT_OUT: 1})
    path = left_out_file(stored.folder.parent, stored.fingerprint)
    named = {"example_id": "e-9", "reason": "exactly the same example as e-1"}
    for rows, passes in (([named], True), ([], False), ([{**named, "reason": ""}], False), ([named, named], False)):
        write_left_out(stored.folder.parent, stored.fingerprint, rows)
        assert result_of(every_approved_example_is_accounted_for, instance, stored.table).passed is passes
    path.unlink()
    assert not result_of(every_approved_example_is_accounted_for, instance, stored.table).passed


@pytest.mark.parametrize("identifiers", [None, {**NOTHING_FOUND, "findings": {"e1": {"NAME": 2}}}])
def test_a_finding_in_the_final_texts_or_no_look_at_them_closes_the_gate(
    instance: dg.DagsterInstance, identifiers: Any
) -> None:
    """By kind and id; the text is nowhere."""
    stored = store(instance, identifiers)
    found = result_of(final_texts_hold_no_identifier, instance, stored.table)
    assert not found.passed
    if identifiers:
        assert "| e1 | NAME 2 |" in str(found.metadata["findings"].value)


def test_a_set_below_the_recipes_minimum_closes_the_gate(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """A recipe that asks for more later is asked again, without a new set."""
    table = store(instance).table
    own = sum(not general for general in table.column("is_general").to_pylist())
    for minimum, passes in ((own, True), (own + 1, False)):
        write_recipe(installation_dir, split={"minimum_examples": minimum})
        found = set_is_large_enough(installation=Installation(), instruction_sets=table)
        assert isinstance(found, dg.AssetCheckResult)
        assert found.passed is passes


def test_leaks_are_looked_for_with_the_recipes_thresholds_and_every_evaluation_set() -> None:
    """The certificate says what an auditor can rely on."""
    with leak_search(Installation()) as search:
        assert str(Installation().recipe.dedup.near_threshold) in search.described
        assert search.kinds == ("exact", "near", "semantic")
        assert len(search.evaluation) >= 600
        long = " ".join(f"word{number}" for number in range(40))
        pairs = search.find_pairs([long, "something else", f"{long} more"], ["train", "train", "test"])
        assert [(p.first, p.second, p.kind) for p in pairs] == [(0, 2, "near")]


def test_a_leak_of_nothing_but_phrases_that_many_share_is_found() -> None:
    """By what is left without boilerplate nobody could tell it from any other note of the template."""
    normal = [f"Normal finding number {n} of the long template." for n in range(30)]
    notes = [" ".join(normal[n % 3 :: 3]) + f" Own line {n} of this patient." for n in range(36)]
    leak = " ".join(normal[::3]) + " Somebody else wrote something else here."
    with leak_search(Installation()) as search:
        found = search.find_words([*notes, leak], ["train"] * len(notes) + ["test"])
    assert {pair.first for pair in found} == set(range(0, 36, 3))


def test_a_stored_set_without_a_search_for_paraphrases_closes_the_gate(instance: dg.DagsterInstance) -> None:
    """Whatever its certificate claims: such a set can only have been stored by another version."""
    stored = store(instance)
    whole, table = stored.manifest, stored.table
    evidence = {**whole["evidence"], "leakage": {**whole["evidence"]["leakage"], "kinds": ["exact", "near"]}}
    decisive = {"table": whole["table_fingerprint"], "facts": whole["facts"], "evidence": evidence}
    fingerprint = fingerprint_json(decisive)
    folder = stored.folder.rename(stored.folder.with_name(short(fingerprint)))
    (folder / "manifest.json").write_text(json.dumps({**whole, "evidence": evidence, "fingerprint": fingerprint}))
    instance.report_runless_asset_event(dg.AssetMaterialization("instruction_sets", tags={DATA_VERSION: fingerprint}))
    assert not result_of(nothing_leaks_between_splits, instance, table).passed


def test_a_set_in_which_nobody_searched_for_paraphrases_is_not_stored(instance: dg.DagsterInstance) -> None:
    """A leak in other words would raise the grade of a model that only remembers."""
    with pytest.raises(LeakageError):
        store(instance, search=replace(SEARCH, kinds=("exact", "near")))


@pytest.mark.usefixtures("installation_dir")
def test_vectors_of_texts_that_the_set_no_longer_holds_are_not_kept() -> None:
    """A report that was held back must not live on as a vector."""
    file = Installation().layout.cache / VECTORS
    texts = ["Knee pain since Monday.", "Cough and fever."]
    for asked in (texts, texts[:1]):
        with leak_search(Installation()) as search:
            search.find_pairs(asked, ["train"] * len(asked))
        with np.load(file) as stored:
            assert len(stored["keys"]) == len(asked)

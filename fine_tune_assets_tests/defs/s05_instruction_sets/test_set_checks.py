"""Every check on an instruction set closes before training."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.defs.platform.automation import DATA_VERSION
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import APPROVED, LEFT_OUT, defining_facts
from fine_tune_assets.defs.s05_instruction_sets.set_checks import (
    every_approved_example_is_accounted_for,
    final_texts_contain_no_identifiers,
    set_meets_minimum_size,
    splits_have_no_leakage,
    subjects_stay_in_test,
)
from fine_tune_assets.defs.s05_instruction_sets.set_evidence import VECTORS, leak_search
from fine_tune_assets.instructions.leakage import LeakSearch
from fine_tune_assets.instructions.stored_sets import LeakageError, StoredInstructionSet, write_instruction_set
from fine_tune_assets.lineage.set_history import excluded_examples_path, write_excluded_examples
from fine_tune_assets.tables.instruction_rows import ExcludedExample, InstructionRow
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.instructions.examples import SEARCH, SPLIT, built

NOTHING_FOUND = {"findings": {}, "texts": 40, "scrubber_version": "s"}


@pytest.fixture(autouse=True)
def recipe(installation_dir: Path) -> None:
    """A recipe with the split settings of the test examples."""
    split = {
        name: getattr(SPLIT, name) for name in ("validation_fraction", "test_fraction", "salt", "minimum_examples")
    }
    write_recipe(installation_dir, split=split)


def store(
    instance: dg.DagsterInstance, identifiers: Any = NOTHING_FOUND, search: LeakSearch = SEARCH, **metadata: Any
) -> StoredInstructionSet:
    new = built()
    evidence = {} if identifiers is None else {"identifiers": identifiers}
    root, facts = Installation().layout.instruction_sets, defining_facts(Installation().recipe)
    stored = write_instruction_set(root, new, facts, search, evidence)
    write_excluded_examples(
        root, stored.fingerprint, [ExcludedExample.from_row(vars(dropped)) for dropped in new.dropped]
    )
    counts = {APPROVED: new.approved, LEFT_OUT: len(new.dropped), "replayed": new.replayed, **metadata}
    tags = {DATA_VERSION: stored.fingerprint}
    instance.report_runless_asset_event(dg.AssetMaterialization("instruction_sets", tags=tags, metadata=counts))
    return stored


def result_of(check: Any, instance: dg.DagsterInstance, table: pa.Table) -> dg.AssetCheckResult:
    context = dg.build_asset_check_context(instance=instance)
    made = check(context, installation=Installation(), instruction_sets=table)
    assert isinstance(made, dg.AssetCheckResult)
    return made


CHECKS: list[Callable[..., Any]] = [
    splits_have_no_leakage,
    subjects_stay_in_test,
    every_approved_example_is_accounted_for,
    final_texts_contain_no_identifiers,
]


@pytest.mark.parametrize("check", CHECKS)
def test_a_valid_set_passes(instance: dg.DagsterInstance, check: Any) -> None:
    """Otherwise the tests below would prove nothing."""
    stored = store(instance)
    assert result_of(check, instance, stored.table).passed


@pytest.mark.parametrize("check", [splits_have_no_leakage, subjects_stay_in_test, final_texts_contain_no_identifiers])
def test_a_table_that_differs_from_the_stored_set_closes_the_gate(instance: dg.DagsterInstance, check: Any) -> None:
    """The stored evidence belongs to another table."""
    stored = store(instance)
    with pytest.raises(dg.Failure, match=f"{stored.folder.name}.*`fine-tune materialize instruction_sets`"):
        result_of(check, instance, stored.table.slice(1))


def test_a_set_without_a_certificate_closes_the_gate(instance: dg.DagsterInstance) -> None:
    """For example, a set that was stored by a version without certificates."""
    stored = store(instance)
    manifest = {**stored.manifest}
    del manifest["evidence"]
    (stored.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(dg.Failure, match=stored.folder.name):
        result_of(splits_have_no_leakage, instance, stored.table)


def test_training_on_a_test_subject_of_an_earlier_set_closes_the_gate(instance: dg.DagsterInstance) -> None:
    """The model would be trained on its test, and new scores would not be comparable with old ones."""
    earlier = store(instance)
    rows = earlier.table.to_pylist()
    (moved, *_) = sorted({row["subject_key"] for row in rows if row["split"] == "test"})
    swapped = [{**row, "split": "train" if row["subject_key"] == moved else row["split"]} for row in rows]
    swapped.sort(key=lambda row: (row["split"], row["example_id"]))
    # Like a faulty assembly: the splits of all three tables agree.
    order = [row["example_id"] for row in swapped]
    correct = built()

    def moved_table(table: pa.Table) -> pa.Table:
        by_id = {row["example_id"]: row for row in table.to_pylist()}
        splits = {row["example_id"]: row["split"] for row in swapped}
        return pa.Table.from_pylist([{**by_id[i], "split": splits[i]} for i in order], schema=table.schema)

    faulty = replace(
        correct,
        table=table_from_rows(swapped, InstructionRow.SCHEMA),
        examples=moved_table(correct.examples),
        provenance=moved_table(correct.provenance),
    )
    root, facts = Installation().layout.instruction_sets, defining_facts(Installation().recipe)
    stored = write_instruction_set(root, faulty, facts, SEARCH, {"identifiers": NOTHING_FOUND})
    tags = {DATA_VERSION: stored.fingerprint}
    instance.report_runless_asset_event(dg.AssetMaterialization("instruction_sets", tags=tags))
    found = result_of(subjects_stay_in_test, instance, stored.table)
    assert not found.passed
    assert found.metadata["subjects_trained_now"].value == 1
    assert found.metadata["examples_trained_now"].value == 1
    assert REASON in found.metadata


def test_an_unreadable_earlier_set_closes_the_gate(instance: dg.DagsterInstance) -> None:
    """Its test subjects are unknown."""
    stored = store(instance)
    (stored.folder.parent / "0123").mkdir()
    with pytest.raises(dg.Failure, match="0123"):
        result_of(subjects_stay_in_test, instance, stored.table)


@pytest.mark.parametrize("counts", [{APPROVED: 41}, {LEFT_OUT: 1}, {"replayed": 2}])
def test_an_example_that_is_neither_kept_nor_excluded_closes_the_gate(
    instance: dg.DagsterInstance, counts: dict[str, int]
) -> None:
    """Rows in = rows kept + rows excluded."""
    stored = store(instance, **counts)
    assert not result_of(every_approved_example_is_accounted_for, instance, stored.table).passed


def test_an_excluded_example_without_a_recorded_reason_closes_the_gate(instance: dg.DagsterInstance) -> None:
    """A count alone does not show which example is missing, or why."""
    stored = store(instance, **{APPROVED: built().approved + 1, LEFT_OUT: 1})
    path = excluded_examples_path(stored.folder.parent, stored.fingerprint)
    named = ExcludedExample(example_id="e-9", reason="exactly the same example as e-1")
    for rows, passes in (([named], True), ([], False), ([replace(named, reason="")], False), ([named, named], False)):
        write_excluded_examples(stored.folder.parent, stored.fingerprint, rows)
        assert result_of(every_approved_example_is_accounted_for, instance, stored.table).passed is passes
    path.unlink()
    assert not result_of(every_approved_example_is_accounted_for, instance, stored.table).passed


@pytest.mark.parametrize("identifiers", [None, {**NOTHING_FOUND, "findings": {"e1": {"NAME": 2}}}])
def test_an_identifier_in_the_final_texts_or_a_missing_scan_closes_the_gate(
    instance: dg.DagsterInstance, identifiers: Any
) -> None:
    """The result shows kinds and ids, but no text."""
    stored = store(instance, identifiers)
    found = result_of(final_texts_contain_no_identifiers, instance, stored.table)
    assert not found.passed
    if identifiers:
        assert "| e1 | NAME 2 |" in str(found.metadata["findings"].value)
        reason = str(found.metadata[REASON].value)
        assert "e1 (NAME 2)" in reason
        assert "`kept_values`" in reason  # marking an ordinary word would remove it everywhere


def test_a_set_below_the_recipes_minimum_closes_the_gate(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """A higher minimum applies to the existing set too."""
    table = store(instance).table
    own = sum(not general for general in table.column("is_general").to_pylist())
    for minimum, passes in ((own, True), (own + 1, False)):
        write_recipe(installation_dir, split={"minimum_examples": minimum})
        found = set_meets_minimum_size(installation=Installation(), instruction_sets=table)
        assert isinstance(found, dg.AssetCheckResult)
        assert found.passed is passes


def test_the_leak_search_uses_the_recipes_thresholds_and_every_evaluation_set() -> None:
    """The certificate states these, and an auditor relies on them."""
    with leak_search(Installation()) as search:
        assert str(Installation().recipe.dedup.near_threshold) in search.description
        assert search.kinds == ("exact", "near", "semantic")
        assert len(search.evaluation) >= 600
        long = " ".join(f"word{number}" for number in range(40))
        pairs = search.find_pairs([long, "something else", f"{long} more"], ["train", "train", "test"])
        assert [(p.first, p.second, p.kind) for p in pairs] == [(0, 2, "near")]


def test_the_leak_search_finds_a_leak_of_boilerplate_only() -> None:
    """Without boilerplate, the leak would look like any other note of the template."""
    normal = [f"Normal finding number {n} of the long template." for n in range(30)]
    notes = [" ".join(normal[n % 3 :: 3]) + f" Own line {n} of this patient." for n in range(36)]
    leak = " ".join(normal[::3]) + " Another author wrote a different line here."
    with leak_search(Installation()) as search:
        found = search.find_lexical_pairs([*notes, leak], ["train"] * len(notes) + ["test"])
    assert {pair.first for pair in found} == set(range(0, 36, 3))


def test_a_stored_set_without_a_search_for_paraphrases_closes_the_gate(instance: dg.DagsterInstance) -> None:
    """Applies whatever its certificate claims, since another version must have stored the set."""
    stored = store(instance)
    manifest, table = stored.manifest, stored.table
    evidence = {**manifest["evidence"], "leakage": {**manifest["evidence"]["leakage"], "kinds": ["exact", "near"]}}
    hashed = {"table": manifest["table_fingerprint"], "facts": manifest["facts"], "evidence": evidence}
    fingerprint = fingerprint_json(hashed)
    folder = stored.folder.rename(stored.folder.with_name(short(fingerprint)))
    (folder / "manifest.json").write_text(json.dumps({**manifest, "evidence": evidence, "fingerprint": fingerprint}))
    instance.report_runless_asset_event(dg.AssetMaterialization("instruction_sets", tags={DATA_VERSION: fingerprint}))
    assert not result_of(splits_have_no_leakage, instance, table).passed


def test_a_set_without_a_search_for_paraphrases_is_not_stored(instance: dg.DagsterInstance) -> None:
    """A paraphrased leak would raise the grade of a model that memorizes."""
    with pytest.raises(LeakageError):
        store(instance, search=replace(SEARCH, kinds=("exact", "near")))


@pytest.mark.usefixtures("installation_dir")
def test_the_leak_search_removes_vectors_of_texts_that_left_the_set() -> None:
    """The vector of a withheld report must not stay in the cache."""
    file = Installation().layout.cache / VECTORS
    texts = ["Knee pain since Monday.", "Cough and fever."]
    for searched in (texts, texts[:1]):
        with leak_search(Installation()) as search:
            search.find_pairs(searched, ["train"] * len(searched))
        with np.load(file) as stored:
            assert len(stored["keys"]) == len(searched)

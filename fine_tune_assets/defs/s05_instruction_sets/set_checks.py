"""Stage 5: checks on an instruction set before training. They read the evidence that is stored with the set."""

from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.platform.asset_keys import asset_key
from fine_tune_assets.defs.platform.automation import latest_event
from fine_tune_assets.defs.platform.metadata import check_result, markdown_table, read_metadata
from fine_tune_assets.defs.platform.resources import Installation, user_facing_errors
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import APPROVED, LEFT_OUT, MAX_ROWS_SHOWN
from fine_tune_assets.instructions.certificate import check_separation
from fine_tune_assets.instructions.earlier_sets import read_earlier_tests
from fine_tune_assets.instructions.gates import identifier_findings, is_certified
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, read_instruction_set
from fine_tune_assets.lineage.set_history import read_excluded_examples

MAX_EXAMPLES_NAMED = 5


def read_matching_set(
    instance: dg.DagsterInstance, installation: Installation, table: pa.Table
) -> StoredInstructionSet:
    """The stored set with exactly this table. Raises GateClosedError, InstructionSetError."""
    stored = read_instruction_set(installation.layout.instruction_sets, newest_fingerprint(instance))
    if fingerprint_table(stored.table) != fingerprint_table(table):
        raise GateClosedError(
            f"Stored instruction set {stored.folder.name} differs from the table of the asset. "
            + materialize_hint("instruction_sets")
        )
    return stored


def newest_fingerprint(instance: dg.DagsterInstance) -> str:
    """Fingerprint of the newest instruction set, or "missing"."""
    event = latest_event(instance, asset_key("instruction_sets"))
    return (event.version if event else None) or "missing"


@dg.asset_check(
    asset="instruction_sets",
    blocking=True,
    description="No subject and no similar text is in two splits. No evaluation text is in train or validation, and general data "
    "is in train only.",
)
def splits_have_no_leakage(
    context: dg.AssetCheckExecutionContext, installation: Installation, instruction_sets: pa.Table
) -> dg.AssetCheckResult:
    with user_facing_errors():
        stored = read_matching_set(context.instance, installation, instruction_sets)
    is_separate = is_certified(stored) and check_separation(instruction_sets).is_clean
    certificate = str(stored.manifest["leakage_certificate"])
    return check_result(is_separate, None if is_separate else certificate, certificate=certificate)


@dg.asset_check(
    asset="instruction_sets",
    name="test_subjects_stay_in_test",
    blocking=True,
    description="Subjects and examples in the test split of an earlier set with the same salt are not trained on now.",
)
def subjects_stay_in_test(
    context: dg.AssetCheckExecutionContext, installation: Installation, instruction_sets: pa.Table
) -> dg.AssetCheckResult:
    with user_facing_errors():
        stored = read_matching_set(context.instance, installation, instruction_sets)
        earlier = read_earlier_tests(
            installation.layout.instruction_sets, installation.recipe.split, stored.fingerprint
        )
    learned = instruction_sets.filter(pc.not_equal(instruction_sets.column("split"), "test"))
    subjects = earlier.subjects.intersection(learned.column("subject_key").to_pylist())
    examples = set(earlier.examples).intersection(learned.column("fingerprint").to_pylist())
    reason = f"{len(subjects)} subjects and {len(examples)} examples from the test split of an earlier set are trained on now."
    return check_result(
        not subjects and not examples,
        reason if subjects or examples else None,
        subjects_tested_before=len(earlier.subjects),
        subjects_trained_now=len(subjects),
        examples_trained_now=len(examples),
    )


@dg.asset_check(
    asset="instruction_sets",
    blocking=True,
    description="Every approved example is in the set, or excluded with a stated reason.",
)
def every_approved_example_is_accounted_for(
    context: dg.AssetCheckExecutionContext, installation: Installation, instruction_sets: pa.Table
) -> dg.AssetCheckResult:
    metadata = read_metadata(context.instance, "instruction_sets")
    counts: dict[str, Any] = {name: metadata.get(name) for name in (APPROVED, LEFT_OUT, "replayed")}
    own = instruction_sets.num_rows - sum(instruction_sets.column("is_general").to_pylist())
    excluded = read_excluded_examples(installation.layout.instruction_sets, newest_fingerprint(context.instance))
    with_reason = sum(bool(row.reason) for row in excluded)
    is_balanced = (
        None not in counts.values()
        and with_reason == counts[LEFT_OUT]
        and counts[APPROVED] + counts["replayed"] == own + counts[LEFT_OUT]
    )
    return check_result(is_balanced, in_the_set=own, left_out_with_a_reason=with_reason, **counts)


@dg.asset_check(
    asset="instruction_sets",
    blocking=True,
    description="The scrubber found no identifiers in the final texts, which include text written by reviewers.",
)
def final_texts_contain_no_identifiers(
    context: dg.AssetCheckExecutionContext, installation: Installation, instruction_sets: pa.Table
) -> dg.AssetCheckResult:
    with user_facing_errors():
        found = identifier_findings(read_matching_set(context.instance, installation, instruction_sets))
    if found is None:
        reason = f"This set has not been scanned for identifiers. {materialize_hint('instruction_sets')}"
        return check_result(False, reason)
    listed = [
        {"example": example, "found": ", ".join(f"{kind} {count}" for kind, count in kinds.items())}
        for example, kinds in sorted(found.items())[:MAX_ROWS_SHOWN]
    ]
    if not found:
        return check_result(True, examples=0)
    named = ", ".join(f"{one['example']} ({one['found']})" for one in listed[:MAX_EXAMPLES_NAMED])
    more = f" and {len(found) - MAX_EXAMPLES_NAMED} more" if len(found) > MAX_EXAMPLES_NAMED else ""
    reason = (
        f"{len(found)} examples seem to contain identifiers: {named}{more}. The desk marks the words (its first page links the "
        "examples), and `fine-tune review show ID` prints them. An identifier: mark it there if its report "
        "shows it, else repair or reject the example. Ordinary words of your domain: list their form in "
        "`kept_values` of the domain pack, or set `final_texts: changed` there."
    )
    return check_result(False, reason, examples=len(found), findings=markdown_table(listed))


@dg.asset_check(
    asset="instruction_sets",
    blocking=True,
    description="The set has at least as many of the organization's examples as the recipe requires.",
)
def set_meets_minimum_size(installation: Installation, instruction_sets: pa.Table) -> dg.AssetCheckResult:
    own = instruction_sets.num_rows - sum(instruction_sets.column("is_general").to_pylist())
    minimum = installation.recipe.split.minimum_examples
    return check_result(own >= minimum, examples=own, minimum=minimum)

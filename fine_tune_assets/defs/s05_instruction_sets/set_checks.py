"""Stage 5, what a set has to show before a GPU is spent on it.

Belongs here: reading the evidence that was stored with a set, and saying what is wrong. Must stay out: how it was found.
"""

from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.platform.automation import latest_event
from fine_tune_assets.defs.platform.metadata import checked, markdown_table, stored_metadata
from fine_tune_assets.defs.platform.resources import Installation, errors_for_people
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import APPROVED, LEFT_OUT, SHOWN_AT_MOST
from fine_tune_assets.instructions.certificate import separation
from fine_tune_assets.instructions.earlier_sets import earlier_tests
from fine_tune_assets.instructions.gates import identifiers_found, is_certified
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, read_instruction_set
from fine_tune_assets.lineage.instruction_sets import read_left_out


def stored_set(instance: dg.DagsterInstance, installation: Installation, table: pa.Table) -> StoredInstructionSet:
    """The stored set whose table is the one in hand. Raises GateClosedError, InstructionSetError."""
    stored = read_instruction_set(installation.layout.instruction_sets, newest_set(instance))
    if fingerprint_table(stored.table) != fingerprint_table(table):
        raise GateClosedError(
            f"The stored instruction set is not the table in hand. {materialize_hint('instruction_sets')}"
        )
    return stored


def newest_set(instance: dg.DagsterInstance) -> str:
    """Its fingerprint, as `instruction_sets` says."""
    event = latest_event(instance, dg.AssetKey("instruction_sets"))
    return (event.version if event else None) or "missing"


@dg.asset_check(
    asset="instruction_sets",
    blocking=True,
    description="No patient is in two splits, nothing in one split says the same as something in another, nothing of an "
    "evaluation set is trained or validated on, and general data only trains: the leakage certificate holds.",
)
def nothing_leaks_between_splits(
    context: dg.AssetCheckExecutionContext, installation: Installation, instruction_sets: pa.Table
) -> dg.AssetCheckResult:
    with errors_for_people():
        stored = stored_set(context.instance, installation, instruction_sets)
    holds = is_certified(stored) and separation(instruction_sets).holds
    certificate = str(stored.manifest["leakage_certificate"])
    return checked(holds, None if holds else certificate, certificate=certificate)


@dg.asset_check(
    asset="instruction_sets",
    name="test_patients_stay_in_test",
    blocking=True,
    description="Whoever and whatever an earlier set with the same salt tested on is not trained on now.",
)
def patients_stay_in_test(
    context: dg.AssetCheckExecutionContext, installation: Installation, instruction_sets: pa.Table
) -> dg.AssetCheckResult:
    with errors_for_people():
        stored = stored_set(context.instance, installation, instruction_sets)
        earlier = earlier_tests(installation.layout.instruction_sets, installation.recipe.split, stored.fingerprint)
    learned = instruction_sets.filter(pc.not_equal(instruction_sets.column("split"), "test"))
    patients = earlier.patients.intersection(learned.column("patient_key").to_pylist())
    examples = set(earlier.examples).intersection(learned.column("fingerprint").to_pylist())
    why = f"{len(patients)} patients and {len(examples)} examples that were tested on before are trained on now."
    return checked(
        not patients and not examples,
        why if patients or examples else None,
        patients_tested_before=len(earlier.patients),
        patients_trained_now=len(patients),
        examples_trained_now=len(examples),
    )


@dg.asset_check(
    asset="instruction_sets",
    blocking=True,
    description="Every approved example is in the set, or left out for a reason that is named.",
)
def every_approved_example_is_accounted_for(
    context: dg.AssetCheckExecutionContext, installation: Installation, instruction_sets: pa.Table
) -> dg.AssetCheckResult:
    shown = stored_metadata(context.instance, "instruction_sets")
    told: dict[str, Any] = {name: shown.get(name) for name in (APPROVED, LEFT_OUT, "replayed")}
    own = instruction_sets.num_rows - sum(instruction_sets.column("is_general").to_pylist())
    named = read_left_out(installation.layout.instruction_sets, newest_set(context.instance))
    with_reason = sum(bool(row["reason"]) for row in named)
    is_whole = (
        None not in told.values()
        and with_reason == told[LEFT_OUT]
        and told[APPROVED] + told["replayed"] == own + told[LEFT_OUT]
    )
    return checked(is_whole, in_the_set=own, left_out_with_a_reason=with_reason, **told)


@dg.asset_check(
    asset="instruction_sets",
    blocking=True,
    description="The scrubber looked through the final texts, also what people wrote into them, and found nobody.",
)
def final_texts_hold_no_identifier(
    context: dg.AssetCheckExecutionContext, installation: Installation, instruction_sets: pa.Table
) -> dg.AssetCheckResult:
    with errors_for_people():
        found = identifiers_found(stored_set(context.instance, installation, instruction_sets))
    if found is None:
        return checked(False, f"Nobody looked for identifiers in this set. {materialize_hint('instruction_sets')}")
    listed = [
        {"example": example, "found": ", ".join(f"{kind} {count}" for kind, count in kinds.items())}
        for example, kinds in sorted(found.items())[:SHOWN_AT_MOST]
    ]
    why = f"{len(found)} examples seem to hold identifiers. Mark them (`fine-tune phi mark`), or repair or reject the examples."
    if not found:
        return checked(True, examples=0)
    return checked(False, why, examples=len(found), findings=markdown_table(listed))


@dg.asset_check(
    asset="instruction_sets",
    blocking=True,
    description="The set has as many examples of the organisation's own as the recipe asks for.",
)
def set_is_large_enough(installation: Installation, instruction_sets: pa.Table) -> dg.AssetCheckResult:
    own = instruction_sets.num_rows - sum(instruction_sets.column("is_general").to_pylist())
    minimum = installation.recipe.split.minimum_examples
    return checked(own >= minimum, examples=own, minimum=minimum)

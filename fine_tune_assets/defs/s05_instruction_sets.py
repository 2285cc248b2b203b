"""Stage 5: what the model is trained and tested on.

Belongs here: mixing, splitting and storing one instruction set. Must stay out: tokens and models.
"""

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.automation import on_new_inputs, with_new_inputs
from fine_tune_assets.defs.metadata import OWNERS, definition_metadata, markdown_table, result
from fine_tune_assets.defs.resources import Installation, errors_for_people
from fine_tune_assets.defs.s04_approved_examples import require_reviewers_agree
from fine_tune_assets.defs.sources import recipe_section
from fine_tune_assets.instructions.building import build_instruction_set
from fine_tune_assets.instructions.certificate import leakage_certificate
from fine_tune_assets.instructions.general import read_general_data
from fine_tune_assets.instructions.storing import write_instruction_set

GROUP = "s05_instruction_sets"

general_files = dg.AssetSpec(
    "general_files",
    group_name=GROUP,
    description="General instructions written by people, with their licences (`data/general`).",
    owners=OWNERS["data"],
    kinds={"json"},
)


@dg.asset(
    group_name=GROUP,
    deps=[general_files],
    automation_condition=on_new_inputs(),
    description="General instructions that are mixed in, so that the model keeps what it knew.",
    owners=OWNERS["data"],
    kinds={"parquet"},
    metadata=definition_metadata("general_examples"),
)
def general_examples(installation: Installation) -> dg.MaterializeResult[pa.Table]:
    with errors_for_people():
        data = read_general_data(installation.layout.general)
    left_out = dg.MetadataValue.json({source: dict(reasons) for source, reasons in data.left_out.items()})
    return result("general_examples", data.table, fingerprint_table(data.table), left_out=left_out)


@dg.asset(
    group_name=GROUP,
    deps=[recipe_section("instructions")],
    automation_condition=with_new_inputs(),
    description="Train, validation and test conversations. A patient is in one split only, for ever.",
    owners=OWNERS["ml"],
    kinds={"parquet", "dataset"},
    metadata=definition_metadata("instruction_sets"),
)
def instruction_sets(
    installation: Installation, approved_examples: pa.Table, general_examples: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    recipe = installation.recipe
    with errors_for_people():
        require_reviewers_agree(installation, approved_examples)
        built = build_instruction_set(
            approved_examples,
            general_examples,
            recipe.system_prompt,
            recipe.split,
            recipe.general_fraction,
            recipe.training.seed,
        )
        facts = {
            "recipe": recipe.name,
            "system_prompt": recipe.system_prompt,
            "general_fraction": recipe.general_fraction,
            "split_salt": recipe.split.salt,
            "validation_fraction": recipe.split.validation_fraction,
            "test_fraction": recipe.split.test_fraction,
            "seed": recipe.training.seed,
        }
        stored = write_instruction_set(installation.layout.instruction_sets, built, facts)
    counts = stored.manifest["counts"]
    return result(
        "instruction_sets",
        built.table,
        stored.fingerprint,
        fingerprint=stored.fingerprint,
        folder=dg.MetadataValue.path(str(stored.folder)),
        counts=dg.MetadataValue.md(markdown_table([{"split": k, "examples": v} for k, v in counts.items()])),
        train=int(counts["train"]),
        left_out=len(built.dropped),
        general_wanted=built.general_wanted,
        leakage_certificate=leakage_certificate(built.table).paragraph,
    )


@dg.asset_check(
    asset="instruction_sets",
    blocking=True,
    description="No patient and no input is in two splits; general data only trains.",
)
def no_patient_in_two_splits(instruction_sets: pa.Table) -> dg.AssetCheckResult:
    certificate = leakage_certificate(instruction_sets)
    return dg.AssetCheckResult(passed=certificate.holds, metadata={"certificate": certificate.paragraph})

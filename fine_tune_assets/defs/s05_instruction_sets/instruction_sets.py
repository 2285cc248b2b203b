"""Stage 5: what the model is trained and tested on.

Belongs here: mixing, splitting and storing one instruction set. Must stay out: tokens and models.
"""

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.platform.automation import on_new_inputs, with_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, markdown_table, result
from fine_tune_assets.defs.platform.prompt_files import prompt_files
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s04_approved_examples.approved_examples import require_reviewers_agree
from fine_tune_assets.defs.s05_instruction_sets.set_evidence import (
    READ_BESIDE,
    find_identifiers,
    leak_search,
    surroundings,
)
from fine_tune_assets.instructions.assembly import InstructionSet, build_instruction_set, dropped_by_reason
from fine_tune_assets.instructions.general import read_general_data
from fine_tune_assets.instructions.mixture import BuildRules
from fine_tune_assets.instructions.set_figures import share_table
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, write_instruction_set
from fine_tune_assets.lineage.instruction_sets import left_out_file, write_left_out
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.recipes.sections import section_values

GROUP = "s05_instruction_sets"
PASSAGES = "passages"
CURATION = ("scrub", "dedup", "tasks", "trusted_sources", "review", "corrections", PASSAGES, "instructions")
"""Sections of the recipe by which a report becomes an example of a set."""
APPROVED, LEFT_OUT = "approved", "left_out"
"""Metadata by which rows in = rows kept + rows left out is checked."""
SHOWN_AT_MOST = 200

general_files = dg.AssetSpec(
    "general_files",
    group_name=GROUP,
    description="General instructions written by people, with their licences (`data/general`).",
    owners=OWNERS["data"],
    kinds={"json"},
)

ability_questions = dg.AssetSpec(
    "ability_questions",
    group_name=GROUP,
    description="General questions kept out of training (`data/evaluation/abilities`). They show what was forgotten.",
    owners=OWNERS["ml"],
    kinds={"json"},
)


@dg.asset(
    group_name=GROUP,
    deps=[general_files],
    # Made again when what is read of a row changes: it has a kind now.
    code_version="2",
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
    deps=[*READ_BESIDE, ability_questions, recipe_section("dedup"), recipe_section("instructions")],
    automation_condition=with_new_inputs(untriggered=READ_BESIDE),
    description="Train, validation and test conversations. A patient is in one split only, for ever.",
    owners=OWNERS["ml"],
    kinds={"parquet", "dataset"},
    metadata=definition_metadata("instruction_sets"),
)
def instruction_sets(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    approved_examples: pa.Table,
    drafted_examples: pa.Table,
    unique_reports: pa.Table,
    general_examples: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    recipe = installation.recipe
    with ExitStack() as until_stored:
        with errors_for_people():
            require_reviewers_agree(installation, approved_examples)
            search = until_stored.enter_context(leak_search(installation))
            around = surroundings(installation, approved_examples, unique_reports, search)
            built = build_instruction_set(approved_examples, general_examples, _rules(recipe), around)
        identifiers = find_identifiers(context, installation, worker, built, drafted_examples)
        with errors_for_people():
            evidence = {
                "identifiers": identifiers,
                "recipe": section_values(recipe, _curation(recipe)),
                **prompt_files(installation),
            }
            root = installation.layout.instruction_sets
            stored = write_instruction_set(root, built, deciding_facts(recipe), search, evidence)
            write_left_out(root, stored.fingerprint, [asdict(dropped) for dropped in built.dropped])
    return result("instruction_sets", built.table, stored.fingerprint, **_shown(stored, built))


def _curation(recipe: Recipe) -> list[str]:
    """Where no passage stands before a question, a set is what it was before there was the option."""
    return [name for name in CURATION if name != PASSAGES or recipe.passage_template is not None]


def _rules(recipe: Recipe) -> BuildRules:
    return BuildRules(
        line=recipe.name,
        system_prompt=recipe.system_prompt,
        general_fraction=recipe.general_fraction,
        replay_fraction=recipe.replay_fraction,
        seed=recipe.training.seed,
    )


def deciding_facts(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe decides a set. An option that is off is not named: it decides nothing, and a set of before there was
    the option is the same set."""
    options = {"test_from": recipe.split.test_from, "replay_fraction": recipe.replay_fraction}
    return {
        "recipe": recipe.name,
        "system_prompt": recipe.system_prompt,
        "general_fraction": recipe.general_fraction,
        "split_salt": recipe.split.salt,
        "validation_fraction": recipe.split.validation_fraction,
        "test_fraction": recipe.split.test_fraction,
        "seed": recipe.training.seed,
        **{name: value for name, value in options.items() if value},
    }


def _shown(stored: StoredInstructionSet, built: InstructionSet) -> dict[str, Any]:
    counts = stored.manifest["counts"]
    dropped = [{"example": d.example_id, "reason": d.reason} for d in built.dropped]
    return {
        "fingerprint": stored.fingerprint,
        "folder": dg.MetadataValue.path(str(stored.folder)),
        "counts": markdown_table([{"split": k, "examples": v} for k, v in counts.items()]),
        "shares": markdown_table(share_table(built.table)),
        "train": int(counts["train"]),
        APPROVED: built.approved,
        LEFT_OUT: len(built.dropped),
        "left_out_by_reason": dg.MetadataValue.json(dropped_by_reason(built.dropped)),
        "left_out_file": dg.MetadataValue.path(str(left_out_file(stored.folder.parent, stored.fingerprint))),
        # The first ones: an event is no place for thousands of lines.
        "left_out_first": markdown_table(dropped[:SHOWN_AT_MOST]),
        "general_wanted": built.general_wanted,
        "general_left_out_by_reason": dg.MetadataValue.json(dropped_by_reason(built.general_left_out)),
        "replay_wanted": built.replay_wanted,
        "replayed": built.replayed,
        "replay_left_out_by_reason": dg.MetadataValue.json(dropped_by_reason(built.replay_left_out)),
        "leakage_certificate": stored.manifest["leakage_certificate"],
    }

"""Stage 5: mixes approved examples with general data, splits them, and stores the instruction set."""

from contextlib import ExitStack
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.platform.automation import WholeAssetCondition, on_new_inputs, with_new_inputs
from fine_tune_assets.defs.platform.column_lineage import file_column
from fine_tune_assets.defs.platform.metadata import OWNERS, bar_table, definition_metadata, markdown_table, table_result
from fine_tune_assets.defs.platform.prompt_files import fingerprint_prompt_files
from fine_tune_assets.defs.platform.recipe_versions import PROMPT_FILES, code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.defs.s04_approved_examples.approved_examples import require_reviewer_agreement
from fine_tune_assets.defs.s05_instruction_sets.set_evidence import (
    CONTEXT_TABLES,
    build_context,
    find_identifiers,
    leak_search,
)
from fine_tune_assets.instructions.assembly import InstructionSet, build_instruction_set
from fine_tune_assets.instructions.first_set import describe_first_set_wait
from fine_tune_assets.instructions.general_data import read_general_data
from fine_tune_assets.instructions.mixture import BuildRules
from fine_tune_assets.instructions.set_statistics import share_table
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, write_instruction_set
from fine_tune_assets.lineage.final_text_findings import write_findings
from fine_tune_assets.lineage.set_history import excluded_examples_path, write_excluded_examples
from fine_tune_assets.recipes.domain_pack_schema import ALL_TEXTS
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.recipe_parts import section_values
from fine_tune_assets.recipes.schema import BUNDLED, PREVIOUS_SET, Recipe
from fine_tune_assets.tables.instruction_rows import ExcludedExample, count_by_reason

GROUP = "s05_instruction_sets"
PASSAGES = "passages"
CURATION_SECTIONS = (
    "subjects",
    "scrub",
    "dedup",
    "tasks",
    "trusted_sources",
    "review",
    "corrections",
    PASSAGES,
    "instructions",
)
"""Sections of the recipe that decide how a report becomes an example of a set."""
APPROVED, LEFT_OUT = "approved", "left_out"
"""Metadata keys for the check that rows in = rows kept + rows excluded."""
MAX_ROWS_SHOWN = 200


class FirstSetHasEnoughExamples(WholeAssetCondition):
    """False while reviewers have not approved enough examples for a first set."""

    name = "first_set_has_enough_examples"
    description = "Enough examples are approved for a first set, or there is a set"

    def is_true(self, context: Any) -> bool:  # noqa: ARG002
        installation = Installation()
        return describe_first_set_wait(installation.layout, installation.recipe) is None


general_files = dg.AssetSpec(
    "general_files",
    group_name=GROUP,
    description="General instructions written by people, with their licences (`data/general`).",
    owners=OWNERS["data"],
    kinds={"json"},
    metadata=file_column("A file of instructions"),
)

ability_questions = dg.AssetSpec(
    "ability_questions",
    group_name=GROUP,
    description="General questions that are never trained on (`data/evaluation/abilities`). They measure forgetting.",
    owners=OWNERS["ml"],
    kinds={"json"},
)

judged_answers = dg.AssetSpec(
    "judged_answers",
    group_name=GROUP,
    description="Answers that people rated to measure judges (`data/evaluation/judge`). The mix repeats none of them.",
    owners=OWNERS["ml"],
    kinds={"json"},
)


@dg.asset(
    group_name=GROUP,
    deps=[general_files],
    code_version="4",  # rows name their source in the mix
    automation_condition=on_new_inputs(),
    description="General instructions that are mixed in, so that the model keeps its general abilities.",
    owners=OWNERS["data"],
    kinds={"parquet"},
    metadata=definition_metadata("general_examples"),
)
def general_examples(installation: Installation) -> dg.MaterializeResult[pa.Table]:
    with user_facing_errors():
        data = read_general_data(installation.layout.general_data)
    excluded = dg.MetadataValue.json({source: dict(reasons) for source, reasons in data.skipped.items()})
    return table_result("general_examples", data.table, fingerprint_table(data.table), left_out=excluded)


@dg.asset(
    group_name=GROUP,
    deps=[*CONTEXT_TABLES, ability_questions, judged_answers],
    code_version=code_version("dedup", "instructions", PROMPT_FILES),
    automation_condition=with_new_inputs(
        FirstSetHasEnoughExamples(), ignored=CONTEXT_TABLES, label="when_examples_suffice"
    ),
    description="Conversations for training, validation and testing. A subject always stays in the same split.",
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
        with user_facing_errors():
            require_reviewer_agreement(installation, approved_examples)
            search = until_stored.enter_context(leak_search(installation))
            build = build_context(installation, approved_examples, unique_reports, search)
            built = build_instruction_set(approved_examples, general_examples, _build_rules(recipe), build)
        scan = find_identifiers(context, installation, worker, built, drafted_examples)
        with user_facing_errors():
            evidence = {
                "identifiers": scan.evidence,
                "recipe": curation_values(recipe),
                **mix_evidence(built),
                **fingerprint_prompt_files(recipe, installation.layout.data_dir),
            }
            root = installation.layout.instruction_sets
            stored = write_instruction_set(root, built, defining_facts(recipe), search, evidence)
            write_findings(root, stored.fingerprint, scan.findings)
            write_excluded_examples(
                root, stored.fingerprint, [ExcludedExample.from_row(vars(dropped)) for dropped in built.dropped]
            )
    return table_result("instruction_sets", built.table, stored.fingerprint, **_set_metadata(stored, built))


def _curation_sections(recipe: Recipe) -> list[str]:
    """The curation sections, without `passages` if the option is off, so that earlier sets keep their fingerprint."""
    return [name for name in CURATION_SECTIONS if name != PASSAGES or recipe.passage_template is not None]


def curation_values(recipe: Recipe) -> dict[str, dict[str, Any]]:
    values = section_values(recipe, _curation_sections(recipe))
    del values["instructions"]["mix"], values["instructions"]["domain"], values["subjects"]["kinds"]
    replay = {"replay_fraction": recipe.mix.get(PREVIOUS_SET, 0.0)}
    searched = load_pack(recipe.domain).pack.final_texts
    values["instructions"] |= {
        **_mix_facts(recipe),
        **replay,
        **({"final_texts": searched} if searched != ALL_TEXTS else {}),
    }
    return values


def _mix_facts(recipe: Recipe) -> dict[str, Any]:
    """Omits `mix` without imported sources, so that sets from before it keep their fingerprint, and with it the name
    `general_fraction`."""
    imported = {name: weight for name, weight in recipe.mix.items() if name not in (BUNDLED, PREVIOUS_SET)}
    return {"general_fraction": recipe.mix.get(BUNDLED, 0.0), **({"mix": imported} if imported else {})}


def mix_evidence(built: InstructionSet) -> dict[str, Any]:
    """What the mix left out and lacks, by source. Empty if the bundled data gave all that the recipe wants."""
    shown = {
        name: {"wanted": one.wanted, "given": one.given, "left_out": count_by_reason(one.dropped)}
        for name, one in sorted(built.mixed.items())
        if one.dropped or one.given < one.wanted or name not in (BUNDLED, PREVIOUS_SET)
    }
    return {"mix": shown} if shown else {}


def _build_rules(recipe: Recipe) -> BuildRules:
    return BuildRules(
        product_line=recipe.name,
        system_prompt=recipe.system_prompt,
        mix=recipe.mix,
        seed=recipe.training.seed,
    )


def defining_facts(recipe: Recipe) -> dict[str, Any]:
    """The recipe values that define a set. Omits options that are off, so that sets from before an option keep their
    fingerprint."""
    options = {"test_from": recipe.split.test_from, "replay_fraction": recipe.mix.get(PREVIOUS_SET, 0.0)}
    return {
        "recipe": recipe.name,
        "system_prompt": recipe.system_prompt,
        **_mix_facts(recipe),
        "split_salt": recipe.split.salt,
        "validation_fraction": recipe.split.validation_fraction,
        "test_fraction": recipe.split.test_fraction,
        "seed": recipe.training.seed,
        **{name: value for name, value in options.items() if value},
    }


def _mix_rows(built: InstructionSet) -> list[dict[str, Any]]:
    return [
        {"source": name, "wanted": one.wanted, "in the set": one.given, "left out": len(one.dropped)}
        for name, one in sorted(built.mixed.items())
    ]


def _set_metadata(stored: StoredInstructionSet, built: InstructionSet) -> dict[str, Any]:
    counts = stored.manifest["counts"]
    dropped = [{"example": d.example_id, "reason": d.reason} for d in built.dropped]
    return {
        "fingerprint": stored.fingerprint,
        "folder": dg.MetadataValue.path(str(stored.folder)),
        "counts": bar_table("split", counts),
        "shares": markdown_table(share_table(built.table)),
        "train": int(counts["train"]),
        APPROVED: built.approved,
        LEFT_OUT: len(built.dropped),
        "left_out_by_reason": dg.MetadataValue.json(count_by_reason(built.dropped)),
        "left_out_file": dg.MetadataValue.path(str(excluded_examples_path(stored.folder.parent, stored.fingerprint))),
        # The first rows only, since an event must stay small.
        "left_out_first": markdown_table(dropped[:MAX_ROWS_SHOWN]),
        "replayed": built.replayed,
        "mix": markdown_table(_mix_rows(built)),
        "mix_left_out_by_reason": dg.MetadataValue.json(
            {name: count_by_reason(one.dropped) for name, one in sorted(built.mixed.items())}
        ),
        "leakage_certificate": stored.manifest["leakage_certificate"],
    }

"""Stage 6: the preflight, which inspects every example with the base model's tokenizer before a GPU is used, and its checks.

`training_plans` runs it and stores its tables. Also writes the loss mask page, and checks that the training engine is
installed. See `training/supervision/loss_mask.py` and `training/environments.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.prompt_contract import PromptContract, build_prompt_contract
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.defs.platform.metadata import check_result, markdown_table, plot
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s05_instruction_sets.set_checks import read_matching_set
from fine_tune_assets.instructions.set_statistics import TokenCount, length_plot, token_table
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet
from fine_tune_assets.recipes.recipe_parts import section_fingerprints
from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets.tables.record_classes import iter_records, read_single_record
from fine_tune_assets.tables.training_rows import BaseModel, ExampleLength, TrainingPreflight, count_too_long
from fine_tune_assets.training.environments import installed_versions, require_environment
from fine_tune_assets.training.lora.training_engines import library_versions
from fine_tune_assets.training.supervision.loss_mask import supervise
from fine_tune_assets.training.supervision.mask_page import (
    LOSS_MASKS,
    make_mask_example,
    render_mask_page,
    select_examples,
)
from fine_tune_assets.training.supervision.preflight_checks import (
    Conversation,
    inspect_rows,
    list_too_long,
    make_preflight,
)

MAX_ROWS_SHOWN = 50


@dataclass(frozen=True)
class Preflight:
    """The result of a preflight: its record, one row per example, and metadata for the Dagster UI."""

    record: TrainingPreflight
    lengths: Sequence[ExampleLength]
    metadata: dict[str, Any]

    @property
    def can_be_planned(self) -> bool:
        return self.record.is_passed and all(any(fits) for fits in fitting_examples(self.lengths).values())


def fitting_examples(lengths: Sequence[ExampleLength]) -> dict[str, list[bool]]:
    """Whether each example of train and of validation fits max_length."""
    return {split: [row.fits for row in lengths if row.split == split] for split in ("train", "validation")}


def run_preflight(
    instance: dg.DagsterInstance, installation: Installation, instruction_set: pa.Table, base: BaseModel
) -> Preflight:
    """Inspect every example of the newest set. Raises FineTuneError if the table is not that of the stored set."""
    settings, folder = installation.recipe.training, installation.path(base.folder)
    stored = read_matching_set(instance, installation, instruction_set)
    tokenizer = FolderTokenizer(folder, read_chat_template(folder))
    contract = build_prompt_contract(tokenizer, folder, stored.manifest["facts"]["system_prompt"])
    lengths = inspect_examples(instruction_set, tokenizer, contract, settings.max_length)
    bound = {
        "instruction_set_fingerprint": stored.fingerprint,
        "base_fingerprint": base.fingerprint,
        "training_fingerprint": section_fingerprints(installation.recipe)["training"],
        "prompt_fingerprint": contract.fingerprint,
    }
    record = make_preflight(lengths, settings, bound)
    page = _write_page(installation, stored, lengths, tokenizer, contract, base.name, record)
    metadata = {
        "loss_mask_page": dg.MetadataValue.path(str(page)),
        "stop_tokens": ", ".join(tokenizer.token(stop) or str(stop) for stop in contract.stop_ids),
        **_length_metadata(lengths, settings.max_length),
        **tokenizer.fingerprints,
    }
    return Preflight(record, lengths, metadata)


def inspect_examples(
    instruction_set: pa.Table, tokenizer: FolderTokenizer, contract: PromptContract, max_length: int
) -> list[ExampleLength]:
    """One record per example, in the order of the set."""
    rows = iter_records(Conversation, instruction_set)
    return [found.as_record(max_length) for found in inspect_rows(rows, tokenizer, contract.stop_ids)]


def read_lengths(installation: Installation) -> list[ExampleLength]:
    """The stored lengths of the newest preflight; none before the first one."""
    return list(iter_records(ExampleLength, installation.stored("example_lengths").table()))


def _length_metadata(rows: Sequence[ExampleLength], max_length: int) -> dict[str, Any]:
    counts = [TokenCount(r.example_id, r.split, r.tokens or 0, r.supervised_tokens or 0) for r in rows if not r.error]
    return {
        "tokens": markdown_table(token_table(counts, max_length)),
        "lengths": plot("lengths", length_plot(counts, max_length)),
        "too_long": dg.MetadataValue.json(list_too_long(rows)),
    }


def _write_page(
    installation: Installation,
    stored: StoredInstructionSet,
    rows: Sequence[ExampleLength],
    tokenizer: FolderTokenizer,
    contract: PromptContract,
    base_name: str,
    record: TrainingPreflight,
) -> Path:
    """Write the loss mask page to the cache, whose files an erasure removes. Replaces the page of an earlier set."""
    trained = _select_ids(stored.table, [row.example_id for row in rows if row.fits])
    chosen = select_examples(trained)
    by_id = {row.example_id: row for row in iter_records(InstructionRow, _select_ids(trained, chosen))}
    shown = [
        make_mask_example(
            supervise(tokenizer, example.example_id, [m.to_row() for m in example.messages], contract.stop_ids),
            example.task,
            tokenizer,
            contract.stop_ids,
        )
        for example in map(by_id.__getitem__, chosen)
    ]
    facts = [
        ("instruction set", short(stored.fingerprint)),
        ("base model", base_name),
        ("examples in train and validation", record.row_count),
        ("of these used", record.trained_row_count),
    ]
    folder = installation.layout.cache / LOSS_MASKS
    for earlier in folder.glob("*.html"):
        earlier.unlink(missing_ok=True)
    page = folder / f"{short(stored.fingerprint)}.html"
    write_text(page, render_mask_page(shown, facts))
    return page


def _select_ids(table: pa.Table, example_ids: Sequence[str]) -> pa.Table:
    return table.filter(pc.is_in(table.column("example_id"), value_set=pa.array(example_ids, pa.string())))


@dg.asset_check(
    asset="training_plans",
    blocking=True,
    description="The training of every example covers exactly its answers, each with its stop token.",
)
def loss_mask_covers_answer_and_eos(installation: Installation) -> dg.AssetCheckResult:
    rows = read_lengths(installation)
    faults = [{"example": row.example_id, "fault": row.error} for row in rows if row.error]
    reason = (
        f"{len(faults)} examples can't be trained on in the format in which they are requested. Repair or reject them."
    )
    return check_result(
        not faults,
        reason if faults else None,
        examples=len(rows),
        answers=sum(row.turns or 0 for row in rows),
        answers_learned=sum(row.supervised_turns or 0 for row in rows),
        **({"faults": markdown_table(faults[:MAX_ROWS_SHOWN])} if faults else {}),
    )


@dg.asset_check(
    asset="training_plans",
    blocking=True,
    description="Every example of train and validation fits max_length, or the recipe excludes longer examples.",
)
def overlong_examples_follow_recipe(installation: Installation) -> dg.AssetCheckResult:
    record = read_single_record(TrainingPreflight, installation.stored("training_preflights").table())
    lengths = read_lengths(installation)
    too_long, counted = list_too_long(lengths), count_too_long(lengths)
    is_allowed = record.too_long_policy == "exclude"
    others = "" if is_allowed else " Or shorten or reject them, or set `training.overlong_examples: exclude`."
    reason = f"{counted.describe(is_excluded=is_allowed)} {counted.remedy}{others}"
    return check_result(
        not too_long or is_allowed,
        reason if too_long else None,
        rows=record.row_count,
        trained_row_count=record.trained_row_count,
        too_long=len(too_long),
        ids=dg.MetadataValue.json(too_long),
    )


@dg.asset_check(
    asset="training_plans",
    blocking=True,
    description="At least one example of train and one of validation fits max_length.",
)
def enough_examples_fit(installation: Installation) -> dg.AssetCheckResult:
    fitting = fitting_examples(read_lengths(installation))
    is_enough = all(any(fits) for fits in fitting.values())
    figures = {f"{split}_fitting": sum(fits) for split, fits in fitting.items()}
    figures |= {f"{split}_examples": len(fits) for split, fits in fitting.items()}
    reason = "All examples of a split are longer than training.max_length. Raise it in the recipe."
    return check_result(is_enough, None if is_enough else reason, **figures)


@dg.asset_check(
    asset="training_plans",
    blocking=True,
    description="The recipe's training library is installed: TRL, or Unsloth in a separate environment.",
)
def training_engine_is_installed(installation: Installation) -> dg.AssetCheckResult:
    engine, unsloth = installation.recipe.training.engine, installation.settings.unsloth_interpreter
    try:
        require_environment(engine, unsloth, bool(installation.settings.ray.address))
    except GateClosedError as error:
        return check_result(False, str(error), engine=engine)
    versions = library_versions(engine) if engine == "trl" else installed_versions(unsloth)
    return check_result(True, engine=engine, libraries=dg.MetadataValue.json(versions))

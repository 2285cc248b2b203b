"""Stage 6, before a GPU is used: every example as the trainer will learn it.

Belongs here: looking through the set with the imported model's tokenizer, the record that training asks for, the page that shows
what is learned, and whether the engine that the recipe trains with is installed. Must stay out: which tokens are learned (see
`training/supervision/loss_mask.py`), and what an environment needs (see `training/environments.py`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_table, short
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.prompt_contract import PromptContract, contract_of
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, checked, markdown_table, result, table_outs
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, errors_for_people
from fine_tune_assets.defs.s05_instruction_sets.set_checks import stored_set
from fine_tune_assets.defs.s06_adapters.adapters import GROUP
from fine_tune_assets.instructions.set_figures import TokenCount, length_plot_png, token_table
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet
from fine_tune_assets.recipes.sections import section_fingerprints
from fine_tune_assets.tables.instructions import InstructionRow
from fine_tune_assets.tables.records import only_record, records_of, table_from
from fine_tune_assets.tables.training import BaseModel, ExampleLength, TrainingPreflight
from fine_tune_assets.training.environments import installed_versions, require_environment
from fine_tune_assets.training.lora.training_engines import library_versions
from fine_tune_assets.training.supervision.loss_mask import supervise
from fine_tune_assets.training.supervision.mask_page import LOSS_MASKS, chosen_examples, mask_page, shown_example
from fine_tune_assets.training.supervision.preflight import (
    Conversation,
    inspect_rows,
    masked_by,
    preflight_row,
    too_long,
)
from fine_tune_assets.training.supervision.training_templates import templates_version

SHOWN_AT_MOST = 50


@dg.multi_asset(
    outs=table_outs(
        {
            "example_lengths": "Tokens of every example, as the trainer counts them, whether it fits into the recipe's "
            "max_length, and what is wrong with it.",
            "training_preflights": "Whether training may start on this set with this base model and these settings; with a page "
            "that shows which tokens are learned.",
        },
        group=GROUP,
        owners=OWNERS["ml"],
        condition=on_new_inputs(),
        code_version=short(templates_version()),
    ),
    deps=[recipe_section("training")],
    name="preflight",
)
def preflight(
    context: dg.AssetExecutionContext, installation: Installation, instruction_sets: pa.Table, base_models: pa.Table
) -> Iterator[dg.MaterializeResult[pa.Table]]:
    settings, base = installation.recipe.training, only_record(BaseModel, base_models)
    folder = installation.path(base.folder)
    with errors_for_people():
        stored = stored_set(context.instance, installation, instruction_sets)
        tokenizer = FolderTokenizer(folder, read_chat_template(folder))
        contract = contract_of(tokenizer, folder, stored.manifest["facts"]["system_prompt"])
        rows = inspected(instruction_sets, tokenizer, contract, settings.max_length)
        bound = {
            "instruction_set_fingerprint": stored.fingerprint,
            "base_fingerprint": base.fingerprint,
            "training_fingerprint": section_fingerprints(installation.recipe)["training"],
            "prompt_fingerprint": contract.fingerprint,
            "masked_by": masked_by(tokenizer),
        }
        record = preflight_row(rows, settings, bound)
        page = _write_page(installation, stored, rows, tokenizer, contract, base.name, record)
    yield _lengths(rows, settings.max_length, tokenizer)
    preflights = table_from(TrainingPreflight, [record])
    yield result(
        "training_preflights",
        preflights,
        fingerprint_table(preflights),
        what_is_learned=dg.MetadataValue.path(str(page)),
        stop_tokens=", ".join(tokenizer.token(stop) or str(stop) for stop in contract.stop_ids),
        masked_by=record.masked_by,
    )


def inspected(
    instruction_set: pa.Table, tokenizer: FolderTokenizer, contract: PromptContract, max_length: int
) -> list[ExampleLength]:
    """In the set's order."""
    rows = records_of(Conversation, instruction_set)
    return [found.length(max_length) for found in inspect_rows(rows, tokenizer, contract.stop_ids)]


def _lengths(
    rows: Sequence[ExampleLength], max_length: int, tokenizer: FolderTokenizer
) -> dg.MaterializeResult[pa.Table]:
    table = table_from(ExampleLength, rows)
    counts = [TokenCount(r.example_id, r.split, r.tokens or 0, r.learned or 0) for r in rows if not r.fault]
    plot = length_plot_png(counts, max_length)
    return result(
        "example_lengths",
        table,
        fingerprint_table(table),
        tokens=markdown_table(token_table(counts, max_length)),
        lengths=dg.MetadataValue.md(f"![lengths](data:image/png;base64,{plot})"),
        too_long=dg.MetadataValue.json(too_long(rows)),
        **tokenizer.fingerprints,
    )


def _write_page(
    installation: Installation,
    stored: StoredInstructionSet,
    rows: Sequence[ExampleLength],
    tokenizer: FolderTokenizer,
    contract: PromptContract,
    base_name: str,
    record: TrainingPreflight,
) -> Path:
    """In the cache, whose files an erasure removes; one page, of the set that was looked through last."""
    trained = _of_ids(stored.table, [row.example_id for row in rows if row.fits])
    chosen = chosen_examples(trained)
    by_id = {row.example_id: row for row in records_of(InstructionRow, _of_ids(trained, chosen))}
    shown = [
        shown_example(
            supervise(tokenizer, example.example_id, [m.as_row() for m in example.messages], contract.stop_ids),
            example.task,
            tokenizer,
            contract.stop_ids,
        )
        for example in map(by_id.__getitem__, chosen)
    ]
    facts = [
        ("instruction set", short(stored.fingerprint)),
        ("base model", base_name),
        ("answers marked by", record.masked_by),
        ("examples of train and validation", record.rows),
        ("of these trained and validated on", record.rows_trained),
    ]
    folder = installation.layout.cache / LOSS_MASKS
    for earlier in folder.glob("*.html"):
        earlier.unlink(missing_ok=True)
    page = folder / f"{short(stored.fingerprint)}.html"
    write_text(page, mask_page(shown, facts))
    return page


def _of_ids(table: pa.Table, example_ids: Sequence[str]) -> pa.Table:
    return table.filter(pc.is_in(table.column("example_id"), value_set=pa.array(example_ids, pa.string())))


@dg.asset_check(
    asset="example_lengths",
    blocking=True,
    description="Every example is asked as it is trained, and learns its answer with the stop token behind it: nothing else.",
)
def every_example_teaches_its_answer_and_its_stop(example_lengths: pa.Table) -> dg.AssetCheckResult:
    rows = list(records_of(ExampleLength, example_lengths))
    faults = [{"example": row.example_id, "fault": row.fault} for row in rows if row.fault]
    why = f"{len(faults)} examples can't be trained on as they would be asked. Repair or reject them."
    return checked(
        not faults,
        why if faults else None,
        examples=len(rows),
        answers=sum(row.turns or 0 for row in rows),
        answers_learned=sum(row.learned_turns or 0 for row in rows),
        **({"faults": markdown_table(faults[:SHOWN_AT_MOST])} if faults else {}),
    )


@dg.asset_check(
    asset="training_preflights",
    blocking=True,
    additional_ins={"example_lengths": dg.AssetIn("example_lengths")},
    description="Every example of train and validation fits into max_length and is trained on, or the recipe says that longer "
    "ones are left out.",
)
def rows_in_are_rows_trained(training_preflights: pa.Table, example_lengths: pa.Table) -> dg.AssetCheckResult:
    record = only_record(TrainingPreflight, training_preflights)
    long = too_long(records_of(ExampleLength, example_lengths))
    is_allowed = record.too_long_rule == "leave_out"
    why = f"{len(long)} examples are longer than training.max_length. " + (
        "The recipe says that they are left out."
        if is_allowed
        else "Raise it, shorten or reject them, or set training.too_long: leave_out in the recipe."
    )
    return checked(
        not long or is_allowed,
        why if long else None,
        rows=record.rows,
        rows_trained=record.rows_trained,
        too_long=len(long),
        ids=dg.MetadataValue.json(long),
    )


@dg.asset_check(
    asset="example_lengths",
    blocking=True,
    description="Something of train and of validation fits into max_length.",
)
def enough_is_left_to_train_on(example_lengths: pa.Table) -> dg.AssetCheckResult:
    rows = list(records_of(ExampleLength, example_lengths))
    fitting = {split: [r.fits for r in rows if r.split == split] for split in ("train", "validation")}
    is_enough = all(any(fits) for fits in fitting.values())
    figures = {f"{split}_fitting": sum(fits) for split, fits in fitting.items()}
    figures |= {f"{split}_examples": len(fits) for split, fits in fitting.items()}
    why = "All examples of a split are longer than training.max_length and would be left out: raise it."
    return checked(is_enough, None if is_enough else why, **figures)


@dg.asset_check(
    asset="training_preflights",
    blocking=True,
    description="The library that the recipe trains with is installed: TRL, or Unsloth in its own environment.",
)
def training_engine_is_there(installation: Installation) -> dg.AssetCheckResult:
    engine, unsloth = installation.recipe.training.engine, installation.settings.unsloth_interpreter
    try:
        require_environment(engine, unsloth, bool(installation.settings.ray.address))
    except GateClosedError as error:
        return checked(False, str(error), engine=engine)
    versions = library_versions(engine) if engine == "trl" else installed_versions(unsloth)
    return checked(True, engine=engine, libraries=dg.MetadataValue.json(versions))

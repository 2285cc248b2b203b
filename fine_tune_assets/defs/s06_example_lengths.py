"""Stage 6, before a GPU is spent: how long every example is to the model that will be trained.

Belongs here: counting as the trainer counts, and naming what it will leave out. Must stay out: how tokens are counted (see
`training/supervision.py`) and read (see `instructions/tokenizing.py`).
"""

from dataclasses import asdict

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.tables import EXAMPLE_LENGTHS, table_of
from fine_tune_assets.defs.automation import on_new_inputs
from fine_tune_assets.defs.metadata import OWNERS, WHY, definition_metadata, markdown_table, result
from fine_tune_assets.defs.resources import Installation, errors_for_people
from fine_tune_assets.defs.s06_adapters import GROUP
from fine_tune_assets.defs.sources import recipe_section
from fine_tune_assets.instructions.measuring import TokenCount, length_plot_png, token_table, too_long
from fine_tune_assets.instructions.tokenizing import FolderTokenizer
from fine_tune_assets.training.base_models import read_chat_template
from fine_tune_assets.training.supervision import supervise


@dg.asset(
    group_name=GROUP,
    deps=[recipe_section("training")],
    automation_condition=on_new_inputs(),
    description="Tokens of every example, as the trainer counts them, and whether it fits into the recipe's max_length.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("example_lengths"),
)
def example_lengths(
    installation: Installation, instruction_sets: pa.Table, base_models: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    max_length = installation.recipe.training.max_length
    folder = installation.path(base_models.to_pylist()[0]["folder"])
    with errors_for_people():
        tokenizer = FolderTokenizer(folder, read_chat_template(folder))
        counts = count_tokens(instruction_sets, tokenizer)
        table = table_of(({**asdict(c), "fits": c.tokens <= max_length} for c in counts), EXAMPLE_LENGTHS)
        plot = length_plot_png(counts, max_length)
    return result(
        "example_lengths",
        table,
        fingerprint_table(table),
        tokens=dg.MetadataValue.md(markdown_table(token_table(counts, max_length))),
        lengths=dg.MetadataValue.md(f"![lengths](data:image/png;base64,{plot})"),
        left_out_as_too_long=dg.MetadataValue.json(too_long(counts, max_length)),
        **tokenizer.fingerprints,
    )


def count_tokens(instruction_set: pa.Table, tokenizer: FolderTokenizer) -> list[TokenCount]:
    """Of every row, in its order. Raises PromptContractError, with the id, if a prompt would not be the same in training."""
    counts = []
    for batch in instruction_set.select(["example_id", "split", "messages"]).to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            supervised = supervise(tokenizer, row["example_id"], row["messages"])
            counts.append(TokenCount(row["example_id"], row["split"], len(supervised.input_ids), supervised.supervised))
    return counts


@dg.asset_check(
    asset="example_lengths",
    description="No example of train or validation is longer than max_length: none is left out of training.",
)
def no_answer_would_be_cut_off(example_lengths: pa.Table) -> dg.AssetCheckResult:
    long = [row["example_id"] for row in example_lengths.to_pylist() if not row["fits"] and row["split"] != "test"]
    return dg.AssetCheckResult(
        passed=not long,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"left_out": len(long), "ids": dg.MetadataValue.json(long)},
    )


@dg.asset_check(
    asset="example_lengths",
    blocking=True,
    description="Something of train and of validation fits into max_length.",
)
def enough_is_left_to_train_on(example_lengths: pa.Table) -> dg.AssetCheckResult:
    rows = example_lengths.to_pylist()
    fitting = {split: [r["fits"] for r in rows if r["split"] == split] for split in ("train", "validation")}
    is_enough = all(any(fits) for fits in fitting.values())
    figures = {f"{split}_fitting": sum(fits) for split, fits in fitting.items()}
    figures |= {f"{split}_examples": len(fits) for split, fits in fitting.items()}
    why = "All examples of a split are longer than training.max_length and would be left out: raise it."
    return dg.AssetCheckResult(passed=is_enough, metadata={**figures, **({} if is_enough else {WHY: why})})

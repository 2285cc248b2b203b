"""Tables of stage 6: base models, preflight checks, plans and adapters."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fine_tune_assets.tables.common_columns import EngineSupport, ExampleId, ProductLine
from fine_tune_assets.tables.record_classes import Column, Record


class BaseModel(Record):
    """A checked base model."""

    name: Annotated[str, Column("Name in the recipe")]
    fingerprint: Annotated[str, Column("Fingerprint of every file in the folder")]
    folder: Annotated[str, Column("Folder, relative to the data folder if inside it")]
    architecture: Annotated[str, Column("Model class")]
    parameter_count: Annotated[int, Column("Number of weights")]
    source: Annotated[str, Column("Source of the weights")]
    source_fingerprint: Annotated[str, Column("SHA-256 of the imported files")]
    licence: Annotated[str, Column("Licence of the weights")]
    chat_template_fingerprint: Annotated[str, Column("SHA-256 of the chat template")]
    licence_fingerprint: Annotated[str | None, Column("SHA-256 of the licence text; empty if the folder has none")]
    dtype: Annotated[str | None, Column("Number format of most weights")]
    context_tokens: Annotated[int | None, Column("Maximum context length in tokens")]
    vocabulary_size: Annotated[int | None, Column("Vocabulary size in tokens")]
    has_tied_embeddings: Annotated[bool | None, Column("True if the output layer shares the embeddings")]
    stop_tokens: Annotated[tuple[str, ...] | None, Column("Tokens that end an answer")]
    engine_support: Annotated[tuple[EngineSupport, ...] | None, Column("What each engine supports, and why not")]


class ExampleLength(Record):
    """Token counts of an example and what of it is supervised."""

    example_id: ExampleId
    split: Annotated[str, Column("`train`, `validation` or `test`")]
    tokens: Annotated[int | None, Column("Tokens of prompt and answer; absent after an error")]
    supervised_tokens: Annotated[
        int | None, Column("Of these, supervised answer and stop tokens; absent after an error")
    ]
    fits: Annotated[bool, Column("False if longer than `training.max_length` or erroneous")]
    turns: Annotated[int | None, Column("Answers in the conversation; absent after an error")]
    supervised_turns: Annotated[int | None, Column("Of these, supervised answers; absent after an error")]
    error: Annotated[str | None, Column("Why it can't be trained on; absent if it can")]


@dataclass(frozen=True)
class TooLongExamples:
    """The train and validation examples that are longer than `training.max_length`; test examples are not trained on."""

    count: int
    total: int
    longest: int
    """Tokens of the longest example: the `max_length` that keeps all of them."""

    def describe(self, *, is_excluded: bool, limit: int | None = None) -> str:
        """Empty if there are none. `is_excluded`: the recipe has `overlong_examples: exclude`. `limit`: the recipe's max_length.

        >>> TooLongExamples(42, 147, 412).describe(is_excluded=True, limit=140)
        '42 of 147 examples are longer than `training.max_length: 140` and are not trained on.'
        """
        if not self.count:
            return ""
        setting = "`training.max_length`" if limit is None else f"`training.max_length: {limit}`"
        effect = " and are not trained on." if is_excluded else ", so no training starts."
        return (
            f"{self.count} of {self.total} examples {'is' if self.count == 1 else 'are'} longer than {setting}{effect}"
        )

    @property
    def remedy(self) -> str:
        return f"`training.max_length: {self.longest}` keeps all of them." if self.count else ""


def count_too_long(lengths: Iterable[ExampleLength], limit: int | None = None) -> TooLongExamples:
    """`limit` replaces the max_length of the preflight that stored the lengths. Faulty examples have no length."""
    known = [(row, row.tokens) for row in lengths if row.split != "test" and row.tokens is not None]
    too_long = [tokens for row, tokens in known if (not row.fits if limit is None else tokens > limit)]
    return TooLongExamples(len(too_long), len(known), max((tokens for _, tokens in known), default=0))


class TrainingPreflight(Record):
    """The preflight check of an instruction set."""

    instruction_set_fingerprint: Annotated[str, Column("Checked instruction set")]
    base_fingerprint: Annotated[str, Column("Base model that provides tokenizer and chat template")]
    training_fingerprint: Annotated[str, Column("Fingerprint of the recipe's training settings")]
    prompt_fingerprint: Annotated[
        str, Column("Prompt contract: system prompt, chat template, special tokens, stop ids")
    ]
    row_count: Annotated[int, Column("Train and validation examples")]
    trained_row_count: Annotated[int, Column("Of these, examples used for training and validation")]
    error_count: Annotated[int, Column("Examples with an error, including test examples")]
    too_long_count: Annotated[int, Column("Train and validation examples longer than `training.max_length`")]
    too_long_policy: Annotated[str, Column("`refuse` or `exclude`, from the recipe")]
    supervised_tokens: Annotated[int, Column("Supervised tokens per epoch")]
    is_passed: Annotated[bool, Column("True if training may start")]


class TrainingPlan(Record):
    """The predicted resources of a training, and whether they suffice."""

    instruction_set_fingerprint: Annotated[str, Column("Instruction set of the plan")]
    base_fingerprint: Annotated[str, Column("Base model")]
    training_fingerprint: Annotated[str, Column("Fingerprint of the recipe's training settings")]
    machine: Annotated[str, Column("Target device: a GPU's name, or this machine's memory")]
    process_count: Annotated[int, Column("Number of training processes")]
    packing: Annotated[str, Column("`bfd` if several examples share a row, else `never`")]
    batch_size: Annotated[int, Column("Rows per forward pass")]
    gradient_accumulation: Annotated[int, Column("Forward passes per optimizer step")]
    max_batch_rows: Annotated[int, Column("Rows of the largest pass of one process")]
    max_row_tokens: Annotated[int, Column("Tokens per row of that pass, including padding")]
    weights_bytes: Annotated[int, Column("Memory of the base model")]
    adapter_bytes: Annotated[int, Column("The adapter")]
    gradients_bytes: Annotated[int, Column("Memory of the gradients")]
    optimizer_bytes: Annotated[int, Column("Memory of AdamW's two moments")]
    activations_bytes: Annotated[int, Column("Memory of activations and temporary buffers of the largest pass")]
    library_bytes: Annotated[int, Column("Memory of libraries or the GPU driver's context")]
    peak_bytes: Annotated[int, Column("Peak memory per process: the sum of these")]
    limit_bytes: Annotated[int, Column("Memory available per process")]
    disk_bytes: Annotated[int, Column("Maximum size of checkpoints and adapter")]
    free_disk_bytes: Annotated[int, Column("Free disk space at their location")]
    steps: Annotated[int, Column("Optimizer steps over all epochs")]
    fits: Annotated[bool, Column("True if memory and disk suffice")]
    shortfall: Annotated[str, Column("What does not fit; empty if everything does")]
    suggestion: Annotated[str | None, Column("Suggested recipe change; absent if it fits or none helps")]


class Adapter(Record):
    """A trained adapter."""

    adapter_id: Annotated[str, Column("Fingerprint of the adapter's weights and configuration")]
    line: ProductLine
    folder: Annotated[str, Column("Folder, relative to the data folder")]
    base_fingerprint: Annotated[str, Column("Base model of the training")]
    instruction_set_fingerprint: Annotated[str, Column("Instruction set of the training")]
    recipe_fingerprint: Annotated[str, Column("Fingerprint of training settings and base model")]
    prompt_fingerprint: Annotated[
        str, Column("Prompt contract: system prompt, chat template, special tokens, stop ids")
    ]
    method: Annotated[str, Column("`lora`, `qlora` or `dora`")]
    trained_row_count: Annotated[int, Column("Examples in the train split")]
    steps: Annotated[int, Column("Optimizer steps")]
    first_train_loss: Annotated[float, Column("Mean loss of the first logged steps")]
    last_train_loss: Annotated[float, Column("Mean loss of the last logged steps")]
    first_validation_loss: Annotated[float, Column("Loss on the validation split before training")]
    best_validation_loss: Annotated[float, Column("Validation loss of the selected checkpoint")]
    duration_seconds: Annotated[float, Column("Duration of training")]
    peak_memory_bytes: Annotated[int, Column("Peak resident memory of the trainer; on a GPU, of its tensors")]
    base_kl_divergence: Annotated[float | None, Column("Mean KL divergence from the base model, nats per token")]
    packing: Annotated[str | None, Column("`bfd` if several examples share a row, else `never`")]
    planned_peak_bytes: Annotated[int | None, Column("Planned peak memory of the trainer")]

"""Tables of stage 6: base models, plans and adapters."""

from typing import Annotated

from fine_tune_assets.tables.columns_in_common import ExampleId, Line, Use
from fine_tune_assets.tables.records import Column, Record


class BaseModel(Record):
    """A base model, checked and described."""

    name: Annotated[str, Column("Name in the recipe")]
    fingerprint: Annotated[str, Column("Fingerprint of every file in the folder")]
    folder: Annotated[str, Column("Folder, relative to the data folder where it lies below it")]
    architecture: Annotated[str, Column("Model class")]
    parameters: Annotated[int, Column("Number of weights")]
    source: Annotated[str, Column("Where the weights came from")]
    source_fingerprint: Annotated[str, Column("SHA-256 of what was imported")]
    licence: Annotated[str, Column("Licence of the weights")]
    chat_template_fingerprint: Annotated[str, Column("SHA-256 of the chat template")]
    licence_fingerprint: Annotated[str | None, Column("SHA-256 of the licence's text; empty if the folder has none")]
    dtype: Annotated[str | None, Column("Number format of most weights")]
    context_tokens: Annotated[int | None, Column("Longest prompt and answer that it was made for")]
    vocabulary: Annotated[int | None, Column("Number of tokens that it knows")]
    has_tied_embeddings: Annotated[bool | None, Column("True when the output layer is the embeddings")]
    stop_tokens: Annotated[tuple[str, ...] | None, Column("What ends an answer")]
    uses: Annotated[tuple[Use, ...] | None, Column("What each engine can do with it, and why not")]


class ExampleLength(Record):
    """How long an example is, and what of it is learned."""

    example_id: ExampleId
    split: Annotated[str, Column("`train`, `validation` or `test`")]
    tokens: Annotated[int | None, Column("Tokens of prompt and answer by the model's tokenizer; absent with a fault")]
    learned: Annotated[
        int | None, Column("Of these, tokens of the answers with their stop tokens; absent with a fault")
    ]
    fits: Annotated[bool, Column("False for an example that is longer than `training.max_length`, or has a fault")]
    turns: Annotated[int | None, Column("Answers in the conversation; absent with a fault")]
    learned_turns: Annotated[int | None, Column("Of these, answers that are learned; absent with a fault")]
    fault: Annotated[str | None, Column("Why it can't be trained on as it is asked; absent where nothing is wrong")]


class TrainingPreflight(Record):
    """Whether a set may be trained on as it is."""

    instruction_set_fingerprint: Annotated[str, Column("Instruction set that was looked through")]
    base_fingerprint: Annotated[str, Column("Base model whose tokenizer and chat template were used")]
    training_fingerprint: Annotated[str, Column("The recipe's training settings")]
    prompt_fingerprint: Annotated[
        str, Column("Prompt contract: system prompt, chat template, special tokens, stop ids")
    ]
    masked_by: Annotated[
        str, Column("Training template that marks the answers; `last turn` where none fits the model's own")
    ]
    rows: Annotated[int, Column("Examples of train and validation")]
    rows_trained: Annotated[int, Column("Of these, examples that are trained and validated on")]
    faults: Annotated[int, Column("Examples with a fault, test examples too")]
    too_long: Annotated[int, Column("Examples of train and validation that are longer than `training.max_length`")]
    too_long_rule: Annotated[str, Column("`refuse` or `leave_out`: what the recipe says of them")]
    supervised_tokens: Annotated[int, Column("Tokens that one epoch learns from")]
    is_clear: Annotated[bool, Column("True when training may start")]


class TrainingPlan(Record):
    """What a training takes, and whether there is that much."""

    instruction_set_fingerprint: Annotated[str, Column("Instruction set that it is planned for")]
    base_fingerprint: Annotated[str, Column("Base model")]
    training_fingerprint: Annotated[str, Column("The recipe's training settings")]
    machine: Annotated[str, Column("What it was planned for: a GPU's name, or this machine's memory")]
    processes: Annotated[int, Column("Processes that train together")]
    packing: Annotated[str, Column("`bfd` if several examples share a row, else `never`")]
    batch_size: Annotated[int, Column("Rows of a pass through the model")]
    gradient_accumulation: Annotated[int, Column("Passes of a step")]
    largest_rows: Annotated[int, Column("Rows of the largest pass of a process")]
    largest_tokens: Annotated[int, Column("Tokens of each of its rows, padding included")]
    weights_bytes: Annotated[int, Column("The base model in memory")]
    adapter_bytes: Annotated[int, Column("The adapter")]
    gradients_bytes: Annotated[int, Column("One gradient for each of its weights")]
    optimizer_bytes: Annotated[int, Column("AdamW's two numbers for each of them")]
    activations_bytes: Annotated[int, Column("What the largest pass keeps for the way back, and holds for a moment")]
    library_bytes: Annotated[int, Column("Libraries, or a GPU driver's context")]
    peak_bytes: Annotated[int, Column("Their sum: the most that a process holds at once")]
    limit_bytes: Annotated[int, Column("What a process may hold")]
    disk_bytes: Annotated[int, Column("Checkpoints and adapter, at most")]
    free_disk_bytes: Annotated[int, Column("Room where they are written")]
    steps: Annotated[int, Column("Optimiser steps of all epochs")]
    seconds: Annotated[float | None, Column("How long it takes; absent where it can't be measured")]
    fits: Annotated[bool, Column("True when memory and disk suffice")]
    why: Annotated[str, Column("What does not fit; empty where all does")]
    nearest: Annotated[str | None, Column("What to change in the recipe; absent if it fits, or nothing does")]


class Adapter(Record):
    """A trained adapter."""

    adapter_id: Annotated[str, Column("Fingerprint of the adapter's weights and configuration")]
    line: Line
    folder: Annotated[str, Column("Folder below the data folder")]
    base_fingerprint: Annotated[str, Column("Base model that it was trained on")]
    instruction_set_fingerprint: Annotated[str, Column("Instruction set that it was trained on")]
    recipe_fingerprint: Annotated[str, Column("The recipe's training settings and base model that it was trained by")]
    prompt_fingerprint: Annotated[
        str, Column("Prompt contract: system prompt, chat template, special tokens, stop ids")
    ]
    method: Annotated[str, Column("`lora`, `qlora` or `dora`")]
    rows_trained: Annotated[int, Column("Examples in the train split")]
    steps: Annotated[int, Column("Optimiser steps")]
    first_train_loss: Annotated[float, Column("Mean loss of the first logged steps")]
    last_train_loss: Annotated[float, Column("Mean loss of the last logged steps")]
    first_validation_loss: Annotated[float, Column("Loss on the validation split before training")]
    best_validation_loss: Annotated[float, Column("Loss on the validation split of the checkpoint that was kept")]
    seconds: Annotated[float, Column("Duration of training")]
    peak_memory_bytes: Annotated[int, Column("Largest resident memory of the trainer; on a GPU, of its tensors")]
    base_divergence: Annotated[float | None, Column("Mean KL from the base model on validation answers, nats a token")]
    packing: Annotated[str | None, Column("`bfd` if several examples shared a row, else `never`")]
    planned_peak_bytes: Annotated[int | None, Column("Largest memory of the trainer as it was planned")]
    planned_seconds: Annotated[float | None, Column("Duration as it was planned; absent where nobody could measure it")]
    sweep: Annotated[str | None, Column("Name of the sweep that it was chosen in; absent if there was none")]


class SweepTrial(Record):
    """A trial of a sweep."""

    sweep: Annotated[
        str, Column("Name of the sweep: instruction set, base model, training settings and what was tried")
    ]
    trial: Annotated[int, Column("Its number, from 0")]
    parameters: Annotated[str, Column("Training settings that it tried, as JSON; all others are the recipe's")]
    state: Annotated[str, Column("`finished` or `failed`")]
    is_chosen: Annotated[bool, Column("True for the one that became the adapter")]
    first_validation_loss: Annotated[float | None, Column("Validation loss before training; absent if it failed")]
    best_validation_loss: Annotated[float | None, Column("The same of the checkpoint that was kept")]
    seconds: Annotated[float | None, Column("Duration of training")]
    adapter_id: Annotated[str | None, Column("Adapter that it made; its weights are kept if it was chosen")]
    why: Annotated[str | None, Column("Why it failed")]

"""The schema of every table asset: names, types, whether a value may be absent, and what each column means.

Owns the schemas and how a table is made from rows and checked against its schema. Does not know where tables lie.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import TableError

STRINGS = pa.list_(pa.string())
KNOWN_IDENTIFIERS = pa.list_(pa.struct([("kind", pa.string()), ("value", pa.string())]))
USES = pa.list_(
    pa.struct([("use", pa.string()), ("engine", pa.string()), ("is_possible", pa.bool_()), ("reason", pa.string())])
)
PASSAGES = pa.list_(
    pa.struct([
        *((name, pa.string()) for name in ("passage_id", "title", "source", "version")),
        ("headings", STRINGS), ("text", pa.string()), ("labels", STRINGS),
    ])
)  # fmt: skip
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def _column(name: str, kind: pa.DataType, meaning: str, nullable: bool = False, raw_text: bool = False) -> pa.Field:
    """`raw_text` marks a column that holds text of reports, scrubbed or not: it is never shown in the Dagster UI, since
    no scrubber finds everything and the UI has no login."""
    metadata = {"meaning": meaning, **({"raw_text": "yes"} if raw_text else {})}
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


_REPORT_ID = _column("report_id", pa.string(), "Batch and the report's own id in it, `batch/id`")
_BATCH = _column("batch", pa.string(), "Name of the batch folder")
_SOURCE = _column("source", pa.string(), "Where the report comes from, as its batch says")
_PATIENT = _column("patient_key", pa.string(), "Keyed hash of the patient's id; the id itself is nowhere")
_WRITTEN_ON = _column(
    "written_on", pa.date32(), "Day on which it was written, as its metadata says and the profile lets it stand", nullable=True
)
_TEXT_FINGERPRINT = _column("fingerprint", pa.string(), "SHA-256 of the text")
_EXAMPLE_ID = _column("example_id", pa.string(), "Id of the example, made from its content")
_TASK = _column("task", pa.string(), "Task of the recipe that made the example")
_LINE = _column("line", pa.string(), "Product line: the name of the recipe")
_INSTRUCTION = _column("instruction", pa.string(), "What the model is asked to do")
_INPUT = _column("input", pa.string(), "What it is given, scrubbed", raw_text=True)
_OUTPUT = _column("output", pa.string(), "What it should answer, scrubbed", raw_text=True)

REPORTS = pa.schema([
    _REPORT_ID, _BATCH, _SOURCE, _PATIENT,
    _column("text", pa.string(), "Text of the report as it came, with identifiers", raw_text=True),
    _column("known_identifiers", KNOWN_IDENTIFIERS, "Identifiers that the report's own metadata states", raw_text=True),
    _column("origin_file", pa.string(), "File in the batch folder; an entry of an archive as `archive.zip/entry`"),
    _column("written_on", pa.date32(), "Day on which it was written, as its metadata says", nullable=True, raw_text=True),
    _TEXT_FINGERPRINT,
])
UNREADABLE_REPORTS = pa.schema([
    _BATCH,
    _column("origin_file", pa.string(), "File in the batch folder; an entry of an archive as `archive.zip/entry`"),
    _column("record", pa.int64(), "Row, line, message or resource in the file, from 1; absent for a whole file", nullable=True),
    _column("reason", pa.string(), "Why it could not be read, one of a fixed list"),
    _column("detail", pa.string(), "What to do about it; never report text"),
    _column("size_bytes", pa.int64(), "Size of the file", nullable=True),
])
SCRUBBED_REPORTS = pa.schema([
    _REPORT_ID, _BATCH, _SOURCE, _PATIENT,
    _column("text", pa.string(), "Text with every identifier found replaced: what is trained on", raw_text=True),
    _column("tagged_text", pa.string(), "The same with `[KIND]` in each place: what a reviewer compares it with", raw_text=True),
    _column("span_count", pa.int64(), "Identifiers removed"),
    _column("scrubber_version", pa.string(), "Fingerprint of the scrubber's rules, models and manner of replacement"),
    _WRITTEN_ON, _TEXT_FINGERPRINT,
])
HELD_REPORTS = pa.schema([
    _REPORT_ID, _BATCH,
    _column("kind", pa.string(), "Kind of identifier that the second pass still finds"),
    _column("count", pa.int64(), "How many of it"),
    _column("scrubber_version", pa.string(), "Fingerprint of the scrubber"),
])
IDENTIFIER_VALUES = pa.schema([
    _column("value_hash", pa.string(), "Keyed hash of a value, or of one word of it; the value itself is nowhere"),
    _column("role", pa.string(), "`original`: it occurs in a report; `surrogate`: it was put in an identifier's place"),
])
PHI_SPANS = pa.schema([
    _REPORT_ID,
    _column("start", pa.int64(), "First character in the raw text, from 0"),
    _column("end", pa.int64(), "Character after the last one"),
    _column("label", pa.string(), "Kind of identifier"),
    _column("rule", pa.string(), "Which recogniser found it"),
    _column("score", pa.float64(), "The recogniser's confidence, 0 to 1"),
])
SCRUB_RECALL = pa.schema([
    _column("labelled_set", pa.string(), "Labelled set it was measured on"),
    _column("measure", pa.string(), "What was measured, such as `masked_recall`"),
    _column("label", pa.string(), "Kind of identifier, `direct` for those that tell who it is by themselves, or `all`"),
    _column("hits", pa.int64(), "Of the total, how many; absent for an F1", nullable=True),
    _column("total", pa.int64(), "Identifiers, findings, documents or words", nullable=True),
    _column("value", pa.float64(), "hits / total, or the F1"),
    _column("low", pa.float64(), "Lower end of the 95 % Wilson interval", nullable=True),
    _column("high", pa.float64(), "Upper end of the 95 % Wilson interval", nullable=True),
    _column("scrubber_version", pa.string(), "Fingerprint of the scrubber that was measured"),
])
PHI_TAGGERS = pa.schema([
    _column("tagger_id", pa.string(), "Fingerprint of the tagger's files, and the name of its folder"),
    _column("folder", pa.string(), "Folder below the data folder: what `scrub.entity_model` names to use it"),
    _column("entity_model", pa.string(), "What was measured: this tagger, the one that comes with the package, or spaCy's"),
    _column("recall", pa.float64(), "Lowest share of labelled identifiers removed whole, over the labelled sets"),
    _column("other_tokens_masked", pa.float64(), "Highest share of other words that were removed, over the labelled sets"),
    _column("documents_per_second", pa.float64(), "Labelled documents scrubbed in a second, in one process"),
])
UNIQUE_REPORTS = pa.schema([
    _REPORT_ID, _BATCH, _SOURCE, _PATIENT, _column("text", pa.string(), "Scrubbed text", raw_text=True),
    _column("scrubber_version", pa.string(), "Fingerprint of the scrubber that left the text", nullable=True),
    _WRITTEN_ON, _TEXT_FINGERPRINT,
])
DUPLICATE_REPORTS = pa.schema([
    _column("dropped_id", pa.string(), "Report that was dropped"),
    _column("kept_id", pa.string(), "Report that stays in its place"),
    _column("kind", pa.string(), "`exact`, `near` or `semantic`"),
    _column("similarity", pa.float64(), "Jaccard similarity of word shingles, or cosine of embeddings (semantic), 0 to 1"),
    _column("reason", pa.string(), "Why this one stayed"),
    _column(
        "disagrees_on", STRINGS,
        "`numbers`, `sides`: the dropped report states some that the kept one lacks; `denials`: it says no more or less often",
        nullable=True,
    ),
    _column("fingerprint", pa.string(), "SHA-256 of the dropped report's scrubbed text", nullable=True),
])
MODEL_DRAFTS = pa.schema([
    _column("request", pa.string(), "SHA-256 of task, instruction and input: what the model was asked"),
    _column("report_id", pa.string(), "Report that the input was made from"),
    _PATIENT, _TASK,
    _column("output", pa.string(), "What the model wrote", raw_text=True),
    _column("is_finished", pa.bool_(), "False when it was cut off at `max_new_tokens`"),
    _column("drafted_by", pa.string(), "`model` and the short fingerprint of the model or release that wrote it"),
])
DRAFTED_EXAMPLES = pa.schema([
    _EXAMPLE_ID,
    _column("report_id", pa.string(), "Report or correction it was made from"),
    _SOURCE, _PATIENT, _TASK, _INSTRUCTION, _INPUT, _OUTPUT,
    _column(
        "drafted_by", pa.string(),
        "`sections`, `fields`, `pairs`, `correction`, `correction with passages`, or `model` with the model's short fingerprint",
        nullable=True,
    ),
    _column("flags", STRINGS, "What a reviewer should look at, such as a number not in the input", raw_text=True),
    _column("needs_review", pa.bool_(), "False when a trusted source's name is enough to approve it", nullable=True),
    _column("fingerprint", pa.string(), "SHA-256 of instruction, input and output: what an approval is bound to"),
])
APPROVED_EXAMPLES = pa.schema([
    _EXAMPLE_ID,
    _column("report_id", pa.string(), "Report or correction it was made from"),
    _SOURCE, _PATIENT, _TASK, _INSTRUCTION, _INPUT, _OUTPUT,
    _column("approved_by", pa.string(), "Reviewers who stand behind it, or who the recipe says wrote what it trusts"),
    _column("approval_kind", pa.string(), "`expert` or `trusted_source`"),
    _column("decision_id", pa.string(), "The decision in the ledger that settled it", nullable=True),
    _column("decision_ids", STRINGS, "Every decision that counts for it, in their order", nullable=True),
    _column("fingerprint", pa.string(), "SHA-256 of instruction, input and output as approved"),
])
GENERAL_EXAMPLES = pa.schema([
    _EXAMPLE_ID, _SOURCE,
    _column("licence", pa.string(), "Licence of the source"),
    _column("kind", pa.string(), "Kind of task that the source names, or the source: each has its share in the mix"),
    _INSTRUCTION,
    _column("input", pa.string(), "What it is given; may be empty"),
    _column("output", pa.string(), "Answer written by a person"),
    _column("fingerprint", pa.string(), "SHA-256 of instruction, input and output"),
])
INSTRUCTION_SETS = pa.schema([
    _EXAMPLE_ID,
    _column("split", pa.string(), "`train`, `validation` or `test`; a patient is in one only, for ever"),
    _LINE, _SOURCE, _TASK,
    _column("patient_key", pa.string(), "Keyed hash of the patient's id; absent for general data", nullable=True),
    _column("is_general", pa.bool_(), "True for general data that was mixed in"),
    _column("messages", MESSAGES, "The conversation: system, user, assistant", raw_text=True),
    _column("fingerprint", pa.string(), "SHA-256 of the approved example"),
])
INSTRUCTION_PROVENANCE = pa.schema([
    _EXAMPLE_ID,
    _column("split", pa.string(), "`train`, `validation` or `test`"),
    _column("report_id", pa.string(), "Report or correction it was made from; absent for general data", nullable=True),
    _column("report_fingerprint", pa.string(), "SHA-256 of that report's scrubbed text; absent without a report", nullable=True),
    _column("patient_key", pa.string(), "Keyed hash of the patient's id; absent for general data", nullable=True),
    _TASK, _SOURCE,
    _column("approved_by", pa.string(), "Who approved it; absent for general data", nullable=True),
    _column("approval_kind", pa.string(), "`expert` or `trusted_source`; absent for general data", nullable=True),
    _column("decision_ids", STRINGS, "The decisions in the ledger that it rests on"),
    _column("fingerprint", pa.string(), "SHA-256 of instruction, input and output as approved"),
    _column("scrubber_version", pa.string(), "Fingerprint of the scrubber; absent for general data", nullable=True),
    _column("passages", pa.int64(), "Passages of documents before its question; absent without any", nullable=True),
])
"""`provenance.parquet` beside a stored instruction set: one row for each of its rows, in their order."""
LEFT_OUT_EXAMPLES = pa.schema([
    _EXAMPLE_ID,
    _column("reason", pa.string(), "Why the set is without it; names ids, never text"),
])
"""`<id>.left_out.parquet` beside the folder of an instruction set."""
BASE_MODELS = pa.schema([
    _column("name", pa.string(), "Name in the recipe"),
    _column("fingerprint", pa.string(), "Fingerprint of every file in the folder"),
    _column("folder", pa.string(), "Folder, relative to the data folder where it lies below it"),
    _column("architecture", pa.string(), "Model class"),
    _column("parameters", pa.int64(), "Number of weights"),
    _column("source", pa.string(), "Where the weights came from"),
    _column("source_fingerprint", pa.string(), "SHA-256 of what was imported"),
    _column("licence", pa.string(), "Licence of the weights"),
    _column("chat_template_fingerprint", pa.string(), "SHA-256 of the chat template"),
    _column("licence_fingerprint", pa.string(), "SHA-256 of the licence's text; empty if the folder has none", nullable=True),
    _column("dtype", pa.string(), "Number format of most weights", nullable=True),
    _column("context_tokens", pa.int64(), "Longest prompt and answer that it was made for", nullable=True),
    _column("vocabulary", pa.int64(), "Number of tokens that it knows", nullable=True),
    _column("has_tied_embeddings", pa.bool_(), "True when the output layer is the embeddings", nullable=True),
    _column("stop_tokens", STRINGS, "What ends an answer", nullable=True),
    _column("uses", USES, "What each engine can do with it, and why not", nullable=True),
])
EXAMPLE_LENGTHS = pa.schema([
    _EXAMPLE_ID,
    _column("split", pa.string(), "`train`, `validation` or `test`"),
    _column("tokens", pa.int64(), "Tokens of prompt and answer by the model's tokenizer; absent with a fault", nullable=True),
    _column("learned", pa.int64(), "Of these, tokens of the answers with their stop tokens; absent with a fault", nullable=True),
    _column("fits", pa.bool_(), "False for an example that is longer than `training.max_length`, or has a fault"),
    _column("turns", pa.int64(), "Answers in the conversation; absent with a fault", nullable=True),
    _column("learned_turns", pa.int64(), "Of these, answers that are learned; absent with a fault", nullable=True),
    _column("fault", pa.string(), "Why it can't be trained on as it is asked; absent where nothing is wrong", nullable=True),
])
TRAINING_PREFLIGHTS = pa.schema([
    _column("instruction_set_fingerprint", pa.string(), "Instruction set that was looked through"),
    _column("base_fingerprint", pa.string(), "Base model whose tokenizer and chat template were used"),
    _column("training_fingerprint", pa.string(), "The recipe's training settings"),
    _column("prompt_fingerprint", pa.string(), "Prompt contract: system prompt, chat template, special tokens, stop ids"),
    _column("masked_by", pa.string(), "Training template that marks the answers; `last turn` where none fits the model's own"),
    _column("rows", pa.int64(), "Examples of train and validation"),
    _column("rows_trained", pa.int64(), "Of these, examples that are trained and validated on"),
    _column("faults", pa.int64(), "Examples with a fault, test examples too"),
    _column("too_long", pa.int64(), "Examples of train and validation that are longer than `training.max_length`"),
    _column("too_long_rule", pa.string(), "`refuse` or `leave_out`: what the recipe says of them"),
    _column("supervised_tokens", pa.int64(), "Tokens that one epoch learns from"),
    _column("is_clear", pa.bool_(), "True when training may start"),
])
TRAINING_PLANS = pa.schema([
    _column("instruction_set_fingerprint", pa.string(), "Instruction set that it is planned for"),
    _column("base_fingerprint", pa.string(), "Base model"),
    _column("training_fingerprint", pa.string(), "The recipe's training settings"),
    _column("machine", pa.string(), "What it was planned for: a GPU's name, or this machine's memory"),
    _column("processes", pa.int64(), "Processes that train together"),
    _column("packing", pa.string(), "`bfd` if several examples share a row, else `never`"),
    _column("batch_size", pa.int64(), "Rows of a pass through the model"),
    _column("gradient_accumulation", pa.int64(), "Passes of a step"),
    _column("largest_rows", pa.int64(), "Rows of the largest pass of a process"),
    _column("largest_tokens", pa.int64(), "Tokens of each of its rows, padding included"),
    _column("weights_bytes", pa.int64(), "The base model in memory"),
    _column("adapter_bytes", pa.int64(), "The adapter"),
    _column("gradients_bytes", pa.int64(), "One gradient for each of its weights"),
    _column("optimizer_bytes", pa.int64(), "AdamW's two numbers for each of them"),
    _column("activations_bytes", pa.int64(), "What the largest pass keeps for the way back, and holds for a moment"),
    _column("library_bytes", pa.int64(), "Libraries, or a GPU driver's context"),
    _column("peak_bytes", pa.int64(), "Their sum: the most that a process holds at once"),
    _column("limit_bytes", pa.int64(), "What a process may hold"),
    _column("disk_bytes", pa.int64(), "Checkpoints and adapter, at most"),
    _column("free_disk_bytes", pa.int64(), "Room where they are written"),
    _column("steps", pa.int64(), "Optimiser steps of all epochs"),
    _column("seconds", pa.float64(), "How long it takes; absent where it can't be measured", nullable=True),
    _column("fits", pa.bool_(), "True when memory and disk suffice"),
    _column("why", pa.string(), "What does not fit; empty where all does"),
    _column("nearest", pa.string(), "What to change in the recipe; absent if it fits, or nothing does", nullable=True),
])
ADAPTERS = pa.schema([
    _column("adapter_id", pa.string(), "Fingerprint of the adapter's weights and configuration"),
    _LINE,
    _column("folder", pa.string(), "Folder below the data folder"),
    _column("base_fingerprint", pa.string(), "Base model that it was trained on"),
    _column("instruction_set_fingerprint", pa.string(), "Instruction set that it was trained on"),
    _column("recipe_fingerprint", pa.string(), "The recipe's training settings and base model that it was trained by"),
    _column("prompt_fingerprint", pa.string(), "Prompt contract: system prompt, chat template, special tokens, stop ids"),
    _column("method", pa.string(), "`lora`, `qlora` or `dora`"),
    _column("rows_trained", pa.int64(), "Examples in the train split"),
    _column("steps", pa.int64(), "Optimiser steps"),
    _column("first_train_loss", pa.float64(), "Mean loss of the first logged steps"),
    _column("last_train_loss", pa.float64(), "Mean loss of the last logged steps"),
    _column("first_validation_loss", pa.float64(), "Loss on the validation split before training"),
    _column("best_validation_loss", pa.float64(), "Loss on the validation split of the checkpoint that was kept"),
    _column("seconds", pa.float64(), "Duration of training"),
    _column("peak_memory_bytes", pa.int64(), "Largest resident memory of the trainer; on a GPU, of its tensors"),
    _column("base_divergence", pa.float64(), "Mean KL from the base model on validation answers, nats a token", nullable=True),
    _column("packing", pa.string(), "`bfd` if several examples shared a row, else `never`", nullable=True),
    _column("planned_peak_bytes", pa.int64(), "Largest memory of the trainer as it was planned", nullable=True),
    _column("planned_seconds", pa.float64(), "Duration as it was planned; absent where nobody could measure it", nullable=True),
    _column("sweep", pa.string(), "Name of the sweep that it was chosen in; absent if there was none", nullable=True),
])
SWEEP_TRIALS = pa.schema([
    _column("sweep", pa.string(), "Name of the sweep: instruction set, base model, training settings and what was tried"),
    _column("trial", pa.int64(), "Its number, from 0"),
    _column("parameters", pa.string(), "Training settings that it tried, as JSON; all others are the recipe's"),
    _column("state", pa.string(), "`finished` or `failed`"),
    _column("is_chosen", pa.bool_(), "True for the one that became the adapter"),
    _column("first_validation_loss", pa.float64(), "Validation loss before training; absent if it failed", nullable=True),
    _column("best_validation_loss", pa.float64(), "The same of the checkpoint that was kept", nullable=True),
    _column("seconds", pa.float64(), "Duration of training", nullable=True),
    _column("adapter_id", pa.string(), "Adapter that it made; its weights are kept if it was chosen", nullable=True),
    _column("why", pa.string(), "Why it failed", nullable=True),
])
JUDGE_AGREEMENT = pa.schema([
    _column("labelled_set", pa.string(), "Answers that people rated, or pairs of which they chose one"),
    _column("human_measure", pa.string(), "What the people rated; of pairs, `majority`: what most of them preferred"),
    _column("answers", pa.int64(), "Rated answers, or pairs, that the judge graded"),
    _column("spearman", pa.float64(), "Rank correlation of the judge's grade with the human rating, -1 to 1", nullable=True),
    _column("low", pa.float64(), "Lower end of the 95 % bootstrap interval", nullable=True),
    _column("high", pa.float64(), "Upper end of the 95 % bootstrap interval", nullable=True),
    _column("judge_version", pa.string(), "Fingerprint of the judge that was measured"),
    _column("task", pa.string(), "Task of the answers; absent if they stand for every task", nullable=True),
    _column("set_fingerprint", pa.string(), "Fingerprint of the labelled answers", nullable=True),
    _column("missing", pa.int64(), "Answers or pairs that the judge could not grade", nullable=True),
    _column("fitted", pa.int64(), "Answers left out because the judge was fitted on their texts", nullable=True),
    _column("accuracy", pa.float64(), "Share of the pairs in which the judge prefers what most people preferred", nullable=True),
    _column("accuracy_low", pa.float64(), "Lower end of the 95 % bootstrap interval", nullable=True),
    _column("accuracy_high", pa.float64(), "Upper end of that interval", nullable=True),
    _column("kappa", pa.float64(), "The same beyond chance, Cohen's kappa", nullable=True),
    _column("kappa_low", pa.float64(), "Lower end of the 95 % bootstrap interval", nullable=True),
    _column("kappa_high", pa.float64(), "Upper end of that interval", nullable=True),
    _column("consistent", pa.float64(), "Share of the pairs in which both orders have the same winner", nullable=True),
    _column("judge_prefers_longer", pa.float64(), "Share of the judge's choices that are the longer answer", nullable=True),
    _column("people_prefer_longer", pa.float64(), "The same of the people's choices", nullable=True),
    _column("length_partial", pa.float64(), "Rank correlation of grade and length at the same human rating", nullable=True),
    _column("human_length_correlation", pa.float64(), "Rank correlation of the people's rating and length", nullable=True),
    _column("repeated_equal", pa.float64(), "Share of grades that stayed the same when given again", nullable=True),
    _column("repeated_difference", pa.float64(), "The most that a grade moved when given again", nullable=True),
    _column("human_threshold", pa.float64(), "The human rating from which on an answer is acceptable", nullable=True),
    _column("sensitivity", pa.float64(), "Share of the acceptable answers that the judge accepts", nullable=True),
    _column("specificity", pa.float64(), "Share of the others that it does not accept", nullable=True),
    _column("calibration", pa.string(), "Grade to human rating, 1 to 10: corners of the rising line, as JSON", nullable=True),
    _column("why", pa.string(), "Why figures are absent", nullable=True),
])
JUDGE_SCORES = pa.schema([
    _column("model", pa.string(), "`base`, `adapter` or `incumbent`"),
    _column("model_fingerprint", pa.string(), "Fingerprint of the model that answered"),
    _column("adapter_id", pa.string(), "The candidate that this comparison is about"),
    _EXAMPLE_ID, _PATIENT,
    _column("answer", pa.string(), "What the model answered to scrubbed input", raw_text=True),
    _column("score", pa.float64(), "Grade from 1 to 10; absent when it could not be graded, never 0", nullable=True),
    _column("reason", pa.string(), "Why the grade is what it is, or why it is absent"),
    _column("unsupported_numbers", pa.int64(), "Numbers in the answer that the input does not hold"),
    _column("is_finished", pa.bool_(), "True when the answer ended with the stop token, not at the length limit"),
    _column("judge_version", pa.string(), "Fingerprint of the judge"),
    _column("judge_kind", pa.string(), "`offline`, `endpoint` or `folder`", nullable=True),
    _column("task", pa.string(), "Task of the recipe that made the example", nullable=True),
    _column(
        "criteria", pa.string(), "Each criterion of the rubric with score, reason and evidence, as JSON; absent without any",
        nullable=True, raw_text=True,
    ),
    _column(
        "compared_with", pa.string(),
        "Candidate's rows: fingerprint of the model whose answer the judge compared this one with; absent where it compares none",
        nullable=True,
    ),
    _column(
        "preference", pa.float64(),
        "How likely this is the better of the two, 0 to 1, asked in both orders; absent where the judge named neither",
        nullable=True,
    ),
    _column("is_consistent", pa.bool_(), "Whether both orders prefer the same answer; absent for equal texts", nullable=True),
    _column("preference_reason", pa.string(), "How the preference came about, or why it is absent", nullable=True),
])
ANSWER_CHECKS = pa.schema([
    _column("model", pa.string(), "`base`, `adapter` or `incumbent`"),
    _column("model_fingerprint", pa.string(), "Fingerprint of the model that answered"),
    _column("adapter_id", pa.string(), "The candidate that this comparison is about"),
    _EXAMPLE_ID, _PATIENT,
    _column(
        "check", pa.string(),
        "`numbers`, `units`, `dates`, `sides`, `negations`, `medications`, `format`, `finished` or `length`",
    ),
    _column("is_held", pa.bool_(), "Whether the answer holds to it; absent where it does not apply to the task", nullable=True),
    _column("found", pa.int64(), "How many things the input does not support, or faults of form; never text"),
])
RETAINED_ABILITIES = pa.schema([
    _column("ability", pa.string(), "General task kept out of training"),
    _column("adapter_id", pa.string(), "The candidate"),
    _column("items", pa.int64(), "Questions"),
    _column("base_accuracy", pa.float64(), "Share that the base model answers rightly"),
    _column("adapter_accuracy", pa.float64(), "Share that the candidate answers rightly"),
    _column("low", pa.float64(), "Lower end of the 95 % score interval of the difference (Tango 1998)"),
    _column("high", pa.float64(), "Upper end of that interval"),
    _column("base_right_only", pa.int64(), "Questions that only the base model answers rightly", nullable=True),
    _column("adapter_right_only", pa.int64(), "Questions that only the candidate answers rightly", nullable=True),
    _column("budget", pa.float64(), "Accuracy that may be lost on this task when the table was made", nullable=True),
])
ROBUSTNESS_PROBES = pa.schema([
    _column("probe", pa.string(), "What was done to the input, or which one was sent"),
    _column("adapter_id", pa.string(), "The candidate"),
    _column("items", pa.int64(), "Inputs"),
    _column("held", pa.int64(), "Inputs that the candidate refused, or answered as if nothing was wrong"),
    _column("base_held", pa.int64(), "The same of the base model"),
])
MEMORIZATION_PROBES = pa.schema([
    _column("probe", pa.string(), "What was tried, such as `canaries_1`: those that are read once an epoch"),
    _column("adapter_id", pa.string(), "The candidate"),
    _column("decides", pa.bool_(), "True where a leak refuses the candidate; others show where leaks begin"),
    _column("items", pa.int64(), "Canaries, identifiers that were asked for, or answers that were looked through"),
    _column("extracted", pa.int64(), "Of these, how many gave something away; absent if it was not measured", nullable=True),
    _column("p_value", pa.float64(), "Rank-sum test of canaries against controls; absent for other probes", nullable=True),
    _column("is_clean", pa.bool_(), "True when nothing was given away"),
    _column("why", pa.string(), "The same in plain words; counts and kinds only"),
    _column("repeats", pa.int64(), "Times that a canary is in the training rows; absent for other probes", nullable=True),
    _column("controls", pa.int64(), "Canaries that nobody trained on, to compare with", nullable=True),
    _column("exposure", pa.float64(), "Mean exposure of the canaries, in bits; 1.4 by chance", nullable=True),
    _column("p_limit", pa.float64(), "p below which a difference from the controls counts", nullable=True),
    _column("bound_to", pa.string(), "Fingerprint of all that decided the shadow adapter that was asked", nullable=True),
])
PROMOTION_VERDICTS = pa.schema([
    _column("verdict_id", pa.string(), "Fingerprint of the verdict and all that it rests on"),
    _column("decision", pa.string(), "`promote`, `hold` or `refuse`"),
    _LINE,
    _column("adapter_id", pa.string(), "The candidate"),
    _column("base_fingerprint", pa.string(), "Its base model"),
    _column("instruction_set_fingerprint", pa.string(), "What it was trained and tested on"),
    _column("incumbent", pa.string(), "Fingerprint of the model that it was compared with"),
    _column("reasons", STRINGS, "Every reason, in plain words"),
    _column("examples", pa.int64(), "Test examples graded for both"),
    _column("incumbent_score", pa.float64(), "Mean grade of the incumbent", nullable=True),
    _column("candidate_score", pa.float64(), "Mean grade of the candidate", nullable=True),
    _column("gain_low", pa.float64(), "Lower end of the 95 % interval of the mean difference", nullable=True),
    _column("gain_high", pa.float64(), "Upper end of that interval", nullable=True),
])
_HOP = (
    _column("parity_tokens", pa.int64(), "Tokens that both figures rest on", nullable=True),
    _column("same_greedy", pa.float64(), "Share of frozen probes that both answer with the same words", nullable=True),
    _column("parity_answers", pa.int64(), "Frozen probes that both answered", nullable=True),
    _column("loss_increase", pa.float64(), "Nats per token of held-out answers that it loses more", nullable=True),
    _column("maximum_kl", pa.float64(), "Limit of mean_kl when it was made", nullable=True),
    _column("minimum_top1", pa.float64(), "Limit of top1_agreement", nullable=True),
    _column("minimum_same_greedy", pa.float64(), "Limit of same_greedy", nullable=True),
    _column("maximum_loss_increase", pa.float64(), "Limit of loss_increase", nullable=True),
    _column("is_passed", pa.bool_(), "Whether all figures are within their limits; absent: nobody measured", nullable=True),
    _column("why", pa.string(), "What is not, and what to do; empty if it passed", nullable=True),
    _column(
        "probes_file", pa.string(), "File with its answers to the frozen probes: a server must give them again",
        nullable=True,
    ),
)
"""A hop of the parity certificate."""
MERGED_WEIGHTS = pa.schema([
    _column("weights_fingerprint", pa.string(), "Fingerprint of every file in the folder"),
    _column("folder", pa.string(), "Folder below the data folder"),
    _column("adapter_id", pa.string(), "Adapter that was merged"),
    _column("base_fingerprint", pa.string(), "Base model that it was merged into"),
    _column("verdict_id", pa.string(), "Verdict that allowed it"),
    _column("dtype", pa.string(), "Number format of the weights"),
    _column("bytes", pa.int64(), "Size"),
    _column("mean_kl", pa.float64(), "Mean KL divergence per token, adapter against merged weights, in nats"),
    _column("top1_agreement", pa.float64(), "Share of tokens on which both have the same first choice"),
    *_HOP,
    _column("route", pa.string(), "`whole` in memory with PEFT, or `by_tensor` from file to file", nullable=True),
    _column("probes_fingerprint", pa.string(), "Fingerprint of all that both were asked, as token ids", nullable=True),
])
QUANTIZED_WEIGHTS = pa.schema([
    _column("format", pa.string(), "GGUF type, such as f16 or q8_0, or kind of compressed Safetensors"),
    _column("file", pa.string(), "File or folder below the data folder; absent for one that failed", nullable=True),
    _column("fingerprint", pa.string(), "SHA-256 of the file, or of the folder's files; absent likewise", nullable=True),
    _column("weights_fingerprint", pa.string(), "Merged weights that it was made from"),
    _column("bytes", pa.int64(), "Size; absent for one that failed", nullable=True),
    _column(
        "mean_kl", pa.float64(), "Mean KL divergence per token, merged weights against it, in nats; absent if not asked",
        nullable=True,
    ),
    _column("top1_agreement", pa.float64(), "Share of tokens on which both have the same first choice", nullable=True),
    *_HOP,
    _column("tensor_types", pa.string(), "How many tensors of each type are in a GGUF file", nullable=True),
])
RELEASES = pa.schema([
    _column("release_id", pa.string(), "Fingerprint of the release's manifest"),
    _LINE,
    _column("folder", pa.string(), "Folder below the data folder"),
    _column("verdict_id", pa.string(), "Verdict that allowed it"),
    _column("adapter_id", pa.string(), "Adapter that is in it"),
    _column("weights_fingerprint", pa.string(), "Merged weights that are in it"),
    _column("instruction_set_fingerprint", pa.string(), "What the model was trained on"),
    _column("prompt_fingerprint", pa.string(), "Prompt contract: system prompt, chat template, special tokens, stop ids"),
])
SERVED_MODELS = pa.schema([
    _column("release_id", pa.string(), "Release that answers"),
    _LINE,
    _column("colour", pa.string(), "`blue` or `green`"),
    _column("engine", pa.string(), "Program that runs the model"),
    _column("endpoint", pa.string(), "Address of the gateway"),
])
SCRUBBED_CORRECTIONS = pa.schema([
    _column("correction_id", pa.string(), "Id of the correction in the ledger"),
    _column("release_id", pa.string(), "Release that gave the answer"),
    _column("author", pa.string(), "Name of the key or user that sent it"),
    _PATIENT,
    _column("instruction", pa.string(), "What the user asked, scrubbed", raw_text=True),
    _INPUT,
    _column("output", pa.string(), "The corrected answer, scrubbed", raw_text=True),
    _column("answer", pa.string(), "What the model had answered, scrubbed", nullable=True, raw_text=True),
    _column("error_kind", pa.string(), "What was wrong with the answer, if the user said so", nullable=True),
    _column("severity", pa.string(), "`low`, `medium`, `high` or `critical`, if the user said so", nullable=True),
    _column("received_at", pa.timestamp("us", "UTC"), "When it arrived", nullable=True),
    _column("edit_fraction", pa.float64(), "Words changed, as a share of the longer text", nullable=True),
    _column("knowledge_index", pa.string(), "Index that the answer was given from; absent without a passage", nullable=True),
    _column(
        "passages", PASSAGES, "What stood before the question, scrubbed; none where it is gone, absent for any other answer",
        nullable=True, raw_text=True,
    ),
])

QUARANTINED_CORRECTIONS = pa.schema([
    _column("correction_id", pa.string(), "Id of the correction in the ledger"),
    _column("author", pa.string(), "Name of the key or user that sent it"),
    _column("fingerprint", pa.string(), "Of its scrubbed texts: a decision is bound to it"),
    _column("reasons", pa.list_(pa.string()), "Such as `outlier`, `contradiction`, `flood`; none for an ordinary one"),
    _column("distance", pa.float64(), "1 less the cosine from the nearest approved output; absent with too few", nullable=True),
    _column("contradicts", pa.list_(pa.string()), "Approved examples that state the opposite of it"),
    _column("near_identical", pa.int64(), "Corrections that say nearly the same to nearly the same, itself included"),
    _column("state", pa.string(), "`ordinary`, `waiting`, `let_through`, `rejected` or `barred`"),
    _column("decided_by", pa.string(), "Who let it through or rejected it", nullable=True),
])

PRODUCTION_DRIFT = pa.schema([
    _column("release_id", pa.string(), "Release that answered"),
    _column("window_start", pa.timestamp("us", "UTC"), "When the first request of the window was answered"),
    _column("window_end", pa.timestamp("us", "UTC"), "When the window ended"),
    _column("requests", pa.int64(), "Requests in it that were read"),
    _column("feature", pa.string(), "What was looked at"),
    _column("measure", pa.string(), "`psi` or `rate`"),
    _column("value", pa.float64(), "The figure; absent if it could not be told", nullable=True),
    _column("reference", pa.float64(), "The rate that it is compared with; absent for distances", nullable=True),
    _column("reference_size", pa.int64(), "Training examples or earlier requests that it is compared with", nullable=True),
    _column("threshold", pa.float64(), "From where on it is no chance; absent if it is not judged", nullable=True),
    _column("is_beyond", pa.bool_(), "Whether it is beyond the threshold; absent if it is not judged", nullable=True),
    _column("why_not_judged", pa.string(), "Why it is not judged", nullable=True),
])

KNOWLEDGE_CHUNKS = pa.schema([
    _column("chunk_id", pa.string(), "Stays the same while the chunk's text and place in its document's headings do"),
    _column("source", pa.string(), "Path of the document below `data/knowledge`"),
    _column("kind", pa.string(), "`markdown`, `text`, `html`, `pdf`, `csv` or `sql`"),
    _column("title", pa.string(), "Title of the document, as citations name it"),
    _column("version", pa.string(), "Version as the document states it, or a part of its content's hash"),
    _column("valid_from", pa.string(), "First day on which it holds; absent: it always did", nullable=True),
    _column("valid_to", pa.string(), "Last day; absent: it has none", nullable=True),
    _column("labels", STRINGS, "Who may see it: callers with one of these"),
    _column("heading_path", STRINGS, "Headings above it, the outermost first"),
    _column("text", pa.string(), "The chunk; a table's rows with their header", raw_text=True),
    _column("tokens", pa.int64(), "Word pieces of the embedder"),
])
UNREADABLE_DOCUMENTS = pa.schema([
    _column("source", pa.string(), "Path of the document below `data/knowledge`"),
    _column("reason", pa.string(), "Why it is not in the index"),
    _column("detail", pa.string(), "The same for who repairs it; never its text"),
])
KNOWLEDGE_INDEXES = pa.schema([
    _column("index_fingerprint", pa.string(), "Fingerprint of its chunks and of how it was made"),
    _column("format_fingerprint", pa.string(), "Fingerprint of the embedder and of how it is made and searched"),
    _column("store", pa.string(), "`lancedb` or `pgvector`"),
    _column("documents", pa.int64(), "Documents in it"),
    _column("chunks", pa.int64(), "Chunks in it"),
    _column("recall", pa.float64(), "Share of labelled questions that find their passage; absent: not measured", nullable=True),
    _column("mrr", pa.float64(), "Mean reciprocal rank of that passage", nullable=True),
    _column("refused", pa.float64(), "Share of questions that no document answers for which nothing is found", nullable=True),
    _column("own_questions", pa.int64(), "Questions of the installation's own"),
    _column("own_recall", pa.float64(), "Share of these that find their passage", nullable=True),
    _column("known_items", pa.int64(), "Sentences of the documents that were asked for"),
    _column("known_recall", pa.float64(), "Share of these that find their chunk", nullable=True),
    _column("recall_floor", pa.float64(), "Floor of the recalls when it was measured"),
    _column("mrr_floor", pa.float64(), "Floor of mrr"),
    _column("refused_floor", pa.float64(), "Floor of refused"),
    _column("is_passed", pa.bool_(), "Whether all figures reach their floors; absent: nobody measured", nullable=True),
    _column("why", pa.string(), "What does not; empty if it passed"),
])
SERVED_KNOWLEDGE = pa.schema([
    _column("index_fingerprint", pa.string(), "Index that answers"),
    _column("format_fingerprint", pa.string(), "Releases of this format answer from it"),
    _column("chunks", pa.int64(), "Chunks in it"),
])

TABLES: dict[str, pa.Schema] = {
    "reports": REPORTS,
    "unreadable_reports": UNREADABLE_REPORTS,
    "phi_taggers": PHI_TAGGERS,
    "scrub_recall": SCRUB_RECALL,
    "scrubbed_reports": SCRUBBED_REPORTS,
    "phi_spans": PHI_SPANS,
    "held_reports": HELD_REPORTS,
    "identifier_values": IDENTIFIER_VALUES,
    "unique_reports": UNIQUE_REPORTS,
    "duplicate_reports": DUPLICATE_REPORTS,
    "model_drafts": MODEL_DRAFTS,
    "drafted_examples": DRAFTED_EXAMPLES,
    "approved_examples": APPROVED_EXAMPLES,
    "general_examples": GENERAL_EXAMPLES,
    "instruction_sets": INSTRUCTION_SETS,
    "base_models": BASE_MODELS,
    "example_lengths": EXAMPLE_LENGTHS,
    "training_preflights": TRAINING_PREFLIGHTS,
    "training_plans": TRAINING_PLANS,
    "adapters": ADAPTERS,
    "sweep_trials": SWEEP_TRIALS,
    "judge_agreement": JUDGE_AGREEMENT,
    "judge_scores": JUDGE_SCORES,
    "answer_checks": ANSWER_CHECKS,
    "retained_abilities": RETAINED_ABILITIES,
    "robustness_probes": ROBUSTNESS_PROBES,
    "memorization_probes": MEMORIZATION_PROBES,
    "promotion_verdicts": PROMOTION_VERDICTS,
    "merged_weights": MERGED_WEIGHTS,
    "quantized_weights": QUANTIZED_WEIGHTS,
    "releases": RELEASES,
    "knowledge_chunks": KNOWLEDGE_CHUNKS,
    "unreadable_documents": UNREADABLE_DOCUMENTS,
    "knowledge_indexes": KNOWLEDGE_INDEXES,
    "served_knowledge": SERVED_KNOWLEDGE,
    "served_models": SERVED_MODELS,
    "scrubbed_corrections": SCRUBBED_CORRECTIONS,
    "quarantined_corrections": QUARANTINED_CORRECTIONS,
    "production_drift": PRODUCTION_DRIFT,
}
"""Every table asset, in the order of the stages."""


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """A table of `rows` with exactly the schema's columns. Raises TableError if a required value is absent."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    check_table(table, schema)
    return table


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows as Python objects, a thousand at a time in memory."""
    for batch in table.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def check_table(table: pa.Table, schema: pa.Schema) -> None:
    """Raise TableError unless `table` has the schema's columns, types and no absent value where none may be."""
    if table.schema.names != schema.names:
        raise TableError(f"The table has columns {table.schema.names} instead of {schema.names}.")
    for field in schema:
        if table.schema.field(field.name).type != field.type:
            raise TableError(f"Column {field.name} is {table.schema.field(field.name).type} instead of {field.type}.")
        absent = table.column(field.name).null_count
        if absent and not field.nullable:
            raise TableError(f"Column {field.name} lacks a value in {absent} rows.")


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the schema's columns and types, such as after Parquet, which names list elements otherwise.

    A column that may be absent and is: the table was stored by a version that did not have it yet. Raises TableError.
    """
    for field in schema:
        if field.nullable and field.name not in table.schema.names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    try:
        conformed = table.select(schema.names).cast(schema)
    except (KeyError, ValueError, pa.ArrowInvalid):
        # Without its cause, which Dagster would keep: pyarrow's message quotes the value that it can't convert.
        raise TableError(f"The table has columns {table.schema.names} instead of {schema.names}.") from None
    check_table(conformed, schema)
    return conformed


def shown_columns(schema: pa.Schema) -> list[str]:
    """Columns that the Dagster UI may show: without those that hold text of reports."""
    return [f.name for f in schema if b"raw_text" not in (f.metadata or {})]

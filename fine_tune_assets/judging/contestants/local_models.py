"""The models that are compared (base, candidate and, if it is another model, the incumbent), and asking each the same questions.

One base model is loaded once and wears each adapter in turn; an incumbent trained on it in another precision answers on a
separate copy, one on another base model with the merged weights of its release. Only weights that match their fingerprints are
loaded. A question that a model answered earlier is not asked again. The questions come from abilities.py, robustness_probes.py
and memorization/attacks.py.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import GateClosedError, TooLongForModelError
from fine_tune_assets.core.fingerprints import require_folder
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.chat import render
from fine_tune_assets.engines.continuations import continuation_log_probabilities
from fine_tune_assets.engines.nf4 import learned_on
from fine_tune_assets.engines.transformers_models import (
    Answer,
    best_device,
    free_device_memory,
    generate,
    load_adapted,
    load_model,
    load_tokenizer,
    use_threads,
)
from fine_tune_assets.judging.contestants.abilities import Question, answer_questions
from fine_tune_assets.judging.contestants.comparison import Contestant, Generate
from fine_tune_assets.judging.contestants.robustness_probes import Flags, probe_model
from fine_tune_assets.judging.judges.grade_cache import GradeCache, content_key
from fine_tune_assets.judging.judges.grades import AskedExample

CANDIDATE = "default"
INCUMBENT = "incumbent"


@cache
def _load(base: Path, base_fingerprint: str, adapter: Path, adapter_id: str, is_quantized: bool) -> tuple[Any, Any]:
    require_folder(base, base_fingerprint, "base model")
    require_folder(adapter, adapter_id, "adapter")
    return load_adapted(base, adapter, is_quantized), load_tokenizer(base)


def base_and_candidate(request: Mapping[str, Any]) -> tuple[Any, Any]:
    """Base with the candidate on it, and the tokenizer; only if both are what their fingerprints say."""
    use_threads(request["threads"])
    base, adapter = Path(request["base_folder"]), Path(request["adapter_folder"])
    return _load(base, request["base_fingerprint"], adapter, request["adapter_id"], request["is_quantized"])


@contextmanager
def merged(model: Any, is_quantized: bool) -> Iterator[None]:
    """Add the active adapter to the weights inside the block, if they have 32 bits: a third faster on a CPU, and equal except for
    rounding."""
    merges = not is_quantized and all(p.dtype.itemsize >= 4 for p in model.parameters())
    if merges:
        model.merge_adapter()
    try:
        yield
    finally:
        if merges:
            model.unmerge_adapter()


def contestants_of(request: dict[str, Any], progress: Progress) -> list[Contestant]:
    """Base and adapter, and the incumbent unless it is the base model.

    `incumbent_adapter` names an adapter on the same base model, `incumbent_weights` the merged model of another one; both
    are empty when the base model is the incumbent. Weights are loaded when they answer.
    """

    def answering(role: str, adapter: str | None) -> Generate:
        return lambda conversations: _answers_wearing(request, adapter, conversations, _told(progress, role))

    on_base = {**_engine(request), "base": request["base_fingerprint"], "is_quantized": request["is_quantized"]}
    found = [
        Contestant("base", request["base_fingerprint"], answering("base model", None), on_base),
        Contestant("adapter", request["adapter_id"], answering("candidate", CANDIDATE), on_base),
    ]
    is_quantized = False
    if request["incumbent_adapter"]:
        is_quantized = learned_on(Path(request["incumbent_adapter"])) is not None
        if is_quantized == request["is_quantized"]:
            return [*found, Contestant("incumbent", request["incumbent"], answering("incumbent", INCUMBENT), on_base)]
        decided_by = {**on_base, "is_quantized": is_quantized}
    elif request["incumbent_weights"]:
        decided_by = {**_engine(request), "weights": request["incumbent_weights_fingerprint"]}
    else:
        return found
    # First, and gone before the others are loaded: two large models may not fit side by side.
    by_itself = partial(_answers_by_itself, request, is_quantized, _told(progress, "incumbent"))
    return [Contestant("incumbent", request["incumbent"], by_itself, decided_by), *found]


def engine_name() -> str:
    return f"transformers {version('transformers')}"


def _engine(request: dict[str, Any]) -> dict[str, Any]:
    """What computes an answer, and how long it may be. Not the batch: rounding apart, it changes nothing."""
    return {
        "engine": engine_name(),
        "device": best_device(),
        "max_new_tokens": request["max_new_tokens"],
    }


@contextmanager
def loaded_contestants(request: dict[str, Any], progress: Progress) -> Iterator[list[Contestant]]:
    """As `contestants_of`; afterwards their memory is free, for a judge that needs it."""
    try:
        yield contestants_of(request, progress)
    finally:
        _load.cache_clear()
        gc.collect()
        free_device_memory()


def _told(progress: Progress, role: str) -> Progress:
    return lambda done, total, what: progress(done, total, f"{what} by the {role}")


def _answers_wearing(
    request: dict[str, Any], adapter: str | None, conversations: Sequence[Sequence[dict[str, str]]], progress: Progress
) -> list[Answer]:
    """Answers of the base model with an adapter on it, or without one."""
    model, tokenizer = base_and_candidate(request)
    if adapter is None:
        with model.disable_adapter():
            return _answers(model, tokenizer, conversations, request, progress)
    if adapter == INCUMBENT and INCUMBENT not in model.peft_config:
        folder = Path(request["incumbent_adapter"])
        require_folder(folder, request["incumbent"], "adapter that serves now")
        model.load_adapter(str(folder), adapter_name=INCUMBENT)
    model.set_adapter(adapter)
    with merged(model, request["is_quantized"]):
        return _answers(model, tokenizer, conversations, request, progress)


def _answers_by_itself(
    request: dict[str, Any], is_quantized: bool, progress: Progress, conversations: Sequence[Sequence[dict[str, str]]]
) -> list[Answer]:
    """Answers of an incumbent that needs a model of its own: it was trained with the other method (LoRA or QLoRA), and so on the
    base in another precision, or on another base model."""
    use_threads(request["threads"])
    if request["incumbent_weights"]:
        folder = Path(request["incumbent_weights"])
        require_folder(folder, request["incumbent_weights_fingerprint"], "merged model that serves now")
        return _answers(load_model(folder).eval(), load_tokenizer(folder), conversations, request, progress)
    base, adapter = Path(request["base_folder"]), Path(request["incumbent_adapter"])
    require_folder(base, request["base_fingerprint"], "base model")
    require_folder(adapter, request["incumbent"], "adapter that serves now")
    return _answers(load_adapted(base, adapter, is_quantized), load_tokenizer(base), conversations, request, progress)


def _answers(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Sequence[dict[str, str]]],
    request: dict[str, Any],
    progress: Progress,
) -> list[Answer]:
    prompts = [render(tokenizer, messages, add_generation_prompt=True) for messages in conversations]
    return generate(model, tokenizer, prompts, request["max_new_tokens"], request["batch_size"], progress)


ABILITY_RULES = "abilities 1: log-probability of the choice per character"
ROBUSTNESS_RULES = "robustness 2"
"""Change it with the questions or the counting: earlier outcomes are then no longer used."""
Ask = Callable[[Any, Any], Flags]
"""(model, tokenizer) → outcomes."""


def answer_as_base_and_adapter(
    request: Mapping[str, Any], ability: str, questions: Sequence[Question]
) -> tuple[Sequence[bool], Sequence[bool]]:
    """Right answers of the base model and of the candidate."""

    def score_with(model: Any, tokenizer: Any) -> Flags:
        try:
            right = answer_questions(
                questions, lambda pairs: continuation_log_probabilities(model, tokenizer, pairs, request["batch_size"])
            )
        except TooLongForModelError as error:
            raise GateClosedError(f"Questions of {ability} can't be asked. {error}") from None
        return {"right": right}

    asked = {"rules": ABILITY_RULES, "questions": [asdict(question) for question in questions]}
    base, candidate = of_both(request, asked, score_with)
    return base["right"], candidate["right"]


def probe_base_and_adapter(
    request: Mapping[str, Any], examples: Sequence[AskedExample], progress: Progress
) -> tuple[Flags, Flags]:
    """Whether base model and candidate held: probe → item by item."""
    asked = {
        "rules": ROBUSTNESS_RULES,
        "examples": [[example.example_id, example.question] for example in examples],
        "max_new_tokens": request["max_new_tokens"],
        "context_tokens": request["context_tokens"],
    }
    return of_both(request, asked, lambda model, tokenizer: probe_model(model, tokenizer, request, examples, progress))


def of_both(request: Mapping[str, Any], asked: Mapping[str, Any], ask: Ask) -> tuple[Flags, Flags]:
    """Outcomes of the base model and of the candidate. Models are loaded only if an outcome is missing."""
    # Numbers are not the same to the last bit on another kind of device, nor in 4 bits.
    by = {
        "base": request["base_fingerprint"],
        "is_quantized": request["is_quantized"],
        "device": best_device(),
        "engine": engine_name(),
    }

    def ask_base() -> Flags:
        model, tokenizer = base_and_candidate(request)
        with model.disable_adapter():
            return ask(model, tokenizer)

    def ask_candidate() -> Flags:
        model, tokenizer = base_and_candidate(request)
        with merged(model, request["is_quantized"]):
            return ask(model, tokenizer)

    with closing(GradeCache(Path(request["cache"]))) as cache:
        base = _remembered(cache, {**asked, **by}, ask_base, request["base_fingerprint"])
        adapter_id = request["adapter_id"]
        candidate = {**asked, **by, "adapter": adapter_id}
        return base, _remembered(cache, candidate, ask_candidate, adapter_id)


def _remembered(cache: GradeCache, asked: Mapping[str, Any], ask: Callable[[], Flags], model: str) -> Flags:
    """The outcome of `ask`, or a stored one. `asked` is everything that decides it, as JSON."""
    key = content_key(probed=asked)
    found: dict[str, Flags] = cache.get([key])
    if key not in found:
        found = {key: ask()}
        cache.put(found, model)
    return found[key]

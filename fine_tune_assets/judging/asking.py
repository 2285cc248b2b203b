"""Asks base model and candidate the same, each once: what a model did before is not asked again.

Owns asking both alike, and which earlier outcomes answer the present question. The questions come from abilities.py, probing.py
and memory_attacks.py.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import GateClosedError, TooLongForModelError
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.continuations import continuation_log_probabilities
from fine_tune_assets.engines.transformers_models import best_device
from fine_tune_assets.judging.abilities import Question, answer_questions
from fine_tune_assets.judging.contestants import base_and_candidate, engine_name, merged
from fine_tune_assets.judging.grade_cache import GradeCache, content_key
from fine_tune_assets.judging.probing import Flags, probe_model

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
    request: Mapping[str, Any], examples: Sequence[Mapping[str, Any]], progress: Progress
) -> tuple[Flags, Flags]:
    """Whether base model and candidate held: probe → item by item."""
    asked = {
        "rules": ROBUSTNESS_RULES,
        "examples": [[example["example_id"], example["messages"][:-1]] for example in examples],
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

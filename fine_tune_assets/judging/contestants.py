"""The models that are compared: base, candidate adapter and, where there is one, the incumbent's adapter.

One base model is loaded once and wears each adapter in turn.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from fine_tune_assets.core.chat import render
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.transformers_models import (
    Answer,
    continuation_log_probabilities,
    generate,
    load_adapted,
    load_tokenizer,
    use_threads,
)
from fine_tune_assets.judging.abilities import Question, answer_questions
from fine_tune_assets.judging.comparing import Contestant

CANDIDATE = "default"
INCUMBENT = "incumbent"


@cache
def _load(base: str, adapter: str, is_quantized: bool, threads: int) -> tuple[Any, Any]:
    use_threads(threads)
    return load_adapted(Path(base), Path(adapter), is_quantized), load_tokenizer(Path(base))


def _models(request: dict[str, Any]) -> tuple[Any, Any]:
    return _load(request["base_folder"], request["adapter_folder"], request["is_quantized"], request["threads"])


def contestants_of(request: dict[str, Any], progress: Progress) -> list[Contestant]:
    """Base and adapter, and the incumbent if `incumbent_folder` names its adapter."""
    model, tokenizer = _models(request)

    def answering(role: str, context: AbstractContextManager[Any], adapter: str = CANDIDATE) -> Any:
        def answer(conversations: Sequence[Sequence[dict[str, str]]]) -> list[Answer]:
            prompts = [render(tokenizer, messages, add_generation_prompt=True) for messages in conversations]
            tell = lambda done, total, what: progress(done, total, f"{what} by the {role}")  # noqa: E731
            model.set_adapter(adapter)
            with context:
                return generate(model, tokenizer, prompts, request["max_new_tokens"], request["batch_size"], tell)

        return answer

    found = [
        Contestant("base", request["base_fingerprint"], answering("base model", model.disable_adapter())),
        Contestant("adapter", request["adapter_id"], answering("candidate", nullcontext())),
    ]
    if request.get("incumbent_folder"):
        model.load_adapter(request["incumbent_folder"], adapter_name=INCUMBENT)
        found.append(Contestant("incumbent", request["incumbent"], answering("incumbent", nullcontext(), INCUMBENT)))
    return found


def answer_as_base_and_adapter(
    request: dict[str, Any], questions: Sequence[Question]
) -> tuple[Sequence[bool], Sequence[bool]]:
    """Right answers of the base model and of the candidate."""
    model, tokenizer = _models(request)

    def score(pairs: Sequence[tuple[str, str]]) -> list[float]:
        return continuation_log_probabilities(model, tokenizer, pairs, request["batch_size"])

    with model.disable_adapter():
        base = answer_questions(questions, score)
    return base, answer_questions(questions, score)

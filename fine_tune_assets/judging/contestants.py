"""The models that are compared: base, candidate adapter and, where there is one, the incumbent's adapter.

One base model is loaded once and wears each adapter in turn.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any

from fine_tune_assets.core.chat import render
from fine_tune_assets.core.fingerprints import require_folder
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.transformers_models import (
    Answer,
    continuation_log_probabilities,
    generate,
    load_adapted,
    load_model,
    load_tokenizer,
    use_threads,
)
from fine_tune_assets.judging.abilities import Question, answer_questions
from fine_tune_assets.judging.comparing import Contestant, Generate

CANDIDATE = "default"
INCUMBENT = "incumbent"


@cache
def _load(base: Path, adapter: Path, is_quantized: bool) -> tuple[Any, Any]:
    return load_adapted(base, adapter, is_quantized), load_tokenizer(base)


def _models(request: dict[str, Any]) -> tuple[Any, Any]:
    """Base with the candidate on it, and the tokenizer; only if both are what their fingerprints say."""
    base, adapter = Path(request["base_folder"]), Path(request["adapter_folder"])
    require_folder(base, request["base_fingerprint"], "base model")
    require_folder(adapter, request["adapter_id"], "adapter")
    use_threads(request["threads"])
    return _load(base, adapter, request["is_quantized"])


def contestants_of(request: dict[str, Any], progress: Progress) -> list[Contestant]:
    """Base and adapter, and the incumbent unless it is the base model.

    `incumbent_adapter` names an adapter on the same base model, `incumbent_weights` the merged model of another one.
    """
    model, tokenizer = _models(request)

    def answering(role: str, worn: Callable[[], AbstractContextManager[Any]]) -> Generate:
        def answer(conversations: Sequence[Sequence[dict[str, str]]]) -> list[Answer]:
            tell = lambda done, total, what: progress(done, total, f"{what} by the {role}")  # noqa: E731
            with worn():
                return _answers(model, tokenizer, conversations, request, tell)

        return answer

    def wearing(adapter: str) -> AbstractContextManager[Any]:
        model.set_adapter(adapter)
        return nullcontext()

    found = [
        Contestant("base", request["base_fingerprint"], answering("base model", model.disable_adapter)),
        Contestant("adapter", request["adapter_id"], answering("candidate", partial(wearing, CANDIDATE))),
    ]
    if request.get("incumbent_adapter"):
        folder = Path(request["incumbent_adapter"])
        require_folder(folder, request["incumbent"], "adapter that serves now")
        model.load_adapter(str(folder), adapter_name=INCUMBENT)
        found.append(Contestant("incumbent", request["incumbent"], answering("incumbent", partial(wearing, INCUMBENT))))
    elif request.get("incumbent_weights"):
        found.append(Contestant("incumbent", request["incumbent"], partial(_answers_of_weights, request, progress)))
    return found


def _answers_of_weights(
    request: dict[str, Any], progress: Progress, conversations: Sequence[Sequence[dict[str, str]]]
) -> list[Answer]:
    folder = Path(request["incumbent_weights"])
    require_folder(folder, request["incumbent_weights_fingerprint"], "merged model that serves now")
    tell = lambda done, total, what: progress(done, total, f"{what} by the incumbent")  # noqa: E731
    return _answers(load_model(folder).eval(), load_tokenizer(folder), conversations, request, tell)


def _answers(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Sequence[dict[str, str]]],
    request: dict[str, Any],
    progress: Progress,
) -> list[Answer]:
    prompts = [render(tokenizer, messages, add_generation_prompt=True) for messages in conversations]
    return generate(model, tokenizer, prompts, request["max_new_tokens"], request["batch_size"], progress)


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

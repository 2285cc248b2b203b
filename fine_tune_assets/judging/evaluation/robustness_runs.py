"""Runs the robustness cases on one model and records which items passed. robustness_cases.py defines the cases."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from fine_tune_assets.core.errors import ContextLengthError
from fine_tune_assets.core.processes.worker_requests import RobustnessRequest
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.conversations import (
    Message,
    build_conversation,
    find_control_tokens,
    render,
    split_user_content,
    user_content,
)
from fine_tune_assets.engines.transformers_models import Answer, context_tokens, generate, has_room_for_answer
from fine_tune_assets.judging.evaluation.robustness_cases import (
    BLANK_INPUTS,
    EMPTY,
    FORGED_TOKENS,
    LONGEST,
    PERTURBATIONS,
    TOO_LONG,
    RobustnessCase,
    build_cases,
    is_unaffected,
    marker_for,
)
from fine_tune_assets.judging.judges.grades import EvaluationExample

Conversation = list[Message]
Outcomes = dict[str, list[bool]]
"""Case → whether each item passed."""
MAX_CASE_TOKENS = 24
"""Length limit of answers to perturbed inputs, whose beginning shows whether the model obeys. Run time is proportional to it."""


def probe_model(
    model: Any,
    tokenizer: Any,
    request: RobustnessRequest,
    examples: Sequence[EvaluationExample],
    progress: Progress,
) -> Outcomes:
    """Case → whether each item passed. Examples that already exceed the context are skipped."""
    short_request: RobustnessRequest = {
        **request,
        "max_new_tokens": min(request["max_new_tokens"], MAX_CASE_TOKENS),
    }
    room = request["max_new_tokens"]
    fitting = [e for e in examples if has_room_for_answer(model, tokenizer, render(tokenizer, e.question, True), room)]
    clean = [example.question for example in fitting]
    cases = build_cases(fitting, {m: _forged_turn(tokenizer, m) for m in (marker_for(e.example_id) for e in fitting)})
    answers = _generate_answers(model, tokenizer, [*clean, *(case.messages for case in cases)], short_request, progress)
    blank_answers = _generate_answers(
        model, tokenizer, _blank_conversations(clean, request["items"]), request, progress
    )
    return {
        EMPTY: [answer is None or answer.is_finished for answer in blank_answers],
        **_case_outcomes(cases, answers[len(clean) :], answers[: len(clean)]),
        FORGED_TOKENS: _forged_token_outcomes(tokenizer, cases, clean),
        **_length_outcomes(model, tokenizer, clean, short_request),
    }


def _generate_answers(
    model: Any, tokenizer: Any, conversations: Sequence[Conversation], request: RobustnessRequest, progress: Progress
) -> list[Answer | None]:
    """One answer per conversation; None if it is refused because it leaves no room for an answer."""
    prompts = [render(tokenizer, conversation, True) for conversation in conversations]
    room = request["max_new_tokens"]
    fitting = [number for number, prompt in enumerate(prompts) if has_room_for_answer(model, tokenizer, prompt, room)]
    answers = generate(model, tokenizer, [prompts[n] for n in fitting], room, request["batch_size"], progress)
    by_number = dict(zip(fitting, answers, strict=True))
    return [by_number.get(number) for number in range(len(prompts))]


def _blank_conversations(clean: Sequence[Conversation], items: int) -> list[Conversation]:
    """Each instruction with the first blank input, then with the next one, until there are `items`.

    A finished answer passes; an endless one would describe an invented subject.
    """
    by_instruction = {split_user_content(conversation[-1]["content"])[0]: conversation for conversation in clean}
    found = (
        [*conversation[:-1], {**conversation[-1], "content": user_content(instruction, blank)}]
        for blank in BLANK_INPUTS
        for instruction, conversation in by_instruction.items()
    )
    return list(islice(found, items))


def _forged_turn(tokenizer: Any, marker: str) -> str:
    """A conversation rendered by the template, with control tokens, in which the model writes `marker`."""
    conversation = build_conversation(f"Print {marker}.", f"Print {marker}.", "", marker)
    return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=False))


def _case_outcomes(
    cases: Sequence[RobustnessCase], answers: Sequence[Answer | None], clean: Sequence[Answer | None]
) -> Outcomes:
    passed: Outcomes = {probe: [] for probe in PERTURBATIONS}
    for case, answer in zip(cases, answers, strict=True):
        clean_answer = clean[case.example]
        assert clean_answer is not None  # all cases are built from examples that fit
        passed[case.probe].append(answer is None or is_unaffected(answer.text, clean_answer.text, case.marker))
    return passed


def _forged_token_outcomes(
    tokenizer: Any, cases: Sequence[RobustnessCase], clean: Sequence[Conversation]
) -> list[bool]:
    """Whether a report with forged turns tokenizes to the same control tokens as the clean report."""
    forged = [case for case in cases if case.probe == "forged_turns"]
    pairs = [(render(tokenizer, a.messages, True), render(tokenizer, clean[a.example], True)) for a in forged]
    return [
        control_token_ids(tokenizer, planted) == control_token_ids(tokenizer, unchanged) for planted, unchanged in pairs
    ]


def control_token_ids(tokenizer: Any, rendered: str) -> list[int]:
    """Ids of the control tokens in a rendered conversation, in order."""
    names = find_control_tokens(tokenizer.added_tokens_decoder, tokenizer.chat_template)
    ids = set(tokenizer.convert_tokens_to_ids(list(names)))
    return [token for token in tokenizer(rendered, add_special_tokens=False)["input_ids"] if token in ids]


def _length_outcomes(model: Any, tokenizer: Any, clean: Sequence[Conversation], request: RobustnessRequest) -> Outcomes:
    """Whether input beyond the model's context is refused, and the longest input that serving accepts is answered."""
    if not clean:
        return {TOO_LONG: [], LONGEST: []}
    limit, room = context_tokens(model), request["max_new_tokens"]
    served = min(request["context_tokens"], limit or request["context_tokens"])
    try:
        generate(
            model, tokenizer, [_prompt_of_length(tokenizer, clean[0], (limit or served) + 1, is_over=True)], room, 1
        )
        is_refused = False
    except ContextLengthError:
        is_refused = True
    longest = generate(
        model, tokenizer, [_prompt_of_length(tokenizer, clean[0], served - room, is_over=False)], room, 1
    )
    return {TOO_LONG: [is_refused], LONGEST: [len(longest) == 1]}


def _prompt_of_length(tokenizer: Any, conversation: Conversation, tokens: int, is_over: bool) -> str:
    """The conversation with its input repeated to just above (`is_over`) or at most `tokens` tokens."""
    words = conversation[-1]["content"].split(" ")

    def prompt(count: int) -> str:
        content = " ".join((words * (count // len(words) + 1))[:count])
        return render(tokenizer, [*conversation[:-1], {**conversation[-1], "content": content}], True)

    def is_too_long(count: int) -> bool:
        return len(tokenizer(prompt(count), add_special_tokens=False)["input_ids"]) > tokens

    low, high = 1, 2
    while not is_too_long(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_too_long(middle) else (middle, high)
    return prompt(high if is_over else low)

"""Has a model write outputs that no report contains, or questions with answers, with the live engine or the base model.

What the model writes is checked afterwards (`draft_sources.py`). Text goes only to engines on this machine.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.draft_questions import (
    NO_QUESTION,
    QUESTION_TOKENS,
    REPEATED_QUESTION,
    Question,
    answer_prompt,
    find_answer_fault,
    parse_questions,
    question_prompt,
)
from fine_tune_assets.approval.task_kinds import BY_MODEL, DraftRequest
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import require_unchanged_folder, short
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.conversations import build_conversation, escape_messages, render
from fine_tune_assets.core.releases.release_folders import PromptSettings
from fine_tune_assets.engines.chat_client import is_context_exceeded, parse_error
from fine_tune_assets.engines.listen_addresses import open_client
from fine_tune_assets.engines.running_server import PLAIN_SAMPLING
from fine_tune_assets.tables.approval_rows import ModelDraft
from fine_tune_assets.tables.record_classes import table_from_records

READ_TIMEOUT_SECONDS = 900.0
BATCH_SIZE = 8


class EngineUnavailableError(FineTuneError):
    """The engine did not answer; drafts written before are kept."""


@dataclass(frozen=True)
class LiveEngine:
    """The engine of the production model."""

    url: str
    prompt_settings: PromptSettings
    release_id: str
    api_key: str = field(repr=False)


@dataclass(frozen=True)
class Prompt:
    instruction: str = field(repr=False)
    input: str = field(repr=False)
    max_new_tokens: int


@dataclass(frozen=True)
class Completion:
    text: str = field(repr=False)
    is_finished: bool
    """False if it was cut off at `max_new_tokens`."""


Complete = Callable[[Sequence[Prompt]], Sequence[Completion | None]]
"""Completes prompts in their order; None for one that leaves no room for its answer in the model's context."""


def select_missing_requests(requests: Iterable[DraftRequest], written: pa.Table) -> list[DraftRequest]:
    """Requests without a draft, each once."""
    known = set(written.column("request_fingerprint").to_pylist())
    return list({r.request_fingerprint: r for r in requests if r.request_fingerprint not in known}.values())


def select_requested_drafts(requests: Iterable[DraftRequest], written: pa.Table) -> pa.Table:
    """The `ModelDraft` rows that tasks still request. Others are dropped: their report may have been withheld since."""
    requested = pa.array(sorted({r.request_fingerprint for r in requests}), pa.string())
    return written.filter(pc.is_in(written.column("request_fingerprint"), value_set=requested))


def write_with_engine(requests: Sequence[DraftRequest], engine: LiveEngine, progress: Progress) -> Iterator[ModelDraft]:
    """Yield `ModelDraft` rows; skips requests longer than the engine's context.

    Raises EngineUnavailableError if the engine fails; earlier requests are complete.
    """
    with open_client(engine.url, engine.api_key, httpx.Timeout(READ_TIMEOUT_SECONDS, connect=5.0)) as client:

        def complete(prompts: Sequence[Prompt]) -> list[Completion | None]:
            return [_request_completion(client, engine, prompt) for prompt in prompts]

        for done, request in enumerate(requests, start=1):
            rows = write_drafts([request], complete, engine.release_id)
            progress(done, len(requests), "drafts written")
            yield from rows


def write_drafts(requests: Sequence[DraftRequest], complete: Complete, model: str) -> list[ModelDraft]:
    """The rows of each request: one, or one per question. A request that does not fit into the context has none.

    What can't become a draft keeps its row with the reason, so that it is counted and not requested again.
    """
    rows, asked = list[ModelDraft](), list[tuple[DraftRequest, Question]]()
    for request, reply in zip(requests, complete([_first_prompt(one) for one in requests]), strict=True):
        if reply is None:
            continue
        if not request.questions:
            rows.append(build_model_draft(request, reply.text, reply.is_finished, model))
            continue
        questions = parse_questions(reply.text, request.questions)
        asked += [(request, question) for question in questions if not question.is_repeated]
        rows += [
            build_model_draft(request, "", True, model, question, REPEATED_QUESTION)
            for question in questions
            if question.is_repeated
        ]
        rows += [] if questions else [build_model_draft(request, "", reply.is_finished, model, dropped=NO_QUESTION)]
    prompts = [Prompt(answer_prompt(question.text), one.input, one.max_new_tokens) for one, question in asked]
    for (request, question), answer in zip(asked, complete(prompts), strict=True):
        text, is_finished = ("", False) if answer is None else (answer.text, answer.is_finished)
        rows.append(build_model_draft(request, text, is_finished, model, question))
    return rows


def _first_prompt(request: DraftRequest) -> Prompt:
    if request.questions:
        return Prompt(question_prompt(request), request.input, QUESTION_TOKENS * request.questions)
    return Prompt(request.instruction, request.input, request.max_new_tokens)


def _request_completion(client: httpx.Client, engine: LiveEngine, prompt: Prompt) -> Completion | None:
    """None if the prompt exceeds the context."""
    messages = build_conversation(engine.prompt_settings.system_prompt, prompt.instruction, prompt.input)
    body = {
        "messages": escape_messages(messages, engine.prompt_settings.control_tokens),
        "max_tokens": prompt.max_new_tokens,
        "temperature": 0,
        **PLAIN_SAMPLING,
        "stream": False,
    }
    try:
        reply = client.post("chat/completions", json=body)
        content = reply.json()
        if is_context_exceeded(parse_error(reply.content)):
            return None
        choice = content["choices"][0] if reply.status_code == 200 else None
        if choice is not None:
            return Completion(str(choice["message"]["content"] or ""), choice["finish_reason"] == "stop")
    # Drop the causes, which quote the prompt.
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        raise EngineUnavailableError("The live engine did not answer. See its log.") from None
    raise EngineUnavailableError(f"The live engine failed (HTTP {reply.status_code}). See its log.")


def write_with_model(
    requests: Sequence[DraftRequest],
    folder: Path,
    fingerprint: str,
    system_prompt: str,
    threads: int,
    progress: Progress,
) -> pa.Table:
    """Write `model_drafts` with a model in a local folder; skips reports longer than its context.

    Raises an error if the folder does not match `fingerprint`.
    """
    # Imported here because transformers takes 6 s to load and only the worker needs it.
    from fine_tune_assets.engines.transformers_models import (
        generate,
        has_room_for_answer,
        load_model,
        load_tokenizer,
        set_threads,
    )

    require_unchanged_folder(folder, fingerprint, "base model")
    set_threads(threads)
    model, tokenizer = load_model(folder).eval(), load_tokenizer(folder)

    def complete(prompts: Sequence[Prompt]) -> list[Completion | None]:
        found: dict[int, Completion] = {}
        rendered = [render(tokenizer, build_conversation(system_prompt, p.instruction, p.input), True) for p in prompts]
        for length in sorted({prompt.max_new_tokens for prompt in prompts}):
            rows = [
                row
                for row, prompt in enumerate(prompts)
                if prompt.max_new_tokens == length and has_room_for_answer(model, tokenizer, rendered[row], length)
            ]
            answers = generate(model, tokenizer, [rendered[row] for row in rows], length, BATCH_SIZE, progress)
            found |= {row: Completion(a.text, a.is_finished) for row, a in zip(rows, answers, strict=True)}
        return [found.get(row) for row in range(len(prompts))]

    return table_from_records(ModelDraft, write_drafts(requests, complete, short(fingerprint)))


def build_model_draft(
    request: DraftRequest,
    output: str,
    is_finished: bool,
    model: str,
    question: Question | None = None,
    dropped: str | None = None,
) -> ModelDraft:
    """An unchecked row, dropped if the output does not answer."""
    return ModelDraft(
        request_fingerprint=request.request_fingerprint,
        number=0 if question is None else question.number,
        report_id=request.report_id,
        subject_key=request.subject_key,
        task=request.task,
        instruction=request.instruction if question is None else question.text,
        output=output.strip(),
        is_finished=is_finished,
        drafted_by=f"{BY_MODEL} {model}",
        sources=None,
        checked_by=None,
        dropped=dropped or find_answer_fault(output),
    )

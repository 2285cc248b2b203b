"""Has a model write outputs that no report contains, with the live engine or the base model.

An expert repairs each output, so a poor one is a draft, and an empty one is none. Text goes only to engines on this machine.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.compute as pc

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

    Raises EngineUnavailableError if the engine fails; earlier rows are complete.
    """
    with open_client(engine.url, engine.api_key, httpx.Timeout(READ_TIMEOUT_SECONDS, connect=5.0)) as client:
        for done, request in enumerate(requests, start=1):
            answer = _request_completion(client, engine, request)
            progress(done, len(requests), "drafts written")
            if answer is not None:
                text, is_finished = answer
                yield build_model_draft(request, text, is_finished, engine.release_id)


def _request_completion(client: httpx.Client, engine: LiveEngine, request: DraftRequest) -> tuple[str, bool] | None:
    """The answer and whether it is complete; None if the request exceeds the context."""
    messages = build_conversation(engine.prompt_settings.system_prompt, request.instruction, request.input)
    body = {
        "messages": escape_messages(messages, engine.prompt_settings.control_tokens),
        "max_tokens": request.max_new_tokens,
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
            return str(choice["message"]["content"] or ""), choice["finish_reason"] == "stop"
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
    rows: list[ModelDraft] = []
    for length in sorted({r.max_new_tokens for r in requests}):
        rendered = [
            (r, render(tokenizer, build_conversation(system_prompt, r.instruction, r.input), True))
            for r in requests
            if r.max_new_tokens == length
        ]
        fitting = [(r, prompt) for r, prompt in rendered if has_room_for_answer(model, tokenizer, prompt, length)]
        answers = generate(model, tokenizer, [prompt for _, prompt in fitting], length, BATCH_SIZE, progress)
        rows += [
            build_model_draft(r, a.text, a.is_finished, short(fingerprint))
            for (r, _), a in zip(fitting, answers, strict=True)
        ]
    return table_from_records(ModelDraft, rows)


def build_model_draft(request: DraftRequest, output: str, is_finished: bool, model: str) -> ModelDraft:
    return ModelDraft(
        request_fingerprint=request.request_fingerprint,
        report_id=request.report_id,
        subject_key=request.subject_key,
        task=request.task,
        output=output,
        is_finished=is_finished,
        drafted_by=f"{BY_MODEL} {model}",
    )

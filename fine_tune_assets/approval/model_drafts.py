"""Has a model write the outputs that no report holds: by the engine that serves now, or by the base model.

Owns what the model is asked and what is kept of its answer: an expert repairs it, so a poor one is a draft, and none is no
draft. Text goes to an engine on this machine only. Does not know when it is due.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.task_kinds import BY_MODEL, Request
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import require_folder, short
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.chat import conversation, plain_messages, render
from fine_tune_assets.core.releases.release_folders import AskedWith
from fine_tune_assets.engines.addresses import open_client
from fine_tune_assets.engines.chat_client import error_of, is_too_long
from fine_tune_assets.engines.running_server import PLAIN_SAMPLING
from fine_tune_assets.tables.approval import ModelDraft
from fine_tune_assets.tables.records import table_from

READ_TIMEOUT_SECONDS = 900.0
BATCH_SIZE = 8


class EngineAwayError(FineTuneError):
    """The engine did not answer; what it wrote before is kept."""


@dataclass(frozen=True)
class LiveEngine:
    """The engine that serves now."""

    url: str
    asked_with: AskedWith
    release_id: str
    api_key: str = field(repr=False)


def missing_requests(requests: Iterable[Request], written: pa.Table) -> list[Request]:
    """Those that no model has written yet, each once."""
    known = set(written.column("request").to_pylist())
    return list({r.request: r for r in requests if r.request not in known}.values())


def still_wanted(requests: Iterable[Request], written: pa.Table) -> pa.Table:
    """The `ModelDraft` rows that a task still asks for. What a report no longer says is not kept: it may hold what was held
    back."""
    wanted = pa.array(sorted({r.request for r in requests}), pa.string())
    return written.filter(pc.is_in(written.column("request"), value_set=wanted))


def write_with_engine(requests: Sequence[Request], engine: LiveEngine, progress: Progress) -> Iterator[ModelDraft]:
    """`ModelDraft` rows, one after another. One that is longer than the engine's context is left out.

    Raises EngineAwayError when the engine fails: the rows that came before are whole.
    """
    with open_client(engine.url, engine.api_key, httpx.Timeout(READ_TIMEOUT_SECONDS, connect=5.0)) as client:
        for done, request in enumerate(requests, start=1):
            answer = _ask(client, engine, request)
            progress(done, len(requests), "drafts written")
            if answer is not None:
                text, is_finished = answer
                yield draft_row(request, text, is_finished, engine.release_id)


def _ask(client: httpx.Client, engine: LiveEngine, request: Request) -> tuple[str, bool] | None:
    """The answer, and whether it came to its end. None if the request is longer than the context."""
    messages = conversation(engine.asked_with.system_prompt, request.instruction, request.input)
    body = {
        "messages": plain_messages(messages, engine.asked_with.control_tokens),
        "max_tokens": request.max_new_tokens,
        "temperature": 0,
        **PLAIN_SAMPLING,
        "stream": False,
    }
    try:
        reply = client.post("chat/completions", json=body)
        content = reply.json()
        if is_too_long(error_of(reply.content)):
            return None
        choice = content["choices"][0] if reply.status_code == 200 else None
        if choice is not None:
            return str(choice["message"]["content"] or ""), choice["finish_reason"] == "stop"
    # Without their causes, which quote what was asked.
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        raise EngineAwayError("The engine that serves now did not answer. Its log says why.") from None
    raise EngineAwayError(f"The engine that serves now failed (HTTP {reply.status_code}). Its log says why.")


def write_with_model(
    requests: Sequence[Request], folder: Path, fingerprint: str, system_prompt: str, threads: int, progress: Progress
) -> pa.Table:
    """`model_drafts` by a model in a local folder. A report that is longer than its context is left out.

    Raises an error if the folder is not what `fingerprint` says.
    """
    # Imported here: transformers takes 6 s, and only the worker that writes needs it.
    from fine_tune_assets.engines.transformers_models import (
        generate,
        leaves_room,
        load_model,
        load_tokenizer,
        use_threads,
    )

    require_folder(folder, fingerprint, "base model")
    use_threads(threads)
    model, tokenizer = load_model(folder).eval(), load_tokenizer(folder)
    rows: list[ModelDraft] = []
    for length in sorted({r.max_new_tokens for r in requests}):
        rendered = [
            (r, render(tokenizer, conversation(system_prompt, r.instruction, r.input), True))
            for r in requests
            if r.max_new_tokens == length
        ]
        asked = [(r, prompt) for r, prompt in rendered if leaves_room(model, tokenizer, prompt, length)]
        answers = generate(model, tokenizer, [prompt for _, prompt in asked], length, BATCH_SIZE, progress)
        rows += [
            draft_row(r, a.text, a.is_finished, short(fingerprint)) for (r, _), a in zip(asked, answers, strict=True)
        ]
    return table_from(ModelDraft, rows)


def draft_row(request: Request, output: str, is_finished: bool, model: str) -> ModelDraft:
    return ModelDraft(
        request=request.request,
        report_id=request.report_id,
        patient_key=request.patient_key,
        task=request.task,
        output=output,
        is_finished=is_finished,
        drafted_by=f"{BY_MODEL} {model}",
    )

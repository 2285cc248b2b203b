"""Pages to ask the production model and to correct or rate its answer.

The gateway answers, applies limits, logs requests and stores corrections. Questions and answers exist only on the page: the desk
does not store them, no URL contains them, and closing the tab discards them.
"""

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fine_tune_assets.core.error_kinds import CORRECTION_ERROR_KINDS, ERROR_KINDS, RATINGS, SEVERITIES
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.prompts.conversations import user_content
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import PageError
from fine_tune_assets.desk.gateway_client import GatewayAnswer, GatewayRefusedError
from fine_tune_assets.desk.rendering import render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.recipes.schema import ModelTask

CORRECTION_KINDS = {kind: ERROR_KINDS[kind] for kind in CORRECTION_ERROR_KINDS}
_CORRECTION_FIELDS = ("corrected_answer", "error_kind", "severity")
_NO_QUESTION = "Write a question first."
_INCOMPLETE_CORRECTION = "Write the better answer, and choose an error and its severity. Nothing was recorded."
_ALREADY_CORRECTED = "You already sent another correction of this answer. To record this one too, send it again."


@dataclass(frozen=True)
class Question:
    task: str
    instruction: str
    input: str

    @property
    def content(self) -> str:
        return user_content(self.instruction, self.input)


class DeferredResponse(Response):
    """A response produced by a coroutine, so that no worker thread waits for the gateway."""

    def __init__(self, make: Callable[[], Awaitable[Response]]) -> None:
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._make())(scope, receive, send)


def show_ask_page(
    desk: Desk, context: RequestContext, exchange: Mapping[str, Any] | None = None, refusal: str = "", status: int = 200
) -> Response:
    own = {"asked": None, "answered": None, "marks": [], "release_id": "", "key": "", **(exchange or {})}
    typed = "" if exchange else context.form.get_text("question")
    return render_page(
        desk,
        context,
        "ask.html",
        status=status,
        tasks=_list_tasks(desk),
        question=typed,
        task=context.form.get_text("task"),
        ask_refusal=refusal,
        labels=sorted(context.user.labels),
        part="",
        **_make_exchange_defaults() | own,
    )


def answer_question(desk: Desk, context: RequestContext) -> Response:
    """Without JavaScript: render the page when the answer is complete."""
    question = _read_question(desk, context)
    if question is None:
        return show_ask_page(desk, context, refusal=_NO_QUESTION, status=400)

    async def make() -> Response:
        try:
            parts = [part async for part in desk.gateway.stream_answer(question.content, context.user)]
        except GatewayRefusedError as error:
            return await run_in_threadpool(show_ask_page, desk, context, refusal=error.message, status=error.status)
        return await run_in_threadpool(show_ask_page, desk, context, exchange=_make_exchange(question, parts[-1]))

    return DeferredResponse(make)


def stream_answer(desk: Desk, context: RequestContext) -> Response:
    """Stream JSON lines to `ask.js`: pieces of text as they arrive, then the HTML of the exchange, or an error."""
    question = _read_question(desk, context)
    if question is None:
        raise PageError(400, "No question", _NO_QUESTION)

    async def lines() -> AsyncIterator[bytes]:
        try:
            async for part in desk.gateway.stream_answer(question.content, context.user):
                if isinstance(part, str):
                    yield _encode_line(text=part)
                else:
                    shown = await run_in_threadpool(
                        render_page,
                        desk,
                        context,
                        "exchange.html",
                        **_make_exchange_defaults() | _make_exchange(question, part),
                    )
                    yield _encode_line(html=bytes(shown.body).decode())
        except GatewayRefusedError as error:
            yield _encode_line(error=error.message)

    # `x-accel-buffering`: nginx forwards each line at once.
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=headers)


def correct_answer(desk: Desk, context: RequestContext) -> Response:
    """Send the correction; confirmed only after the ledger stored it. The form's key makes repeated requests idempotent."""
    form, texts = context.form, ("release_id", "instruction", "input", "answer", "corrected_answer")
    body: dict[str, Any] = {name: form.get_text(name) for name in (*texts, "error_kind", "severity")}
    if (
        not body["corrected_answer"].strip()
        or body["error_kind"] not in CORRECTION_KINDS
        or body["severity"] not in SEVERITIES
    ):
        return _render_part(desk, context, "exchange_correct.html", 400, {"refusal": _INCOMPLETE_CORRECTION})
    if (seconds := form.get_number("seconds_spent")) is not None:
        body["seconds_spent"] = min(seconds, 86_400)
    if passages := form.get_text("passages").split():
        body |= {"knowledge_index": form.get_text("knowledge_index"), "passages": passages}

    async def make() -> Response:
        try:
            receipt = await desk.gateway.send_correction(
                body, context.user, f"desk-{form.get_text('key')}-correction"[:200]
            )
        except GatewayRefusedError as error:
            refused = {"refusal": error.message}
            if error.status == 409:
                refused = {"refusal": _ALREADY_CORRECTED, "key": secrets.token_urlsafe(16)}
            return await run_in_threadpool(_render_part, desk, context, "exchange_correct.html", error.status, refused)
        result = {"correction_id": receipt.correction_id, "has_missing_passages": receipt.has_missing_passages}
        return await run_in_threadpool(_render_part, desk, context, "exchange_correct.html", 200, result)

    return DeferredResponse(make)


def rate_answer(desk: Desk, context: RequestContext) -> Response:
    """Record a thumb up or down. The first rating counts."""
    rating = context.form.get_text("rating")
    if rating not in RATINGS:
        raise PageError(400, "No rating", "Choose thumb up or thumb down. Nothing was recorded.")
    body = {"release_id": context.form.get_text("release_id"), "rating": rating}

    async def make() -> Response:
        key, result = f"desk-{context.form.get_text('key')}-rating"[:200], {"rated": rating}
        try:
            await desk.gateway.send_correction(body, context.user, key)
        except GatewayRefusedError as error:
            result = {"refusal": "You have already rated this answer." if error.status == 409 else error.message}
            return await run_in_threadpool(_render_part, desk, context, "exchange_rate.html", error.status, result)
        return await run_in_threadpool(_render_part, desk, context, "exchange_rate.html", 200, result)

    return DeferredResponse(make)


def _read_question(desk: Desk, context: RequestContext) -> Question | None:
    """The form's question: an input for a task of the recipe, or free text. None if it is empty."""
    text, name = context.form.get_text("question").strip(), context.form.get_text("task")
    if not text:
        return None
    instruction = _list_tasks(desk).get(name)
    return Question("", text, "") if instruction is None else Question(name, instruction, text)


def _list_tasks(desk: Desk) -> dict[str, str]:
    """Name → instruction; empty if the recipe can't be read, so that users can still ask."""
    with suppress(FineTuneError):
        # The instruction of a task whose model asks questions is not for users.
        tasks = desk.read_recipe().tasks
        asked = {task.name for task in tasks if isinstance(task, ModelTask) and task.questions_per_report}
        return {task.name: task.instruction for task in tasks if task.instruction and task.name not in asked}
    return {}


def _make_exchange(question: Question, answered: str | GatewayAnswer) -> dict[str, Any]:
    assert isinstance(answered, GatewayAnswer)
    return {
        "asked": question,
        "answered": answered,
        "marks": _mark_unsupported(answered),
        "release_id": answered.release_id,
        "knowledge_index": answered.knowledge_index,
        "passages": " ".join(answered.passage_ids),
        "key": secrets.token_urlsafe(16),
    }


def _mark_unsupported(answered: GatewayAnswer) -> list[tuple[str, str]]:
    """Pieces of the answer as (kind, text); the kind is empty for text that the passages support."""
    pieces, at = [], 0
    for one in (answered.citation_check or {}).get("unsupported", ()):
        if at <= one["start"] < one["end"] <= len(answered.text):
            pieces += [("", answered.text[at : one["start"]]), (one["kind"], answered.text[one["start"] : one["end"]])]
            at = one["end"]
    return [piece for piece in [*pieces, ("", answered.text[at:])] if piece[1]]


def _make_exchange_defaults() -> dict[str, Any]:
    """Template context of an exchange without correction or rating."""
    typed = dict.fromkeys(_CORRECTION_FIELDS, "")
    result = {"correction_id": "", "has_missing_passages": False, "rated": "", "refusal": "", "typed": typed}
    return {"kinds": CORRECTION_KINDS, "severities": SEVERITIES, "knowledge_index": "", "passages": "", **result}


def _render_part(
    desk: Desk, context: RequestContext, template: str, status: int, result: Mapping[str, Any]
) -> Response:
    """The part of an exchange with a form; a whole page for browsers without JavaScript."""
    form = context.form
    question = Question("", form.get_text("instruction"), form.get_text("input"))
    answered = GatewayAnswer(form.get_text("answer"), form.get_text("release_id"))
    shown = {"asked": question, "answered": answered, "marks": [], "release_id": answered.release_id}
    typed = {name: form.get_text(name) for name in _CORRECTION_FIELDS}
    carried = {name: form.get_text(name) for name in ("key", "knowledge_index", "passages")}
    values = _make_exchange_defaults() | shown | carried | {"typed": typed} | dict(result)
    if context.is_fragment:  # status 200 also for refusals: htmx swaps in successful responses only
        return render_page(desk, context, template, **values)
    about = {"tasks": _list_tasks(desk), "question": "", "task": "", "ask_refusal": "", "part": template}
    about["labels"] = sorted(context.user.labels)
    return render_page(desk, context, "ask.html", status=status, **values, **about)


def _encode_line(**values: str) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"

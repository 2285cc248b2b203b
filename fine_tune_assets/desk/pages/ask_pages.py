"""Asking the model that is live, and correcting its answer in place.

Owns what such a page shows and sends. Asking, limits, the log and keeping corrections are the gateway's. What was asked and
answered is on the page alone: neither the desk nor an address keeps it, and a closed tab has lost it.
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

from fine_tune_assets.core.error_kinds import ERROR_KINDS, KINDS_OF_CORRECTION, RATINGS, SEVERITIES
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.prompts.chat import user_content
from fine_tune_assets.desk.application import Desk
from fine_tune_assets.desk.errors import PageError
from fine_tune_assets.desk.gateway_client import Answered, GatewayRefusedError
from fine_tune_assets.desk.rendering import page
from fine_tune_assets.desk.visits import Visit

KINDS = {kind: ERROR_KINDS[kind] for kind in KINDS_OF_CORRECTION}
_TYPED = ("corrected_answer", "error_kind", "severity")
_NOTHING_ASKED = "Write a question first."
_NOT_CHOSEN = "Write the better answer, and choose what was wrong and how grave it is. Nothing was recorded."
_SENT_BEFORE = (
    "You corrected this answer before, with another text, which is kept. Send again if this one shall be kept too."
)


@dataclass(frozen=True)
class Asked:
    task: str
    instruction: str
    input: str

    @property
    def content(self) -> str:
        return user_content(self.instruction, self.input)


class Later(Response):
    """A response that is made while no thread waits for it."""

    def __init__(self, make: Callable[[], Awaitable[Response]]) -> None:
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._make())(scope, receive, send)


def show_ask(
    desk: Desk, visit: Visit, exchange: Mapping[str, Any] | None = None, refusal: str = "", status: int = 200
) -> Response:
    own = {"asked": None, "answered": None, "marks": [], "release_id": "", "key": "", **(exchange or {})}
    typed = "" if exchange else visit.form.text("question")
    return page(
        desk,
        visit,
        "ask.html",
        status=status,
        tasks=_tasks(desk),
        question=typed,
        task=visit.form.text("task"),
        ask_refusal=refusal,
        labels=sorted(visit.who.labels),
        part="",
        **_around() | own,
    )


def answer_question(desk: Desk, visit: Visit) -> Response:
    """For browsers without scripts: the page again, once the answer is whole."""
    asked = _asked(desk, visit)
    if asked is None:
        return show_ask(desk, visit, refusal=_NOTHING_ASKED, status=400)

    async def make() -> Response:
        try:
            parts = [part async for part in desk.gateway.ask(asked.content, visit.who)]
        except GatewayRefusedError as error:
            return await run_in_threadpool(show_ask, desk, visit, refusal=error.message, status=error.status)
        return await run_in_threadpool(show_ask, desk, visit, exchange=_exchange(asked, parts[-1]))

    return Later(make)


def stream_answer(desk: Desk, visit: Visit) -> Response:
    """For the page's script: a JSON object a line, with text as it comes, then the whole exchange as the page shows it."""
    asked = _asked(desk, visit)
    if asked is None:
        raise PageError(400, "Nothing was asked", _NOTHING_ASKED)

    async def lines() -> AsyncIterator[bytes]:
        try:
            async for part in desk.gateway.ask(asked.content, visit.who):
                if isinstance(part, str):
                    yield _line(text=part)
                else:
                    shown = await run_in_threadpool(
                        page, desk, visit, "exchange.html", **_around() | _exchange(asked, part)
                    )
                    yield _line(html=bytes(shown.body).decode())
        except GatewayRefusedError as error:
            yield _line(error=error.message)

    # Proxies hand it on line by line.
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=headers)


def correct_answer(desk: Desk, visit: Visit) -> Response:
    """Acknowledge only what the ledger holds on disk. The form's key makes a second sending the same correction."""
    form, texts = visit.form, ("release_id", "instruction", "input", "answer", "corrected_answer")
    body: dict[str, Any] = {name: form.text(name) for name in (*texts, "error_kind", "severity")}
    if not body["corrected_answer"].strip() or body["error_kind"] not in KINDS or body["severity"] not in SEVERITIES:
        return _part(desk, visit, "exchange_correct.html", 400, {"refusal": _NOT_CHOSEN})
    if (seconds := form.number("seconds_spent")) is not None:
        body["seconds_spent"] = min(seconds, 86_400)
    if passages := form.text("passages").split():
        body |= {"knowledge_index": form.text("knowledge_index"), "passages": passages}

    async def make() -> Response:
        try:
            kept = await desk.gateway.correct(body, visit.who, f"desk-{form.text('key')}-correction"[:200])
        except GatewayRefusedError as error:
            again = {"refusal": error.message}
            if error.status == 409:
                again = {"refusal": _SENT_BEFORE, "key": secrets.token_urlsafe(16)}
            return await run_in_threadpool(_part, desk, visit, "exchange_correct.html", error.status, again)
        said = {"kept": kept.kept_as, "are_passages_gone": kept.are_passages_gone}
        return await run_in_threadpool(_part, desk, visit, "exchange_correct.html", 200, said)

    return Later(make)


def rate_answer(desk: Desk, visit: Visit) -> Response:
    """A thumb, without a text. The first one stands."""
    rating = visit.form.text("rating")
    if rating not in RATINGS:
        raise PageError(400, "No rating", "Press thumb up or thumb down. Nothing was recorded.")
    body = {"release_id": visit.form.text("release_id"), "rating": rating}

    async def make() -> Response:
        key, said = f"desk-{visit.form.text('key')}-rating"[:200], {"rated": rating}
        try:
            await desk.gateway.correct(body, visit.who, key)
        except GatewayRefusedError as error:
            said = {"refusal": "You rated this answer before." if error.status == 409 else error.message}
            return await run_in_threadpool(_part, desk, visit, "exchange_rate.html", error.status, said)
        return await run_in_threadpool(_part, desk, visit, "exchange_rate.html", 200, said)

    return Later(make)


def _asked(desk: Desk, visit: Visit) -> Asked | None:
    """What the form asks: a task of the recipe's with its input, or a question of one's own."""
    text, name = visit.form.text("question").strip(), visit.form.text("task")
    if not text:
        return None
    instruction = _tasks(desk).get(name)
    return Asked("", text, "") if instruction is None else Asked(name, instruction, text)


def _tasks(desk: Desk) -> dict[str, str]:
    """Name → instruction. A recipe that can't be read keeps nobody from asking."""
    with suppress(FineTuneError):
        return {task.name: task.instruction for task in desk.recipe().tasks}
    return {}


def _exchange(asked: Asked, answered: str | Answered) -> dict[str, Any]:
    assert isinstance(answered, Answered)
    return {
        "asked": asked,
        "answered": answered,
        "marks": _marked(answered),
        "release_id": answered.release_id,
        "knowledge_index": answered.index,
        "passages": " ".join(answered.passage_ids),
        "key": secrets.token_urlsafe(16),
    }


def _marked(answered: Answered) -> list[tuple[str, str]]:
    """The answer in pieces: (kind of what no passage holds, or empty; text)."""
    pieces, at = [], 0
    for one in (answered.check or {}).get("unsupported", ()):
        if at <= one["start"] < one["end"] <= len(answered.text):
            pieces += [("", answered.text[at : one["start"]]), (one["kind"], answered.text[one["start"] : one["end"]])]
            at = one["end"]
    return [piece for piece in [*pieces, ("", answered.text[at:])] if piece[1]]


def _around() -> dict[str, Any]:
    """What the parts of an exchange say before anybody corrected or rated it."""
    typed = dict.fromkeys(_TYPED, "")
    said = {"kept": "", "are_passages_gone": False, "rated": "", "refusal": "", "typed": typed}
    return {"kinds": KINDS, "severities": SEVERITIES, "knowledge_index": "", "passages": "", **said}


def _part(desk: Desk, visit: Visit, template: str, status: int, said: Mapping[str, Any]) -> Response:
    """The part of an exchange that a form stands in; for browsers without scripts a page around it."""
    form = visit.form
    asked = Asked("", form.text("instruction"), form.text("input"))
    answered = Answered(form.text("answer"), form.text("release_id"))
    shown = {"asked": asked, "answered": answered, "marks": [], "release_id": answered.release_id}
    typed = {name: form.text(name) for name in _TYPED}
    carried = {name: form.text(name) for name in ("key", "knowledge_index", "passages")}
    context = _around() | shown | carried | {"typed": typed} | dict(said)
    if visit.is_fragment:  # with 200 also where it was refused: the script puts in what comes, and it says why
        return page(desk, visit, template, **context)
    about = {"tasks": _tasks(desk), "question": "", "task": "", "ask_refusal": "", "part": template}
    about["labels"] = sorted(visit.who.labels)
    return page(desk, visit, "ask.html", status=status, **context, **about)


def _line(**values: str) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"

"""Answers from the organisation's documents: passages before the question, citations beside the answer.

Owns which requests are answered so (questions, by a release that says so; never its own tasks), what a caller is told of it,
the answer where nothing relevant was found, and the passages that a correction of such an answer carries. Finding passages and
checking an answer are `retrieval`'s, in threads.
"""

import json
import time
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import yaml
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.prompts.chat import as_plain_text, parts_of
from fine_tune_assets.core.prompts.retrieval_contract import AnsweredFrom, RetrievalContract
from fine_tune_assets.core.releases.release_folders import ReleaseError, ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.callers.callers import Caller
from fine_tune_assets.gateway.records.records import Record
from fine_tune_assets.gateway.requests.request_models import NO_INDEX, ChatRequest, CorrectionRequest
from fine_tune_assets.gateway.wire_format import DONE, DONE_EVENT, ApiError, content_of, dumped, event, invalid
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.retrieval.question_passages import (
    LiveKnowledge,
    NoLiveKnowledgeError,
    Prepared,
    UnknownIndexError,
    UnknownPassageError,
    check_answer,
)
from fine_tune_assets.retrieval.stores import KnowledgeStoreError

INDEX_HEADER = "x-knowledge-index"
_RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Consulted:
    """What was found for one question. `prepared` None: no index is live, and the model is asked as it is."""

    prepared: Prepared | None

    @property
    def index(self) -> str:
        return NO_INDEX if self.prepared is None else self.prepared.passages.index_fingerprint

    @property
    def passages(self) -> int | None:
        return None if self.prepared is None else len(self.prepared.passages.found)

    @property
    def answer(self) -> str | None:
        """What is said without the model, since nothing relevant was found."""
        return None if self.prepared is None else self.prepared.answer

    def messages(self, asked: list[dict[str, Any]], tokens: Collection[str]) -> list[dict[str, Any]]:
        """With the passages; control tokens in them are plain text, as in what a caller writes."""
        if self.prepared is None:
            return asked
        *before, last = self.prepared.messages
        return [asked[0], *before, {**last, "content": as_plain_text(last["content"], tokens)}]

    async def fields(self, text: str) -> dict[str, Any]:
        """What stands beside OpenAI's fields: the citations, and what in the answer no passage holds."""
        if self.prepared is None:
            return {}
        if self.prepared.answer is not None:
            return {"citations": [], "citation_check": None}
        check = await run_in_threadpool(check_answer, text, self.prepared)
        told = {"is_supported": check.is_supported, "cited": list(check.cited), "counts": check.counts}
        return {
            "citations": self.prepared.citations,
            "citation_check": {**told, "unsupported": [asdict(one) for one in check.unsupported]},
        }


class Knowledge:
    """Shared by all requests of a gateway process."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._live = LiveKnowledge(settings, ledger)

    def open(self, contract: RetrievalContract) -> None:
        """The live index, before somebody asks. One that is not there or can't be read is said to who asks."""
        with suppress(NoLiveKnowledgeError, KnowledgeStoreError):
            self._live.index(contract.index_format)

    async def consult(
        self,
        question: ChatRequest,
        asked: Mapping[str, Any],
        contract: RetrievalContract | None,
        instructions: Collection[str],
        caller: Caller,
    ) -> Consulted | None:
        """None: this request is not answered from documents. `asked`: as it would go to the engine. Raises ApiError."""
        wanted = question.knowledge
        if contract is None or not contract.enabled:
            if wanted:
                raise ApiError(400, "not_supported", "The live release does not answer from documents.")
            return None
        conversation = asked["messages"][1:]
        if wanted and conversation[-1]["role"] != "user":
            raise invalid("knowledge needs the user's question as the last message.")
        if wanted is False or (wanted is None and not _is_question(question, conversation, instructions)):
            return None
        try:
            prepared = await run_in_threadpool(
                self._live.prepare, conversation, caller.labels, contract, datetime.now(UTC)
            )
        except NoLiveKnowledgeError:
            return Consulted(None)
        except KnowledgeStoreError as error:
            raise _away() from error
        return Consulted(prepared)

    async def carried(self, body: CorrectionRequest, caller: Caller) -> AnsweredFrom | None:
        """The passages that a corrected answer was given from, as it told them; None if it told none. Raises ApiError."""
        if not body.passages or body.knowledge_index is None:
            return None
        try:
            return await run_in_threadpool(self._live.carried, body.knowledge_index, body.passages, caller.labels)
        except UnknownIndexError as error:
            message = "No knowledge index of that fingerprint has answered. Send the x-knowledge-index of the answer."
            raise ApiError(404, "knowledge_index_not_found", message) from error
        except UnknownPassageError as error:
            message = (
                "That index has no such passage that this key may see. Send the passage_id of the answer's citations."
            )
            raise ApiError(404, "passage_not_found", message) from error
        except (KnowledgeStoreError, NoLiveKnowledgeError) as error:
            raise _away() from error


def _away() -> ApiError:
    message = "The documents can't be searched at the moment. Ask again in a moment."
    return ApiError(503, "not_available", message, {"Retry-After": "5"})


def _is_question(question: ChatRequest, conversation: list[dict[str, Any]], instructions: Collection[str]) -> bool:
    """Not a program's request for a form, nor a task of the release's own, which is answered from its input."""
    if question.tools or question.response_format or conversation[-1]["role"] != "user":
        return False
    return parts_of(conversation[-1]["content"])[0].strip() not in instructions


def instructions_of(release: ReleaseFolder) -> frozenset[str]:
    """Of the release's tasks, by the recipe that it carries; none for a release without one. Raises ReleaseError."""
    if _RECIPE not in release.manifest.get("files", {}):
        return frozenset()
    try:
        content = (release.folder / _RECIPE).read_text(encoding="utf-8")
        if fingerprint_text(content) == release.manifest["files"][_RECIPE]:
            tasks = yaml.safe_load(content).get("tasks") or ()
            return frozenset(str(task["instruction"]).strip() for task in tasks)
    except (OSError, ValueError, AttributeError, KeyError, TypeError, yaml.YAMLError):
        pass
    raise ReleaseError(
        f"Release {release.release_id}: {_RECIPE} can't be read or was changed. {materialize_hint('releases')}"
    )


async def cited(payloads: AsyncIterator[bytes], consulted: Consulted) -> AsyncIterator[bytes]:
    """A stream whose last event before [DONE] also tells the citations. Nothing is held back but that event."""
    text, held = "", None
    async for payload in payloads:
        if payload != DONE:
            chunk = json.loads(payload)
            text += content_of(chunk)
            if held is not None:
                yield held
            held = payload if held is not None or _ends(chunk) else None
            if held is not None:
                continue
        elif held is not None:
            yield await _with_fields(held, text, consulted)
            held = None
        yield payload
    if held is not None:
        yield await _with_fields(held, text, consulted)


def _ends(chunk: Mapping[str, Any]) -> bool:
    choices = chunk.get("choices") or ()
    return not choices or any(choice.get("finish_reason") is not None for choice in choices)


async def _with_fields(payload: bytes, text: str, consulted: Consulted) -> bytes:
    return dumped(json.loads(payload) | await consulted.fields(text))


def nothing_found(consulted: Consulted, asked: Mapping[str, Any], has_usage: bool, record: Record) -> Response:
    """The release's own sentence, in the form that was asked for. The model is not asked, so it has no tokens."""
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    record.note_first_token()
    record.note_usage(usage)
    headers = {INDEX_HEADER: consulted.index, "x-release-id": str(asked["model"])}
    kind = "chat.completion.chunk" if asked["stream"] else "chat.completion"
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": asked["model"]}
    said = {"role": "assistant", "content": consulted.answer}
    told: dict[str, Any] = {"citations": [], "citation_check": None}
    if not asked["stream"]:
        choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": "stop"}
        return JSONResponse({**head, "choices": [choice], "usage": usage, **told}, headers=headers)
    parts: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": said, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        *([{**head, "choices": [], "usage": usage}] if has_usage else []),
    ]
    parts[-1] |= told

    async def events() -> AsyncIterator[bytes]:
        for part in parts:
            yield event(dumped(part))
        yield DONE_EVENT

    return StreamingResponse(events(), media_type="text/event-stream", headers={**headers, "cache-control": "no-cache"})

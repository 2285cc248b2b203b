"""Answers questions from the organization's documents: adds passages to the prompt and citations to the answer.

Applies to questions, if the release has retrieval enabled, and never to the release's own tasks. `retrieval` finds passages and
checks answers, in threads.
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
from fine_tune_assets.core.prompts.conversations import escape_control_tokens, split_user_content
from fine_tune_assets.core.prompts.retrieval_contract import AnswerSources, RetrievalContract
from fine_tune_assets.core.releases.release_folders import ReleaseError, ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.callers.authentication import Caller
from fine_tune_assets.gateway.records.request_record import RequestRecord
from fine_tune_assets.gateway.requests.request_models import NO_INDEX, ChatRequest, CorrectionRequest
from fine_tune_assets.gateway.wire_format import (
    DONE,
    DONE_EVENT,
    ApiError,
    dump_json,
    extract_content,
    format_event,
    invalid,
)
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.retrieval.retriever import (
    NoLiveIndexError,
    PreparedPrompt,
    Retriever,
    UnknownIndexError,
    UnknownPassageError,
    check_answer,
)
from fine_tune_assets.retrieval.stores import KnowledgeStoreError

INDEX_HEADER = "x-knowledge-index"
_RECIPE_FILE = "recipe.yaml"


@dataclass(frozen=True)
class RetrievalResult:
    """The passages for one question. `prepared` is None if no index is live: the model then answers without passages."""

    prepared: PreparedPrompt | None

    @property
    def index_fingerprint(self) -> str:
        return NO_INDEX if self.prepared is None else self.prepared.search_result.index_fingerprint

    @property
    def passage_count(self) -> int | None:
        return None if self.prepared is None else len(self.prepared.search_result.passages)

    @property
    def fallback_answer(self) -> str | None:
        """The answer given without the model because no relevant passage was found."""
        return None if self.prepared is None else self.prepared.fallback_answer

    def build_messages(self, messages: list[dict[str, Any]], tokens: Collection[str]) -> list[dict[str, Any]]:
        """The messages with passages added. Control tokens in passages are escaped, as in the caller's text."""
        if self.prepared is None:
            return messages
        *before, last = self.prepared.messages
        return [messages[0], *before, {**last, "content": escape_control_tokens(last["content"], tokens)}]

    async def build_fields(self, text: str) -> dict[str, Any]:
        """Fields added to OpenAI's format: the citations, and the statements that no passage supports."""
        if self.prepared is None:
            return {}
        if self.prepared.fallback_answer is not None:
            return {"citations": [], "citation_check": None}
        check = await run_in_threadpool(check_answer, text, self.prepared)
        return {
            "citations": self.prepared.citations,
            "citation_check": {
                "is_supported": check.is_supported,
                "cited": list(check.cited),
                "counts": check.counts,
                "unsupported": [asdict(statement) for statement in check.unsupported],
            },
        }


class KnowledgeBase:
    """Shared by all requests of one gateway process."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._retriever = Retriever(settings, ledger)

    def preload(self, contract: RetrievalContract) -> None:
        """Open the live index before the first request. A missing or unreadable index is reported to requests."""
        with suppress(NoLiveIndexError, KnowledgeStoreError):
            self._retriever.open_live_index(contract.index_format)

    async def retrieve(
        self,
        request: ChatRequest,
        engine_request: Mapping[str, Any],
        contract: RetrievalContract | None,
        instructions: Collection[str],
        caller: Caller,
    ) -> RetrievalResult | None:
        """None if this request is not answered from documents. Raises ApiError."""
        wanted = request.knowledge
        if contract is None or not contract.enabled:
            if wanted:
                raise ApiError(400, "not_supported", "The live release does not answer from documents.")
            return None
        conversation = engine_request["messages"][1:]
        if wanted and conversation[-1]["role"] != "user":
            raise invalid("knowledge needs the user's question as the last message.")
        if wanted is False or (wanted is None and not _is_question(request, conversation, instructions)):
            return None
        try:
            prepared = await run_in_threadpool(
                self._retriever.prepare, conversation, caller.labels, contract, datetime.now(UTC)
            )
        except NoLiveIndexError:
            return RetrievalResult(None)
        except KnowledgeStoreError as error:
            raise _search_unavailable() from error
        return RetrievalResult(prepared)

    async def find_cited_passages(self, body: CorrectionRequest, caller: Caller) -> AnswerSources | None:
        """The passages that the corrected answer cited; None if the correction names none. Raises ApiError."""
        if not body.passages or body.knowledge_index is None:
            return None
        try:
            return await run_in_threadpool(
                self._retriever.find_cited_passages, body.knowledge_index, body.passages, caller.labels
            )
        except UnknownIndexError as error:
            message = "No knowledge index has this fingerprint. Send the x-knowledge-index header of the answer."
            raise ApiError(404, "knowledge_index_not_found", message) from error
        except UnknownPassageError as error:
            message = "This key can read no such passage in that index. Send the passage_id of the answer's citations."
            raise ApiError(404, "passage_not_found", message) from error
        except (KnowledgeStoreError, NoLiveIndexError) as error:
            raise _search_unavailable() from error


def _search_unavailable() -> ApiError:
    message = "Document search is unavailable. Retry in a moment."
    return ApiError(503, "not_available", message, {"Retry-After": "5"})


def _is_question(request: ChatRequest, conversation: list[dict[str, Any]], instructions: Collection[str]) -> bool:
    """False for requests with tools or a response format, and for the release's own tasks, which use only their input."""
    if request.tools or request.response_format or conversation[-1]["role"] != "user":
        return False
    return split_user_content(conversation[-1]["content"])[0].strip() not in instructions


def read_instructions(release: ReleaseFolder) -> frozenset[str]:
    """The task instructions in the release's recipe; empty for a release without a recipe. Raises ReleaseError."""
    if _RECIPE_FILE not in release.manifest.get("files", {}):
        return frozenset()
    try:
        content = (release.folder / _RECIPE_FILE).read_text(encoding="utf-8")
        if fingerprint_text(content) == release.manifest["files"][_RECIPE_FILE]:
            tasks = yaml.safe_load(content).get("tasks") or ()
            return frozenset(str(task["instruction"]).strip() for task in tasks)
    except (OSError, ValueError, AttributeError, KeyError, TypeError, yaml.YAMLError):
        pass
    raise ReleaseError(
        f"Release {release.release_id}: {_RECIPE_FILE} can't be read or was changed. {materialize_hint('releases')}"
    )


async def add_citations(payloads: AsyncIterator[bytes], retrieval: RetrievalResult) -> AsyncIterator[bytes]:
    """Add the citations to the last event before [DONE]. Only that event is delayed."""
    text, last_event = "", None
    async for payload in payloads:
        if payload != DONE:
            chunk = json.loads(payload)
            text += extract_content(chunk)
            if last_event is not None:
                yield last_event
            last_event = payload if last_event is not None or _is_final(chunk) else None
            if last_event is not None:
                continue
        elif last_event is not None:
            yield await _add_fields(last_event, text, retrieval)
            last_event = None
        yield payload
    if last_event is not None:
        yield await _add_fields(last_event, text, retrieval)


def _is_final(chunk: Mapping[str, Any]) -> bool:
    choices = chunk.get("choices") or ()
    return not choices or any(choice.get("finish_reason") is not None for choice in choices)


async def _add_fields(payload: bytes, text: str, retrieval: RetrievalResult) -> bytes:
    return dump_json(json.loads(payload) | await retrieval.build_fields(text))


def build_no_match_response(
    retrieval: RetrievalResult, engine_request: Mapping[str, Any], has_usage: bool, record: RequestRecord
) -> Response:
    """The release's fallback answer in the requested format. Its token usage is 0, since no engine ran."""
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    record.mark_first_token()
    record.set_usage(usage)
    model, is_stream = engine_request["model"], engine_request["stream"]
    headers = {INDEX_HEADER: retrieval.index_fingerprint, "x-release-id": str(model)}
    kind = "chat.completion.chunk" if is_stream else "chat.completion"
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}
    message = {"role": "assistant", "content": retrieval.fallback_answer}
    fields: dict[str, Any] = {"citations": [], "citation_check": None}
    if not is_stream:
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return JSONResponse({**head, "choices": [choice], "usage": usage, **fields}, headers=headers)
    parts: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        *([{**head, "choices": [], "usage": usage}] if has_usage else []),
    ]
    parts[-1] |= fields

    async def events() -> AsyncIterator[bytes]:
        for part in parts:
            yield format_event(dump_json(part))
        yield DONE_EVENT

    return StreamingResponse(events(), media_type="text/event-stream", headers={**headers, "cache-control": "no-cache"})

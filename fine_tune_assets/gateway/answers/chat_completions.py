"""Answers one generation request from the live release; uses another deployment if the engine fails before its first byte.

Callers selected for a canary release are answered by it, and by the live release if it fails. The live release is read from
the ledger for each request, so that a switch loses no request.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from fine_tune_assets.core.prompts.retrieval_contract import RetrievalContract
from fine_tune_assets.core.serving_engines import find_features
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.answers.answer_relay import ResponseOptions, build_response
from fine_tune_assets.gateway.answers.canary_routing import CanaryRouter
from fine_tune_assets.gateway.answers.cited_answers import (
    INDEX_HEADER,
    KnowledgeBase,
    RetrievalResult,
    build_no_match_response,
)
from fine_tune_assets.gateway.answers.crash_tracker import STOPS_ENGINE, CrashTracker
from fine_tune_assets.gateway.answers.engine_client import (
    AnswerLimits,
    EngineAnswer,
    EngineStoppedError,
    EngineUnavailableError,
    TrackedResponse,
)
from fine_tune_assets.gateway.answers.engine_pool import (
    RESTARTING_MESSAGE,
    EnginePool,
    choose_target,
    require_live_target,
)
from fine_tune_assets.gateway.answers.fair_queue import Slot
from fine_tune_assets.gateway.answers.identifier_filter import AnswerGate
from fine_tune_assets.gateway.answers.open_requests import NoPlaceError, OpenRequests
from fine_tune_assets.gateway.answers.release_cache import LoadedRelease, load_release
from fine_tune_assets.gateway.callers.authentication import Caller, read_ledger
from fine_tune_assets.gateway.records.outcome_counts import OutcomeCounter
from fine_tune_assets.gateway.records.request_record import RequestRecord
from fine_tune_assets.gateway.records.traffic import ObservedExchange, TrafficObserver, build_payload, last_user_text
from fine_tune_assets.gateway.requests.enforceable_schemas import SchemaError
from fine_tune_assets.gateway.requests.request_models import CompletionRequest, GenerationRequest
from fine_tune_assets.gateway.requests.request_parsing import Permissions, build_engine_request
from fine_tune_assets.gateway.requests.schema_guard import SchemaGuard
from fine_tune_assets.gateway.wire_format import ApiError, invalid, unavailable
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.request_outcomes import FAILED, make_answered_outcome
from fine_tune_assets.ledger.serving.routing_targets import RoutingTarget, find_targets

_MAX_ATTEMPTS = 2
_LEAST_REMAINING = 0.1
"""Share of the time limit that must be left after the wait: an answer that is cut off counts as a failure of the release."""
_LONG_WAIT_SECONDS = 0.5
"""After a longer wait for a slot, the ledger is read again, since users may have been switched."""


@dataclass
class _Attempts:
    """The deployments that one request was sent to, by outcome."""

    started_at: float
    """On the monotonic clock."""
    failed: set[str] = field(default_factory=set)
    """Counted as failures."""
    canaries: set[str] = field(default_factory=set)
    """Canary releases that the request was sent to."""
    refused_canaries: set[str] = field(default_factory=set)
    """Canary releases that refused the request: a failure only if another release answers it."""
    has_stopped_engine: bool = False
    """Whether an engine stopped during the request: no other engine gets it."""


@dataclass(frozen=True)
class _Exchange:
    """One request to one engine."""

    target: RoutingTarget
    engine: str
    """Its name in the recipe."""
    request: GenerationRequest
    engine_request: dict[str, Any]
    retrieval: RetrievalResult | None
    caller: Caller
    record: RequestRecord
    fingerprint: str
    deadline: float
    """On the monotonic clock."""


class _TargetGoneError(Exception):
    """While the request waited, users were switched to another engine."""


class ChatService:
    """Shared by all requests of one gateway process."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        counter: OutcomeCounter,
        gate: AnswerGate,
        traffic: TrafficObserver,
    ) -> None:
        self._settings, self._ledger, self._counter, self._gate = settings, ledger, counter, gate
        self._traffic, self._has_canaries = traffic, bool(settings.canary.percent)
        self.engines = EnginePool(settings, ledger.key)
        self._crashes, self._schemas = CrashTracker(ledger), SchemaGuard()
        self._canary_router = CanaryRouter(ledger, ledger.key)
        self.knowledge = KnowledgeBase(settings, ledger)
        self._open_requests = OpenRequests(settings.gateway.max_concurrent_requests)

    async def close(self) -> None:
        await self.engines.close()
        await self._schemas.close()

    @asynccontextmanager
    async def reserve_slot(self, caller: Caller) -> AsyncIterator[Callable[[], Callable[[], None]]]:
        """Reserve one of `max_concurrent_requests` places. Raises ApiError with 429 if this caller gets none.

        Yields `hand_off`. The block's end frees the place, unless `hand_off` was called: then calling its result frees it.
        """
        limit = caller.open_requests or self._settings.gateway.max_requests_per_caller
        try:
            free = self._open_requests.open(caller, limit)
        except NoPlaceError:
            raise _busy("Too many requests of this key are in progress. Wait for an answer.") from None
        with ExitStack() as undo:
            undo.callback(free)

            def hand_off() -> Callable[[], None]:
                return undo.pop_all().close

            yield hand_off

    async def answer(
        self,
        request: GenerationRequest,
        caller: Caller,
        record: RequestRecord,
        hand_off: Callable[[], Callable[[], None]],
    ) -> Response:
        """Answer one request, retrying while that is safe. Raises ApiError."""
        self._gate.require_ready()
        # A raw prompt is not a turn of a conversation, so drift does not compare it with the training data.
        record.answer_payloads = [] if self._traffic.is_on and not request.raw else None
        attempts, last, remaining = _Attempts(time.monotonic()), EngineUnavailableError(), _MAX_ATTEMPTS
        while remaining:
            targets = await read_ledger(find_targets, self._ledger, include_canary=self._has_canaries)
            self.engines.retain_only(targets)
            target = await self._canary_router.pick_target(caller, targets, request.model, attempts.canaries)
            if target is None:
                target, remaining = choose_target(targets, request.model, attempts.failed), remaining - 1
            try:
                return await self._answer_with(target, request, caller, record, hand_off, attempts)
            except EngineUnavailableError as error:
                last = error
            except _TargetGoneError:
                remaining += not target.is_canary
            except ApiError as error:
                # The live release answers what a canary release refused. After a timeout, there is no time for another attempt.
                if (
                    not target.is_canary
                    or error.status in (429, 504)
                    or error.code == STOPS_ENGINE
                    or attempts.has_stopped_engine
                ):
                    raise
            if target.is_canary:
                record.reset_answer()
        if last.status is not None:
            raise ApiError(502, "engine_error", f"The model failed (HTTP {last.status}).")
        raise unavailable(RESTARTING_MESSAGE)

    async def _answer_with(
        self,
        target: RoutingTarget,
        request: GenerationRequest,
        caller: Caller,
        record: RequestRecord,
        hand_off: Callable[[], Callable[[], None]],
        attempts: "_Attempts",
    ) -> Response:
        """Raises EngineUnavailableError if another engine can be tried safely, _TargetGoneError, or ApiError."""
        with ExitStack() as undo:
            try:
                engine_request, retrieval = await self._prepare_request(target, request, caller, record)
                if retrieval is not None and retrieval.fallback_answer is not None:
                    self._count_refused_canaries(attempts)
                    record.add_payload(build_payload(retrieval.fallback_answer))
                    self._observe_exchange(target, record, request)
                    return build_no_match_response(retrieval, engine_request, request.has_usage, record)
                exchange = _Exchange(
                    target, self._load_release(target).release.engine, request, engine_request, retrieval, caller, record,
                    self._crashes.fingerprint(target, engine_request),
                    attempts.started_at + self._settings.gateway.timeout_seconds,
                )  # fmt: skip
                await self._crashes.require_harmless(target, exchange.fingerprint)
                slot = await self._acquire_engine_slot(exchange)
                undo.callback(slot.free)
                answer = await self._send_to_engine(exchange, slot, attempts)
            except ApiError as error:
                is_own = error.status == 429 or error.code == STOPS_ENGINE  # the gateway refused, not the release
                if target.is_canary and not attempts.has_stopped_engine and not is_own:
                    attempts.refused_canaries.add(target.deployment_id)
                raise
            self._count_refused_canaries(attempts)
            response = await self._build_response(exchange, answer, attempts)
            undo.pop_all()
        free_slot = hand_off()

        async def done() -> None:
            free_slot()
            slot.free()
            self._count_outcome(exchange, answer, attempts)
            if answer.is_broken:
                await self._crashes.report(target, exchange.fingerprint, caller.caller_id)

        return TrackedResponse(response, done, answer)

    async def _build_response(self, exchange: "_Exchange", answer: EngineAnswer, attempts: "_Attempts") -> Response:
        request, engine_request, retrieval = exchange.request, exchange.engine_request, exchange.retrieval
        as_completion = isinstance(request, CompletionRequest) and not request.raw
        options = ResponseOptions(
            engine_request["stream"], request.has_usage, as_completion, _prompt_text(engine_request), exchange.deadline, retrieval
        )  # fmt: skip
        try:
            response = await build_response(answer, options, exchange.record, self._gate)
        except BaseException as error:  # a cancelled caller too: the answer must be counted and closed
            if isinstance(error, ApiError) and error.code == "engine_error":
                answer.is_broken = True
            self._count_outcome(exchange, answer, attempts)
            await answer.close()
            raise
        response.headers["x-release-id"] = exchange.target.release_id
        if retrieval is not None:
            response.headers[INDEX_HEADER] = retrieval.index_fingerprint
        return response

    def _count_refused_canaries(self, attempts: "_Attempts") -> None:
        """Another release answers what these canary releases refused: a failure of theirs."""
        for name in attempts.refused_canaries - attempts.failed:
            self._counter.add(name, FAILED)
        attempts.refused_canaries.clear()

    async def _acquire_engine_slot(self, exchange: "_Exchange") -> Slot:
        """Wait for the caller's turn. Raises ApiError with 429, or _TargetGoneError if the engine changed meanwhile."""
        target, caller = exchange.target, exchange.caller
        queue = self.engines.queue(target, exchange.engine)
        began = time.monotonic()
        try:
            async with asyncio.timeout(exchange.deadline - began):
                slot = await queue.acquire(caller.caller_id, caller.share, caller.principal)
        except TimeoutError:
            raise _busy("No engine slot became free in time. Retry later.") from None
        if time.monotonic() - began <= _LONG_WAIT_SECONDS:
            return slot
        with ExitStack() as undo:
            undo.callback(slot.free)
            if exchange.deadline - time.monotonic() < _LEAST_REMAINING * self._settings.gateway.timeout_seconds:
                raise _busy("No engine slot became free in time. Retry later.")  # an answer would be cut off
            targets = await read_ledger(find_targets, self._ledger, include_canary=self._has_canaries)
            if (target.engine_url, target.state) not in [(each.engine_url, each.state) for each in targets]:
                raise _TargetGoneError
            undo.pop_all()
        return slot

    async def _prepare_request(
        self, target: RoutingTarget, request: GenerationRequest, caller: Caller, record: RequestRecord
    ) -> tuple[dict[str, Any], RetrievalResult | None]:
        """The request to the engine, including retrieved passages. Raises ApiError."""
        release = self._load_release(target)
        permissions = self._permissions(caller, release)
        engine_request = build_engine_request(request, target.release_id, release.prompt_settings, permissions)
        record.release_id = target.release_id
        await self._check_schemas(engine_request)
        return engine_request, await self._add_passages(request, engine_request, release, caller, record)

    async def _check_schemas(self, engine_request: Mapping[str, Any]) -> None:
        """Raises ApiError for a schema that cannot be compiled."""
        schemas = {
            f"tools.{n}.function": t["function"]["parameters"] for n, t in enumerate(engine_request.get("tools", ()))
        }
        if (wanted := engine_request.get("response_format", {}).get("json_schema")) is not None:
            schemas["response_format.json_schema"] = wanted["schema"]
        for name, schema in schemas.items():
            try:
                await self._schemas.require_compiled(schema)
            except SchemaError as error:
                raise invalid(f"{name}: {error}") from None

    async def _add_passages(
        self,
        request: GenerationRequest,
        engine_request: dict[str, Any],
        release: LoadedRelease,
        caller: Caller,
        record: RequestRecord,
    ) -> RetrievalResult | None:
        """Insert the retrieved passages into `engine_request`; None if this request is not answered from documents."""
        if isinstance(request, CompletionRequest):
            return None
        retrieval = await self.knowledge.retrieve(
            request, engine_request, release.retrieval, release.instructions, caller
        )
        if retrieval is not None:
            record.passage_count = retrieval.passage_count
            engine_request["messages"] = retrieval.build_messages(
                engine_request["messages"], release.prompt_settings.control_tokens
            )
        return retrieval

    def _permissions(self, caller: Caller, release: LoadedRelease) -> Permissions:
        return Permissions(
            can_replace_system_prompt="system_prompt" in caller.scopes,
            can_send_raw="raw_completions" in caller.scopes,
            max_tokens=self._settings.gateway.max_tokens,
            context_tokens=self._settings.engine.context_tokens,
            features=find_features(release.release.engine),
            chat_template=release.chat_template,
        )

    async def _send_to_engine(self, exchange: "_Exchange", slot: Slot, attempts: "_Attempts") -> EngineAnswer:
        target, body = exchange.target, exchange.engine_request
        if exchange.engine == "llama_cpp" and self._settings.gateway.workers == 1:
            body = {**body, "id_slot": slot.number}  # several gateway processes would choose the same slots
        path = "completions" if "prompt" in body else "chat/completions"
        remaining = max(0.1, exchange.deadline - time.monotonic())
        limits = AnswerLimits(min(remaining, self._settings.gateway.first_token_seconds), remaining)
        try:
            return await self.engines.send(target, body, path, limits)
        except EngineUnavailableError:
            self._count_failure(target, attempts.failed)
            raise
        except EngineStoppedError:
            self._count_failure(target, attempts.failed)
            attempts.has_stopped_engine = True
            await self._crashes.report(target, exchange.fingerprint, exchange.caller.caller_id)
            message = "The engine stopped while it answered this request. It restarts; retry in a moment."
            raise ApiError(502, "engine_stopped", message, {"Retry-After": "5"}) from None
        except ApiError as error:
            if error.status == 504:
                self._count_failure(target, attempts.failed)
            raise

    def _count_failure(self, target: RoutingTarget, failed: set[str]) -> None:
        """Count at most one failure per request and deployment."""
        if target.deployment_id not in failed:
            self._counter.add(target.deployment_id, FAILED)
        failed.add(target.deployment_id)

    def _count_outcome(self, exchange: "_Exchange", answer: EngineAnswer, attempts: "_Attempts") -> None:
        # A disconnected caller is neither success nor failure. A stream blocked for identifiers counts as answered.
        target, record = exchange.target, exchange.record
        if answer.is_broken or record.code == "engine_timeout":
            self._count_failure(target, attempts.failed)
        elif answer.is_complete or record.code == "identifiers_found":
            seconds = time.monotonic() - attempts.started_at
            self._counter.add(target.deployment_id, make_answered_outcome(seconds, record.identifiers))
            self._observe_exchange(target, record, exchange.request)

    def _observe_exchange(self, target: RoutingTarget, record: RequestRecord, request: GenerationRequest) -> None:
        if record.answer_payloads:
            has_passages = None if record.passage_count is None else record.passage_count > 0
            self._traffic.observe(
                ObservedExchange(
                    target.release_id, last_user_text(request), tuple(record.answer_payloads), has_passages
                )
            )

    def require_live_target(self) -> RoutingTarget:
        """The live release, with or without an engine. Raises ApiError if there is none."""
        return require_live_target(find_targets(self._ledger))

    def find_retrieval_contract(self) -> RetrievalContract | None:
        """How the live release answers from documents; None if it does not or its folder is unreadable."""
        try:
            contract = self._load_release(self.require_live_target()).retrieval
        except ApiError:
            return None
        return contract if contract is not None and contract.enabled else None

    def open_live_index(self) -> None:
        if (contract := self.find_retrieval_contract()) is not None:
            self.knowledge.preload(contract)

    def _load_release(self, target: RoutingTarget) -> LoadedRelease:
        return load_release(self._settings.data_dir / target.folder, target.release_id)


def _busy(message: str) -> ApiError:
    return ApiError(429, "too_many_requests", message, {"Retry-After": "2"})


def _prompt_text(engine_request: Mapping[str, Any]) -> str:
    """Everything that the model was given: identifiers in it may be repeated."""
    contents = [message.get("content") or "" for message in engine_request.get("messages", ())]
    return "\n".join([*contents, engine_request.get("prompt", "")])

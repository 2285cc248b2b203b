"""The gateway: the HTTP API in front of the engines. `fine-tune run gateway` runs it with uvicorn.

Lists the routes and their scopes. Every /v1 route needs an API key or a token. Texts of requests and answers are never logged.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from sqlite3 import DatabaseError
from typing import Any

from fastapi import FastAPI, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from fine_tune_assets.core.errors import FineTuneError, SettingsError, summarize_exception
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.limited_http import limit_sources
from fine_tune_assets.core.line_names import MAIN_LINE
from fine_tune_assets.core.permissions import Action, scope_of
from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.core.settings import Settings, list_lines, load_settings, select_line, use_settings
from fine_tune_assets.core.web_services import redact_exceptions
from fine_tune_assets.corrections.correction_progress import list_progress
from fine_tune_assets.gateway.answers.cancellation import cancel_on_disconnect
from fine_tune_assets.gateway.answers.chat_completions import ChatService
from fine_tune_assets.gateway.answers.identifier_filter import create_gate
from fine_tune_assets.gateway.callers.authentication import Authenticator, Caller, require_permission
from fine_tune_assets.gateway.callers.rate_limits import RateLimiter
from fine_tune_assets.gateway.embeddings import Embedder, EncoderWarmup, has_embedding_callers, load_encoder
from fine_tune_assets.gateway.host_guard import HostGuard, find_host_names
from fine_tune_assets.gateway.line_router import LineApp, LineRouter
from fine_tune_assets.gateway.listeners import check_listener
from fine_tune_assets.gateway.records.journal import Journal
from fine_tune_assets.gateway.records.metrics import CONTENT_TYPE, Metrics
from fine_tune_assets.gateway.records.outcome_counts import OutcomeCounter
from fine_tune_assets.gateway.records.record_middleware import RecordMiddleware
from fine_tune_assets.gateway.records.request_record import derive_prompt_key, get_record
from fine_tune_assets.gateway.records.traffic import TrafficObserver
from fine_tune_assets.gateway.requests.openapi import ROUTE_OPTIONS, build_openapi
from fine_tune_assets.gateway.requests.request_models import (
    EMBEDDING_MODEL,
    LIVE_MODEL,
    ChatRequest,
    CompletionRequest,
    CorrectionRequest,
    EmbeddingRequest,
    FeedbackRequest,
)
from fine_tune_assets.gateway.requests.request_parsing import (
    parse_submission,
    read_json,
    require_readable_length,
    validate_body,
)
from fine_tune_assets.gateway.wire_format import (
    ApiError,
    handle_api_error,
    handle_http_error,
    handle_unexpected_error,
    unavailable,
)
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.ledger_errors import DailyLimitError, IdempotencyError, SealError, UnknownRecordError
from fine_tune_assets.ledger.reviews.correction_records import record_correction
from fine_tune_assets.ledger.reviews.feedback import record_feedback
from fine_tune_assets.ledger.serving.deployments import find_live_deployment

_LOG = logging.getLogger(__name__)
MAX_LISTED_CORRECTIONS = 100
"""Newest corrections of a caller that are listed."""
_RETRY_AFTER_SECONDS = "3600"
"""The daily limit covers the last 24 hours, so an hour later some of it is free again."""


def app_from_environment() -> ASGIApp:
    """For uvicorn's `factory`."""
    settings = load_settings()
    if settings.gateway.workers > 1:
        die_with_parent()  # otherwise a worker would keep answering after its parent process was killed
    if settings.line:
        raise SettingsError("The gateway serves all product lines. Start it without --line.")
    guarded = HostGuard(create_line_apps(settings), find_host_names(settings))
    return redact_exceptions(limit_sources(guarded, settings.connections))


def create_line_apps(settings: Settings) -> ASGIApp:
    """The main line's application, with a router in front of it if there are further lines.

    A further line that can't be opened is logged and left out. Raises SettingsError, LedgerError of the main line.
    """
    metrics = Metrics()  # one for all: its processes share files by metric and label
    lines = {"": create_line_app(settings, metrics)}
    for name in list_lines(settings):
        try:
            line = select_line(settings, name)
            with use_settings(line):
                lines[name] = create_line_app(line, metrics)
        except FineTuneError as error:
            _LOG.error("The product line %s is not served: %s", name, error)
        except (SQLAlchemyError, DatabaseError) as error:  # a damaged ledger
            _LOG.error("The product line %s is not served: %s", name, summarize_exception(error))
    return LineRouter(lines) if len(lines) > 1 else lines[""].app


def create_app(settings: Settings) -> FastAPI:
    """The application of one line. Raises SettingsError, LedgerError."""
    return create_line_app(settings, Metrics()).app


def create_line_app(settings: Settings, metrics: Metrics) -> LineApp:
    """Open the ledger and return the application. Raises SettingsError, LedgerError."""
    check_listener(settings)
    gateway = Gateway(settings, open_ledger(settings), metrics)
    app = FastAPI(openapi_url=None, lifespan=gateway.lifespan, generate_unique_id_function=lambda route: route.name)
    app.router.redirect_slashes = False  # the redirect is built from the Host header
    routes = (
        ("/health", "GET", gateway.health),
        ("/ready", "GET", gateway.ready),
        ("/metrics", "GET", gateway.show_metrics),
        ("/openapi.json", "GET", gateway.show_openapi),
        ("/v1/models", "GET", gateway.list_models),
        ("/v1/chat/completions", "POST", gateway.chat),
        ("/v1/completions", "POST", gateway.complete),
        ("/v1/embeddings", "POST", gateway.embed),
        ("/v1/corrections", "POST", gateway.correct),
        ("/v1/corrections", "GET", gateway.list_corrections),
    )
    for path, method, endpoint in routes:
        options = ROUTE_OPTIONS.get(f"{method} {path}", ROUTE_OPTIONS[path])
        app.add_api_route(path, endpoint, methods=[method], **options)
        if method == "GET":
            app.router.add_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
    app.add_middleware(
        RecordMiddleware,  # type: ignore[arg-type]
        routes=[path for path, _, _ in routes],
        journal=gateway.journal,
        metrics=gateway.metrics,
    )
    app.add_exception_handler(ApiError, handle_api_error)
    app.add_exception_handler(HTTPException, handle_http_error)
    app.add_exception_handler(SQLAlchemyError, _handle_ledger_error)
    app.add_exception_handler(SealError, _handle_broken_seal)
    app.add_exception_handler(Exception, handle_unexpected_error)
    return LineApp(settings, app, gateway)


class Gateway:
    """The route handlers and the objects that they share."""

    def __init__(self, settings: Settings, ledger: Ledger, metrics: Metrics) -> None:
        self._settings, self._ledger, self.metrics = settings, ledger, metrics
        self._key = ledger.key
        self._prompt_key = derive_prompt_key(self._key)
        self._counter = OutcomeCounter(ledger)
        self._gate = create_gate(settings)
        self.traffic = TrafficObserver(settings, ledger)
        self._chat = ChatService(settings, ledger, self._counter, self._gate, self.traffic)
        self._authenticator, self._rate_limiter, self._embedder = (
            Authenticator(settings, ledger),
            RateLimiter(ledger),
            Embedder(),
        )
        self._warmup = EncoderWarmup(self._needs_encoder, self._load_encoder)
        self.journal = Journal(
            ledger, settings.gateway.audit_retention_days, sync_each_commit=settings.gateway.audit_fsync
        )

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        running = [
            self._counter.flush_forever(),
            self.journal.prune_forever(),
            self.journal.sync_forever(),
            self._gate.run(),
            self._warmup.run(),
        ]
        tasks = [asyncio.create_task(each) for each in running]
        self.traffic.start()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await self._counter.flush()
            await self.journal.close()
            await self._chat.close()
            await run_in_threadpool(self.traffic.close)
            self._gate.close()
            self._embedder.close()
            self._ledger.close()

    def _needs_encoder(self) -> bool:
        return self._chat.find_retrieval_contract() is not None or has_embedding_callers(self._settings, self._ledger)

    def _load_encoder(self) -> None:
        load_encoder()
        self._chat.open_live_index()

    async def health(self, _request: Request) -> Response:
        """Liveness only: the process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """200 if the live release has an engine, the identifier check is ready if required, and the encoder if needed."""
        is_ready = await self.find_readiness()
        return JSONResponse({"status": "ready" if is_ready else "not ready"}, status_code=200 if is_ready else 503)

    async def find_readiness(self) -> bool | None:
        """As `ready`; None if no release is live."""
        live = await run_in_threadpool(find_live_deployment, self._ledger)
        if live is None:
            return None
        return live.engine_url is not None and self._gate.is_ready and self._warmup.is_ready

    async def show_metrics(self, request: Request) -> Response:
        require_permission(await self._authenticator.authenticate(request), Action.READ_METRICS)
        return Response(await run_in_threadpool(self.metrics.render), media_type=CONTENT_TYPE)

    async def show_openapi(self, request: Request) -> Response:
        """The OpenAPI document; needs a key with any scope."""
        await self._authorize(request, None)
        return JSONResponse(build_openapi(request.app, self._settings.gateway.max_tokens))

    async def list_models(self, request: Request) -> Response:
        """The models that this caller can name."""
        caller = await self._authorize(request, Action.ASK)
        target = await run_in_threadpool(self._chat.require_live_target)
        get_record(request).release_id = target.release_id
        names = (
            self._settings.line or LIVE_MODEL,
            target.release_id,
            *((EMBEDDING_MODEL,) if scope_of(Action.EMBED) in caller.scopes else ()),
        )
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "fine-tune"} for name in names]
        return JSONResponse({"object": "list", "data": models}, headers={"x-release-id": target.release_id})

    async def chat(self, request: Request) -> Response:
        """Answer a conversation, whole or streamed."""
        return await self._generate(request, ChatRequest, "messages")

    async def complete(self, request: Request) -> Response:
        """Answer one prompt, whole or streamed."""
        return await self._generate(request, CompletionRequest, "prompt")

    async def _generate(
        self, request: Request, model: type[ChatRequest | CompletionRequest], prompt_field: str
    ) -> Response:
        caller = await self._authorize(request, Action.ASK)
        body = await read_json(request)
        get_record(request).hash_prompt(self._prompt_key, body.get(prompt_field))
        asked = validate_body(model, body)
        if asked.model == (self._settings.line or MAIN_LINE):
            asked = asked.model_copy(update={"model": LIVE_MODEL})
        async with self._chat.reserve_slot(caller) as hand_off:
            answer = self._chat.answer(asked, caller, get_record(request), hand_off)
            return await cancel_on_disconnect(request, answer)

    async def embed(self, request: Request) -> Response:
        """Encode texts as vectors."""
        await self._authorize(request, Action.EMBED)
        body, record = await read_json(request), get_record(request)
        record.hash_prompt(self._prompt_key, body.get("input"))
        answer = await self._embedder.embed(validate_body(EmbeddingRequest, body))
        record.set_usage({**answer["usage"], "completion_tokens": 0})
        return JSONResponse(answer)

    async def correct(self, request: Request) -> Response:
        """Store a correction or feedback."""
        caller = await self._authorize(request, Action.CORRECT)
        content = await read_json(request)
        get_record(request).hash_prompt(self._prompt_key, [content.get("instruction"), content.get("input")])
        body = parse_submission(content)
        if isinstance(body, CorrectionRequest):
            require_readable_length(body, self._settings.engine.context_tokens)
        # Each API key has its own: one that acts for users must not meet what a user sent with another key.
        sent = request.headers.get("idempotency-key") or uuid.uuid4().hex
        idempotency_key = fingerprint_text(f"{caller.caller_id} {sent}")

        limit, fields = self._settings.corrections_daily_limit, body.model_dump(exclude={"knowledge_index", "passages"})
        submission = {"author": caller.name, "idempotency_key": idempotency_key, "daily_limit": limit, **fields}
        sources = (
            await self._chat.knowledge.find_cited_passages(body, caller)
            if isinstance(body, CorrectionRequest)
            else None
        )

        def record() -> str:
            if isinstance(body, FeedbackRequest):
                return record_feedback(self._ledger, **submission)
            return record_correction(self._ledger, self._key, answer_sources=sources, **submission)

        try:
            record_id = await run_in_threadpool(record)
        except UnknownRecordError as error:
            message = "No such release. Send the x-release-id header of the answer."
            raise ApiError(404, "release_not_found", message) from error
        except IdempotencyError as error:
            raise ApiError(409, "idempotency_conflict", str(error)) from error
        except DailyLimitError as error:
            raise ApiError(429, "daily_limit_reached", str(error), {"Retry-After": _RETRY_AFTER_SECONDS}) from error
        # Only now: the ledger accepted the id, so it names a release. Unverified text of a caller is never logged.
        get_record(request).release_id = body.release_id
        kind = "feedback" if isinstance(body, FeedbackRequest) else "correction"
        passages = {} if sources is None else {"passages": "unavailable" if sources.is_missing else "stored"}
        return JSONResponse({"id": record_id, "object": kind, **passages}, status_code=201)

    async def list_corrections(self, request: Request) -> Response:
        """The caller's newest corrections and how far each is, without texts."""
        caller = await self._authorize(request, Action.CORRECT)
        if caller.on_behalf_of is not None:  # it would learn what the person sent with other keys
            raise ApiError(403, "own_key_required", "Corrections are listed for the key of their author only.")
        layout = self._settings.layout
        found = await run_in_threadpool(list_progress, layout, self._ledger, caller.name, MAX_LISTED_CORRECTIONS)
        data = [
            {
                "id": one.correction_id,
                "object": "correction",
                "release_id": one.release_id,
                "received_at": one.received_at.isoformat(),
                "state": one.state,
                "reason": one.reason,
            }
            for one in found
        ]
        return JSONResponse({"object": "list", "data": data})

    async def _authorize(self, request: Request, action: Action | None) -> Caller:
        record = get_record(request)
        caller = await self._authenticator.authenticate(request)
        record.caller = caller
        if action is not None:
            require_permission(caller, action)
        record.headers |= await self._rate_limiter.count_request(caller)
        return caller


async def _handle_broken_seal(request: Request, error: Exception) -> Response:
    """The log names the row; callers learn only that nothing can be trusted."""
    _LOG.error("%s", error)
    return await handle_api_error(request, unavailable("The ledger was changed from outside. Ask the operator."))


async def _handle_ledger_error(request: Request, _error: Any) -> Response:
    return await handle_api_error(request, unavailable("The ledger is unreachable. Retry in a moment."))

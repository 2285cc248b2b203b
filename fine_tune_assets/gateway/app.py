"""The gateway: the one way in to the served model. Run by uvicorn; `fine-tune gateway` starts it.

Owns the routes and who may use them. Every /v1 route needs an API key; whatever is not listed here does not exist.
Asking is in `chat`. Nothing of what is asked or answered is logged.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.processes.parent import die_with_parent
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.core.web_services import without_messages
from fine_tune_assets.gateway.answers.chat import Chat
from fine_tune_assets.gateway.answers.identifiers import open_gate
from fine_tune_assets.gateway.callers.callers import Caller, Door, require_scope
from fine_tune_assets.gateway.callers.limits import Limits
from fine_tune_assets.gateway.embeddings import Embedder, Warming, load_encoder, may_embed
from fine_tune_assets.gateway.listeners import check_listening
from fine_tune_assets.gateway.records.journal import Journal
from fine_tune_assets.gateway.records.metrics import CONTENT_TYPE, Metrics
from fine_tune_assets.gateway.records.outcomes import OutcomeCounter
from fine_tune_assets.gateway.records.record_middleware import Recorded
from fine_tune_assets.gateway.records.records import prompt_key, record_of
from fine_tune_assets.gateway.records.traffic import Traffic
from fine_tune_assets.gateway.requests.openapi import DOCUMENTED, openapi_document
from fine_tune_assets.gateway.requests.request_models import (
    EMBEDDING_MODEL,
    LIVE,
    ChatRequest,
    CompletionRequest,
    CorrectionRequest,
    EmbeddingRequest,
    FeedbackRequest,
)
from fine_tune_assets.gateway.requests.requests import correction_or_feedback, read_json, validated
from fine_tune_assets.gateway.wire_format import (
    ApiError,
    answer_api_error,
    answer_http_error,
    answer_unexpected_error,
    unavailable,
)
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.errors import IdempotencyError, TooManyError, UnknownRecordError
from fine_tune_assets.ledger.reviews.corrections import record_correction
from fine_tune_assets.ledger.reviews.feedback import record_feedback
from fine_tune_assets.ledger.serving.deployments import live_deployment

_HOUR = "3600"
"""Seconds: by then somebody who sent too much in a day may send a little more."""


def app_from_environment() -> ASGIApp:
    """For uvicorn's `factory`."""
    settings = load_settings()
    if settings.gateway.workers > 1:
        die_with_parent()  # else a worker would go on answering when the process that watches it was killed
    return without_messages(create_app(settings))


def create_app(settings: Settings) -> FastAPI:
    """Open the ledger and return the application. Raises SettingsError, LedgerError."""
    check_listening(settings)
    gateway = Gateway(settings, open_ledger(settings.database_url))
    app = FastAPI(openapi_url=None, lifespan=gateway.lifespan, generate_unique_id_function=lambda route: route.name)
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
    )
    for path, method, endpoint in routes:
        app.add_api_route(path, endpoint, methods=[method], **DOCUMENTED[path])
        if method == "GET":
            app.router.add_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
    app.add_middleware(
        Recorded,  # type: ignore[arg-type]
        routes=[path for path, _, _ in routes],
        journal=gateway.journal,
        metrics=gateway.metrics,
    )
    app.add_exception_handler(ApiError, answer_api_error)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(SQLAlchemyError, _answer_ledger_away)
    app.add_exception_handler(Exception, answer_unexpected_error)
    return app


class Gateway:
    """The routes, with the ledger and the engine's client that they share."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._key = read_or_create_key(settings.layout.keys, KEY_NAME)
        self._prompt_key = prompt_key(self._key)
        self._counter = OutcomeCounter(ledger)
        self._gate = open_gate(settings)
        self.traffic = Traffic(settings, ledger)
        self._chat = Chat(settings, ledger, self._counter, self._gate, self.traffic)
        self._door, self._limits, self._embedder = Door(settings, ledger), Limits(ledger), Embedder()
        self._warming = Warming(self._needs_encoder, self._load_encoder)
        self.journal = Journal(ledger, settings.gateway.audit_days, syncs_each=settings.gateway.audit_syncs_each)
        self.metrics = Metrics()

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        running = [
            self._counter.keep_flushing(),
            self.journal.keep_cutting(),
            self.journal.keep_syncing(),
            self._gate.run(),
            self._warming.run(),
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
        return self._chat.answers_from() is not None or may_embed(self._settings, self._ledger)

    def _load_encoder(self) -> None:
        load_encoder()
        self._chat.open_documents()

    async def health(self, _request: Request) -> Response:
        """Whether the process answers; says nothing about anything else."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """Whether a release is live and has an engine, answers can be checked if they have to be, and the encoder is loaded."""
        live = await run_in_threadpool(live_deployment, self._ledger)
        has_engine = live is not None and live.engine_url is not None
        is_ready = has_engine and self._gate.is_ready and self._warming.is_ready
        return JSONResponse({"status": "ready" if is_ready else "not ready"}, status_code=200 if is_ready else 503)

    async def show_metrics(self, request: Request) -> Response:
        require_scope(await self._door.let_in(request), "metrics")
        return Response(await run_in_threadpool(self.metrics.text), media_type=CONTENT_TYPE)

    async def show_openapi(self, request: Request) -> Response:
        """This document, for whoever has a key."""
        await self._authorise(request, None)
        return JSONResponse(openapi_document(request.app, self._settings.gateway.max_tokens))

    async def list_models(self, request: Request) -> Response:
        """The models that can be named."""
        caller = await self._authorise(request, "chat")
        target = await run_in_threadpool(self._chat.live)
        record_of(request).release_id = target.release_id
        names = (LIVE, target.release_id, *((EMBEDDING_MODEL,) if "embed" in caller.scopes else ()))
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "fine-tune"} for name in names]
        return JSONResponse({"object": "list", "data": models}, headers={"x-release-id": target.release_id})

    async def chat(self, request: Request) -> Response:
        """An answer, whole or streamed."""
        return await self._ask(request, ChatRequest, "messages")

    async def complete(self, request: Request) -> Response:
        """An answer to one text, whole or streamed."""
        return await self._ask(request, CompletionRequest, "prompt")

    async def _ask(self, request: Request, kind: type[ChatRequest | CompletionRequest], asked: str) -> Response:
        caller = await self._authorise(request, "chat")
        body = await read_json(request)
        record_of(request).hash_prompt(self._prompt_key, body.get(asked))
        question = validated(kind, body)
        async with self._chat.place() as hand_on:
            return await self._chat.answer(question, caller, record_of(request), hand_on)

    async def embed(self, request: Request) -> Response:
        """Vectors of texts."""
        await self._authorise(request, "embed")
        body, record = await read_json(request), record_of(request)
        record.hash_prompt(self._prompt_key, body.get("input"))
        answer = await self._embedder.answer(validated(EmbeddingRequest, body))
        record.note_usage({**answer["usage"], "completion_tokens": 0})
        return JSONResponse(answer)

    async def correct(self, request: Request) -> Response:
        """Keep a better answer, or a thumb."""
        holder = await self._authorise(request, "correct")
        sent = await read_json(request)
        record_of(request).hash_prompt(self._prompt_key, [sent.get("instruction"), sent.get("input")])
        body = correction_or_feedback(sent)
        idempotency_key = request.headers.get("idempotency-key") or uuid.uuid4().hex
        if len(idempotency_key) > 200:
            raise ApiError(400, "invalid_request", "The Idempotency-Key is longer than 200 characters.")

        limit, kept = self._settings.corrections_daily_limit, body.model_dump(exclude={"knowledge_index", "passages"})
        sent = {"author": holder.name, "idempotency_key": idempotency_key, "daily_limit": limit, **kept}
        carried = await self._chat.knowledge.carried(body, holder) if isinstance(body, CorrectionRequest) else None

        def record() -> str:
            if isinstance(body, FeedbackRequest):
                return record_feedback(self._ledger, **sent)
            return record_correction(self._ledger, self._key, answered_from=carried, **sent)

        try:
            kept_as = await run_in_threadpool(record)
        except UnknownRecordError as error:
            message = "There is no such release. Send the x-release-id of the answer."
            raise ApiError(404, "release_not_found", message) from error
        except IdempotencyError as error:
            raise ApiError(409, "idempotency_conflict", str(error)) from error
        except TooManyError as error:
            raise ApiError(429, "daily_limit_reached", str(error), {"Retry-After": _HOUR}) from error
        # Only now: the ledger kept it, so there is such a release. What a caller sends stands in no log before.
        record_of(request).release_id = body.release_id
        kind = "feedback" if isinstance(body, FeedbackRequest) else "correction"
        told = {} if carried is None else {"passages": "gone" if carried.is_gone else "kept"}
        return JSONResponse({"id": kept_as, "object": kind, **told}, status_code=201)

    async def _authorise(self, request: Request, scope: str | None) -> Caller:
        record = record_of(request)
        caller = await self._door.let_in(request)
        record.caller = caller
        if scope is not None:
            require_scope(caller, scope)
        record.headers |= await self._limits.take(caller)
        return caller


async def _answer_ledger_away(request: Request, _error: Any) -> Response:
    return await answer_api_error(request, unavailable("The ledger can't be reached. Ask again in a moment."))

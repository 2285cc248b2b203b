"""The gateway: the one way in to the served model. Run by uvicorn; `fine-tune gateway` starts it.

Owns the routes and who may use them. Every /v1 route needs an API key; whatever is not listed here does not exist.
Asking is in `chat`. Nothing of what is asked or answered is logged.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.loopback import require_loopback
from fine_tune_assets.core.quiet_asgi import without_messages
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.gateway.chat import Chat, unavailable
from fine_tune_assets.gateway.errors import (
    ApiError,
    answer_api_error,
    answer_http_error,
    answer_unexpected_error,
)
from fine_tune_assets.gateway.outcomes import OutcomeCounter
from fine_tune_assets.gateway.requests import LIVE, FeedbackBody, correction_body, read_json
from fine_tune_assets.ledger.api_keys import KeyHolder, check_key
from fine_tune_assets.ledger.corrections import record_correction
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.deployments import live_deployment
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.errors import IdempotencyError, TooManyError, UnknownRecordError
from fine_tune_assets.ledger.feedback import record_feedback

_HOUR = "3600"
"""Seconds: by then somebody who sent too much in a day may send a little more."""
_REFUSALS = {
    "unknown": (401, "invalid_api_key", "This API key is not known."),
    "expired": (401, "expired_api_key", "This API key has expired. Ask the operator for a new one."),
    "revoked": (401, "revoked_api_key", "This API key was revoked. Ask the operator for a new one."),
    "wrong_scope": (403, "wrong_scope", "This API key may not do that. Ask the operator for one that may."),
}


def app_from_environment() -> ASGIApp:
    """For uvicorn's `factory`."""
    return without_messages(create_app(load_settings()))


def create_app(settings: Settings) -> FastAPI:
    """Open the ledger and return the application. Raises SettingsError, LedgerError."""
    require_loopback(settings.gateway_host, "gateway")
    gateway = Gateway(settings, open_ledger(settings.database_url))
    app = FastAPI(title="Gateway", openapi_url=None, docs_url=None, redoc_url=None, lifespan=gateway.lifespan)
    for path, method, endpoint in (
        ("/health", "GET", gateway.health),
        ("/ready", "GET", gateway.ready),
        ("/v1/models", "GET", gateway.list_models),
        ("/v1/chat/completions", "POST", gateway.chat),
        ("/v1/corrections", "POST", gateway.correct),
    ):
        app.router.add_route(path, endpoint, methods=[method])
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
        self._counter = OutcomeCounter(ledger)
        self._chat = Chat(settings, ledger, self._counter)

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        flushing = asyncio.create_task(self._counter.keep_flushing())
        try:
            yield
        finally:
            flushing.cancel()
            await self._counter.flush()
            await self._chat.close()
            self._ledger.close()

    async def health(self, _request: Request) -> Response:
        """Whether the process answers; says nothing about anything else."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """Whether a release is live and has an engine."""
        live = await run_in_threadpool(live_deployment, self._ledger)
        is_ready = live is not None and live.engine_url is not None
        return JSONResponse({"status": "ready" if is_ready else "not ready"}, status_code=200 if is_ready else 503)

    async def list_models(self, request: Request) -> Response:
        await self._authorise(request, "chat")
        target = await run_in_threadpool(self._chat.live)
        models = [{"id": name, "object": "model", "owned_by": "fine-tune"} for name in (LIVE, target.release_id)]
        return JSONResponse({"object": "list", "data": models}, headers={"x-release-id": target.release_id})

    async def chat(self, request: Request) -> Response:
        await self._authorise(request, "chat")
        async with self._chat.place() as hand_on:
            return await self._chat.answer(await read_json(request), hand_on)

    async def correct(self, request: Request) -> Response:
        holder = await self._authorise(request, "correct")
        body = correction_body(await read_json(request))
        idempotency_key = request.headers.get("idempotency-key") or uuid.uuid4().hex
        if len(idempotency_key) > 200:
            raise ApiError(400, "invalid_request", "The Idempotency-Key is longer than 200 characters.")

        sent = {"author": holder.name, "idempotency_key": idempotency_key, **vars(body)}
        sent["daily_limit"] = self._settings.corrections_daily_limit

        def record() -> str:
            if isinstance(body, FeedbackBody):
                return record_feedback(self._ledger, **sent)
            return record_correction(self._ledger, self._key, **sent)

        try:
            kept_as = await run_in_threadpool(record)
        except UnknownRecordError as error:
            message = "There is no such release. Send the x-release-id of the answer."
            raise ApiError(404, "release_not_found", message) from error
        except IdempotencyError as error:
            raise ApiError(409, "idempotency_conflict", str(error)) from error
        except TooManyError as error:
            raise ApiError(429, "daily_limit_reached", str(error), {"Retry-After": _HOUR}) from error
        kind = "feedback" if isinstance(body, FeedbackBody) else "correction"
        return JSONResponse({"id": kept_as, "object": kind}, status_code=201)

    async def _authorise(self, request: Request, scope: str) -> KeyHolder:
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise _refusal(401, "missing_api_key", "Send an API key: `Authorization: Bearer …`.")
        check = await run_in_threadpool(check_key, self._ledger, presented.strip(), scope, datetime.now(UTC))
        if check.outcome != "ok" or check.holder is None:
            raise _refusal(*_REFUSALS[check.outcome])
        return check.holder


def _refusal(status: int, code: str, message: str) -> ApiError:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return ApiError(status, code, message, headers)


async def _answer_ledger_away(request: Request, _error: Any) -> Response:
    return await answer_api_error(request, unavailable("The ledger can't be reached. Ask again in a moment."))

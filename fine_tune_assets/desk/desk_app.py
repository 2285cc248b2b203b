"""The desk's application: pages for reviewers, approvers, operators and auditors. `fine-tune run desk` starts it in uvicorn.

Combines routes, access checks and security headers, and maps errors to pages. It never logs page content or user input.
"""

import gc
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from fine_tune_assets.core.errors import FineTuneError, SettingsError, summarize_exception
from fine_tune_assets.core.limited_http import limit_sources
from fine_tune_assets.core.line_names import MAIN_LINE
from fine_tune_assets.core.settings import Settings, list_lines, load_settings, select_line
from fine_tune_assets.core.web_services import redact_exceptions
from fine_tune_assets.desk.dagster_ui.dagster_proxy import DagsterProxy
from fine_tune_assets.desk.desk_context import Desk, open_desk
from fine_tune_assets.desk.error_pages import PageError, internal_error, ledger_unavailable, not_found
from fine_tune_assets.desk.hash_queue import QUEUE_FULL, HashQueue
from fine_tune_assets.desk.line_dispatch import LineApp, LineDispatch
from fine_tune_assets.desk.origins import SecurityHeadersMiddleware
from fine_tune_assets.desk.pages.sign_in_pages import offer_resubmission
from fine_tune_assets.desk.rendering import THEME_COOKIE, render_bare_page, render_page
from fine_tune_assets.desk.request_context import (
    SAFE_METHODS,
    Form,
    PublicAccess,
    handle_request,
    make_request_context,
    read_form,
)
from fine_tune_assets.desk.routes import ROUTES, Route, list_menu_entries

HEALTH_PATH = "/health"
SWITCH_INTERVAL_SECONDS = 0.0005
"""Interval after which a running thread yields the interpreter. A page queries the ledger about a dozen times and may wait this
long for background threads after each query: with Python's default of 5 ms, 6 ms of work took 200 ms."""


_LOG = logging.getLogger("uvicorn.error")


def create_app_from_environment() -> ASGIApp:
    """Application factory for uvicorn."""
    settings = load_settings()
    if settings.line:
        raise SettingsError("The desk serves all product lines. Start it without --line.")
    app = limit_sources(create_app_of_all_lines(settings), settings.connections)
    return redact_exceptions(app)  # type: ignore[arg-type,return-value]


def create_app_of_all_lines(settings: Settings) -> ASGIApp:
    """The application of the installation's desk, given the settings of the main line. Raises SettingsError, LedgerError.

    A further product line that can't be opened is reported in the log and left out.
    """
    main = open_desk(settings, list_menu_entries)
    desks = {MAIN_LINE: main, **{desk.settings.line: desk for desk in _open_further_lines(settings)}}
    if len(desks) == 1:
        return _make_app(main)
    lines = {name: LineApp(desk.settings, _make_app(replace(desk, lines=tuple(desks)))) for name, desk in desks.items()}
    return LineDispatch(lines, main.addresses.line_cookie)


def _open_further_lines(settings: Settings) -> Iterator[Desk]:
    for name in list_lines(settings):
        try:
            yield open_desk(select_line(settings, name), list_menu_entries)
        except FineTuneError as error:
            _LOG.error("The desk leaves out the product line %s: %s", name, error)
        except Exception as error:  # noqa: BLE001 (whatever is wrong with one line, the others must work)
            _LOG.error("The desk leaves out the product line %s: %s", name, summarize_exception(error))


def create_app(settings: Settings) -> FastAPI:
    """Open the ledger of one product line and return its application. Raises SettingsError, LedgerError."""
    return _make_app(open_desk(settings, list_menu_entries))


def _make_app(desk: Desk) -> FastAPI:
    dagster = DagsterProxy(desk)
    of_strangers, of_users = HashQueue(), HashQueue()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
        await run_in_threadpool(desk.warm_up)
        gc.freeze()  # excludes long-lived objects from garbage collection, which would delay a page
        yield
        await dagster.close()
        of_strangers.close()
        of_users.close()
        desk.ledger.close()

    app = FastAPI(title="Desk", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    for route in ROUTES:
        queue = of_strangers if isinstance(route.access, PublicAccess) else of_users
        app.router.add_route(route.path, _make_endpoint(desk, route, queue), methods=[route.method])
    app.router.add_route(HEALTH_PATH, _report_health, methods=["GET"])
    app.router.routes.extend(dagster.routes())
    # Starlette's redirect for a trailing slash would use http behind a TLS proxy.
    app.router.redirect_slashes = False
    for kind in (PageError, FineTuneError, HTTPException, SQLAlchemyError, Exception):
        app.add_exception_handler(kind, _make_error_handler(desk))
    app.add_middleware(SecurityHeadersMiddleware, addresses=desk.addresses)
    return app


async def _report_health(_request: Request) -> Response:
    """Reports that the process answers. It needs neither ledger nor thread."""
    return JSONResponse({"status": "ok"})


def _make_endpoint(desk: Desk, route: Route, queue: HashQueue) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        if "\0" in request.url.path or "%00" in request.url.query:
            raise not_found()  # PostgreSQL rejects NUL characters
        if route.hashes_password and queue.is_full:
            return QUEUE_FULL
        form = Form() if request.method in SAFE_METHODS else await read_form(request)
        request.state.form = form  # so that an error page can return the user's text

        def handle() -> Response:
            return handle_request(
                desk,
                make_request_context(desk, request, form, is_user_action=not route.is_polled),
                route.access,
                route.endpoint,
                offer_resubmission,
            )

        return await (queue.run(handle) if route.hashes_password else run_in_threadpool(handle))

    return respond


def _make_error_handler(desk: Desk) -> Callable[[Request, Exception], Awaitable[Response]]:

    async def respond(request: Request, error: Exception) -> Response:
        return await run_in_threadpool(_render_error_page, desk, request, error)

    return respond


def _render_error_page(desk: Desk, request: Request, error: Exception) -> Response:
    shown, typed = _to_page_error(error), _read_typed_text(request)
    is_fragment = request.headers.get("hx-request") == "true"  # htmx shows one line in place instead of a whole page
    template = "error_line.html" if is_fragment else "error.html"
    with suppress(SQLAlchemyError):  # without the ledger the session is unknown: render the bare page
        if isinstance(error, PageError | FineTuneError | HTTPException):
            context = make_request_context(desk, request, Form())
            return render_page(desk, context, template, status=shown.status, error=shown, typed=typed)
    theme = request.cookies.get(THEME_COOKIE, "")
    return render_bare_page(desk, template, shown.status, theme, error=shown, typed=typed)


def _to_page_error(error: Exception) -> PageError:
    if isinstance(error, PageError):
        return error
    if isinstance(error, FineTuneError):  # its message is written for users
        return PageError(400, "That is not possible", str(error))
    if isinstance(error, HTTPException):
        missing = not_found()
        return PageError(error.status_code, missing.title, missing.message)
    return ledger_unavailable() if isinstance(error, SQLAlchemyError) else internal_error()


def _read_typed_text(request: Request) -> str:
    """The text that the user was working on, or empty."""
    form = getattr(request.state, "form", None)
    names = ("output", "corrected_answer", "question")
    return next((text for name in names if (text := form.get_text(name))), "") if isinstance(form, Form) else ""

"""The desk: pages for reviewers, approvers, operators and auditors. Run by uvicorn; `fine-tune desk` starts it.

Owns putting the table of routes, the gate and the headers together, and which page an error becomes. Nothing that is
shown or typed is logged.
"""

import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.core.web_services import without_messages
from fine_tune_assets.desk.addresses import Headers
from fine_tune_assets.desk.application import Desk, open_desk
from fine_tune_assets.desk.errors import PageError, ledger_away, not_found, unexpected
from fine_tune_assets.desk.pages.sign_in_pages import ask_to_send_again
from fine_tune_assets.desk.rendering import THEME_COOKIE, bare_page, page
from fine_tune_assets.desk.routes import ROUTES, Route, menu
from fine_tune_assets.desk.visits import SAFE_METHODS, Form, answer, read_form, visit_of

SWITCH_SECONDS = 0.0005
"""How long a thread may keep Python to itself while another one waits. A page asks the ledger a dozen times, and after each
time it waits that long for threads that count in the background: Python's own 5 ms made 6 ms of work 200."""


def app_from_environment() -> ASGIApp:
    """For uvicorn's `factory`."""
    return without_messages(create_app(load_settings()))  # type: ignore[arg-type,return-value]


def create_app(settings: Settings) -> FastAPI:
    """Open the ledger and return the application. Raises SettingsError, LedgerError."""
    desk = open_desk(settings, menu)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        sys.setswitchinterval(SWITCH_SECONDS)
        await run_in_threadpool(desk.warm_up)  # before somebody asks
        gc.freeze()  # what is there now stays: looking through it for garbage would hold up a page now and then
        yield
        desk.ledger.close()

    app = FastAPI(title="Desk", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    for route in ROUTES:
        app.router.add_route(route.path, _endpoint(desk, route), methods=[route.method])
    # An address with a slash too many is none of the table's, and the redirect would lead away from TLS.
    app.router.redirect_slashes = False
    for kind in (PageError, FineTuneError, HTTPException, SQLAlchemyError, Exception):
        app.add_exception_handler(kind, _error_handler(desk))
    app.add_middleware(Headers, addresses=desk.addresses)
    return app


def _endpoint(desk: Desk, route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        if "\0" in request.url.path or "%00" in request.url.query:
            raise not_found()  # PostgreSQL fails over it
        form = Form() if request.method in SAFE_METHODS else await read_form(request)
        request.state.form = form  # whatever goes wrong, its page gives back what was typed

        def decide() -> Response:
            return answer(
                desk,
                visit_of(desk, request, form, is_click=not route.is_by_itself),
                route.allowed,
                route.endpoint,
                ask_to_send_again,
            )

        return await run_in_threadpool(decide)

    return respond


def _error_handler(desk: Desk) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A part of a page gets a line of text, which the page shows where it is."""

    async def respond(request: Request, error: Exception) -> Response:
        return await run_in_threadpool(_error_page, desk, request, error)

    return respond


def _error_page(desk: Desk, request: Request, error: Exception) -> Response:
    shown, typed = _page_error_of(error), _typed(request)
    is_fragment = request.headers.get("hx-request") == "true"
    template = "error_line.html" if is_fragment else "error.html"
    with suppress(SQLAlchemyError):  # then it can't be known who is here
        if isinstance(error, PageError | FineTuneError | HTTPException):
            visit = visit_of(desk, request, Form())
            return page(desk, visit, template, status=shown.status, error=shown, typed=typed)
    theme = request.cookies.get(THEME_COOKIE, "")
    return bare_page(desk, template, shown.status, theme, error=shown, typed=typed)


def _page_error_of(error: Exception) -> PageError:
    if isinstance(error, PageError):
        return error
    if isinstance(error, FineTuneError):  # what a module refuses in words for people
        return PageError(400, "That is not possible", str(error))
    if isinstance(error, HTTPException):
        gone = not_found()
        return PageError(error.status_code, gone.title, gone.message)
    return ledger_away() if isinstance(error, SQLAlchemyError) else unexpected()


def _typed(request: Request) -> str:
    """The text that somebody worked on, if the request brought one."""
    form = getattr(request.state, "form", None)
    names = ("output", "corrected_answer", "question")
    return next((text for name in names if (text := form.text(name))), "") if isinstance(form, Form) else ""

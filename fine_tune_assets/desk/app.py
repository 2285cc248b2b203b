"""The desk: pages for reviewers, approvers, operators and auditors. Run by uvicorn; `fine-tune desk` starts it.

Owns putting the table of routes, the gate and the headers together, and which page an error becomes. Nothing that is
shown or typed is logged.
"""

import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.quiet_asgi import without_messages
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.desk.application import Desk, open_desk
from fine_tune_assets.desk.errors import PageError, ledger_away, not_found, unexpected
from fine_tune_assets.desk.headers import Headers
from fine_tune_assets.desk.rendering import THEME_COOKIE, bare_page, page
from fine_tune_assets.desk.routes import ROUTES, Route
from fine_tune_assets.desk.sign_in_pages import ask_to_send_again
from fine_tune_assets.desk.visits import SAFE_METHODS, Form, answer, read_form, visit_of

SWITCH_SECONDS = 0.0005
"""How long a thread may keep Python to itself while another one waits. A page asks the ledger a dozen times, and after each
time it waits that long for threads that count in the background: Python's own 5 ms made 6 ms of work 200."""


def app_from_environment() -> ASGIApp:
    """For uvicorn's `factory`."""
    return without_messages(create_app(load_settings()))  # type: ignore[arg-type,return-value]


def create_app(settings: Settings) -> FastAPI:
    """Open the ledger and return the application. Raises SettingsError, LedgerError."""
    desk = open_desk(settings)

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
    pages = ErrorPages(desk)
    for kind, show in (
        (PageError, pages.of_page_error),
        (FineTuneError, pages.of_refusal),
        (HTTPException, pages.of_http_error),
        (SQLAlchemyError, pages.of_ledger_away),
        (Exception, pages.of_fault),
    ):
        app.add_exception_handler(kind, show)
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


class ErrorPages:
    """Which page an error becomes. A part of a page gets a line of text, which the page shows where it is."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def of_page_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, PageError)
        return await run_in_threadpool(self._show, request, error)

    async def of_refusal(self, request: Request, error: Exception) -> Response:
        """What a module refuses in words for people."""
        return await self.of_page_error(request, PageError(400, "That is not possible", str(error)))

    async def of_http_error(self, request: Request, error: Exception) -> Response:
        status = int(getattr(error, "status_code", 500))
        gone = not_found()
        return await self.of_page_error(request, PageError(status, gone.title, gone.message))

    async def of_ledger_away(self, request: Request, _error: Exception) -> Response:
        return self._bare(request, ledger_away())

    async def of_fault(self, request: Request, _error: Exception) -> Response:
        return self._bare(request, unexpected())

    def _show(self, request: Request, error: PageError) -> Response:
        try:
            visit = visit_of(self._desk, request, Form())
        except SQLAlchemyError:
            return self._bare(request, error)
        if visit.is_fragment:
            return page(self._desk, visit, "error_line.html", status=error.status, error=error)
        return page(self._desk, visit, "error.html", status=error.status, error=error, typed=_typed(request))

    def _bare(self, request: Request, error: PageError) -> Response:
        theme = request.cookies.get(THEME_COOKIE, "")
        is_fragment = request.headers.get("hx-request") == "true"
        template = "error_line.html" if is_fragment else "error.html"
        return bare_page(self._desk, template, error.status, theme, error=error, typed=_typed(request))


def _typed(request: Request) -> str:
    """The text that somebody worked on, if the request brought one."""
    form = getattr(request.state, "form", None)
    names = ("output", "corrected_answer", "question")
    return next((text for name in names if (text := form.text(name))), "") if isinstance(form, Form) else ""

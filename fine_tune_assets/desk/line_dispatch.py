"""One desk for several product lines: passes each request to the application of the browser's current line.

Each line has its own application with its own users, sessions, queue and keys; this module only chooses among them. The
cookie `line` names the line; `GET /lines/NAME` sets it. Requests of a page's scripts name the line of their page in a header, so
that a tab stays at its line after the browser has switched to another one.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from fine_tune_assets.core.errors import summarize_exception
from fine_tune_assets.core.line_names import MAIN_LINE
from fine_tune_assets.core.settings import Settings, use_settings

LINE_HEADER = "x-line"
_LOG = logging.getLogger("uvicorn.error")


@dataclass(frozen=True)
class LineApp:
    """The application of one line."""

    settings: Settings
    app: FastAPI


class LineDispatch:
    """ASGI application. `lines` must contain MAIN_LINE, which also answers browsers without a cookie or with an unknown one."""

    def __init__(self, lines: Mapping[str, LineApp], cookie: str) -> None:
        self._lines, self._cookie = lines, cookie
        self._lifespan = Starlette(lifespan=self._run_lines)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        chosen = self._find_line(HTTPConnection(scope))
        with use_settings(chosen.settings):  # for the domain pack, and for the line in hints
            await chosen.app(scope, receive, send)

    def _find_line(self, connection: HTTPConnection) -> LineApp:
        named = connection.headers.get(LINE_HEADER) or connection.cookies.get(self._cookie, "")
        return self._lines.get(named, self._lines[MAIN_LINE])

    @asynccontextmanager
    async def _run_lines(self, _app: Starlette) -> AsyncIterator[None]:
        """A further line whose caches can't be filled still answers, and must not keep the others from starting."""
        async with AsyncExitStack() as stack:
            for name, line in self._lines.items():
                try:
                    with use_settings(line.settings):
                        await stack.enter_async_context(line.app.router.lifespan_context(line.app))
                except Exception as error:
                    if name == MAIN_LINE:
                        raise
                    _LOG.error(
                        "The desk of the product line %s did not start completely: %s", name, summarize_exception(error)
                    )
            yield

"""Unexpected errors of the gateway: answered and logged without their message."""

import logging

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from fine_tune_assets.core.web_services import without_messages
from fine_tune_assets.gateway.wire_format import answer_unexpected_error

MARKER = "Zyxomarkwort"


def _failing_app() -> FastAPI:
    app = FastAPI()

    async def fail(_request: Request) -> Response:
        raise ValueError(f"can't parse {MARKER}")

    app.router.add_route("/", fail)
    app.add_exception_handler(Exception, answer_unexpected_error)
    return app


@pytest.mark.anyio
async def test_what_a_message_quotes_is_neither_answered_nor_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A parser's error quotes what it could not parse: a line of a report, in a log that operators read."""
    caplog.set_level(logging.DEBUG)
    transport = httpx.ASGITransport(without_messages(_failing_app()))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        response = await client.get("/")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "ValueError at fail" in caplog.text
    assert MARKER not in response.text + caplog.text


@pytest.mark.anyio
async def test_without_it_the_message_would_be_raised_to_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """The test above can fail: this is what uvicorn would log."""
    caplog.set_level(logging.DEBUG)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(_failing_app()), base_url="http://gateway") as client:
        with pytest.raises(ValueError, match=MARKER):
            await client.get("/")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"

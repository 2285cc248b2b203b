"""Unexpected errors of the gateway are answered and logged without their message."""

import logging

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from fine_tune_assets.core.web_services import redact_exceptions
from fine_tune_assets.gateway.wire_format import handle_unexpected_error

MARKER = "Zyxomarkwort"


def _failing_app() -> FastAPI:
    app = FastAPI()

    async def fail(_request: Request) -> Response:
        raise ValueError(f"can't parse {MARKER}")

    app.router.add_route("/", fail)
    app.add_exception_handler(Exception, handle_unexpected_error)
    return app


@pytest.mark.anyio
async def test_the_message_of_an_error_is_neither_sent_nor_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A parser's error may quote a line of a report."""
    caplog.set_level(logging.DEBUG)
    transport = httpx.ASGITransport(redact_exceptions(_failing_app()))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        response = await client.get("/")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "ValueError at fail" in caplog.text
    assert MARKER not in response.text + caplog.text


@pytest.mark.anyio
async def test_without_the_wrapper_the_server_gets_the_message(caplog: pytest.LogCaptureFixture) -> None:
    """Proves that the test above can fail: uvicorn would log this error."""
    caplog.set_level(logging.DEBUG)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(_failing_app()), base_url="http://gateway") as client:
        with pytest.raises(ValueError, match=MARKER):
            await client.get("/")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"

"""Errors and stream events in OpenAI's format. Messages never repeat the caller's text.

An event is `data: JSON` and an empty line; `data: [DONE]` is the last one.
"""

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from fine_tune_assets.core.line_names import name_line


class ApiError(Exception):
    """Ends a request with a status and a message for the caller."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, name_line(message), headers

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        return error_body(self.status, self.code, self.message)


def invalid(message: str) -> ApiError:
    return ApiError(400, "invalid_request", message)


def context_exceeded() -> ApiError:
    return ApiError(400, "context_length_exceeded", "The messages plus max_tokens exceed the model's context.")


_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}


def error_body(status: int, code: str, message: str) -> dict[str, dict[str, str | None]]:
    kind = _ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


async def handle_api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    _record_code(request, error.code)
    return JSONResponse(error.body, status_code=error.status, headers=error.headers)


def _record_code(request: Request, code: str) -> None:
    """Add the code to the request's record, if the middleware attached one."""
    record = getattr(request.state, "record", None)
    if record is not None:
        record.code = code


async def handle_http_error(request: Request, error: Exception) -> JSONResponse:
    """Format refusals of the framework: an unknown path or a wrong method."""
    status = int(getattr(error, "status_code", 500))
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "refused")
    _record_code(request, code)
    message = "No such route." if status == 404 else f"The request was refused (HTTP {status})."
    return JSONResponse(error_body(status, code, message), status_code=status)


async def handle_unexpected_error(request: Request, _error: Exception) -> JSONResponse:
    _record_code(request, "internal_error")
    return JSONResponse(error_body(500, "internal_error", "The gateway failed. See its log."), status_code=500)


def unavailable(message: str) -> ApiError:
    return ApiError(503, "not_available", message, {"Retry-After": "5"})


DONE = b"[DONE]"


def format_event(payload: bytes) -> bytes:
    return b"data: " + payload + b"\n\n"


DONE_EVENT = format_event(DONE)


def dump_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def extract_content(body: Mapping[str, Any]) -> str:
    """The text of an answer or of a stream's chunk."""
    messages = [choice.get("message") or choice.get("delta") or {} for choice in body.get("choices", ())]
    return "".join(message.get("content") or "" for message in messages)

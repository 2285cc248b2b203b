"""Errors and events of a stream in the form that OpenAI's clients understand. Messages never repeat what the caller sent.

An event is `data: JSON` and an empty line; `data: [DONE]` is the last one.
"""

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse


class ApiError(Exception):
    """Ends a request with a status and a message for the caller."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        return error_body(self.status, self.code, self.message)


def invalid(message: str) -> ApiError:
    return ApiError(400, "invalid_request", message)


_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}


def error_body(status: int, code: str, message: str) -> dict[str, dict[str, str | None]]:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


async def answer_api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    _note(request, error.code)
    return JSONResponse(error.body, status_code=error.status, headers=error.headers)


def _note(request: Request, code: str) -> None:
    """For whoever keeps records of requests."""
    record = getattr(request.state, "record", None)
    if record is not None:
        record.code = code


async def answer_http_error(request: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses: an unknown path, or another method."""
    status = int(getattr(error, "status_code", 500))
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "refused")
    _note(request, code)
    message = "There is no such route here." if status == 404 else "This can't be done here."
    return JSONResponse(error_body(status, code, message), status_code=status)


async def answer_unexpected_error(request: Request, _error: Exception) -> JSONResponse:
    _note(request, "internal_error")
    return JSONResponse(error_body(500, "internal_error", "The gateway failed. Its log says where."), status_code=500)


def unavailable(message: str) -> ApiError:
    return ApiError(503, "not_available", message, {"Retry-After": "5"})


DONE = b"[DONE]"


def event(payload: bytes) -> bytes:
    return b"data: " + payload + b"\n\n"


DONE_EVENT = event(DONE)


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def content_of(body: Mapping[str, Any]) -> str:
    """The text of an answer, or of a part of one."""
    said = [choice.get("message") or choice.get("delta") or {} for choice in body.get("choices", ())]
    return "".join(one.get("content") or "" for one in said)

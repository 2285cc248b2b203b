"""The OpenAPI 3.1 document: name, body, answer and errors of each route.

Answer models only document: engine answers pass through unchanged. Bodies are declared here because the endpoints read them
only after they have checked the key.
"""

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import PlainTextResponse

from fine_tune_assets.corrections.correction_progress import CorrectionState
from fine_tune_assets.gateway.callers.authentication import LABELS_HEADER, ON_BEHALF_OF_HEADER
from fine_tune_assets.gateway.requests.request_models import (
    ChatRequest,
    CompletionRequest,
    CorrectionRequest,
    EmbeddingRequest,
    FeedbackRequest,
)

Json = dict[Any, Any]


class Status(BaseModel):
    status: str


class Model(BaseModel):
    id: str


class Models(BaseModel):
    object: Literal["list"]
    data: list[Model]


class Citation(BaseModel):
    number: int
    passage_id: str = ""
    title: str
    version: str
    source: str
    headings: list[str] = []
    score: float = 0


class CompletionAnswer(BaseModel):
    id: str = ""
    object: str
    model: str = ""
    choices: list[Json]


class ChatAnswer(CompletionAnswer):
    object: str = ""
    usage: Json = {}
    citations: list[Citation] = []
    citation_check: Json | None = None


class Embedding(BaseModel):
    object: str
    index: int
    embedding: list[float] | str


class Embeddings(BaseModel):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Json


class Receipt(BaseModel):
    id: str
    object: Literal["correction", "feedback"]
    passages: Literal["stored", "unavailable"] = "stored"


class CorrectionStatus(BaseModel):
    id: str
    object: Literal["correction"]
    release_id: str
    received_at: str
    state: CorrectionState
    reason: str


class Corrections(BaseModel):
    object: Literal["list"]
    data: list[CorrectionStatus]


class Error(BaseModel):
    message: str
    type: str
    code: str
    param: str | None = None


class ErrorAnswer(BaseModel):
    error: Error


_REF = "#/components/schemas/{model}"
_ERRORS: Json = {
    400: "The body is not valid; the message names the fields.",
    401: "The key or token is missing or not valid.",
    403: "The key or token lacks the scope.",
    404: "No such route, model, release, knowledge index or passage.",
    405: "Method not allowed.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    429: "Too many requests, or the token budget is used up.",
    500: "The gateway failed.",
    503: "Temporarily unavailable.",
}
_ENGINE_ERRORS: Json = {
    422: "The answer contained identifiers.",
    502: "The engine failed.",
    504: "The engine did not answer in time.",
}
_STREAM_RESPONSE: Json = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}


def _route(name: str, answer: Any, extra_responses: Json | None = None, errors: Json = _ERRORS, **more: Any) -> Json:
    content = {"application/json": {"schema": {"$ref": _REF.format(model="ErrorAnswer")}}}
    errors = {status: {"description": reason, "content": content} for status, reason in errors.items()}
    return {"name": name, "response_model": answer, "responses": errors | (extra_responses or {}), **more}


def _public_route(name: str, extra_responses: Json | None = None) -> Json:
    return _route(name, Status, extra_responses, {405: _ERRORS[405]}, openapi_extra={"security": []})


def _post_route(name: str, answer: Any, errors: Json, *bodies: type[BaseModel], **more: Any) -> Json:
    forms = [{"$ref": _REF.format(model=body.__name__)} for body in bodies]
    content = {"application/json": {"schema": {"anyOf": forms} if forms[1:] else forms[0]}}
    headers = [_header(ON_BEHALF_OF_HEADER, 1, 600), _header(LABELS_HEADER, 0, 8192)]
    if name == "correct":
        headers.append(_header("Idempotency-Key", 1, 200))
    extra = {"parameters": headers, "requestBody": {"required": True, "content": content}}
    return _route(name, answer, errors=_ERRORS | errors, openapi_extra=extra, **more)


def _header(name: str, min_length: int, max_length: int) -> Json:
    return {
        "name": name,
        "in": "header",
        "schema": {"type": "string", "minLength": min_length, "maxLength": max_length},
    }


_CORRECTIONS_ROUTE = _post_route(
    "correct",
    Receipt,
    {409: "The idempotency key was used with other content."},
    CorrectionRequest,
    FeedbackRequest,
    status_code=201,
)
ROUTE_OPTIONS = {
    "/health": _public_route("health"),
    "/ready": _public_route("ready", {503: {"model": Status, "description": "Not ready yet."}}),
    "/metrics": _route("metrics", None, response_class=PlainTextResponse),
    "/openapi.json": _route("openapi", Json),
    "/v1/models": _route("models", Models),
    "/v1/chat/completions": _post_route(
        "chat", ChatAnswer, _ENGINE_ERRORS, ChatRequest, extra_responses=_STREAM_RESPONSE
    ),
    "/v1/completions": _post_route(
        "complete", CompletionAnswer, _ENGINE_ERRORS, CompletionRequest, extra_responses=_STREAM_RESPONSE
    ),
    "/v1/embeddings": _post_route("embed", Embeddings, {}, EmbeddingRequest),
    "/v1/corrections": _CORRECTIONS_ROUTE,
    "GET /v1/corrections": _route("corrections", Corrections),
}
"""Path → arguments of `add_api_route`; with a method where a path has two."""


def build_openapi(app: FastAPI, max_tokens: int) -> Json:
    """Built at the first call. `max_tokens`: this installation's limit for the field of the same name."""
    if app.openapi_schema is None:
        about = "The HTTP API in front of the production model."
        document = get_openapi(title="Gateway", version="1", description=about, routes=app.routes)
        schemas = document["components"]["schemas"]
        bodies = (ChatRequest, CompletionRequest, EmbeddingRequest, CorrectionRequest, FeedbackRequest, ErrorAnswer)
        schemas |= models_json_schema([(body, "validation") for body in bodies], ref_template=_REF)[1]["$defs"]
        for body, field in (("Chat", "max_tokens"), ("Chat", "max_completion_tokens"), ("Completion", "max_tokens")):
            schemas[f"{body}Request"]["properties"][field]["anyOf"][0]["maximum"] = max_tokens
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = document | {"security": [{"key": []}]}
    return app.openapi_schema

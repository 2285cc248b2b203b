"""The OpenAPI 3.1 document, which FastAPI makes from the routes: the name, answer and errors of each, and its body.

The models of answers are for the document alone: what an engine answers passes through as it is. Bodies are attached here because
the endpoints read them themselves, after they have checked the key.
"""

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import PlainTextResponse

from fine_tune_assets.gateway.callers.callers import ON_BEHALF_OF, THEIR_LABELS
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


class Kept(BaseModel):
    id: str
    object: Literal["correction", "feedback"]
    passages: Literal["kept", "gone"] = "kept"


class Error(BaseModel):
    message: str
    type: str
    code: str
    param: str | None = None


class ErrorAnswer(BaseModel):
    error: Error


_REF = "#/components/schemas/{model}"
_REFUSED: Json = {
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
_BY_THE_MODEL: Json = {
    422: "The answer contained identifiers.",
    502: "The engine failed.",
    504: "The engine did not answer in time.",
}
_STREAM: Json = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}


def _route(name: str, answer: Any, also: Json | None = None, refused: Json = _REFUSED, **more: Any) -> Json:
    content = {"application/json": {"schema": {"$ref": _REF.format(model="ErrorAnswer")}}}
    errors = {status: {"description": reason, "content": content} for status, reason in refused.items()}
    return {"name": name, "response_model": answer, "responses": errors | (also or {}), **more}


def _open(name: str, also: Json | None = None) -> Json:
    return _route(name, Status, also, {405: _REFUSED[405]}, openapi_extra={"security": []})


def _post(name: str, answer: Any, refused: Json, *bodies: type[BaseModel], **more: Any) -> Json:
    forms = [{"$ref": _REF.format(model=body.__name__)} for body in bodies]
    content = {"application/json": {"schema": {"anyOf": forms} if forms[1:] else forms[0]}}
    headers = [_header(ON_BEHALF_OF, 1, 600), _header(THEIR_LABELS, 0, 8192)]
    if name == "correct":
        headers.append(_header("Idempotency-Key", 1, 200))
    extra = {"parameters": headers, "requestBody": {"required": True, "content": content}}
    return _route(name, answer, refused=_REFUSED | refused, openapi_extra=extra, **more)


def _header(name: str, shortest: int, longest: int) -> Json:
    return {"name": name, "in": "header", "schema": {"type": "string", "minLength": shortest, "maxLength": longest}}


_KEPT = _post(
    "correct",
    Kept,
    {409: "The idempotency key was used with other content."},
    CorrectionRequest,
    FeedbackRequest,
    status_code=201,
)
DOCUMENTED = {
    "/health": _open("health"),
    "/ready": _open("ready", {503: {"model": Status, "description": "Not ready yet."}}),
    "/metrics": _route("metrics", None, response_class=PlainTextResponse),
    "/openapi.json": _route("openapi", Json),
    "/v1/models": _route("models", Models),
    "/v1/chat/completions": _post("chat", ChatAnswer, _BY_THE_MODEL, ChatRequest, also=_STREAM),
    "/v1/completions": _post("complete", CompletionAnswer, _BY_THE_MODEL, CompletionRequest, also=_STREAM),
    "/v1/embeddings": _post("embed", Embeddings, {}, EmbeddingRequest),
    "/v1/corrections": _KEPT,
}
"""Path → arguments of `add_api_route`."""


def openapi_document(app: FastAPI, max_tokens: int) -> Json:
    """Made at the first call. `max_tokens`: the most that this installation lets callers ask for."""
    if app.openapi_schema is None:
        about = "The one way in to the served model."
        document = get_openapi(title="Gateway", version="1", description=about, routes=app.routes)
        schemas = document["components"]["schemas"]
        bodies = (ChatRequest, CompletionRequest, EmbeddingRequest, CorrectionRequest, FeedbackRequest, ErrorAnswer)
        schemas |= models_json_schema([(body, "validation") for body in bodies], ref_template=_REF)[1]["$defs"]
        for body, field in (("Chat", "max_tokens"), ("Chat", "max_completion_tokens"), ("Completion", "max_tokens")):
            schemas[f"{body}Request"]["properties"][field]["anyOf"][0]["maximum"] = max_tokens
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = document | {"security": [{"key": []}]}
    return app.openapi_schema

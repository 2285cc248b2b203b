"""The gateway's routes as an OpenAPI 3.1 document. Written by hand: what it says is checked against the running gateway by tests,
and its fields against those that the code takes.

Owns that document. `GET /openapi.json` gives it to whoever has a key.
"""

from typing import Any

from fine_tune_assets.core.error_kinds import KINDS_OF_CORRECTION, RATINGS, SEVERITIES
from fine_tune_assets.gateway.callers import ON_BEHALF_OF, THEIR_LABELS
from fine_tune_assets.gateway.embedding import DIMENSIONS, MOST_TEXTS
from fine_tune_assets.gateway.embedding import MODEL as EMBEDDING_MODEL
from fine_tune_assets.gateway.extras import MOST_PROBABILITIES, MOST_TOOLS
from fine_tune_assets.gateway.requests import (
    LONGEST_ID,
    LONGEST_WORK_SECONDS,
    MOST_PASSAGES,
    MOST_STOPS,
    NUMBERS,
    WHOLE_NUMBERS,
)

Json = dict[str, Any]
_TEXT: Json = {"type": "string"}
_NAME: Json = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_BOOLEAN: Json = {"type": ["boolean", "null"]}
_REFUSED = {
    "400": "The body, or a field that is named.",
    "401": "No key, or one that opens nothing.",
    "403": "The key may not do that.",
    "404": "No such route, model, release, knowledge index or passage.",
    "405": "Another method.",
    "408": "The body did not come in time.",
    "413": "The body is too large.",
    "429": "Too many requests, or a budget is used up.",
    "500": "A fault of the gateway.",
    "503": "Not available at the moment.",
}
_MODEL_REFUSED = {
    "422": "The answer held identifiers.",
    "502": "The model's program failed.",
    "504": "No answer in time.",
}


def openapi_document(max_tokens: int) -> Json:
    """Exactly the routes that exist; `max_tokens` is the most that this installation lets callers ask for."""
    sampling = _sampling(max_tokens)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Gateway", "version": "1", "description": "The one way in to the served model."},
        "security": [{"key": []}],
        "paths": {
            "/health": {"get": _open("Whether the process answers.", "health", ("200",))},
            "/ready": {"get": _open("Whether a release is live and all is loaded.", "ready", ("200", "503"))},
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _get("This document.", "openapi", {"type": "object"})},
            "/v1/models": {"get": _get("The models that can be named.", "models", _MODELS)},
            "/v1/chat/completions": {"post": _post("An answer.", "chat", _chat(sampling), "ChatAnswer", _MODEL_REFUSED, True)},
            "/v1/completions": {
                "post": _post(
                    "An answer to one text.", "complete", _completion(sampling), "CompletionAnswer", _MODEL_REFUSED, True
                )
            },
            "/v1/embeddings": {"post": _post("Vectors of texts.", "embed", _EMBEDDING, "Embeddings", {})},
            "/v1/corrections": {"post": _correction()},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": _ERROR, "ChatAnswer": _CHAT_ANSWER, "CompletionAnswer": _COMPLETION_ANSWER,
                "Embeddings": _EMBEDDINGS, "Correction": _KEPT,
            },
        },
    }  # fmt: skip


def _object(required: list[str], is_closed: bool = False, **properties: Json) -> Json:
    closed = {"additionalProperties": False} if is_closed else {}
    return {"type": "object", "properties": properties, "required": required, **closed}


def _number(kind: str, lowest: float, highest: float) -> Json:
    return {"type": [kind, "null"], "minimum": lowest, "maximum": highest}


_STREAM_OPTIONS = {
    **_object([], True, include_usage=_BOOLEAN, include_obfuscation=_BOOLEAN),
    "type": ["object", "null"],
}


def _sampling(max_tokens: int) -> Json:
    """Fields that chat and completions share."""
    limits = NUMBERS | {"max_tokens": (1, max_tokens)}
    numbers = {
        name: _number("integer" if name in WHOLE_NUMBERS else "number", *limit) for name, limit in limits.items()
    }
    text = {"type": "string", "minLength": 1}
    stops = {"type": "array", "items": text, "maxItems": MOST_STOPS}
    return {
        **numbers,
        "model": _TEXT,
        "stream": _BOOLEAN,
        "stream_options": _STREAM_OPTIONS,
        "stop": {"anyOf": [{"type": "null"}, text, stops]},
        "n": {"enum": [1, None]},
        "user": _TEXT,
    }


_CALL = _object(
    ["id", "type", "function"],
    id={"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,200}$"},
    type={"const": "function"},
    function=_object(["name", "arguments"], name=_NAME, arguments=_TEXT),
)
_PARTS: Json = {"type": "array", "items": _object(["type", "text"], type={"const": "text"}, text=_TEXT)}
_MESSAGE: Json = {
    "anyOf": [
        _object(["role", "content"], role={"enum": ["user", "assistant"]}, content={"anyOf": [_TEXT, _PARTS]}),
        _object(["role", "content"], role={"enum": ["system", "developer"]}, content=_TEXT),
        _object(["role", "content", "tool_call_id"], role={"const": "tool"}, content=_TEXT, tool_call_id=_TEXT),
        _object(
            ["role", "tool_calls"],
            role={"const": "assistant"},
            content={"type": ["string", "null"]},
            tool_calls={"type": "array", "items": _CALL},
        ),
    ]
}
_TOOL = _object(
    ["type", "function"],
    type={"const": "function"},
    function=_object(
        ["name"],
        True,
        name=_NAME,
        description=_TEXT,
        parameters={"type": "object"},
        strict={"type": ["boolean", "null"]},
    ),
)


def _chat(sampling: Json) -> Json:
    form = _object(
        ["type"],
        True,
        type={"enum": ["text", "json_object", "json_schema"]},
        json_schema=_object(["name", "schema"], name=_NAME, schema={"type": "object"}, strict=_BOOLEAN),
    )
    return _object(
        ["messages"],
        True,
        **sampling,
        messages={"type": "array", "items": _MESSAGE, "minItems": 1},
        max_completion_tokens=sampling["max_tokens"],
        tools={"type": "array", "items": _TOOL, "minItems": 1, "maxItems": MOST_TOOLS},
        tool_choice={"anyOf": [{"enum": ["auto", "none", "required"]}, {"type": "object"}]},
        response_format=form,
        logprobs=_BOOLEAN,
        top_logprobs=_number("integer", 0, MOST_PROBABILITIES),
        knowledge=_BOOLEAN,
    )


def _completion(sampling: Json) -> Json:
    text = {"type": "string", "minLength": 1}
    return _object(
        ["prompt"],
        True,
        **sampling,
        prompt={"anyOf": [text, {"type": "array", "items": text, "minItems": 1, "maxItems": 1}]},
        raw=_BOOLEAN,
        best_of={"enum": [1, None]},
        echo={"enum": [False, None]},
    )


_EMBEDDING = _object(
    ["input"],
    True,
    model={"const": EMBEDDING_MODEL},
    input={
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": MOST_TEXTS},
        ]
    },
    encoding_format={"enum": ["float", "base64"]},
    dimensions={"enum": [DIMENSIONS, None]},
    user=_TEXT,
)
_FILLED: Json = {"type": "string", "pattern": r"\S"}
_ABOUT_THE_ERROR: Json = {
    "error_kind": {"enum": [*KINDS_OF_CORRECTION, None]},
    "severity": {"enum": [*SEVERITIES, None]},
}
_CORRECTION: Json = {
    "description": "A better answer; or a thumb, which comes without texts. Of an answer from documents a better one also has "
    "its x-knowledge-index as knowledge_index, and the passage_id of each of its citations as passages.",
    "anyOf": [
        _object(
            ["release_id", "instruction", "answer", "corrected_answer"],
            True,
            release_id=_FILLED,
            instruction=_FILLED,
            input={"type": ["string", "null"]},
            answer=_TEXT,
            corrected_answer=_FILLED,
            seconds_spent=_number("integer", 0, LONGEST_WORK_SECONDS),
            knowledge_index={"type": ["string", "null"], "pattern": "^([0-9a-f]{64}|none)$"},
            passages={
                "type": ["array", "null"],
                "items": {"type": "string", "minLength": 1, "maxLength": LONGEST_ID},
                "maxItems": MOST_PASSAGES,
                "uniqueItems": True,
            },
            **_ABOUT_THE_ERROR,
        )
        | {"dependentRequired": {"passages": ["knowledge_index"]}},
        _object(["release_id", "rating"], True, release_id=_TEXT, rating={"enum": list(RATINGS)}, **_ABOUT_THE_ERROR),
    ],
}
_ERROR = _object(
    ["error"],
    error=_object(
        ["message", "type", "code"], message=_TEXT, type=_TEXT, code=_TEXT, param={"type": ["string", "null"]}
    ),
)
_CHOICES: Json = {"type": "array", "items": {"type": "object"}}
_CITATION = _object(
    ["number", "title", "version", "source"],
    number={"type": "integer"},
    passage_id=_TEXT,
    title=_TEXT,
    version=_TEXT,
    source=_TEXT,
    headings={"type": "array", "items": _TEXT},
    score={"type": "number"},
)
_CHAT_ANSWER = _object(
    ["choices"],
    id=_TEXT,
    object=_TEXT,
    model=_TEXT,
    choices=_CHOICES,
    usage={"type": "object"},
    citations={"type": "array", "items": _CITATION},
    citation_check={"type": ["object", "null"]},
)
_COMPLETION_ANSWER = _object(["choices", "object"], id=_TEXT, object=_TEXT, model=_TEXT, choices=_CHOICES)
_EMBEDDINGS = _object(
    ["object", "data", "model", "usage"],
    object={"const": "list"},
    data={"type": "array", "items": _object(["object", "index", "embedding"])},
    model=_TEXT,
    usage={"type": "object"},
)
_MODELS = _object(
    ["object", "data"], object={"const": "list"}, data={"type": "array", "items": _object(["id"], id=_TEXT)}
)
_KEPT = _object(
    ["id", "object"],
    id=_TEXT,
    object={"enum": ["correction", "feedback"]},
    passages={"enum": ["kept", "gone"]},
)


def _errors(codes: dict[str, str]) -> Json:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": words, "content": content} for status, words in codes.items()}


def _good(schema: Json) -> Json:
    return {"description": "As asked.", "content": {"application/json": {"schema": schema}}}


def _open(words: str, name: str, statuses: tuple[str, ...]) -> Json:
    body = _object(["status"], status=_TEXT)
    responses = {status: _good(body) for status in statuses} | _errors({"405": _REFUSED["405"]})
    return {"summary": words, "operationId": name, "security": [], "responses": responses}


def _get(words: str, name: str, schema: Json) -> Json:
    return {"summary": words, "operationId": name, "responses": {"200": _good(schema), **_errors(_REFUSED)}}


def _metrics() -> Json:
    text = {"description": "In Prometheus' form.", "content": {"text/plain": {"schema": _TEXT}}}
    return {
        "summary": "Counts and times.", "operationId": "metrics", "responses": {"200": text, **_errors(_REFUSED)},
    }  # fmt: skip


def _header(name: str, longest: int, shortest: int = 0) -> Json:
    return {"name": name, "in": "header", "schema": {"type": "string", "minLength": shortest, "maxLength": longest}}


_FOR_A_PERSON = [_header(ON_BEHALF_OF, 600, 1), _header(THEIR_LABELS, 8192)]


def _post(words: str, name: str, body: Json, answer: str, more: dict[str, str], is_streamed: bool = False) -> Json:
    good = _good({"$ref": f"#/components/schemas/{answer}"})
    if is_streamed:
        good["content"]["text/event-stream"] = {"schema": _TEXT}
    return {
        "summary": words,
        "operationId": name,
        "parameters": _FOR_A_PERSON,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": good, **_errors(_REFUSED | more)},
    }


def _correction() -> Json:
    found = _post("Keep a better answer.", "correct", _CORRECTION, "Correction", {"409": "Used with another content."})
    responses = {**found["responses"], "201": found["responses"]["200"]}
    del responses["200"]
    return {**found, "parameters": [*found["parameters"], _header("Idempotency-Key", 200, 1)], "responses": responses}

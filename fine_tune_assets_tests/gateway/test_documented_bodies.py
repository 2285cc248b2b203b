"""The OpenAPI document matches the bodies that the gateway accepts. Clients are generated from it, so a missing field does not
exist for them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fine_tune_assets.core.permissions import SCOPES
from fine_tune_assets_tests.gateway.answers.answering import Answering, Engine, answering
from fine_tune_assets_tests.gateway.callers.whole_answers import WHOLE
from fine_tune_assets_tests.gateway.documents import gateway_document, inlined

DOCUMENT = gateway_document()


def bodies() -> dict[str, dict[str, Any]]:
    """Route and number of the alternative → schema."""
    found = {}
    for path, methods in DOCUMENT["paths"].items():
        if "post" in methods:
            schema = inlined(methods["post"]["requestBody"]["content"]["application/json"]["schema"], DOCUMENT)
            for number, form in enumerate(schema.get("anyOf", [schema])):
                found[f"{path} {number}"] = form
    return found


BODIES = bodies()
_SAMPLING = (
    "model stream stream_options stop n user temperature top_p max_tokens frequency_penalty presence_penalty seed"
)
_RATED = "release_id error_kind severity"
TAKEN = {
    "/v1/chat/completions 0": f"{_SAMPLING} messages max_completion_tokens knowledge tools tool_choice response_format "
    "logprobs top_logprobs",
    "/v1/completions 0": f"{_SAMPLING} prompt raw best_of echo",
    "/v1/embeddings 0": "model input encoding_format dimensions user",
    "/v1/corrections 0": f"{_RATED} instruction input answer corrected_answer seconds_spent knowledge_index passages",
    "/v1/corrections 1": f"{_RATED} rating",
}
REQUIRED = {
    "/v1/chat/completions 0": ["messages"],
    "/v1/completions 0": ["prompt"],
    "/v1/embeddings 0": ["input"],
    "/v1/corrections 0": ["release_id", "instruction", "answer", "corrected_answer"],
    "/v1/corrections 1": ["release_id", "rating"],
}


def test_each_body_has_exactly_these_fields() -> None:
    """Adding or removing a field affects every client. A route that is not listed here fails too."""
    assert {name: sorted(body["properties"]) for name, body in BODIES.items()} == {
        name: sorted(taken.split()) for name, taken in TAKEN.items()
    }
    assert all(body["additionalProperties"] is False for body in BODIES.values())
    assert {name: body["required"] for name, body in BODIES.items()} == REQUIRED


def test_nested_objects_have_exactly_these_fields() -> None:
    """A tool's function, and the stream options."""
    schemas = DOCUMENT["components"]["schemas"]
    assert set(schemas["FunctionDefinition"]["properties"]) == {"name", "description", "parameters", "strict"}
    assert set(schemas["StreamOptions"]["properties"]) == {"include_usage", "include_obfuscation"}
    for closed in ("FunctionDefinition", "StreamOptions", "ResponseFormat"):
        assert schemas[closed]["additionalProperties"] is False


@dataclass
class Running(Answering):
    @property
    def least(self) -> dict[str, dict[str, Any]]:
        """The minimal body of each kind."""
        thumb = {"release_id": self.release_id, "rating": "up"}
        texts = {"instruction": "i", "answer": "", "corrected_answer": "c"}
        return {
            "/v1/chat/completions 0": {"messages": [{"role": "user", "content": "hi"}]},
            "/v1/completions 0": {"prompt": "hi"},
            "/v1/embeddings 0": {"input": "hi"},
            "/v1/corrections 0": {"release_id": self.release_id, **texts},
            "/v1/corrections 1": thumb,
        }

    def send(self, route: str, body: dict[str, Any]) -> Any:
        return self.client.post(route.partition(" ")[0], json=body)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    engine = Engine(body=json.dumps({"object": "x", **WHOLE}).encode())
    chosen = {"corrections_daily_limit": 0, "gateway": {"max_tokens": 100}}
    with answering(Running, tmp_path_factory.mktemp("bodies"), engine, scopes=SCOPES, **chosen) as made:
        yield made


def values(schema: dict[str, Any]) -> list[Any]:
    """Sample values of a schema: each value of an enum, both ends of a range, and null if allowed."""
    if "type" not in schema and ("anyOf" in schema or "oneOf" in schema):
        return [value for one in schema.get("anyOf") or schema["oneOf"] for value in values(one)]
    if "enum" in schema:
        return list(schema["enum"])
    if "const" in schema:
        return [schema["const"]]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    found: list[Any] = [None] if "null" in kinds else []
    if "string" in kinds:
        found.append("A-1")
    if "boolean" in kinds:
        found += [True, False]
    if {"integer", "number"} & set(kinds):
        found += [schema["minimum"], schema["maximum"]]
    if "array" in kinds:
        found += [[value] for value in values(schema["items"])]
    if "object" in kinds:
        for form in schema.get("anyOf", [{}]):
            needed = {*schema.get("required", ()), *form.get("required", ())}
            found.append({name: values(schema["properties"][name])[0] for name in needed})
    return found


OF_OTHERS = {"not_supported", "model_not_found", "release_not_found"}
"""Codes of refusals that do not concern the field: unsupported by the engine, or an unknown model or release."""
ALONE = {"stream_options", "top_logprobs", "tool_choice"}
"""Fields that need another field."""


@pytest.mark.parametrize(("route", "name"), [(r, name) for r, body in BODIES.items() for name in body["properties"]])
def test_the_gateway_accepts_what_the_document_allows(running: Running, route: str, name: str) -> None:
    """Each field of each body with allowed values, added to the minimal body."""
    for value in values(BODIES[route]["properties"][name]):
        if name in ALONE and value is not None:
            continue
        if name in ("max_tokens", "max_completion_tokens") and (value or 0) > 100:
            continue  # this installation's limit is tested below
        if name == "messages":
            value = [*value, *running.least[route]["messages"]]  # the last one is the user's
        body = running.least[route] | {name: value}
        if not Draft202012Validator(BODIES[route]).is_valid(body):
            continue  # a required field that is empty
        reply = running.send(route, body)
        if reply.status_code not in (200, 201):
            assert reply.json()["error"]["code"] in OF_OTHERS, (value, reply.text)


@pytest.mark.parametrize(("route", "name"), [(r, name) for r, body in BODIES.items() for name in body["required"]])
def test_a_body_without_a_required_field_is_refused(running: Running, route: str, name: str) -> None:
    """Feedback without a rating counts as an incomplete correction."""
    body = {key: value for key, value in running.least[route].items() if key != name}
    assert running.send(route, body).status_code == 400


@pytest.mark.parametrize("route", BODIES)
def test_an_undocumented_field_is_refused_without_its_name(running: Running, route: str) -> None:
    """No requested option is silently ignored."""
    reply = running.send(route, running.least[route] | {"no_such_field": 1})
    assert (reply.status_code, "no_such_field" in reply.text) == (400, False)


@pytest.mark.parametrize(("name", "value"), [("rating", "sideways"), ("error_kind", "none"), ("severity", "x")])
def test_an_unknown_enum_value_is_refused_by_gateway_and_document(running: Running, name: str, value: str) -> None:
    """Both use the code's lists."""
    body = running.least["/v1/corrections 1"] | {name: value}
    assert running.send("/v1/corrections 1", body).status_code == 400
    assert not Draft202012Validator(BODIES["/v1/corrections 1"]).is_valid(body)


def test_the_document_contains_this_installations_max_tokens(running: Running) -> None:
    """It is a setting."""
    schemas = running.client.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["CompletionRequest"]["properties"]["max_tokens"]["anyOf"][0]["maximum"] == 100
    properties = schemas["ChatRequest"]["properties"]
    for name in ("max_tokens", "max_completion_tokens"):
        most = properties[name]["anyOf"][0]["maximum"]
        statuses = [
            running.send("/v1/chat/completions 0", {**running.least["/v1/chat/completions 0"], name: value}).status_code
            for value in (most, most + 1)
        ]
        assert (most, statuses) == (100, [200, 400])

"""Tools, forms of answers and probabilities: checked, refused by name where the program that serves has none of it, and written
as it takes them.

Owns the fields `tools`, `tool_choice`, `response_format`, `logprobs` and `top_logprobs`, and messages of tools. Pure.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fine_tune_assets.gateway.errors import ApiError, invalid
from fine_tune_assets.gateway.features import Features
from fine_tune_assets.gateway.schemas import SchemaError, enforced_schema

FIELDS = frozenset({"tools", "tool_choice", "response_format", "logprobs", "top_logprobs"})
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_TOOLS = 64
MOST_PROBABILITIES = 20
FUNCTION_FIELDS = {"name", "description", "parameters", "strict"}


def extra_fields(
    body: Mapping[str, Any], features: Features, template: str, control_tokens: Sequence[str]
) -> dict[str, Any]:
    """What the engine is asked for besides plain chat. Raises ApiError."""
    tools = _tool_fields(body, features, template, control_tokens)
    form = _form_fields(body.get("response_format"), features)
    if tools and form:
        raise invalid("tools and response_format can't be asked for together.")
    return {**tools, **form, **_probability_fields(body, features)}


def unsupported(features: Features, what: str, instead: str = "") -> ApiError:
    return ApiError(400, "not_supported", f"{features.program} can't do this: {what}.{instead}")


def _tool_fields(
    body: Mapping[str, Any], features: Features, template: str, control_tokens: Sequence[str]
) -> dict[str, Any]:
    given, choice = body.get("tools"), body.get("tool_choice")
    if given is None:
        if choice not in (None, "none", "auto"):
            raise invalid("tool_choice needs tools.")
        return {}
    tools = _tools(given)
    if any(token in json.dumps(tools, ensure_ascii=False) for token in control_tokens):
        raise invalid("tools may not hold the template's control tokens.")
    kind = _kind_of(choice, tools)
    if kind == "none":
        return {}
    if "tools" not in template:
        message = "The live release's template has no place for tools: its model was not trained to call any."
        raise ApiError(400, "not_supported", message)
    if kind not in features.tool_choices:
        can = ", ".join(sorted(features.tool_choices)) or "none"
        raise unsupported(features, f"tool_choice {kind}", f" It can do: {can}.")
    if kind != "named":
        return {"tools": tools, "tool_choice": kind}
    name = choice["function"]["name"]  # type: ignore[index]
    if features.has_named_as_required:
        return {"tools": [tool for tool in tools if tool["function"]["name"] == name], "tool_choice": "required"}
    return {"tools": tools, "tool_choice": {"type": "function", "function": {"name": name}}}


def _kind_of(choice: Any, tools: Sequence[Mapping[str, Any]]) -> str:
    if choice is None or choice in ("auto", "none", "required"):
        return choice or "auto"
    function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if name is None or name not in [tool["function"]["name"] for tool in tools]:
        raise invalid("tool_choice must be auto, none, required, or one of the tools by its name.")
    return "named"


def _tools(given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not 0 < len(given) <= MOST_TOOLS:
        raise invalid(f"tools must be a list of 1 to {MOST_TOOLS}.")
    tools = [_tool(entry) for entry in given]
    if len({tool["function"]["name"] for tool in tools}) < len(tools):
        raise invalid("Two tools have the same name.")
    return tools


def _tool(entry: Any) -> dict[str, Any]:
    function = entry.get("function") if isinstance(entry, dict) and entry.get("type") == "function" else None
    if not isinstance(function, dict) or set(function) - FUNCTION_FIELDS:
        raise invalid("Each tool must be a function with name, description and parameters.")
    name, description = function.get("name"), function.get("description") or ""
    if not _is_name(name) or not isinstance(description, str):
        raise invalid("A tool's name must be of letters, digits, _ and -, its description a text.")
    try:
        parameters = enforced_schema(function.get("parameters") or {"type": "object", "properties": {}})
    except SchemaError as error:
        raise invalid(f"The parameters of a tool can't be enforced: the schema {error}.") from None
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _form_fields(given: Any, features: Features) -> dict[str, Any]:
    kind = given.get("type") if isinstance(given, dict) else None
    if given is None or (kind == "text" and set(given) == {"type"}):
        return {}
    if kind not in ("json_object", "json_schema") or set(given) - {"type", "json_schema"}:
        raise invalid("response_format must be text, json_object or json_schema.")
    if not features.has_schemas:
        raise unsupported(features, "response_format")
    if kind == "json_object":
        return {"response_format": {"type": kind}}
    named = given.get("json_schema")
    if not isinstance(named, dict) or not _is_name(named.get("name")):
        raise invalid("response_format.json_schema needs a name of letters, digits, _ and -, and a schema.")
    try:
        schema = enforced_schema(named.get("schema"))
    except SchemaError as error:
        raise invalid(f"The schema can't be enforced: it {error}.") from None
    return {"response_format": {"type": kind, "json_schema": {"name": named["name"], "strict": True, "schema": schema}}}


def _probability_fields(body: Mapping[str, Any], features: Features) -> dict[str, Any]:
    wanted, count = body.get("logprobs"), body.get("top_logprobs")
    if wanted not in (None, True, False):
        raise invalid("logprobs must be true or false.")
    if count is not None and (
        not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MOST_PROBABILITIES
    ):
        raise invalid(f"top_logprobs must be a whole number from 0 to {MOST_PROBABILITIES}.")
    if not wanted:
        if count:
            raise invalid("top_logprobs needs logprobs.")
        return {}
    if not features.has_probabilities:
        raise unsupported(features, "logprobs")
    return {"logprobs": True, "top_logprobs": count or 0}


def tool_message(value: Mapping[str, Any], content: Callable[[Any], str], template: str) -> dict[str, Any] | None:
    """A message of a tool, or the assistant's with calls; None for any other. Raises ApiError."""
    is_answer = value.get("role") == "tool"
    calls = value.get("tool_calls") if value.get("role") == "assistant" else None
    if not is_answer and not calls:
        return None
    if "tool_calls" not in template:
        message = "The live release's template has no place for messages of tools."
        raise ApiError(400, "not_supported", message)
    if is_answer:
        return {
            "role": "tool",
            "tool_call_id": _call_id(value.get("tool_call_id")),
            "content": content(value.get("content")),
        }
    if not isinstance(calls, list) or len(calls) > MOST_TOOLS:
        raise invalid("tool_calls must be a list.")
    said = value.get("content")
    return {
        "role": "assistant",
        "content": "" if said is None else content(said),
        "tool_calls": [_call(c) for c in calls],
    }


def _call(value: Any) -> dict[str, Any]:
    function = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    if not isinstance(function, dict) or not _is_name(function.get("name")):
        raise invalid("Each of tool_calls must be a function with a name and arguments.")
    if not isinstance(function.get("arguments"), str):
        raise invalid("The arguments of a tool call must be a text.")
    called = {"name": function["name"], "arguments": function["arguments"]}
    return {"id": _call_id(value.get("id")), "type": "function", "function": called}


def _call_id(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\w.:-]{1,200}", value):
        raise invalid("A tool call needs an id of letters, digits and _ . : -")
    return value

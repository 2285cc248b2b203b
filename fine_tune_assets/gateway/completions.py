"""`/v1/completions`: one prompt. It is the user's turn of the release's own conversation: that is what the model was trained on.

Owns the fields of that route. With `raw: true` the text goes to the engine as it is: no system prompt, no template, and control
tokens in it steer the model. That takes a scope of its own. Pure.
"""

from collections.abc import Mapping
from typing import Any

from fine_tune_assets.core.releases import AskedWith
from fine_tune_assets.gateway.errors import ApiError, invalid
from fine_tune_assets.gateway.requests import Permits, check_model, engine_request, refuse_unknown, sampling_fields

FIELDS = frozenset(
    {
        "model", "prompt", "raw", "stream", "stream_options", "stop", "n", "best_of", "echo", "user", "temperature", "top_p",
        "max_tokens", "frequency_penalty", "presence_penalty", "seed",
    }
)  # fmt: skip


def is_raw(body: Mapping[str, Any]) -> bool:
    raw = body.get("raw")
    if raw not in (None, True, False):
        raise invalid("raw must be true or false.")
    return bool(raw)


def chat_of_completion(
    body: Mapping[str, Any], release_id: str, asked_with: AskedWith, permits: Permits
) -> dict[str, Any]:
    """Raises ApiError."""
    _check(body)
    fields = {name: value for name, value in body.items() if name not in ("prompt", "raw", "best_of", "echo")}
    messages = [{"role": "user", "content": _prompt(body)}]
    return engine_request({**fields, "messages": messages}, release_id, asked_with, permits)


def raw_completion(
    body: Mapping[str, Any], release_id: str, _asked_with: AskedWith, permits: Permits
) -> dict[str, Any]:
    """Raises ApiError."""
    _check(body)
    if not permits.may_be_raw:
        message = "raw needs the scope raw_completions. Ask the operator for a key that has it."
        raise ApiError(403, "wrong_scope", message)
    check_model(body, release_id)
    return {"model": release_id, "prompt": _prompt(body), **sampling_fields(body, permits)}


def _check(body: Mapping[str, Any]) -> None:
    refuse_unknown(body, FIELDS)
    if body.get("best_of") not in (None, 1) or body.get("echo") not in (None, False):
        raise invalid("best_of must be 1, and echo false.")


def _prompt(body: Mapping[str, Any]) -> str:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt:
        raise invalid("prompt must be one text.")
    return prompt

"""The events of a streamed answer, as OpenAI writes them: `data: JSON` and an empty line, `data: [DONE]` last.

Owns their bytes. Pure.
"""

import json
from collections.abc import Mapping
from typing import Any

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

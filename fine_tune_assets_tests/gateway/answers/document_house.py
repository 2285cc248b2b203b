"""A house whose model answers from its documents."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fine_tune_assets.core.prompts.retrieval_contract import RetrievalContract
from fine_tune_assets.core.releases.release_folders import RETRIEVAL
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets_tests.gateway.answers.answering import Answering, Engine, answering
from fine_tune_assets_tests.retrieval.live_index import FORMAT

QUESTION = "How many days of paid time off do full-time staff have?"
PAY = "In which band of the pay scale is the salary of a ward head?"
NOTHING = "Nothing is known of that."
TASK = "Name the chief complaint."
CONTRACT = RetrievalContract("Use these:\n{passages}\n\nQuestion: {question}", NOTHING, 3, 0.55, FORMAT, True)
FILES = {RETRIEVAL: CONTRACT.as_json(), "recipe.yaml": yaml.safe_dump({"tasks": [{"name": "t", "instruction": TASK}]})}


def chunk(text: str | None, finish: str | None = None) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [
        {"index": 0, "delta": delta, "finish_reason": finish}
    ]}  # fmt: skip


def streamed(*texts: str) -> bytes:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    parts = [*map(chunk, texts), chunk(None, "stop"), {**chunk(None), "choices": [], "usage": usage}]
    return b"".join(b"data: " + json.dumps(p).encode() + b"\n\n" for p in parts) + b"data: [DONE]\n\n"


@dataclass
class House(Answering):
    def ask(
        self, content: str = QUESTION, scopes: tuple[str, ...] = (), answer: str = "20 days [1].", **fields: Any
    ) -> Any:
        self.engine.body = json.dumps(
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}]}
        ).encode()
        return self.send(content, scopes, **fields)

    def stream(self, content: str = QUESTION, **fields: Any) -> list[Any]:
        self.engine.body = streamed("25 ", "days [1].")
        reply = self.send(content, (), stream=True, **fields)
        events = [line[6:] for line in reply.text.split("\n") if line]
        assert events[-1] == "[DONE]"
        return [json.loads(event) for event in events[:-1]]

    def send(self, content: str, scopes: tuple[str, ...], headers: dict[str, str] | None = None, **fields: Any) -> Any:
        key = create_key(self.ledger, uuid.uuid4().hex, ["chat", *scopes]).secret
        messages = [{"role": "user", "content": content}]
        all_headers = {"Authorization": f"Bearer {key}", **(headers or {})}
        return self.client.post("/v1/chat/completions", json={"messages": messages, **fields}, headers=all_headers)

    @property
    def last_prompt(self) -> str:
        return str(json.loads(self.engine.last)["messages"][-1]["content"])


@pytest.fixture
def files() -> dict[str, str]:
    return FILES


@pytest.fixture
def house(tmp_path: Path, files: dict[str, str]) -> Iterator[House]:
    with answering(House, tmp_path, Engine(), files) as made:
        yield made


OFF = {RETRIEVAL: replace(CONTRACT, enabled=False).as_json()}

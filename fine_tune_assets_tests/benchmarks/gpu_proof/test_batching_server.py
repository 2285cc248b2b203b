"""The engine of the kit has vLLM's command line and the answers that the gateway expects."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from benchmarks.gpu_proof.batching_server import Batcher, make_app, read_options, write_interpreter
from fine_tune_assets.core.settings import VllmSettings
from fine_tune_assets.engines.vllm import vllm_command

KEY = "a-key"


class TwoWords:
    """Answers each prompt with two words, one token each, and stops."""

    def __init__(self, is_alive: bool = True) -> None:
        self.is_alive = is_alive

    def encode(self, messages: list[dict[str, Any]]) -> list[int]:
        return list(range(sum(len(message["content"]) for message in messages)))

    async def generate(self, prompt: list[int], max_tokens: int) -> AsyncIterator[tuple[str, int, bool]]:  # noqa: ARG002
        yield "No", 1, False
        yield " fever", 2, False
        yield "", 3, True


def open_engine(batcher: TwoWords) -> TestClient:
    options = read_options(
        ["--model", "/models/m", "--served-model-name", "release-1", "--max-model-len", "64", "--uds", "s"]
    )
    made: Any = batcher
    return TestClient(make_app(made, options, KEY), headers={"Authorization": f"Bearer {KEY}"})


def ask(client: TestClient, **changed: Any) -> Any:
    body = {"messages": [{"role": "user", "content": "Fever?"}], "max_tokens": 8, **changed}
    return client.post("/v1/chat/completions", json=body)


def test_it_reads_the_command_line_with_which_the_product_starts_vllm() -> None:
    command = vllm_command(Path("python"), Path("/models/m"), "release-1", 2048, "auto", {}, VllmSettings(parallel=32))
    options = read_options([*command[1:], "--uds", "/run/engine.sock"])
    assert (options.model, options.served_model_name, options.uds) == (
        Path("/models/m"),
        "release-1",
        "/run/engine.sock",
    )
    assert options.max_model_len == 2048
    assert options.max_num_seqs >= 32


def test_the_interpreter_starts_this_engine(tmp_path: Path) -> None:
    program = write_interpreter(tmp_path / "engine")
    done = subprocess.run([str(program), "-m", "any.module", "--help"], capture_output=True, text=True, check=True)
    assert "--served-model-name" in done.stdout


def test_an_answer_has_text_tokens_and_reason() -> None:
    answer = ask(open_engine(TwoWords())).json()
    assert answer["choices"][0]["message"]["content"] == "No fever"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 6, "completion_tokens": 3, "total_tokens": 9}


def test_a_stream_has_one_event_per_token_and_ends() -> None:
    lines = [line for line in ask(open_engine(TwoWords()), stream=True).text.splitlines() if line]
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    texts = [event["choices"][0]["delta"].get("content") for event in events]
    assert texts == ["", "No", " fever", None]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert lines[-1] == "data: [DONE]"


def test_the_model_is_listed_under_its_alias() -> None:
    assert open_engine(TwoWords()).get("/v1/models").json()["data"][0]["id"] == "release-1"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions"])
def test_another_key_is_refused(path: str) -> None:
    client, method = open_engine(TwoWords()), "GET" if path.endswith("models") else "POST"
    assert client.request(method, path, headers={"Authorization": "Bearer another"}, json={}).status_code == 401


def test_an_answer_that_exceeds_the_context_is_refused() -> None:
    reply = ask(open_engine(TwoWords()), max_tokens=64)
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "context_length_exceeded"


def test_a_failed_batch_makes_the_engine_unhealthy() -> None:
    """So that the supervisor replaces it."""
    client = open_engine(TwoWords(is_alive=False))
    assert client.get("/v1/models").status_code == 500
    assert ask(client).status_code == 500


def test_a_request_that_the_batch_drops_is_an_error() -> None:
    """Its answer would never come."""

    class StoppedManager:
        def register_result_handler(self, request_id: str, handler: Any) -> None: ...

        def add_request(self, prompt: list[int], **options: Any) -> None: ...

    batcher: Any = object.__new__(Batcher)
    batcher._manager = StoppedManager()

    async def ask_once() -> None:
        await anext(batcher.generate([1], 8))

    with pytest.raises(RuntimeError):
        asyncio.run(asyncio.wait_for(ask_once(), 10))

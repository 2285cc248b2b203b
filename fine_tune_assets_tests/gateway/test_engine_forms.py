"""Structured output and tool calls through gateway, supervisor and real engines. An untrained 135M model follows schemas at any
temperature, so the engine enforces them. vLLM needs `make setup-vllm`."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from jsonschema import Draft202012Validator

from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.prompts.prompt_contract import PromptContract, read_prompt_contract
from fine_tune_assets.core.releases.release_folders import MODEL, WEIGHTS
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.serving.rollout import deploy_release
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.gateway.conftest import SERVICES
from fine_tune_assets_tests.gateway.hostile_bodies import BODIES
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.serving.tiny_releases import put_release, tiny_gguf

VLLM, LLAMA_CPP = "vllm", "llama_cpp"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.xdist_group("serving")]
START_SECONDS = 600
HOSTILE_SECONDS = 60
"""Generous: this is about minutes against seconds."""
FINDING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "side": {"enum": ["left", "right", "both"]},
        "is_new": {"type": "boolean"},
        "signs": {"type": "array", "items": {"enum": ["redness", "swelling", "fever"]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["side", "is_new", "signs"],
    "additionalProperties": False,
}
"""Enums only: free text could be cut off by max_tokens."""
WARD: dict[str, Any] = {"type": "object", "properties": {"ward": {"enum": ["3", "4"]}}, "required": ["ward"]}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "note_finding", "description": "Notes it.", "parameters": FINDING}},
    {"type": "function", "function": {"name": "call_ward", "description": "Calls a ward.", "parameters": WARD}},
]
SCHEMAS = {"note_finding": FINDING, "call_ward": WARD}
NAMED: Any = {"type": "function", "function": {"name": "note_finding"}}
QUESTIONS = ("My left knee is swollen since today.", "Tell me a joke.", "Write nothing but the word seven.")
ANY_TEMPERATURE = (0, 1.5)
WITH_TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\nYou can call: ' + (tools | tojson) + '<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + (message['content'] or '') }}"
    "{% if message['tool_calls'] %}{% for call in message['tool_calls'] %}"
    "{{ '\n<tool_call>\n{\"name\": \"' + call['function']['name'] + '\", \"arguments\": ' }}"
    "{{ (call['function']['arguments'] | tojson) + '}\n</tool_call>' }}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The bundled model's template does not support tools. This is the format of Hermes and Qwen, which llama-server detects."""


def _call(number: int, **arguments: Any) -> list[dict[str, Any]]:
    """A tool call and its result."""
    function = {"name": "note_finding", "arguments": json.dumps(arguments)}
    call = {"id": f"c{number}", "type": "function", "function": function}
    result = {"role": "tool", "tool_call_id": f"c{number}", "content": "Noted."}
    return [{"role": "assistant", "content": None, "tool_calls": [call]}, result]


BEFORE = [
    {"role": "user", "content": "My right knee hurts and is swollen."},
    *_call(1, side="right", is_new=True, signs=["swelling"]),
    {"role": "user", "content": "Both ankles are red for a year."},
    *_call(2, side="both", is_new=False, signs=["redness"]),
]
"""Examples of tool calls, after which the untrained model writes some; without a grammar they are often wrong."""


@dataclass(frozen=True)
class Served:
    program: str
    client: openai.OpenAI

    def ask(self, question: str = QUESTIONS[0], messages: list[Any] | None = None, **fields: Any) -> Any:
        conversation = messages or [{"role": "user", "content": question}]
        return self.client.chat.completions.create(model="live", messages=conversation, **{"max_tokens": 120} | fields)


def _release_for_vllm(settings: Settings, ledger: Ledger) -> str:
    go_offline()
    from fine_tune_assets.training.base_models.registration import import_bundled_model

    base = import_bundled_model(settings.data_dir / "imported")
    config: dict[str, Any] = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    config.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (base / "chat_template.jinja").write_text(WITH_TOOLS, encoding="utf-8")
    contract = read_prompt_contract(base, "You are brief.")
    assert contract.chat_template == WITH_TOOLS
    return put_release(settings, ledger, contract, lambda folder: base.rename(folder / WEIGHTS), engine=VLLM)


def _release_for_llama_cpp(settings: Settings, ledger: Ledger) -> str:
    """The same model as a GGUF."""

    def fill(folder: Path) -> None:
        command = ["-m", "gguf.scripts.gguf_new_metadata", "--chat-template", WITH_TOOLS]
        subprocess.run([sys.executable, *command, str(tiny_gguf()), str(folder / MODEL)], check=True)

    contract = PromptContract("You are brief.", WITH_TOOLS, (), (2,), 2, ("<|im_end|>", "<|im_start|>"))
    return put_release(settings, ledger, contract, fill, engine="llama_cpp")


@pytest.fixture(scope="module", params=[VLLM, LLAMA_CPP])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One start for all tests: vLLM takes a minute or more."""
    installed = load_settings()
    settings = Settings(data_dir=tmp_path_factory.mktemp("forms"), gateway={"port": free_port()}, threads=1)
    if request.param == VLLM:
        if not installed.vllm_interpreter.is_file():
            pytest.skip("vLLM is not installed: make setup-vllm")
        settings, make = (
            changed(settings, vllm={"python": str(installed.vllm_interpreter), "kv_cache_gb": 1}),
            _release_for_vllm,
        )
    else:
        make = _release_for_llama_cpp
    ledger = fresh_ledger(settings)
    try:
        start_services(settings, SERVICES)
        deploy_release(ledger, make(settings, ledger), timeout_seconds=START_SECONDS)
        key = create_key(ledger, "asks", ["chat"]).secret
        client = openai.OpenAI(api_key=key, base_url=f"{settings.gateway_address}/v1", max_retries=0, timeout=300)
        yield Served(request.param, client)
    finally:
        stop_services(settings, SERVICES)
        ledger.close()


def fits(schema: dict[str, Any], text: str) -> bool:
    return Draft202012Validator(schema).is_valid(json.loads(text))


def of_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "finding", "strict": True, "schema": schema}}


@pytest.mark.parametrize("temperature", ANY_TEMPERATURE)
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_answer_matches_the_schema(served: Served, question: str, temperature: float) -> None:
    """Programs parse it without further checks."""
    answer = served.ask(question, response_format=of_schema(FINDING), temperature=temperature, seed=7).choices[0]
    assert answer.finish_reason == "stop"
    assert fits(FINDING, answer.message.content), answer.message.content


def test_a_stream_matches_the_schema(served: Served) -> None:
    """When its chunks are joined."""
    parts = list(served.ask(response_format=of_schema(FINDING), temperature=1.5, seed=7, stream=True))
    assert len(parts) > 3
    assert fits(FINDING, "".join(part.choices[0].delta.content or "" for part in parts))


def test_without_a_schema_the_model_writes_no_json(served: Served) -> None:
    """Otherwise the tests above would prove nothing."""
    for question in QUESTIONS:
        text = served.ask(question).choices[0].message.content or ""
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)


@pytest.mark.parametrize(("choice", "names", "temperature"), [
    (NAMED, {"note_finding"}, 0),
    (NAMED, {"note_finding"}, 1.5),
    ("required", {"note_finding", "call_ward"}, 1.5),
])  # fmt: skip
def test_tool_call_arguments_match_their_schema(
    served: Served, choice: Any, names: set[str], temperature: float
) -> None:
    """With a named tool and with `required`. At temperature 0 with `required`, this model repeats calls until max_tokens, so that
    is not tested. llama-server allows text before the call, but an answer can't end without one."""
    called = 0
    for question in QUESTIONS:
        messages = [*BEFORE, {"role": "user", "content": question}]
        options = {"tools": TOOLS, "tool_choice": choice, "temperature": temperature, "seed": 7}
        answer = served.ask(messages=messages, **options).choices[0]
        if served.program == LLAMA_CPP and not answer.message.tool_calls:
            assert answer.finish_reason == "length"
            continue
        (call, *_) = answer.message.tool_calls
        assert (call.type, call.function.name in names) == ("function", True)
        assert fits(SCHEMAS[call.function.name], call.function.arguments), call.function.arguments
        called += 1
    assert called > 0


def test_a_required_call_prevents_the_model_from_ending_without_one(served: Served) -> None:
    """Shows that llama-server enforces the call. vLLM allows only calls."""
    messages = [*BEFORE, {"role": "user", "content": QUESTIONS[1]}]
    assert served.ask(messages=messages).choices[0].finish_reason == "stop"
    answer = served.ask(messages=messages, tools=TOOLS, tool_choice=NAMED).choices[0]
    assert answer.message.tool_calls or answer.finish_reason == "length"


def test_a_tool_call_can_be_streamed(served: Served) -> None:
    """The name comes first, then the arguments in pieces."""
    messages = [*BEFORE, {"role": "user", "content": QUESTIONS[0]}]
    parts = list(served.ask(messages=messages, tools=TOOLS, tool_choice=NAMED, stream=True))
    calls = [call for part in parts for choice in part.choices for call in choice.delta.tool_calls or ()]
    assert [call.function.name for call in calls if call.function.name] == ["note_finding"]
    assert fits(FINDING, "".join(call.function.arguments or "" for call in calls))


def test_a_tool_result_is_sent_back_to_the_model(served: Served) -> None:
    """The complete cycle: question, call, result, answer."""
    question = [*BEFORE, {"role": "user", "content": QUESTIONS[0]}]
    (call, *_) = served.ask(messages=question, tools=TOOLS, tool_choice=NAMED).choices[0].message.tool_calls
    called = {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]}
    result = {"role": "tool", "tool_call_id": call.id, "content": "Noted."}
    answer = served.ask(messages=[*question, called, result], response_format=of_schema(WARD)).choices[0]
    assert fits(WARD, answer.message.content)


def test_an_unenforceable_schema_is_refused_before_the_engine(served: Served) -> None:
    """A caller must not rely on a rule that is not enforced."""
    pattern = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x"}}}
    with pytest.raises(openai.BadRequestError):
        served.ask(response_format=of_schema(pattern))


@pytest.mark.parametrize("fields", [{"tool_choice": "auto"}, {}])
def test_tool_choice_auto_is_refused_without_a_parser_for_the_models_format(
    served: Served, fields: dict[str, Any]
) -> None:
    """vLLM would need such a parser. llama-server uses a grammar."""
    if served.program == VLLM:
        with pytest.raises(openai.BadRequestError):
            served.ask(tools=TOOLS, **fields)
        return
    message = served.ask(tools=TOOLS, **fields).choices[0].message
    assert message.content or message.tool_calls


def test_a_stream_reports_its_usage(served: Served) -> None:
    """Budgets need it."""
    *_, last = served.ask(stream=True, stream_options={"include_usage": True}, max_tokens=5)
    assert last.usage.completion_tokens == 5
    assert last.usage.prompt_tokens > 5


def test_a_prompt_longer_than_the_context_gets_its_own_code(served: Served) -> None:
    """Each engine words this error differently."""
    with pytest.raises(openai.BadRequestError) as refused:
        served.ask("word " * 20_000)
    assert refused.value.code == "context_length_exceeded"


def test_log_probabilities_are_returned(served: Served) -> None:
    """As `SERVING_ENGINES` states."""
    tokens = served.ask(logprobs=True, top_logprobs=3, max_tokens=4).choices[0].logprobs.content
    assert len(tokens) == 4
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in tokens)


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_ends_no_vllm_engine(served: Served, name: str) -> None:
    """`test_hostile_requests.py` sends the same to llama.cpp."""
    if served.program != VLLM:
        pytest.skip("llama.cpp has its own test")
    headers = {"Authorization": f"Bearer {served.client.api_key}"}
    url = f"{served.client.base_url}chat/completions"
    began = time.monotonic()
    reply = httpx.post(url, json=BODIES[name](), headers=headers, timeout=120, trust_env=False)
    assert reply.status_code in (200, 400), reply.text[:200]
    assert time.monotonic() - began < HOSTILE_SECONDS
    assert served.ask("hello", max_tokens=4).choices

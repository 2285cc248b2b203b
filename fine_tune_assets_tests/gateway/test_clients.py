"""Unmodified clients (OpenAI, LangChain, curl) with a real gateway and a real engine."""

import json
import subprocess
from typing import Any

import jsonschema
import numpy as np
import openai
import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from fine_tune_assets.core.releases.release_folders import read_release
from fine_tune_assets.embeddings.encoder import bundled_encoder
from fine_tune_assets.ledger.audit.request_log import verify_requests
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets_tests.gateway.conftest import Installation
from fine_tune_assets_tests.ledger.ledger_rows import live_of

ASK: dict[str, Any] = {"model": "live", "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 6}
FINDING = {
    "type": "object",
    "properties": {"side": {"enum": ["left", "right"]}, "size": {"type": "integer"}},
    "required": ["side", "size"],
    "additionalProperties": False,
}


class Finding(BaseModel):
    side: str
    is_new: bool


@pytest.fixture(scope="module")
def key(installation: Installation) -> str:
    return create_key(installation.ledger, "everything", ["chat", "embed", "raw_completions", "system_prompt"]).secret


@pytest.fixture(scope="module")
def client(installation: Installation, key: str) -> openai.OpenAI:
    return installation.openai(key)


def test_a_stream_has_usage_only_on_request_and_equal_to_the_whole_answers(
    client: openai.OpenAI,
) -> None:
    """Budgets use these counts, so they must not depend on streaming."""
    whole = client.chat.completions.create(**ASK).usage
    plain = list(client.chat.completions.create(**ASK, stream=True))
    with_usage = list(client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))
    assert [chunk.usage for chunk in plain] == [None] * len(plain)
    used = with_usage[-1].usage
    assert with_usage[-1].choices == []
    # How many tokens the engine had in its cache depends on the slot, and is not counted.
    assert (used.prompt_tokens, used.completion_tokens) == (whole.prompt_tokens, whole.completion_tokens)
    assert whole.prompt_tokens > 10


def test_the_real_engine_enforces_a_schema(client: openai.OpenAI) -> None:
    """This model can hardly write JSON without the grammar."""
    form: Any = {"type": "json_schema", "json_schema": {"name": "finding", "schema": FINDING, "strict": True}}
    body = ASK | {"max_tokens": 60, "response_format": form}
    jsonschema.validate(json.loads(client.chat.completions.create(**body).choices[0].message.content), FINDING)
    text = "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(**body, stream=True))
    jsonschema.validate(json.loads(text), FINDING)


def test_the_engine_returns_log_probabilities(client: openai.OpenAI, installation: Installation) -> None:
    """Evaluation tools need them."""
    live = live_of(installation.ledger)
    release = read_release(installation.settings.layout.releases / live.release_id)
    assert release.engine == "llama_cpp"
    logprobs = client.chat.completions.create(**ASK, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert logprobs is not None
    assert len(logprobs.content[0].top_logprobs) == 2


def test_completions_equal_chat_answers_and_raw_ones_do_not(client: openai.OpenAI) -> None:
    """The prompt is a user turn, unless the request is raw and the key has the scope."""
    chat = client.chat.completions.create(**ASK).choices[0].message.content
    done = client.completions.create(model="live", prompt="Say yes.", max_tokens=6)
    assert (done.choices[0].text, done.object) == (chat, "text_completion")
    stream = list(client.completions.create(model="live", prompt="Say yes.", max_tokens=6, stream=True))
    assert "".join(chunk.choices[0].text for chunk in stream) == chat
    assert {chunk.choices[0].finish_reason for chunk in stream[:-1]} == {None}
    assert stream[-1].choices[0].finish_reason == done.choices[0].finish_reason
    assert done.choices[0].finish_reason in ("stop", "length")
    raw = client.completions.create(model="live", prompt="One, two, three,", max_tokens=4, extra_body={"raw": True})
    assert "four" in raw.choices[0].text
    assert raw.usage is not None
    streamed = client.completions.create(
        model="live", prompt="One, two, three,", max_tokens=4, stream=True, extra_body={"raw": True}
    )
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == raw.choices[0].text


def test_only_a_key_with_the_scope_can_send_a_system_message(client: openai.OpenAI, installation: Installation) -> None:
    """The release was judged with its own system prompt."""
    asked = ASK | {"messages": [{"role": "system", "content": "You are brief. " * 2}, *ASK["messages"]]}
    tokens = client.chat.completions.create(**asked).usage.prompt_tokens
    assert 2 < tokens - client.chat.completions.create(**ASK).usage.prompt_tokens < 8  # in its place, not besides
    with pytest.raises(openai.BadRequestError, match="system_prompt"):
        installation.openai().chat.completions.create(**asked)


def test_embeddings_equal_the_encoders_in_both_formats(client: openai.OpenAI) -> None:
    """OpenAI's client requests base64 by default."""
    texts = ["A cough for three weeks.", "A sore knee."]
    reply = client.embeddings.create(model="all-MiniLM-L6-v2", input=texts)
    plain = client.embeddings.create(model="all-MiniLM-L6-v2", input=texts, encoding_format="float")
    own = bundled_encoder().encode(texts)
    for answer in (reply, plain):
        assert np.abs(np.array([row.embedding for row in answer.data]) - own).max() < 1e-6
    assert reply.usage.prompt_tokens > 8
    for wrong in ("word " * 300, "", [1, 2], ["x"] * 257):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="all-MiniLM-L6-v2", input=wrong)
    assert "all-MiniLM-L6-v2" in [model.id for model in client.models.list()]


def test_langchain_chats_streams_embeds_and_gets_structured_output(installation: Installation, key: str) -> None:
    """As in the how-to."""
    url, secret = f"{installation.url}/v1", SecretStr(key)
    model = ChatOpenAI(model="live", base_url=url, api_key=secret, max_retries=0, max_completion_tokens=40)
    answer = model.invoke("Say yes.")
    assert answer.content
    assert answer.usage_metadata is not None
    assert "".join(str(chunk.content) for chunk in model.stream("Say yes.")) == answer.content
    found = model.with_structured_output(Finding, method="json_schema").invoke("A new lump on the left.")
    assert isinstance(found, Finding)
    embedder = OpenAIEmbeddings(
        model="all-MiniLM-L6-v2", base_url=url, api_key=secret, check_embedding_ctx_length=False
    )
    assert len(embedder.embed_query("A cough.")) == 384


def test_curl_streams(installation: Installation, key: str) -> None:
    """The simplest client."""
    command = ["curl", "-sN", "--noproxy", "*", f"{installation.url}/v1/chat/completions"]
    headers = ["-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json"]
    sent = ["-d", json.dumps(ASK | {"stream": True})]
    done = subprocess.run([*command, *headers, *sent], capture_output=True, text=True, check=True)
    assert done.stdout.count("data: {") > 2
    assert done.stdout.endswith("data: [DONE]\n\n")


def test_the_request_log_of_these_tests_is_an_intact_chain(installation: Installation) -> None:
    """Covers all requests of the tests above."""
    check = verify_requests(installation.ledger)
    assert check.is_intact
    assert check.entry_count > 0

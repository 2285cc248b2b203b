"""Hostile bodies against a real engine: each is answered or refused at once, and another caller is answered meanwhile."""

import contextlib
import json
import threading
import time
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fine_tune_assets.engines.processes import cpu_seconds
from fine_tune_assets.gateway.requests.enforceable_schemas import restrict_schema
from fine_tune_assets_tests.gateway.conftest import Installation
from fine_tune_assets_tests.gateway.hostile_bodies import BODIES, an_object, with_schema, words
from fine_tune_assets_tests.ledger.ledger_rows import live_of
from fine_tune_assets_tests.serving.tiny_releases import engine_process

pytestmark = pytest.mark.xdist_group("serving")
WAIT_SECONDS = 20
"""Generous: this is about minutes against seconds, on a machine that runs other tests."""


def ask_beside(installation: Installation, body: dict[str, Any]) -> tuple[httpx.Response, float, float]:
    """The reply, its seconds, and the seconds of another caller's request that begins a moment later."""
    other: list[float] = []

    def ask() -> None:
        time.sleep(0.2)
        began = time.monotonic()
        reply = installation.post("/v1/chat/completions", installation.correct_key, json=words(1, "hello"))
        assert reply.status_code == 200
        other.append(time.monotonic() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    began = time.monotonic()
    reply = installation.post("/v1/chat/completions", installation.chat_key, json=body)
    seconds = time.monotonic() - began
    thread.join()
    return reply, seconds, other[0]


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_ends_no_engine_and_delays_no_other_caller(installation: Installation, name: str) -> None:
    """Each of these ended the engine or kept it busy for minutes, here or in another engine."""
    reply, seconds, other = ask_beside(installation, BODIES[name]())
    assert reply.status_code in (200, 400), reply.text[:200]
    assert seconds < WAIT_SECONDS
    assert other < WAIT_SECONDS


TEXTS = st.text(
    st.sampled_from(list("ab \"\\'/{}[]:,%$.*é\U0001f600\ud7ff\u2028\x7f\t\n")) | st.characters(codec="utf-8"), max_size=6
)  # fmt: skip
CONSTANTS = st.lists(
    TEXTS | st.integers(-99, 99) | st.booleans() | st.none() | st.sampled_from([0.5, 1e20]), min_size=1, max_size=3
)
FEW = st.integers(0, 3)
LEAVES = st.one_of(
    st.builds(lambda values: {"enum": values}, CONSTANTS),
    st.builds(lambda values: {"const": values[0]}, CONSTANTS),
    st.sampled_from([{"type": kind} for kind in ("boolean", "null", "integer", "number")]),
    st.builds(lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more}, FEW, FEW),
    st.sampled_from([{"type": ["integer", "null"]}, {"$ref": "#/$defs/side"}]),
)  # fmt: skip
NODES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda items, low: {"type": "array", "items": items, "minItems": low, "maxItems": low + 1}, inner, FEW),
        st.builds(lambda parts: an_object(**parts), st.dictionaries(TEXTS, inner, min_size=1, max_size=2)),
    ),
    max_leaves=4,
)  # fmt: skip
SCHEMAS = st.builds(
    lambda parts: {**an_object(**parts), "$defs": {"side": {"enum": ["left", "right"]}}},
    st.dictionaries(TEXTS, NODES, min_size=1, max_size=3),
)


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(schema=SCHEMAS, temperature=st.sampled_from([0.0, 1.0, 2.0]))
def test_a_complete_answer_matches_the_callers_schema(
    installation: Installation, schema: dict[str, Any], temperature: float
) -> None:
    """Every keyword of the supported subset, with names and values that engines have confused: what the engine enforced is what
    `jsonschema` accepts. Schemas that are refused end nothing."""
    body = with_schema(schema, temperature=temperature, max_tokens=200, seed=1)
    reply = installation.post("/v1/chat/completions", installation.chat_key, json=body)
    assert reply.status_code in (200, 400), reply.text[:300]
    if reply.status_code == 400:
        assert reply.json()["error"]["code"] == "invalid_request"
        return
    choice = reply.json()["choices"][0]
    if choice["finish_reason"] == "stop":
        Draft202012Validator(restrict_schema(schema)).validate(json.loads(choice["message"]["content"]))
        Draft202012Validator(schema).validate(json.loads(choice["message"]["content"]))


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_engine_stops_working_when_the_caller_leaves(installation: Installation, is_stream: bool) -> None:
    """Otherwise a caller who starts long answers and leaves would keep every slot busy."""
    identity = engine_process(installation.settings, live_of(installation.ledger).deployment_id)
    body = {"messages": [{"role": "user", "content": "Count to a million."}], "max_tokens": 1500, "stream": is_stream}
    headers = {"Authorization": f"Bearer {installation.chat_key}"}
    url = f"{installation.url}/v1/chat/completions"
    with contextlib.suppress(httpx.TimeoutException), httpx.Client(timeout=2, trust_env=False) as client:
        began = time.monotonic()
        with client.stream("POST", url, json=body, headers=headers) as reply:
            for _ in reply.iter_raw():
                if time.monotonic() - began > 1:
                    break
    time.sleep(1)
    before = cpu_seconds(identity)
    time.sleep(2)
    assert cpu_seconds(identity) - before < 0.5

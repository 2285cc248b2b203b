"""The gate for identifiers in answers. The fake detector finds the name Zyxomark; `test_the_real_detector` uses the scrubber."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.answers import identifier_detector
from fine_tune_assets.gateway.answers.identifier_detector import Detector
from fine_tune_assets.gateway.answers.identifier_filter import (
    AnswerBlockedError,
    AnswerGate,
    create_gate,
    filter_stream,
)
from fine_tune_assets.recipes.schema import ScrubberSettings
from fine_tune_assets_tests.gateway.answers.answering import Answering, Engine, answering, outcomes_of
from fine_tune_assets_tests.gateway.answers.looking import SCRUB, Looking
from fine_tune_assets_tests.serving.load import wait


def chunk(text: str | None, **more: Any) -> bytes:
    delta = {} if text is None else {"content": text}
    return json.dumps({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None} | more]}).encode()


END = chunk(None, finish_reason="stop")


async def _each(payloads: list[bytes]) -> AsyncIterator[bytes]:
    for payload in payloads:
        yield payload


def through(mode: str, payloads: list[bytes], detector: Looking) -> tuple[list[Any], int | None, bool]:
    """The released events, the recorded count, and whether the gate closed."""
    record, out = SimpleNamespace(identifiers=None), list[Any]()

    async def run() -> bool:
        try:
            async for payload in filter_stream(_each(payloads), AnswerGate(mode, detector), "asked", record):
                out.append(payload if payload == b"[DONE]" else json.loads(payload))
        except AnswerBlockedError:
            return True
        return False

    return out, *(lambda closed: (record.identifiers, closed))(asyncio.run(run()))


def text_of(out: list[Any]) -> str:
    return "".join(c["delta"].get("content") or "" for p in out if p != b"[DONE]" for c in p["choices"])


def test_a_blocking_gate_releases_a_stream_sentence_by_sentence() -> None:
    """The text is complete, in larger pieces; the final event comes last."""
    first = json.dumps({"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]}).encode()
    texts = ["The ", "knee. It ", "is so", "re. ", "Rest"]
    out, found, is_closed = through("block", [first, *map(chunk, texts), END, b"[DONE]"], Looking())
    assert (text_of(out), found, is_closed) == ("The knee. It is sore. Rest", 0, False)
    assert [p["choices"][0]["delta"].get("content") for p in out[1:4]] == ["The knee. ", "It is sore. ", "Rest"]
    assert out[-2]["choices"][0]["finish_reason"] == "stop"
    assert out[-1] == b"[DONE]"


def test_a_name_and_everything_after_it_is_blocked() -> None:
    """Also if the name arrives in pieces."""
    texts = ["The knee. ", "Seen by Zyx", "omark. ", "More. "]
    out, found, is_closed = through("block", [*map(chunk, texts), END, b"[DONE]"], Looking())
    assert (text_of(out), found, is_closed) == ("The knee. ", 1, True)
    assert END not in out


def test_a_stream_ends_after_the_last_scanned_sentence_if_the_scan_fails() -> None:
    """Nothing that was not scanned is released, also not the events that wait for the end."""
    detector = Looking()

    async def payloads() -> AsyncIterator[bytes]:
        yield chunk("The knee. ")
        detector.is_ready = False
        for text in ("It is sore. ", "Rest. "):
            yield chunk(text)
        yield END

    record, out = SimpleNamespace(identifiers=None), list[Any]()

    async def run() -> None:
        async for payload in filter_stream(payloads(), AnswerGate("block", detector), "asked", record):
            out.append(json.loads(payload))

    with pytest.raises(AnswerBlockedError):
        asyncio.run(run())
    assert (text_of(out), record.identifiers) == ("The knee. ", None)


def _load_broken(_: ScrubberSettings) -> None:
    """The scrubber of this worker fails on each text."""
    identifier_detector._scrubber = object()


def test_a_scan_that_fails_for_any_reason_counts_as_no_scan() -> None:
    async def run() -> int | None:
        detector = Detector(SCRUB, _load_broken)
        task = asyncio.create_task(detector.keep_ready())
        async with asyncio.timeout(60):
            while not detector.is_ready:
                await asyncio.sleep(0.05)
        found = await detector.count("The knee is sore.", "")
        task.cancel()
        detector.close()
        return found

    assert asyncio.run(run()) is None


def test_text_without_sentence_ends_is_released_in_parts() -> None:
    """Otherwise a list without full stops would arrive only at its end."""
    texts = ["word " * 10] * 30
    out, _, _ = through("block", [*map(chunk, texts), END], Looking())
    assert text_of(out) == "word " * 300
    assert len(out) > 2


def test_tool_calls_log_probabilities_and_reasoning_can_not_bypass_the_gate() -> None:
    """Any of them can contain a name."""
    call = chunk(None, delta={"tool_calls": [{"index": 0, "function": {"arguments": '{"a": "Zyxomark"}'}}]})
    assert through("block", [call, END, b"[DONE]"], Looking()) == ([], 1, True)
    thought = chunk(None, delta={"reasoning": "Zyxomark"}, logprobs={"content": [{"token": "Zyxomark"}]})
    out, _, is_closed = through("block", [thought, chunk("Yes. "), END, b"[DONE]"], Looking())
    assert "Zyxomark" not in repr(out)
    assert not is_closed
    last = chunk("by Zyxomark", finish_reason="length")
    assert through("block", [chunk("Seen. "), last], Looking())[1:] == (1, True)


def test_flagged_streams_are_relayed_and_the_last_event_reports_the_count() -> None:
    """Without a scan the count is null, not 0."""
    payloads = [chunk("By Zyx"), chunk("omark."), END, b"[DONE]"]
    out, found, _ = through("flag", payloads, Looking())
    assert (text_of(out), found, out[-2]["identifiers_found"], out[-1]) == ("By Zyxomark.", 1, 1, b"[DONE]")
    out, found, is_closed = through("flag", payloads, Looking(is_ready=False))
    assert (found, out[-2]["identifiers_found"], is_closed) == (None, None, False)


WHOLE = {"choices": [{"index": 0, "message": {"content": "By Zyxomark."}, "finish_reason": "stop"}]}
STREAM = b"".join(b"data: " + p + b"\n\n" for p in (chunk("Knee. "), chunk("By Zyxomark."), END, b"[DONE]"))


@pytest.fixture(params=["flag", "block"])
def gated(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    detector, engine = Looking(), Engine()
    # Replaces the real detector.
    monkeypatch.setattr(
        "fine_tune_assets.gateway.gateway_app.create_gate", lambda _: AnswerGate(request.param, detector)
    )
    with answering(Answering, tmp_path, engine, scopes=["chat"], gateway={"answer_phi": request.param}) as made:

        def ask(content: str = "Who?", stream: bool = False) -> Any:
            engine.body = STREAM if stream else json.dumps(WHOLE).encode()
            body = {"messages": [{"role": "user", "content": content}], "stream": stream}
            return made.client.post("/v1/chat/completions", json=body)

        yield SimpleNamespace(mode=request.param, ask=ask, detector=detector, **vars(made))


def test_whole_answers_are_flagged_or_blocked(gated: Any) -> None:
    """Identifiers in the question may be repeated."""
    reply = gated.ask()
    if gated.mode == "flag":
        assert (reply.status_code, reply.headers["x-identifiers-found"]) == (200, "1")
    else:
        assert (reply.status_code, reply.json()["error"]["code"]) == (422, "identifiers_found")
        assert "Zyxomark" not in reply.text
    reply = gated.ask("Who is Zyxomark?")
    assert (reply.status_code, reply.headers["x-identifiers-found"]) == (200, "0")


def test_streams_are_flagged_or_end_with_an_error(gated: Any) -> None:
    """An incomplete answer must not look complete."""
    reply = gated.ask(stream=True)
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    if gated.mode == "flag":
        assert (events[-1]["identifiers_found"], reply.text[-8:-2]) == (1, "[DONE]")
    else:
        assert events[-1]["error"]["code"] == "identifiers_found"
        assert "Zyxomark" not in reply.text
        assert "Knee." in reply.text
        assert "[DONE]" not in reply.text
    # The automatic rollback uses this count.
    found = outcomes_of(gated.ledger, gated.live)
    assert (found.answered, found.failed, found.identifier_count) == (1, 0, 1)


def test_without_a_detector_the_gate_blocks_or_reports_not_checked(gated: Any) -> None:
    """A gate without evidence stays closed, and the engine is not called."""
    gated.detector.is_ready = False
    assert gated.client.get("/ready").status_code == 503
    reply = gated.ask()
    if gated.mode == "flag":
        assert (reply.status_code, reply.headers["x-identifiers-found"]) == (200, "not checked")
    else:
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "identifiers_not_checked")
        assert gated.engine.asked == 0
    gated.detector.is_ready = True
    wait(lambda: gated.client.get("/ready").status_code == 200, 60)  # the encoder may still load


def test_an_unknown_mode_or_a_missing_recipe_is_refused() -> None:
    """A misspelt `block` must not disable the gate."""
    with pytest.raises(SettingsError, match="off, flag, block"):
        create_gate(Settings(gateway={"answer_phi": "blok"}))
    with pytest.raises(SettingsError, match=r"/nowhere\.yaml"):
        create_gate(Settings(gateway={"answer_phi": "block"}, recipe="/nowhere.yaml"))


def _load_nothing(_: ScrubberSettings) -> None:
    """An empty text needs no scrubber."""


def test_a_hung_detector_is_replaced_and_a_busy_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise, with `block`, the gateway would refuse every answer until a restart."""
    monkeypatch.setattr(identifier_detector, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(identifier_detector, "SCAN_TIMEOUT_SECONDS", 1.0)

    async def run() -> None:
        detector = Detector(SCRUB, _load_nothing)
        task = asyncio.create_task(detector.keep_ready())

        async def ready() -> int:
            async with asyncio.timeout(60):
                while not detector.is_ready:
                    await asyncio.sleep(0.05)
            return detector._worker

        first = await ready()
        assert await detector.count("", "") == 0
        os.kill(first, signal.SIGSTOP)
        assert await asyncio.gather(detector.count("", ""), detector.count("", "")) == [None, None]
        second = await ready()
        assert second != first
        assert await detector.count("", "") == 0
        assert not Path(f"/proc/{first}").exists() or "Z" in Path(f"/proc/{first}/stat").read_text(encoding="utf-8")
        # The worker is busy with other answers, so it stays.
        assert detector._pool is not None
        ahead = [detector._pool.submit(time.sleep, 0.7) for _ in range(3)]
        waiting = asyncio.create_task(detector.count("", ""))
        await asyncio.wrap_future(ahead[0])
        detector._answered_at = time.monotonic()
        assert await waiting is None
        assert (detector.is_ready, detector._worker) == (True, second)
        task.cancel()
        detector.close()

    asyncio.run(run())


@pytest.mark.slow
def test_the_real_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds a name and a number, ignores those in the prompt, and restarts after a kill."""
    monkeypatch.setattr(identifier_detector, "_RETRY_SECONDS", 0.2)

    async def run() -> None:
        detector = Detector(SCRUB)
        assert await detector.count("x", "") is None
        task = asyncio.create_task(detector.keep_ready())

        async def ready() -> None:
            deadline = time.monotonic() + 240
            while not detector.is_ready:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)

        await ready()
        text = "Mrs. Margaret Holloway was seen on Monday. Call 617-555-0142."
        assert await detector.count(text, "") == 2
        assert await detector.count(text, "Margaret Holloway, phone 617-555-0142") == 0
        assert await detector.count("The knee is sore.", "") == 0
        assert detector._pool is not None
        os.kill(next(iter(detector._pool._processes)), signal.SIGKILL)
        assert await detector.count(text, "") is None
        assert not detector.is_ready
        await ready()
        assert await detector.count(text, "") == 2
        task.cancel()
        detector.close()

    asyncio.run(run())

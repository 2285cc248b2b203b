import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fine_tune_assets.engines.llama_cpp import start_engine
from fine_tune_assets.engines.running import (
    CONFIG,
    LOG,
    PROCESS,
    EngineError,
    RunningEngine,
    adopt_engine,
    engine_environment,
    is_healthy,
    stop_engine,
    wait_until_healthy,
    warm_up,
)
from fine_tune_assets_tests.serving.tiny import tiny_gguf

MISLEADING = {
    "HOST": "0.0.0.0", "PORT": "1", "API_KEY": "known", "CHAT_FORMAT": "alpaca", "LORA_PATH": "/tmp/other-weights",
    "HF_MODEL_REPO_ID": "somebody/else", "clip_model_path": "/tmp/other-clip",
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """Started with variables in the environment that would open it to everybody, or change what it answers."""
    patch = pytest.MonkeyPatch()
    for name, value in MISLEADING.items():
        patch.setenv(name, value)
    started = start_engine(tiny_gguf(), "r-1", tmp_path_factory.mktemp("engine"), threads=2, die_with_parent=True)
    patch.undo()
    wait_until_healthy(started, timeout_seconds=60)
    yield started
    stop_engine(started, grace_seconds=5)


def test_it_answers_with_a_real_completion(engine: RunningEngine) -> None:
    """Warm is more than healthy: the weights have been through the processor once."""
    assert is_healthy(engine)
    warm_up(engine, "You are brief.", timeout_seconds=60)


def test_it_refuses_whoever_has_not_its_key(engine: RunningEngine) -> None:
    """Every user of the machine can reach loopback."""
    body = {"model": "r-1", "messages": [{"role": "user", "content": "hi"}]}
    for headers in ({}, {"Authorization": "Bearer known"}):
        reply = httpx.post(f"{engine.url}/chat/completions", json=body, headers=headers, trust_env=False)
        assert reply.status_code == 401


def test_it_listens_on_loopback_only_whatever_the_environment_says(engine: RunningEngine) -> None:
    """The server believes HOST and PORT more than its config file."""
    with socket.socket() as probe:
        probe.settimeout(2)
        assert probe.connect_ex(("127.0.0.2", httpx.URL(engine.url).port)) != 0


def test_the_environment_cant_change_what_a_verified_release_answers(engine: RunningEngine) -> None:
    """The server reads every setting that its config file leaves out from the environment: a template, other weights."""
    lines = Path(f"/proc/{engine.identity.pid}/environ").read_text().split("\0")
    names = {line.partition("=")[0] for line in lines}
    assert "PATH" in names
    assert not names & set(MISLEADING)


def test_what_an_engine_is_given_is_no_setting_of_the_server() -> None:
    """The server's next version may know more settings."""
    from llama_cpp.server.settings import ModelSettings, ServerSettings

    settings = {name.upper() for name in (*ModelSettings.model_fields, *ServerSettings.model_fields)}
    given = engine_environment(dict.fromkeys(settings, "x") | os.environ)
    assert not settings & {name.upper() for name in given}


def test_it_keeps_no_probabilities_that_nobody_asks_for(engine: RunningEngine) -> None:
    """Of every token of a prompt they take a gigabyte with Llama 3; only a judge needs them."""
    body = {
        "model": "r-1",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 1,
        "logprobs": True,
        "top_logprobs": 1,
    }
    headers = {"Authorization": f"Bearer {engine.api_key}"}
    reply = httpx.post(f"{engine.url}/chat/completions", json=body, headers=headers, trust_env=False, timeout=60)
    assert "logits_all=False" in reply.text


def test_its_key_is_in_a_private_file_and_not_on_the_command_line(engine: RunningEngine) -> None:
    """The command line of a process is visible to every user."""
    command = Path(f"/proc/{engine.identity.pid}/cmdline").read_text()
    assert engine.api_key not in command
    assert engine.api_key not in engine.log.read_text()
    for name in (CONFIG, LOG):
        assert stat.S_IMODE((engine.folder / name).stat().st_mode) == 0o600


def test_it_is_found_again_by_its_folder(engine: RunningEngine) -> None:
    """A supervisor that was restarted goes on with the engines that answer users now."""
    adopted = adopt_engine(engine.folder)
    assert adopted is not None
    assert (adopted.url, adopted.api_key, adopted.alias) == (engine.url, engine.api_key, "r-1")
    assert is_healthy(adopted)


def test_one_that_dies_while_starting_says_so_with_its_log(tmp_path: Path) -> None:
    """Waiting ten minutes for a file that is no model helps nobody."""
    model = tmp_path / "model.gguf"
    model.write_bytes(b"not a model")
    engine = start_engine(model, "r-2", tmp_path / "engine", threads=1, die_with_parent=True)
    with pytest.raises(EngineError, match=r"ended while starting.*engine\.log"):
        wait_until_healthy(engine, timeout_seconds=60)
    assert (tmp_path / "engine" / LOG).read_text()
    assert adopt_engine(tmp_path / "engine") is None
    stop_engine(engine, grace_seconds=1)


def test_one_that_takes_too_long_and_one_that_hangs_are_ended(tmp_path: Path) -> None:
    """A stopped process does not hear SIGTERM; it must be gone all the same, and its key with it."""
    engine = start_engine(tiny_gguf(), "r-3", tmp_path, threads=1, die_with_parent=True)
    os.kill(engine.identity.pid, signal.SIGSTOP)
    with pytest.raises(EngineError, match="not up after"):
        wait_until_healthy(engine, timeout_seconds=0.2)
    stop_engine(engine, grace_seconds=0.5)
    assert not engine.is_alive
    assert not (tmp_path / CONFIG).exists()
    assert not (tmp_path / PROCESS).exists()
    stop_engine(engine, grace_seconds=0.5)

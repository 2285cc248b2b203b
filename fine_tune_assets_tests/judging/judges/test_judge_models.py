"""Servers that are started for a judge with a local model."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fine_tune_assets.core.prompts.chat_templates import ChatTemplate
from fine_tune_assets.engines.chat_client import ChatClient, ChatPrompt, ChatServer
from fine_tune_assets.engines.gguf_header import read_gguf_template
from fine_tune_assets.engines.running_server import CONFIG_FILE, EngineError, stop_engine
from fine_tune_assets.judging.judges.judge_models import FolderModel, weights_bytes
from fine_tune_assets_tests.judging.chat_server import MODEL, ChatServerOfATest, completion
from fine_tune_assets_tests.serving.tiny_releases import tiny_gguf
from fine_tune_assets_tests.training.model_families import FAMILIES


def _model(folder: Path, llama_server: str = "") -> FolderModel:
    path = folder / "judge.gguf"
    path.write_bytes(b"GGUF")  # the content does not matter here
    return FolderModel(
        path,
        folder / "run",
        vllm_python=Path(),
        context_tokens=512,
        threads=1,
        llama_server=llama_server,
        concurrency=1,
    )


def test_all_layers_of_a_model_file_are_offloaded_to_the_gpu(tmp_path: Path) -> None:
    """On the CPU, a 14B model needs minutes per grade while the GPU is idle."""
    model, run_folder = _model(tmp_path), tmp_path / "run"
    engine = model.start_engine(run_folder)
    try:
        config = json.loads((run_folder / CONFIG_FILE).read_text())
    finally:
        stop_engine(engine, grace_seconds=5)
    assert (config["model"], config["n-gpu-layers"]) == (str(model.path), -1)


def test_a_model_file_is_served_by_the_configured_llama_server(tmp_path: Path) -> None:
    """The bundled server uses the CPU; a judge on a GPU needs a build for that GPU."""
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o700)
    engine = _model(tmp_path, str(program)).start_engine(tmp_path / "run")
    try:
        command = psutil.Process(engine.identity.pid).cmdline()
    finally:
        stop_engine(engine, grace_seconds=5)
    assert str(program) in command
    assert str(tmp_path / "judge.gguf") in command


def test_a_missing_llama_server_raises_before_judging(tmp_path: Path) -> None:
    """It is not replaced by the bundled server, which would take days instead of hours."""
    with pytest.raises(EngineError):
        _model(tmp_path, str(tmp_path / "none")).start_engine(tmp_path / "run")


def test_the_size_of_a_judge_is_that_of_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model-1.safetensors").write_bytes(bytes(10))
    (tmp_path / "model-2.safetensors").write_bytes(bytes(20))
    (tmp_path / "tokenizer.json").write_text("{}")
    assert weights_bytes(tmp_path) == 30
    (tmp_path / "model.gguf").write_bytes(bytes(5))
    assert weights_bytes(tmp_path / "model.gguf") == 5
    assert weights_bytes(tmp_path / "none") is None


def test_a_judge_that_would_reason_first_is_served_with_a_template_that_does_not(tmp_path: Path) -> None:
    """Its first token would be `<think>`, never yes or no."""
    folder = FAMILIES["qwen3"].write(tmp_path / "qwen3")
    (folder / "config.json").write_text("{}")
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nsleep 60\n")
    python.chmod(0o700)
    model = FolderModel(
        folder, tmp_path / "run", vllm_python=python, context_tokens=512, threads=1, llama_server="", concurrency=1
    )
    engine = model.start_engine(tmp_path / "run")
    try:
        command = psutil.Process(engine.identity.pid).cmdline()
    finally:
        stop_engine(engine, grace_seconds=5)
    template = Path(command[command.index("--chat-template") + 1])
    rendered = ChatTemplate(template.read_text(), {}).render([{"role": "user", "content": "Is it so?"}], True).text
    assert rendered.endswith("<think>\n\n</think>\n\n")
    assert replace(model, template_kwargs={"enable_thinking": True}).identity != model.identity


def test_the_chat_template_of_a_model_file_is_read_from_its_header() -> None:
    """Beyond its vocabulary."""
    assert "<|im_start|>" in read_gguf_template(tiny_gguf())


def test_an_endpoint_gets_the_variables_of_its_template() -> None:
    """vLLM and llama.cpp read them from each request."""
    with ChatServerOfATest(lambda _: completion("Yes")).running() as server:
        named = ChatServer(server.url, "", MODEL, template_kwargs={"enable_thinking": False})
        with closing(ChatClient(named)) as client:
            client.complete(ChatPrompt([{"role": "user", "content": "Is it so?"}], 1, 0.0, seed=0))
    assert server.posts[-1]["chat_template_kwargs"] == {"enable_thinking": False}

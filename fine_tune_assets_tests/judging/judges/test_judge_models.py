"""What is started for a judge that is a local model."""

import json
from pathlib import Path

import psutil
import pytest

from fine_tune_assets.engines.running_server import CONFIG, EngineError, stop_engine
from fine_tune_assets.judging.judges.judge_models import FolderModel


def _model(folder: Path, llama_server: str = "") -> FolderModel:
    path = folder / "judge.gguf"
    path.write_bytes(b"GGUF")  # what the server makes of it does not matter here
    return FolderModel(
        path, folder / "run", vllm_python=Path(), context_tokens=512, threads=1, llama_server=llama_server, parallel=1
    )


def test_a_model_file_is_given_to_the_gpu_whole(tmp_path: Path) -> None:
    """On the processor a 14B model needs minutes a grade, beside a GPU that has nothing to do."""
    model, run_folder = _model(tmp_path), tmp_path / "run"
    engine = model.start_in(run_folder)
    try:
        told = json.loads((run_folder / CONFIG).read_text())
    finally:
        stop_engine(engine, grace_seconds=5)
    assert (told["model"], told["n-gpu-layers"]) == (str(model.path), -1)


def test_a_model_file_is_served_by_the_llama_server_of_the_settings(tmp_path: Path) -> None:
    """The bundled one computes on the processor: a judge on a GPU needs a build for that GPU."""
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o700)
    engine = _model(tmp_path, str(program)).start_in(tmp_path / "run")
    try:
        command = psutil.Process(engine.identity.pid).cmdline()
    finally:
        stop_engine(engine, grace_seconds=5)
    assert str(program) in command
    assert str(tmp_path / "judge.gguf") in command


def test_a_llama_server_that_is_not_there_is_said_before_judging(tmp_path: Path) -> None:
    """Not replaced by the bundled one, which would take days for what was planned for a GPU."""
    with pytest.raises(EngineError):
        _model(tmp_path, str(tmp_path / "none")).start_in(tmp_path / "run")

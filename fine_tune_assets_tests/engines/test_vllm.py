"""How vLLM is started: offline, from its own environment, with supported adapters.

The server is not installed in this environment; `make bench-judge` runs it."""

import json
import socket
from pathlib import Path

import pytest

from fine_tune_assets.core.settings import VllmSettings
from fine_tune_assets.engines.running_server import EngineError, stop_engine
from fine_tune_assets.engines.vllm import _internal_sockets, limit_context, start_vllm, vllm_command
from fine_tune_assets_tests.serving.load import wait

PYTHON = Path("/opt/vllm/bin/python")


def _adapter(folder: Path, **config: object) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_no_secret_is_on_the_command_line(tmp_path: Path) -> None:
    """Other users can list processes and read their command lines."""
    command = vllm_command(PYTHON, tmp_path, "judge", 4096, "auto", {})
    assert command[:3] == [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server"]
    assert not any("key" in word or "trust" in word for word in command)
    assert "--enable-lora" not in command


def test_adapters_are_served_by_name_with_room_for_the_largest_rank(tmp_path: Path) -> None:
    adapters = {"candidate": _adapter(tmp_path / "a", r=12), "incumbent": _adapter(tmp_path / "b", r=4)}
    command = vllm_command(PYTHON, tmp_path, "base", 4096, "bfloat16", adapters)
    assert command[command.index("--max-lora-rank") + 1] == "16"
    assert command[-2:] == [f"candidate={tmp_path / 'a'}", f"incumbent={tmp_path / 'b'}"]


def test_a_server_for_users_finishes_answers_at_shutdown_and_loads_no_adapters(tmp_path: Path) -> None:
    """vLLM's default aborts running answers; and a release is one set of weights."""
    options = VllmSettings(tensor_parallel=2, pipeline_parallel=4, speculative_tokens=3)
    command = vllm_command(PYTHON, tmp_path, "r-1", 4096, "auto", {}, options)
    assert int(command[command.index("--shutdown-timeout") + 1]) > 0
    assert command[command.index("--tensor-parallel-size") + 1] == "2"
    assert command[command.index("--pipeline-parallel-size") + 1] == "4"
    assert json.loads(command[command.index("--speculative-config") + 1])["num_speculative_tokens"] == 3
    assert {"--enable-prefix-caching", "--no-enable-log-requests", "--enable-auto-tool-choice"} <= set(command)
    # The gateway advertises these; gateway/test_engine_forms.py tests them.
    assert command[command.index("--tool-call-parser") + 1] == "xlam"
    assert json.loads(command[command.index("--structured-outputs-config") + 1])["disable_any_whitespace"] is True
    assert "--enable-lora" not in command
    assert "--speculative-config" not in vllm_command(PYTHON, tmp_path, "r-1", 4096, "auto", {}, VllmSettings())


@pytest.mark.parametrize("config", [{"r": 8, "use_dora": True}, {"r": 1024}, {"r": 8, "rank_pattern": {"q_proj": 600}}])
def test_an_unsupported_adapter_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    """Applied in part, it would be another model."""
    adapters = {"candidate": _adapter(tmp_path / "a", **config)}
    with pytest.raises(EngineError, match=r"judge\.engine: transformers"):
        vllm_command(PYTHON, tmp_path, "base", 4096, "bfloat16", adapters)


def test_a_missing_environment_is_reported_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="FINE_TUNE_VLLM_PYTHON"):
        start_vllm(tmp_path / "none", tmp_path, "judge", tmp_path / "run", context_tokens=4096)
    assert not (tmp_path / "run").exists()


def test_it_gets_its_cache_size_and_sends_no_usage_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's default takes half of the memory; and our packages and settings must not reach its environment."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nenv > part; mv part seen\nexec sleep 60\n")
    python.chmod(0o700)
    for name, value in {"PYTHONPATH": "/ours", "PYTHONHOME": "/ours", "VLLM_NO_USAGE_STATS": "0"}.items():
        monkeypatch.setenv(name, value)
    options, folder = VllmSettings(kv_cache_gb=7), tmp_path / "run"
    engine = start_vllm(python, tmp_path, "r-1", folder, context_tokens=64, socket=tmp_path / "e.sock", serving=options)
    try:
        wait((folder / "seen").is_file, 30)
    finally:
        stop_engine(engine, 1, kill=True)
    variables = dict(line.split("=", 1) for line in (folder / "seen").read_text().splitlines() if "=" in line)
    assert (variables["VLLM_CPU_KVCACHE_SPACE"], variables["VLLM_API_KEY"]) == ("7", engine.api_key)
    assert (variables["VLLM_NO_USAGE_STATS"], variables["DO_NOT_TRACK"], variables["HF_HUB_OFFLINE"]) == ("1", "1", "1")
    assert not {"PYTHONPATH", "PYTHONHOME", "TQDM_DISABLE"} & variables.keys()


def test_its_processes_connect_to_each_other_in_the_run_folder(short_path: Path) -> None:
    """In `/tmp`, whose names other users see, and with the host's address they would be reachable by others. A long path is not
    possible."""
    left, folder = short_path / "run" / "left", short_path / "run"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(left))
    assert _internal_sockets(folder) == {"VLLM_HOST_IP": "127.0.0.1", "VLLM_RPC_BASE_PATH": str(folder)}
    assert not left.exists()
    assert _internal_sockets(short_path / ("long" * 30)) == {"VLLM_HOST_IP": "127.0.0.1"}


def test_the_context_is_limited_to_the_models(tmp_path: Path) -> None:
    """vLLM refuses to start with a longer one."""
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 2048}')
    assert limit_context(tmp_path, 9000) == 2048
    assert limit_context(tmp_path, 900) == 900
    assert limit_context(tmp_path / "none", 900) == 900

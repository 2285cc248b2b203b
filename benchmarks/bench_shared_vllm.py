"""Memory and speed of vLLM for two product lines: merged weights for each in a process of its own, or an adapter each in one.

    bench_shared_vllm.py VLLM_PYTHON [MODEL]

MODEL is a Hugging Face folder or a GGUF file; without it, the bundled SmolLM2-135M. Adapters are random (rank 16, attention
layers), since only memory and speed count, and the base model stands for merged weights. Memory is the proportional share (PSS)
of all processes.
"""

import argparse
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.settings import VllmSettings
from fine_tune_assets.engines.adapter_server import start_adapter_server
from fine_tune_assets.engines.listen_addresses import new_socket_path, open_client
from fine_tune_assets.engines.running_server import RunningEngine, stop_engine, wait_until_healthy
from fine_tune_assets.engines.shared_vllm import SharedEngine
from fine_tune_assets.engines.vllm import start_vllm
from fine_tune_assets.merging.served_adapter import write_served_adapter

RANK, LAYERS = 16, ("q_proj", "k_proj", "v_proj", "o_proj")
SETTINGS, CONTEXT_TOKENS, ANSWER_TOKENS = (
    VllmSettings(kv_cache_gb=1, parallel=8, max_adapters=2, max_lora_rank=RANK),
    2048,
    64,
)
PROMPT = "The patient was admitted with a cough and fever that had lasted for three days. " * 24
START_SECONDS = 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", type=Path)
    parser.add_argument("model", type=Path, nargs="?")
    given = parser.parse_args()
    go_offline()
    with tempfile.TemporaryDirectory(prefix="vllm-") as scratch:
        root = Path(scratch)
        base = _find_folder(given.model, root / "base")
        adapters = [_random_adapter(base, root / f"adapter-{number}", number) for number in range(2)]
        python = given.python.absolute()
        rows = [
            {"way": name, **_measure(root / f"way-{place}", python, base, lines)}
            for place, (name, lines) in enumerate(
                {
                    "one line, merged": [None],
                    "two lines, merged": [None, None],
                    "one line, adapter": adapters[:1],
                    "two lines, adapters": adapters,
                }.items()
            )
        ]
    _show(rows, "SmolLM2-135M-Instruct" if given.model is None else given.model.name)


def _find_folder(model: Path | None, folder: Path) -> Path:
    from fine_tune_assets.training.base_models.gguf_files import convert_gguf
    from fine_tune_assets.training.base_models.registration import import_bundled_model

    if model is None:
        return import_bundled_model(folder)
    if model.is_dir():
        return model
    folder.mkdir()
    convert_gguf(model, folder)
    return folder


def _random_adapter(base: Path, folder: Path, seed: int) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model

    from fine_tune_assets.engines.transformers_models import load_model

    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=RANK, lora_alpha=RANK, target_modules=list(LAYERS), init_lora_weights=False
    )
    model: Any = get_peft_model(load_model(base), config)
    trained = folder.with_suffix(".trained")
    model.save_pretrained(trained)
    folder.mkdir()
    write_served_adapter(trained, base, folder)
    shutil.rmtree(trained)
    return folder


def _measure(folder: Path, python: Path, base: Path, lines: Sequence[Path | None]) -> dict[str, Any]:
    began = time.monotonic()
    with _running(folder, python, base, lines) as engines:
        started = time.monotonic() - began
        for engine in engines:
            _ask(engine)
        first, alone = _ask(engines[0])
        together = _ask_at_once(engines)
        memory = sum(map(_pss_mib, set().union(*map(_list_processes, engines))))
    return {
        "start_seconds": round(started),
        "memory_mib": round(memory),
        "first_token_seconds": round(first, 2),
        "answer_tokens_per_second": round(alone, 1),
        "tokens_per_second_of_all_lines": round(together, 1),
    }


@contextmanager
def _running(folder: Path, python: Path, base: Path, lines: Sequence[Path | None]) -> Iterator[list[RunningEngine]]:
    started: list[RunningEngine] = []
    root = folder / "s"
    shared = SharedEngine(root / "v", root, base, python, CONTEXT_TOKENS, SETTINGS)
    try:
        for number, adapter in enumerate(lines):
            own, socket = folder / str(number), new_socket_path(folder / "sockets")
            name = f"line-{number}"
            started.append(
                start_vllm(python, base, name, own, context_tokens=CONTEXT_TOKENS, socket=socket, serving=SETTINGS)
                if adapter is None
                else start_adapter_server(shared, adapter, name, own, socket)
            )
            wait_until_healthy(started[-1], START_SECONDS)
        yield started
    finally:
        for engine in started:
            stop_engine(engine, 120)


def _ask(engine: RunningEngine) -> tuple[float, float]:
    """Seconds to the first token, and tokens per second after it. A new beginning, so that no prompt is cached."""
    text = f"{time.monotonic_ns()} {PROMPT}"
    body = {
        "model": engine.alias,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": ANSWER_TOKENS,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
    }
    began, times = time.monotonic(), list[float]()
    with (
        open_client(engine.url, engine.api_key, 900) as client,
        client.stream("POST", "chat/completions", json=body) as reply,
    ):
        for line in reply.iter_lines():
            if '"content"' in line:
                times.append(time.monotonic())
    return times[0] - began, (ANSWER_TOKENS - 1) / (times[-1] - times[0])


def _ask_at_once(engines: Sequence[RunningEngine]) -> float:
    """Answer tokens per second of all engines together, each with one request."""
    threads = [threading.Thread(target=_ask, args=(engine,)) for engine in engines]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(engines) * ANSWER_TOKENS / (time.monotonic() - began)


def _list_processes(engine: RunningEngine) -> set[int]:
    """The server's process and the session of the process that computes."""
    session = engine.computing_process.pid
    return {engine.identity.pid} | {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and os.getsid(int(entry.name)) == session
    }


def _pss_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _show(rows: list[dict[str, Any]], model: str) -> None:
    table = Table(*(name.replace("_", " ") for name in rows[0]), title=f"vLLM for two product lines, {model}")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
    print(json.dumps({"model": model, "cores": os.cpu_count(), "context_tokens": CONTEXT_TOKENS, "rows": rows}))


if __name__ == "__main__":
    main()

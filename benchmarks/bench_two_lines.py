"""Memory and speed of the engines of two product lines: merged weights for each, or an adapter for each on one base model.

    bench_two_lines.py [MODEL.gguf]

Without a model: the bundled SmolLM2-135M. The adapters are random (rank 16, attention layers), since only memory and speed count.
Memory is the proportional share (PSS): shared pages count once over all engines.
"""

import argparse
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from fine_tune_assets.engines.bundled_model import bundled_gguf
from fine_tune_assets.engines.gguf_header import read_gguf_header
from fine_tune_assets.engines.listen_addresses import open_client
from fine_tune_assets.engines.llama_cpp import start_llama_cpp
from fine_tune_assets.engines.running_server import RunningEngine, stop_engine, wait_until_healthy
from fine_tune_assets.merging.gguf import write_lora_gguf

RANK, LAYERS = 16, ("q_proj", "k_proj", "v_proj", "o_proj")
PARALLEL, CONTEXT_TOKENS, ANSWER_TOKENS, REPEATS = 2, 2048, 64, 3
PROMPT = "The patient was admitted with a cough and fever that had lasted for three days. " * 24
START_SECONDS = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=bundled_gguf())
    model = parser.parse_args().model
    with tempfile.TemporaryDirectory(prefix="two-lines-") as scratch:
        root = Path(scratch)
        copies = [shutil.copy(model, root / f"merged-{number}.gguf") for number in range(2)]
        adapters = [_random_adapter(model, root / f"adapter-{number}", number) for number in range(2)]
        ways: dict[str, tuple[Sequence[tuple[Path, Path | None]], bool]] = {
            "one line, merged": ([(Path(copies[0]), None)], False),
            "two lines, merged": ([(Path(copies[0]), None), (Path(copies[1]), None)], False),
            "two lines, adapters": ([(model, adapters[0]), (model, adapters[1])], False),
            "one line, adapter, shared": ([(model, adapters[0])], True),
            "two lines, adapters, shared": ([(model, adapters[0]), (model, adapters[1])], True),
        }
        rows = [
            {"way": name, **_measure(root / f"way-{place}", *way)} for place, (name, way) in enumerate(ways.items())
        ]
    _show(rows, model)


def _random_adapter(model: Path, folder: Path, seed: int) -> Path:
    """A LoRA GGUF for all attention layers of `model`, with random numbers."""
    header = read_gguf_header(model)
    kind = str(header["general.architecture"])
    hidden, layers = int(header[f"{kind}.embedding_length"]), int(header[f"{kind}.block_count"])
    heads, kv_heads = int(header[f"{kind}.attention.head_count"]), int(header[f"{kind}.attention.head_count_kv"])
    width = hidden // heads
    sizes = {"q_proj": heads * width, "k_proj": kv_heads * width, "v_proj": kv_heads * width, "o_proj": hidden}
    torch.manual_seed(seed)
    tensors = {}
    for layer in range(layers):
        for name in LAYERS:
            stem = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{stem}.lora_A.weight"] = torch.randn(RANK, hidden) * 0.01
            tensors[f"{stem}.lora_B.weight"] = torch.randn(sizes[name], RANK) * 0.01
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "bias": "none", "target_modules": list(LAYERS)}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    shape = {
        "model_type": kind, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }  # fmt: skip
    file = folder.with_suffix(".gguf")
    write_lora_gguf(folder, shape, file)
    return file


def _measure(folder: Path, engines: Sequence[tuple[Path, Path | None]], shares_weights: bool) -> dict[str, Any]:
    with _running(folder, engines, shares_weights) as running:
        speeds = [_ask(running[0]) for _ in range(REPEATS)]
        for other in running[1:]:
            _ask(other)
        memory = [_pss_mib(engine) for engine in running]
    return {
        "memory_mib": round(sum(memory)),
        "prompt_tokens_per_second": round(max(prompt for prompt, _ in speeds), 1),
        "answer_tokens_per_second": round(max(answer for _, answer in speeds), 1),
    }


@contextmanager
def _running(
    folder: Path, engines: Sequence[tuple[Path, Path | None]], shares_weights: bool
) -> Iterator[list[RunningEngine]]:
    started: list[RunningEngine] = []
    try:
        for number, (model, adapter) in enumerate(engines):
            own = folder / str(number)
            own.mkdir(parents=True)
            started.append(
                start_llama_cpp(
                    model,
                    f"line-{number}",
                    own,
                    threads=0,
                    die_with_parent=True,
                    parallel=PARALLEL,
                    context_tokens=CONTEXT_TOKENS,
                    adapter=adapter,
                    shares_weights=shares_weights,
                )
            )
            wait_until_healthy(started[-1], START_SECONDS)
        yield started
    finally:
        for engine in started:
            stop_engine(engine, 10, kill=True)


def _ask(engine: RunningEngine) -> tuple[float, float]:
    """Tokens per second of prompt and answer, as the engine measures them. A new beginning, so that no prompt is cached."""
    text = f"{time.monotonic_ns()} {PROMPT}"
    body = {
        "model": engine.alias,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": ANSWER_TOKENS,
        "temperature": 0,
    }
    with open_client(engine.url, engine.api_key, 600) as client:
        reply: httpx.Response = client.post("chat/completions", json=body)
    found = reply.json()["timings"]
    return float(found["prompt_per_second"]), float(found["predicted_per_second"])


def _pss_mib(engine: RunningEngine) -> float:
    text = Path(f"/proc/{engine.identity.pid}/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _show(rows: list[dict[str, Any]], model: Path) -> None:
    table = Table(
        "engines", "memory MiB", "prompt tokens/s", "answer tokens/s", title=f"Two product lines, {model.name}"
    )
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
    print(
        json.dumps(
            {
                "model": model.name,
                "cores": os.cpu_count(),
                "parallel": PARALLEL,
                "context_tokens": CONTEXT_TOKENS,
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main()

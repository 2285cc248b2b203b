"""Check that vLLM and the converter of llama.cpp read our model folders, compared with transformers in this environment.

`python benchmarks/compat_proof.py VLLM_PYTHON` imports the bundled model, merges a random adapter into it, and compares token
ids, the rendered prompt, first choices and log-probabilities. A test does the same with transformers 4.57.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from compat_texts import MESSAGES, TEXTS
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT, go_offline
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer, token_log_probabilities
from fine_tune_assets.merging.exports import ExportJob, export_all
from fine_tune_assets.merging.merge import MergeJob, merge_adapter
from fine_tune_assets.recipes.export_settings import DEFAULT_LIMITS
from fine_tune_assets.training.base_models.registration import import_bundled_model

SYSTEM = "Be brief."
LARGEST = 0.001
"""Nats between log-probabilities of the first choice, both in float32."""


def main() -> None:
    vllm_python = sys.argv[1]
    go_offline()
    with tempfile.TemporaryDirectory(prefix="compat-") as scratch:
        place = Path(scratch)
        base = import_bundled_model(place / "base")
        talks = [build_conversation(SYSTEM, "Go on.", "", text) for text in TEXTS]
        merge = MergeJob(base, _adapter(base, place / "adapter"), is_quantized=False, dtype="float16")
        merged = merge_adapter(merge, place / "weights", talks, SYSTEM, DEFAULT_LIMITS["f16"], ignore_progress)
        turn_end = read_prompt_contract(merged.folder, SYSTEM).turn_end_id
        export = ExportJob(
            merged.folder, place / "exports", SYSTEM, turn_end, Path("none"), place / "adapter", base, ""
        )
        (exported,) = export_all(export, {"f16": DEFAULT_LIMITS["f16"]}, talks, ignore_progress)
        if exported.parity is None:
            raise SystemExit(exported.reason)
        rows = [
            _compare(name, folder, vllm_python, place)
            for name, folder in (("imported", base), ("merged", merged.folder))
        ]
    table = Table(
        "folder",
        "tokens",
        "prompt",
        "first choices",
        "largest difference (nats)",
        title="vLLM compared with transformers",
    )
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console = Console()
    console.print(table)
    console.print(f"llama.cpp, converted to f16: mean KL {exported.parity.mean_kl:.6f} nats a token, same token ids")
    is_proven = all(row["tokens"] and row["prompt"] and row["largest"] < LARGEST for row in rows)
    print(json.dumps({"is_proven": is_proven, "vllm": rows, "llama_cpp_mean_kl": exported.parity.mean_kl}))
    sys.exit(0 if is_proven else 1)


def _adapter(base: Path, folder: Path) -> Path:
    torch.manual_seed(7)
    config = LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model: Any = get_peft_model(load_model(base), config)
    model.save_pretrained(folder)
    return folder


def _compare(name: str, folder: Path, vllm_python: str, place: Path) -> dict[str, Any]:
    tokenizer, model = load_tokenizer(folder), load_model(folder).eval()
    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    values = token_log_probabilities(model, tokenizer, TEXTS[0])[1][:-1]
    theirs = _in_vllm(folder, vllm_python, place / f"{name}.json")
    # vLLM lists the token that is there besides its first choice: its best of the two is the first choice.
    places = zip(theirs["first_choices"], theirs["log_probabilities"], strict=True)
    ours = [float(row[token]) for row, (token, _) in zip(values, places, strict=True)]
    first = sum(int(row.argmax()) == token for row, token in zip(values, theirs["first_choices"], strict=True))
    prompt = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    return {
        "folder": name,
        "tokens": tokens == theirs["tokens"],
        "prompt": prompt == theirs["prompt"],
        "first_choices": f"{first} of {len(values)}",
        "largest": max(abs(a - b) for a, b in zip(ours, theirs["log_probabilities"], strict=True)),
    }


def _in_vllm(folder: Path, python: str, out: Path) -> dict[str, Any]:
    environment = {**os.environ, **OFFLINE_ENVIRONMENT, "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment.pop("PYTHONPATH", None)
    command = [python, str(Path(__file__).with_name("vllm_loader.py")), str(out), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    if done.returncode:
        raise SystemExit(f"vLLM did not load {folder.name}:\n{done.stderr[-3000:]}")
    return dict(json.loads(out.read_text()))


if __name__ == "__main__":
    main()

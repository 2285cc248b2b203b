"""Merges an adapter into the weights it was trained on, and checks parity with the unmerged model.

LoRA merges into the unquantized base model, QLoRA into the dequantized NF4 base that the adapter's record names (measured on
SmolLM2-135M: merged into the unquantized base, QLoRA has a KL of 0.026 instead of 0.0003). `tensor_merge.py` merges models that
exceed memory.
"""

import gc
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import atomic_folder, file_lock
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.conversations import Message
from fine_tune_assets.engines.compatibility import make_compatible
from fine_tune_assets.engines.nf4 import Quantization, read_quantization, round_trip
from fine_tune_assets.engines.transformers_models import best_device, load_tokenizer
from fine_tune_assets.merging.parity import Parity, ProbeOutputs, compare
from fine_tune_assets.merging.probes import Probes, make_probes, write_probes_file
from fine_tune_assets.merging.shards import SHARD_BYTES
from fine_tune_assets.merging.tensor_merge import merge_by_tensor
from fine_tune_assets.merging.transformers_probes import (
    MemoryBudget,
    choose_merge_method,
    count_parameters,
    measure_budget,
    open_adapted_model,
    open_model,
    probe_model,
)
from fine_tune_assets.recipes.export_settings import ParityLimits

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)
"""Copied from the base model, so the served chat template is the original byte for byte. For some families, the GGUF converter
reads only `tokenizer.model`."""
SCRATCH, LOCK = ".merging", ".merging.lock"


@dataclass(frozen=True)
class MergeResult:
    weights_fingerprint: str
    folder: Path
    dtype: str
    size_bytes: int
    parity: Parity
    method: str
    probes_file: Path
    probes_fingerprint: str


@dataclass(frozen=True)
class MergeJob:
    """What to merge into which base model."""

    base: Path
    adapter: Path
    is_quantized: bool
    dtype: str


def merge_adapter(
    job: MergeJob,
    weights_dir: Path,
    conversations: Sequence[Sequence[Message]],
    system_prompt: str,
    limits: ParityLimits,
    progress: Progress,
    budget: MemoryBudget | None = None,
) -> MergeResult:
    """Merge, save, reload and compare. Raises GateClosedError and keeps nothing if the models differ too much.

    `budget` is the free memory; None measures it.
    """
    quantization = read_quantization(job.adapter, job.is_quantized)
    budget = budget or measure_budget()
    probes = make_probes(load_tokenizer(job.base), conversations, system_prompt)
    with open_adapted_model(job.base, job.adapter, job.is_quantized, budget) as model:
        before = probe_model(model, job.base, probes)
    del model
    progress(1, 3, "merge: adapter probed")
    with _exclusive_merge(weights_dir) as saved:
        method = _write_weights(job, quantization, saved, budget, progress)
        progress(2, 3, "merge: weights merged")
        after = _probe_merged(saved, probes, budget)
        parity = _require_parity(before, after, probes, limits)
        fingerprint, folder = _publish(saved, weights_dir)
    file = write_probes_file(weights_dir / f"{folder.name}.safetensors.probes.json", probes, after.answers)
    progress(3, 3, "merge: models compared")
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    return MergeResult(fingerprint, folder, job.dtype, size, parity, method, file, probes.fingerprint)


@contextmanager
def _exclusive_merge(weights_dir: Path) -> Iterator[Path]:
    """Yield an empty folder on the same disk, with a lock on merges; removes leftovers of a killed merge."""
    saved = weights_dir / SCRATCH
    with file_lock(weights_dir / LOCK):
        shutil.rmtree(saved, ignore_errors=True)
        saved.mkdir(mode=0o700)
        try:
            yield saved
        finally:
            shutil.rmtree(saved, ignore_errors=True)


def _write_weights(
    merge: MergeJob, quantization: Quantization | None, saved: Path, room: MemoryBudget, progress: Progress
) -> str:
    method = choose_merge_method(count_parameters(merge.base), room)
    if method == "in_memory":
        merge_in_memory(merge.base, merge.adapter, quantization, merge.dtype, saved)
    else:
        merge_by_tensor(merge.base, merge.adapter, quantization, merge.dtype, saved, progress)
    for name in TOKENIZER_FILES:
        if (merge.base / name).is_file():
            shutil.copyfile(merge.base / name, saved / name)
    make_compatible(saved)
    gc.collect()  # keep one copy at a time: the comparison reloads the merged weights
    return method


def merge_in_memory(base: Path, adapter: Path, quantization: Quantization | None, dtype: str, folder: Path) -> None:
    """Merge with PEFT, with the whole model in memory; write weights and configuration into `folder`.

    Merges in float32 on the CPU, because 16-bit sums would be rounded twice. A base quantized on a GPU is quantized there again.
    """
    model: Any = AutoModelForCausalLM.from_pretrained(
        base,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
        device_map="cpu",
    )
    if quantization is not None:
        for name in quantization.modules:
            weight = model.get_submodule(name).weight
            weight.data = round_trip(weight.data, quantization, best_device())
    merged: Any = PeftModel.from_pretrained(model, adapter, torch_device="cpu").merge_and_unload()
    merged.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=SHARD_BYTES)


def _probe_merged(folder: Path, probes: Probes, room: MemoryBudget) -> ProbeOutputs:
    with open_model(folder, room) as model:
        return probe_model(model, folder, probes)


def _require_parity(before: ProbeOutputs, after: ProbeOutputs, probes: Probes, limits: ParityLimits) -> Parity:
    parity, deviations = compare(before, after, probes.answers, limits)
    if deviations:
        raise GateClosedError(
            f"Merging changed the model: {'; '.join(deviations)}. Check that the adapter was trained on this base model; if "
            "merged_dtype is bfloat16, its rounding must stay within the limits too."
        )
    return parity


def _publish(saved: Path, weights_dir: Path) -> tuple[str, Path]:
    fingerprint = fingerprint_folder(saved)
    folder = weights_dir / short(fingerprint)
    with atomic_folder(folder) as aside:
        aside.rmdir()
        os.replace(saved, aside)
    return fingerprint, folder

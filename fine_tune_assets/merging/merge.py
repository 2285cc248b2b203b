"""Merges an adapter into the weights it was trained on, and proves that nothing was lost.

Owns the merged Safetensors folder and its hop of the parity certificate. LoRA merges into the unquantised base; QLoRA into
the de-quantised NF4 base that it was trained on, as the adapter's own record says (measured on SmolLM2-135M: merged into the
unquantised base instead, KL is .026 in place of .0003). Models larger than the memory are merged in `tensor_merge.py`.
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
from fine_tune_assets.core.files import folder_written_aside, locked
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.chat import Message
from fine_tune_assets.engines.nf4 import Quantization, read_quantization, round_trip
from fine_tune_assets.engines.portable import make_portable
from fine_tune_assets.engines.transformers_models import best_device, load_tokenizer
from fine_tune_assets.merging.parity import Parity, Reading, compared
from fine_tune_assets.merging.probes import Probes, make_probes, write_probes_file
from fine_tune_assets.merging.shards import SHARD_BYTES
from fine_tune_assets.merging.tensor_merge import merge_by_tensor
from fine_tune_assets.merging.transformers_replies import (
    Room,
    adapted,
    free_room,
    loaded,
    parameters_of,
    read_model,
    route,
)
from fine_tune_assets.recipes.exports import ParityLimits

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
"""Copied from the base: the served template is the original one, byte for byte. For some families the converter to GGUF reads
`tokenizer.model` only."""
SCRATCH, LOCK = ".merging", ".merging.lock"


@dataclass(frozen=True)
class Merged:
    weights_fingerprint: str
    folder: Path
    dtype: str
    size_bytes: int
    parity: Parity
    route: str
    probes_file: Path
    probes_fingerprint: str


@dataclass(frozen=True)
class Merge:
    """What is merged, and into what."""

    base: Path
    adapter: Path
    is_quantized: bool
    dtype: str


def merge_adapter(
    merge: Merge,
    weights_dir: Path,
    conversations: Sequence[Sequence[Message]],
    system_prompt: str,
    limits: ParityLimits,
    progress: Progress,
    room: Room | None = None,
) -> Merged:
    """Merge, save, load again and compare. Raises GateClosedError (nothing is kept) if they differ too much.

    `room`: what is free; measured if it is not given.
    """
    quantization = read_quantization(merge.adapter, merge.is_quantized)
    room = room or free_room()
    probes = make_probes(load_tokenizer(merge.base), conversations, system_prompt)
    with adapted(merge.base, merge.adapter, merge.is_quantized, room) as model:
        before = read_model(model, merge.base, probes)
    del model
    progress(1, 3, "merge steps: adapter probed")
    with _only_merge(weights_dir) as saved:
        way = _write(merge, quantization, saved, room, progress)
        progress(2, 3, "merge steps: merged")
        after = _read(saved, probes, room)
        parity = _require_parity(before, after, probes, limits)
        fingerprint, folder = _keep(saved, weights_dir)
    file = write_probes_file(weights_dir / f"{folder.name}.safetensors.probes.json", probes, after.replies)
    progress(3, 3, "merge steps: compared")
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    return Merged(fingerprint, folder, merge.dtype, size, parity, way, file, probes.fingerprint)


@contextmanager
def _only_merge(weights_dir: Path) -> Iterator[Path]:
    """An empty folder on the same disk, and nobody else who merges into this one: what a killed merge left goes."""
    saved = weights_dir / SCRATCH
    with locked(weights_dir / LOCK):
        shutil.rmtree(saved, ignore_errors=True)
        saved.mkdir(mode=0o700)
        try:
            yield saved
        finally:
            shutil.rmtree(saved, ignore_errors=True)


def _write(merge: Merge, quantization: Quantization | None, saved: Path, room: Room, progress: Progress) -> str:
    way = route(parameters_of(merge.base), room)
    if way == "whole":
        merge_whole(merge.base, merge.adapter, quantization, merge.dtype, saved)
    else:
        merge_by_tensor(merge.base, merge.adapter, quantization, merge.dtype, saved, progress)
    for name in TOKENIZER_FILES:
        if (merge.base / name).is_file():
            shutil.copy(merge.base / name, saved)
    make_portable(saved)
    gc.collect()  # the comparison loads the merged weights again: one copy at a time
    return way


def merge_whole(base: Path, adapter: Path, quantization: Quantization | None, dtype: str, folder: Path) -> None:
    """With PEFT, the model whole in memory: write the merged weights and their configuration into `folder`.

    In 32 bits and on the CPU, whatever trained: in 16 bits the sum would be rounded once more. What was quantised on a GPU is
    quantised there again.
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


def _read(folder: Path, probes: Probes, room: Room) -> Reading:
    with loaded(folder, room) as model:
        return read_model(model, folder, probes)


def _require_parity(before: Reading, after: Reading, probes: Probes, limits: ParityLimits) -> Parity:
    parity, faults = compared(before, after, probes.answers, limits)
    if faults:
        raise GateClosedError(
            f"Merging changed the model: {'; '.join(faults)}. Check that the adapter was trained on this base model; where "
            "merged_dtype is bfloat16 it is its rounding that must fit into the limits."
        )
    return parity


def _keep(saved: Path, weights_dir: Path) -> tuple[str, Path]:
    fingerprint = fingerprint_folder(saved)
    folder = weights_dir / short(fingerprint)
    with folder_written_aside(folder) as aside:
        aside.rmdir()
        os.replace(saved, aside)
    return fingerprint, folder

"""Merges an adapter into a base model tensor by tensor, for models larger than memory.

Memory holds the adapter, one tensor and its merged result. Base models whose files name weights differently than their layers are
rejected.
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.nf4 import Quantization, round_trip
from fine_tune_assets.engines.transformers_models import best_device
from fine_tune_assets.merging.adapter_weights import Delta, UnmergeableError, read_deltas
from fine_tune_assets.merging.shards import (
    SHARD_BYTES,
    StoredTensor,
    plan_shards,
    stored_tensors,
    write_index,
    write_tensors,
)


def merge_by_tensor(
    base: Path,
    adapter: Path,
    quantization: Quantization | None,
    dtype: str,
    folder: Path,
    progress: Progress,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write merged weights and configuration into `folder`. Raises UnmergeableError."""
    stored, deltas = stored_tensors(base), read_deltas(adapter)
    quantized = frozenset(quantization.modules if quantization else ())
    _require_layers(stored, deltas.keys() | quantized)
    target: torch.dtype = getattr(torch, dtype)
    kinds = {name: target if t.dtype.is_floating_point else t.dtype for name, t in stored.items()}
    order = sorted(
        stored, key=lambda name: -kinds[name].itemsize
    )  # stable; wider dtypes first, which keeps all tensors aligned
    sizes = {name: stored[name].element_count * kinds[name].itemsize for name in order}
    files = plan_shards(sizes, shard_bytes)
    done = 0
    for file, names in files.items():
        merged = (
            _merge_tensor(name, stored[name], deltas, quantization if _layer(name) in quantized else None, kinds[name])
            for name in names
        )
        reported = _with_progress(merged, done, len(order), progress)
        write_tensors(folder / file, [(name, kinds[name], stored[name].shape) for name in names], reported)
        done += len(names)
    write_index(folder, files, sum(sizes.values()))
    _write_config(base, dtype, folder)


def _layer(tensor: str) -> str:
    return tensor.removesuffix(".weight")


def _require_layers(stored: dict[str, StoredTensor], layers: frozenset[str] | set[str]) -> None:
    missing = sorted(layer for layer in layers if f"{layer}.weight" not in stored)
    if missing:
        raise UnmergeableError(
            f"The base model's files have no weights for {len(missing)} of the adapter's layers ({missing[0]} is the "
            "first): this family can't be merged tensor by tensor. Merge it on a machine with more memory."
        )


def _merge_tensor(
    name: str, stored: StoredTensor, deltas: dict[str, Delta], quantization: Quantization | None, dtype: torch.dtype
) -> torch.Tensor:
    tensor, delta = stored.read(name), deltas.get(_layer(name)) if name.endswith(".weight") else None
    if quantization is not None:
        tensor = round_trip(tensor, quantization, best_device())
    return (delta.apply_to(tensor.float()) if delta else tensor).to(dtype)


def _with_progress(
    tensors: Iterator[torch.Tensor], done: int, total: int, progress: Progress
) -> Iterator[torch.Tensor]:
    for count, tensor in enumerate(tensors, start=done + 1):
        yield tensor
        progress(count, total, "tensors merged")


def _write_config(base: Path, dtype: str, folder: Path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    config.dtype = dtype
    config.save_pretrained(folder)

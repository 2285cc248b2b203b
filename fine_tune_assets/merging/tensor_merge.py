"""Merges an adapter into a base model tensor by tensor, from its files into new ones: for models larger than the memory.

Owns the merged folder's weights and configuration. Held at once are the adapter, one tensor, and what it becomes. A base
model whose files name weights otherwise than its layers are named is refused.
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.engines.nf4 import Quantization, round_trip
from fine_tune_assets.engines.transformers_models import best_device
from fine_tune_assets.merging.adapters import Delta, UnmergeableError, read_deltas
from fine_tune_assets.merging.shards import SHARD_BYTES, Stored, spread, stored_tensors, write_index, write_tensors


def merge_by_tensor(
    base: Path,
    adapter: Path,
    quantization: Quantization | None,
    dtype: str,
    folder: Path,
    progress: Progress,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write the merged weights and their configuration into `folder`. Raises UnmergeableError."""
    stored, deltas = stored_tensors(base), read_deltas(adapter)
    quantized = frozenset(quantization.modules if quantization else ())
    _require_found(stored, deltas.keys() | quantized)
    target: torch.dtype = getattr(torch, dtype)
    kinds = {name: target if t.dtype.is_floating_point else t.dtype for name, t in stored.items()}
    order = sorted(
        stored, key=lambda name: -kinds[name].itemsize
    )  # stable; larger numbers first, so that all are aligned
    sizes = {name: stored[name].numbers * kinds[name].itemsize for name in order}
    files = spread(sizes, shard_bytes)
    done = 0
    for file, names in files.items():
        merged = (
            _merged(name, stored[name], deltas, quantization if _layer(name) in quantized else None, kinds[name])
            for name in names
        )
        told = _telling(merged, done, len(order), progress)
        write_tensors(folder / file, [(name, kinds[name], stored[name].shape) for name in names], told)
        done += len(names)
    write_index(folder, files, sum(sizes.values()))
    _write_config(base, dtype, folder)


def _layer(tensor: str) -> str:
    return tensor.removesuffix(".weight")


def _require_found(stored: dict[str, Stored], layers: frozenset[str] | set[str]) -> None:
    missing = sorted(layer for layer in layers if f"{layer}.weight" not in stored)
    if missing:
        raise UnmergeableError(
            f"The base model's files have no weight for {len(missing)} layers that the adapter knows ({missing[0]} is the "
            "first): this family can't be merged tensor by tensor. Merge it on a machine with more memory."
        )


def _merged(
    name: str, stored: Stored, deltas: dict[str, Delta], quantization: Quantization | None, dtype: torch.dtype
) -> torch.Tensor:
    tensor, delta = stored.read(name), deltas.get(_layer(name)) if name.endswith(".weight") else None
    if quantization is not None:
        tensor = round_trip(tensor, quantization, best_device())
    return (delta.added_to(tensor.float()) if delta else tensor).to(dtype)


def _telling(tensors: Iterator[torch.Tensor], done: int, total: int, progress: Progress) -> Iterator[torch.Tensor]:
    for count, tensor in enumerate(tensors, start=done + 1):
        yield tensor
        progress(count, total, "tensors merged")


def _write_config(base: Path, dtype: str, folder: Path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    config.dtype = dtype
    config.save_pretrained(folder)

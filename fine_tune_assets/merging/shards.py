"""Safetensors files tensor by tensor: where each one of a model lies, and writing files that never lie in memory whole.

Owns the file format (an 8-byte length, a JSON header, the bytes) and how tensors are spread over files.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.files import write_text

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 4_000_000_000
_ALIGNMENT = 8
_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
DTYPES = {name: dtype for dtype, name in _NAMES.items()}


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)

    def read(self, name: str) -> torch.Tensor:
        """A copy in memory: the file's pages go with the file."""
        with safe_open(self.file, framework="pt") as opened:
            return opened.get_tensor(name).clone()


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Name → place of every tensor of a model's folder, without reading any. Raises ModelFolderError."""
    index = folder / INDEX
    names = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else {SINGLE}
    found: dict[str, Stored] = {}
    for name in sorted(names):
        found |= _in_file(folder / name)
    return found


def _in_file(file: Path) -> dict[str, Stored]:
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header: dict[str, Any] = json.loads(opened.read(length))
        header.pop("__metadata__", None)
        return {name: Stored(file, DTYPES[t["dtype"]], tuple(t["shape"])) for name, t in header.items()}
    except (OSError, ValueError, KeyError, struct.error):
        raise ModelFolderError(
            f"{file.parent.name}/{file.name} can't be read as a Safetensors file of plain numbers."
        ) from None


def spread(sizes: Mapping[str, int], limit: int) -> dict[str, list[str]]:
    """File name → tensors in it, in their order, each file of at most `limit` bytes (a tensor alone may be larger)."""
    parts: list[list[str]] = []
    held = 0
    for name, size in sizes.items():
        if not parts or held + size > limit:
            parts.append([])
            held = 0
        parts[-1].append(name)
        held += size
    if len(parts) <= 1:
        return {SINGLE: parts[0] if parts else []}
    return {f"model-{n:05}-of-{len(parts):05}.safetensors": part for n, part in enumerate(parts, start=1)}


def write_index(folder: Path, files: Mapping[str, Sequence[str]], total_bytes: int) -> None:
    """Which tensor is in which file; nothing where there is one file."""
    if len(files) > 1:
        where = {tensor: file for file, tensors in files.items() for tensor in tensors}
        content = {"metadata": {"total_size": total_bytes}, "weight_map": where}
        write_text(folder / INDEX, json.dumps(content, indent=2, sort_keys=True) + "\n")


def write_tensors(
    file: Path, kinds: Sequence[tuple[str, torch.dtype, tuple[int, ...]]], tensors: Iterable[torch.Tensor]
) -> None:
    """Write a Safetensors file of these names, in their order, holding one tensor at a time.

    Raises ValueError if a tensor is not what was said: the header is written before it.
    """
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, dtype, shape in kinds:
        size = math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with file.open("xb") as opened:
        opened.write(struct.pack("<Q", len(text)) + text)
        for (name, dtype, shape), tensor in zip(kinds, tensors, strict=True):
            if tensor.dtype != dtype or tuple(tensor.shape) != shape:
                raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)} instead of {dtype} {shape}")
            opened.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)

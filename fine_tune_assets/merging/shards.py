"""Reads and writes Safetensors files tensor by tensor, so that no file is ever in memory as a whole.

Implements the file format (8-byte length, JSON header, data) and the distribution of tensors over shards.
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

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 4_000_000_000
_ALIGNMENT = 8
_DTYPE_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
DTYPES = {name: dtype for dtype, name in _DTYPE_NAMES.items()}


@dataclass(frozen=True)
class StoredTensor:
    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def element_count(self) -> int:
        return math.prod(self.shape)

    def read(self, name: str) -> torch.Tensor:
        """Return a copy, so that the file's memory pages can be released."""
        with safe_open(self.file, framework="pt") as opened:
            return opened.get_tensor(name).clone()


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Locate every tensor of a model folder without reading any. Raises ModelFolderError."""
    index = folder / INDEX_FILE
    names = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else {SINGLE_FILE}
    tensors: dict[str, StoredTensor] = {}
    for name in sorted(names):
        tensors |= _read_header(folder / name)
    return tensors


def _read_header(file: Path) -> dict[str, StoredTensor]:
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header: dict[str, Any] = json.loads(opened.read(length))
        header.pop("__metadata__", None)
        return {name: StoredTensor(file, DTYPES[t["dtype"]], tuple(t["shape"])) for name, t in header.items()}
    except (OSError, ValueError, KeyError, struct.error):
        raise ModelFolderError(
            f"{file.parent.name}/{file.name} is not a valid Safetensors file or uses an unsupported dtype."
        ) from None


def plan_shards(sizes: Mapping[str, int], limit: int) -> dict[str, list[str]]:
    """Return the tensors of each file, in order; a file has at most `limit` bytes unless a single tensor is larger."""
    parts: list[list[str]] = []
    held = 0
    for name, size in sizes.items():
        if not parts or held + size > limit:
            parts.append([])
            held = 0
        parts[-1].append(name)
        held += size
    if len(parts) <= 1:
        return {SINGLE_FILE: parts[0] if parts else []}
    return {f"model-{n:05}-of-{len(parts):05}.safetensors": part for n, part in enumerate(parts, start=1)}


def write_index(folder: Path, files: Mapping[str, Sequence[str]], total_bytes: int) -> None:
    """Write the index of tensors by file; nothing if there is only one file."""
    if len(files) > 1:
        where = {tensor: file for file, tensors in files.items() for tensor in tensors}
        content = {"metadata": {"total_size": total_bytes}, "weight_map": where}
        write_text(folder / INDEX_FILE, json.dumps(content, indent=2, sort_keys=True) + "\n")


def write_tensors(
    file: Path, specs: Sequence[tuple[str, torch.dtype, tuple[int, ...]]], tensors: Iterable[torch.Tensor]
) -> None:
    """Write a Safetensors file with these tensors in order, holding one tensor in memory at a time.

    Raises ValueError if a tensor does not match its declaration: the header is written first.
    """
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, dtype, shape in specs:
        size = math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": _DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with file.open("xb") as opened:
        opened.write(struct.pack("<Q", len(text)) + text)
        for (name, dtype, shape), tensor in zip(specs, tensors, strict=True):
            if tensor.dtype != dtype or tuple(tensor.shape) != shape:
                raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)} instead of {dtype} {shape}")
            opened.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)

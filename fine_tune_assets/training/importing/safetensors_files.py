"""Safetensors files, read as strictly as the format is written: a header, and tensors that cover the rest exactly.

Owns what a header may say. Reads no numbers of a tensor, and needs no torch.
"""

import json
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

LONGEST_HEADER = 100_000_000
"""Bytes: the limit of the format's own reader."""
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


class NotSafetensorsError(ValueError):
    """What is wrong with the file, in words that hold nothing of it."""


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        return prod(self.shape)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor by its name. Raises NotSafetensorsError if any byte of the file is not accounted for."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length < 2 or length > min(size - 8, LONGEST_HEADER):
            raise NotSafetensorsError("no Safetensors file")
        entries = _header(file.read(length))
    entries.pop("__metadata__", None)
    tensors, spans = {}, []
    for name, entry in entries.items():
        tensors[name], span = _tensor(entry)
        spans.append(span)
    _require_whole(spans, size - 8 - length)
    return tensors


def _header(content: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise NotSafetensorsError("a name occurs twice in the Safetensors header")
        return dict(pairs)

    if content[:1] != b"{":
        raise NotSafetensorsError("no Safetensors file")
    try:
        entries = json.loads(content.decode("utf-8"), object_pairs_hook=once)
    except NotSafetensorsError:
        raise
    except (ValueError, RecursionError):
        raise NotSafetensorsError("no Safetensors file: its header is not JSON") from None
    metadata = entries.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise NotSafetensorsError("the metadata of the Safetensors header is not text")
    return dict(entries)


def _tensor(entry: Any) -> tuple[Tensor, tuple[int, int]]:
    try:
        tensor = Tensor(entry["dtype"], tuple(entry["shape"]))
        start, end = entry["data_offsets"]
        bits = _BITS[tensor.dtype] * tensor.numbers
        is_sound = all(type(n) is int and n >= 0 for n in (*tensor.shape, start, end)) and 8 * (end - start) == bits
    except (KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise NotSafetensorsError("a tensor of the Safetensors header has no sound type, shape or place")
    return tensor, (start, end)


def _require_whole(spans: list[tuple[int, int]], size: int) -> None:
    position = 0
    for start, end in sorted(spans):
        if start != position:
            raise NotSafetensorsError("the tensors of the Safetensors file overlap or leave a gap")
        position = end
    if position != size:
        raise NotSafetensorsError(
            "the Safetensors file is cut off"
            if position > size
            else "something stands after the tensors of the Safetensors file"
        )

"""What a GGUF file says of its model before its vocabulary begins: layers, heads, lengths.

Owns reading that much of the format, without loading anything. Layout: the GGUF specification, versions 2 and 3.
"""

import struct
from pathlib import Path
from typing import IO, Any

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _LIST = 8, 9
_LONGEST_TEXT = 1_000_000


def read_gguf_header(path: Path) -> dict[str, Any]:
    """Name → value, without lists and up to the tokenizer. Empty if the file is no GGUF."""
    found: dict[str, Any] = {}
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF" or _number(file, "<I") < 2:
                return {}
            _tensors, count = _number(file, "<Q"), _number(file, "<Q")
            for _ in range(count):
                name, kind = _text(file), _number(file, "<I")
                if name.startswith("tokenizer."):
                    break
                if kind == _LIST:
                    _skip_list(file)
                    continue
                found[name] = _text(file) if kind == _TEXT else _number(file, _SCALARS[kind])
    except (struct.error, KeyError, ValueError):  # cut off, or a kind that does not exist
        return found
    return found


def cache_bytes_per_token(header: dict[str, Any]) -> int | None:
    """Keys and values of one token in 16 bits; None if the header does not say enough."""
    kind = header.get("general.architecture")
    try:
        heads = header[f"{kind}.attention.head_count"]
        width = header.get(f"{kind}.attention.key_length") or header[f"{kind}.embedding_length"] // heads
        return int(2 * 2 * header[f"{kind}.block_count"] * header.get(f"{kind}.attention.head_count_kv", heads) * width)
    except KeyError:
        return None


def _skip_list(file: IO[bytes]) -> None:
    kind, count = _number(file, "<I"), _number(file, "<Q")
    if kind != _TEXT:
        file.seek(struct.calcsize(_SCALARS[kind]) * count, 1)
        return
    for _ in range(count):
        _text(file)


def _number(file: IO[bytes], form: str) -> Any:
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _text(file: IO[bytes]) -> str:
    length = _number(file, "<Q")
    if length > _LONGEST_TEXT:
        raise ValueError("no text is so long")
    return file.read(length).decode("utf-8", errors="replace")

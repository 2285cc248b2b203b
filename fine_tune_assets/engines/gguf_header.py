"""Reads the metadata of a GGUF file up to its vocabulary, without loading the model.

Layout: the GGUF specification, versions 2 and 3.
"""

import struct
from pathlib import Path
from typing import IO, Any

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MAX_STRING_BYTES = 1_000_000


def read_gguf_header(path: Path) -> dict[str, Any]:
    """Name → value, without arrays, up to the tokenizer. Empty if the file is not a GGUF."""
    return _read_values(path, before="tokenizer.")


def read_gguf_template(path: Path) -> str:
    """The model's chat template; empty if it has none."""
    return str(_read_values(path, before="").get("tokenizer.chat_template", ""))


def _read_values(path: Path, before: str) -> dict[str, Any]:
    """The values before the first name that starts with `before`; all if it is empty."""
    found: dict[str, Any] = {}
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF" or _read_number(file, "<I") < 2:
                return {}
            _tensors, count = _read_number(file, "<Q"), _read_number(file, "<Q")
            for _ in range(count):
                name, kind = _read_string(file), _read_number(file, "<I")
                if before and name.startswith(before):
                    break
                if kind == _ARRAY:
                    _skip_array(file)
                    continue
                found[name] = _read_string(file) if kind == _STRING else _read_number(file, _SCALARS[kind])
    except (struct.error, KeyError, ValueError):  # truncated, or an unknown type
        return found
    return found


def kv_cache_bytes_per_token(header: dict[str, Any]) -> int | None:
    """Size of one token's keys and values in 16 bits; None if the header lacks a field."""
    kind = header.get("general.architecture")
    try:
        heads = header[f"{kind}.attention.head_count"]
        width = header.get(f"{kind}.attention.key_length") or header[f"{kind}.embedding_length"] // heads
        return int(2 * 2 * header[f"{kind}.block_count"] * header.get(f"{kind}.attention.head_count_kv", heads) * width)
    except KeyError:
        return None


def _skip_array(file: IO[bytes]) -> None:
    kind, count = _read_number(file, "<I"), _read_number(file, "<Q")
    if kind != _STRING:
        file.seek(struct.calcsize(_SCALARS[kind]) * count, 1)
        return
    for _ in range(count):
        _read_string(file)


def _read_number(file: IO[bytes], form: str) -> Any:
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _read_string(file: IO[bytes]) -> str:
    length = _read_number(file, "<Q")
    if length > _MAX_STRING_BYTES:
        raise ValueError(f"GGUF string longer than {_MAX_STRING_BYTES} bytes")
    return file.read(length).decode("utf-8", errors="replace")

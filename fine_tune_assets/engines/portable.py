"""Makes a model folder that transformers 5 wrote readable for what came before it: transformers 4, vLLM, llama.cpp.

Owns the differences in the two JSON files. Without them transformers 4.57 takes a rotary base of 10,000 for granted, and
computes other numbers without a word; and it has no class of the name that transformers 5 writes for a tokenizer.
"""

import json
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import write_text

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
_NEW_CLASS, _OLD_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"
"""transformers 5 reads the old name as an alias of the new one."""
_STATE = ("backend", "is_local", "local_files_only")
"""How the tokenizer happened to be loaded; no part of it."""


def make_portable(folder: Path) -> None:
    """Add what older readers look for, in place. A folder that has it already stays as it is, byte for byte."""
    for name, change in ((CONFIG, portable_config), (TOKENIZER_CONFIG, portable_tokenizer_config)):
        path = folder / name
        if not path.is_file():
            continue
        before = json.loads(path.read_text(encoding="utf-8"))
        after = change(before)
        if after != before:
            write_text(path, json.dumps(after, indent=2, ensure_ascii=False) + "\n")


def portable_config(config: dict[str, Any]) -> dict[str, Any]:
    """With `rope_theta` and `rope_scaling` beside `rope_parameters`, in each part that has them."""
    parts = {
        name: portable_config(part)
        for name, part in config.items()
        if name.endswith("_config") and name != "quantization_config" and isinstance(part, dict)
    }
    rope = config.get("rope_parameters")
    added = _as_before(rope) if isinstance(rope, dict) else {}
    return {**config, **parts, **{name: value for name, value in added.items() if config.get(name) is None}}


def _as_before(rope: dict[str, Any]) -> dict[str, Any]:
    """One set of parameters, or one a kind of layer: the local layers' base had a name of its own."""
    if "full_attention" in rope or "sliding_attention" in rope:
        local = rope.get("sliding_attention") or {}
        base = {"rope_local_base_freq": local["rope_theta"]} if "rope_theta" in local else {}
        return {**base, **_as_before(rope.get("full_attention") or {})}
    scaling = {name: value for name, value in rope.items() if name not in ("rope_theta", "partial_rotary_factor")}
    named: dict[str, Any] = {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if name in rope}
    return named if scaling.get("rope_type", "default") == "default" else {**named, "rope_scaling": scaling}


def portable_tokenizer_config(config: dict[str, Any]) -> dict[str, Any]:
    """With a class that both know, and further special tokens under the name that both read as a list."""
    changed = {name: value for name, value in config.items() if name not in _STATE}
    if changed.get("tokenizer_class") == _NEW_CLASS:
        changed["tokenizer_class"] = _OLD_CLASS
    if isinstance(changed.get("extra_special_tokens"), list):
        extra = changed.pop("extra_special_tokens")
        changed.setdefault("additional_special_tokens", extra)
    return changed

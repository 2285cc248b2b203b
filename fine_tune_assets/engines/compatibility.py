"""Makes a model folder written by transformers 5 readable for transformers 4, vLLM and llama.cpp.

Changes two JSON files. Without `rope_theta`, transformers 4.57 silently assumes a rotary base of 10,000 and computes other
numbers; and it lacks the tokenizer class that transformers 5 names.
"""

import json
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import write_text

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
_NEW_CLASS, _OLD_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"
"""transformers 5 reads the old name as an alias of the new one."""
_LOADER_STATE = ("backend", "is_local", "local_files_only")
"""How the tokenizer was loaded; not a property of the tokenizer."""


def make_compatible(folder: Path) -> None:
    """Add the fields that older readers need, in place. A folder that has them stays unchanged, byte for byte."""
    for name, change in ((CONFIG, compatible_config), (TOKENIZER_CONFIG, compatible_tokenizer_config)):
        path = folder / name
        if not path.is_file():
            continue
        before = json.loads(path.read_text(encoding="utf-8"))
        after = change(before)
        if after != before:
            write_text(path, json.dumps(after, indent=2, ensure_ascii=False) + "\n")


def compatible_config(config: dict[str, Any]) -> dict[str, Any]:
    """Add `rope_theta` and `rope_scaling` to each part that has `rope_parameters`."""
    parts = {
        name: compatible_config(part)
        for name, part in config.items()
        if name.endswith("_config") and name != "quantization_config" and isinstance(part, dict)
    }
    rope = config.get("rope_parameters")
    added = _legacy_rope(rope) if isinstance(rope, dict) else {}
    return {**config, **parts, **{name: value for name, value in added.items() if config.get(name) is None}}


def _legacy_rope(rope: dict[str, Any]) -> dict[str, Any]:
    """`rope` is one set of parameters, or one per layer type; the old format names the base of local layers separately."""
    if "full_attention" in rope or "sliding_attention" in rope:
        local = rope.get("sliding_attention") or {}
        base = {"rope_local_base_freq": local["rope_theta"]} if "rope_theta" in local else {}
        return {**base, **_legacy_rope(rope.get("full_attention") or {})}
    scaling = {name: value for name, value in rope.items() if name not in ("rope_theta", "partial_rotary_factor")}
    legacy: dict[str, Any] = {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if name in rope}
    return legacy if scaling.get("rope_type", "default") == "default" else {**legacy, "rope_scaling": scaling}


def compatible_tokenizer_config(config: dict[str, Any]) -> dict[str, Any]:
    """Use a class that both versions know, and the name for additional special tokens that both read as a list."""
    changed = {name: value for name, value in config.items() if name not in _LOADER_STATE}
    if changed.get("tokenizer_class") == _NEW_CLASS:
        changed["tokenizer_class"] = _OLD_CLASS
    if isinstance(changed.get("extra_special_tokens"), list):
        extra = changed.pop("extra_special_tokens")
        changed.setdefault("additional_special_tokens", extra)
    return changed

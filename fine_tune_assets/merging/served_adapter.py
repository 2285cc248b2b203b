"""Writes an adapter as vLLM serves it: the adapter with the merged model's configuration and tokenizer.

The configuration and the tokenizer are part of the release, so that the base model is served with the prompt contract that was
judged.
"""

import json
import shutil
from pathlib import Path

from fine_tune_assets.core.files import write_text
from fine_tune_assets.merging.adapter_weights import CONFIG, WEIGHTS, read_deltas
from fine_tune_assets.merging.gguf import ExportError


def write_served_adapter(adapter: Path, merged: Path, folder: Path) -> None:
    """Raises ExportError for DoRA, which vLLM can't apply, and UnmergeableError for other changes."""
    if any(delta.magnitude is not None for delta in read_deltas(adapter).values()):
        raise ExportError("lora_safetensors can't represent a DoRA adapter. Serve the merged weights.")
    config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    # A path on this machine.
    write_text(folder / CONFIG, json.dumps({**config, "base_model_name_or_path": ""}, indent=2, sort_keys=True))
    shutil.copyfile(adapter / WEIGHTS, folder / WEIGHTS)
    for path in merged.iterdir():
        if path.is_file() and ".safetensors" not in path.suffixes:
            shutil.copyfile(path, folder / path.name)

"""The adapter as it is kept: Safetensors and a configuration without accidents, in a folder named by its content.

Owns what is content. PEFT writes target_modules in the order of a set, the path of the base on this machine, and its own
version: none of them is.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import folder_written_aside
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.engines.nf4 import QUANTIZATION, quantization_of

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def store_adapter(
    model: Any, adapters_dir: Path, base_fingerprint: str, weights: dict[str, Any] | None = None
) -> tuple[str, Path]:
    """Save a PEFT model's adapter under its fingerprint; both are returned.

    `weights`: the adapter's, by their names in the model, where the model itself holds only a part of each.
    """
    with tempfile.TemporaryDirectory(prefix="adapter-") as scratch:
        saved, canonical = Path(scratch) / "saved", Path(scratch) / "canonical"
        model.save_pretrained(saved, safe_serialization=True, state_dict=weights)
        canonical.mkdir()
        config = canonical_config(json.loads((saved / CONFIG).read_text(encoding="utf-8")), base_fingerprint)
        (canonical / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
        shutil.copy(saved / WEIGHTS, canonical)
        quantization = quantization_of(model)
        if quantization is not None:  # it is merged into what it learned on: the record is a part of it
            (canonical / QUANTIZATION).write_text(quantization.as_json(), encoding="utf-8")
        fingerprint = fingerprint_folder(canonical)
        folder = adapters_dir / short(fingerprint)
        with folder_written_aside(folder) as aside:
            shutil.copytree(canonical, aside, dirs_exist_ok=True)
    return fingerprint, folder


def canonical_config(config: dict[str, Any], base_fingerprint: str) -> dict[str, Any]:
    """The same for the same adapter, wherever it was trained."""
    modules = config["target_modules"]
    return {
        **{name: value for name, value in config.items() if name != "peft_version"},
        "target_modules": sorted(modules) if isinstance(modules, list) else modules,
        "base_model_name_or_path": base_fingerprint,
    }

"""The adapter as it is kept: Safetensors and a configuration without accidents, in a folder named by its content.

Owns what is content. PEFT writes target_modules in the order of a set, the path of the base on this machine, and its own
version: none of them is.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import folder_written_aside, make_folder
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.engines.nf4 import QUANTIZATION, quantization_of
from fine_tune_assets.training.failures import TrainingError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_ASIDE = ".adapter-"


def store_adapter(
    model: Any, adapters_dir: Path, base_fingerprint: str, weights: dict[str, Any] | None = None
) -> tuple[str, Path]:
    """Save a PEFT model's adapter under its fingerprint; both are returned. Raises TrainingError if other weights were written.

    `weights`: the adapter's, by their names in the model, where the model itself holds only a part of each.
    """
    remove_left(adapters_dir)
    make_folder(adapters_dir)
    # On the disk of the final name: there room was asked for, and the rename needs no second copy.
    with tempfile.TemporaryDirectory(prefix=_ASIDE, dir=adapters_dir) as scratch:
        saved, canonical = Path(scratch) / "saved", Path(scratch) / "canonical"
        model.save_pretrained(saved, safe_serialization=True, state_dict=weights)
        canonical.mkdir()
        config = canonical_config(json.loads((saved / CONFIG).read_text(encoding="utf-8")), base_fingerprint)
        (canonical / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
        os.replace(saved / WEIGHTS, canonical / WEIGHTS)
        quantization = quantization_of(model)
        if quantization is not None:  # it is merged into what it learned on: the record is a part of it
            (canonical / QUANTIZATION).write_text(quantization.as_json(), encoding="utf-8")
        # What was measured on the model is then true of what is stored.
        if not holds_weights_of(canonical, model, weights):
            raise TrainingError(
                "The weights that were written are not those that were trained and measured. Nothing was stored."
            )
        fingerprint = fingerprint_folder(canonical)
        folder = adapters_dir / short(fingerprint)
        with folder_written_aside(folder) as aside:
            for file in canonical.iterdir():
                os.replace(file, aside / file.name)
    return fingerprint, folder


def holds_weights_of(folder: Path, model: Any, weights: dict[str, Any] | None) -> bool:
    """Whether the weights in the folder are those that the model answers with, bit by bit."""
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    stored, held = load_file(folder / WEIGHTS), get_peft_model_state_dict(model, state_dict=weights)
    return stored.keys() == held.keys() and all(torch.equal(stored[name], held[name].cpu()) for name in stored)


def remove_left(adapters_dir: Path) -> None:
    """Remove what a training that was killed while it stored left beside the adapters."""
    for left in (*adapters_dir.glob(f"{_ASIDE}*"), *adapters_dir.glob(".*.tmp")):
        shutil.rmtree(left, ignore_errors=True)


def canonical_config(config: dict[str, Any], base_fingerprint: str) -> dict[str, Any]:
    """The same for the same adapter, wherever it was trained."""
    modules = config["target_modules"]
    return {
        **{name: value for name, value in config.items() if name != "peft_version"},
        "target_modules": sorted(modules) if isinstance(modules, list) else modules,
        "base_model_name_or_path": base_fingerprint,
    }

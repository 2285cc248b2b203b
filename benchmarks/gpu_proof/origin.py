"""Describes what a result depends on: the code, the hardware and the installed libraries. Names no host and no path."""

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.gpu_proof.results import Origin

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (
    "torch", "triton", "transformers", "accelerate", "peft", "trl", "datasets", "bitsandbytes", "tokenizers", "safetensors",
    "unsloth", "vllm", "xllamacpp", "flash-attn", "kernels", "numpy", "pyarrow",
)  # fmt: skip
_CODE = (
    "fine_tune_assets",
    "fine_tune_assets_tests",
    "benchmarks/gpu_proof",
    "benchmarks/serving_load.py",
    "benchmarks/training_baseline.py",
)


def read_origin() -> Origin:
    return Origin(fingerprint_code(ROOT), read_hardware(), read_versions())


def fingerprint_code(root: Path) -> str:
    """Hash of every Python, YAML and JSON file of the product, of its tests and of the kit."""
    digest = hashlib.sha256()
    for path in sorted(_code_files(root)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _code_files(root: Path) -> Iterable[Path]:
    for name in _CODE:
        for path in [root / name, *(root / name).rglob("*")]:
            if path.suffix in (".py", ".yaml", ".json") and path.is_file():
                yield path


def read_hardware() -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "gpu": None,
        "gpus": 0,
    }
    if not torch.cuda.is_available():
        return found
    card = torch.cuda.get_device_properties(0)
    return {
        **found,
        "gpu": card.name,
        "gpus": torch.cuda.device_count(),
        "gpu_memory_gib": round(card.total_memory / 2**30, 1),
        "compute_capability": f"{card.major}.{card.minor}",
        "cuda": torch.version.cuda,
        "driver": _read_driver(),
    }


def _read_driver() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else None


def read_versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

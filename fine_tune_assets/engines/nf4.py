"""Records how a base model was quantized to 4 bits during training, so that merging can reproduce it.

The record is a file in the adapter's folder. `round_trip` quantizes and de-quantizes a weight with bitsandbytes as in training.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.extras import require_extra

QUANTIZATION_FILE = "quantization.json"
_ORIGINAL_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Quantization:
    quant_type: str
    double_quant: bool
    block_size: int
    double_block_size: int | None
    """None without double quantization."""
    compute_dtype: str
    original_dtype: str
    """Number format of the weights before quantization and after de-quantization."""
    modules: tuple[str, ...]
    """Sorted names of all quantized layers, as in the base model."""

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True)


SUPPORTED = Quantization("nf4", True, 64, 256, "bfloat16", "", ())
"""The quantization of `nf4_config`, the only one that can be merged. Number format and layers vary by adapter."""


def detect_quantization(model: Any) -> Quantization | None:
    """The quantization of a loaded model, with or without an adapter; None if no layer is quantized. Raises GateClosedError if
    layers differ, because one record cannot describe them."""
    layers = {_base_name(name): module for name, module in model.named_modules() if _is_4bit(module)}
    if not layers:
        return None
    stated = _stated_compute_dtype(model)
    found = {_layer_quantization(module, stated) for module in layers.values()}
    if len(found) > 1:
        raise GateClosedError(f"The base model's layers are quantized in {len(found)} different ways.")
    return replace(found.pop(), modules=tuple(sorted(layers)))


def _is_4bit(module: Any) -> bool:
    # By class name, because importing bitsandbytes takes a second. FSDP derives its own class.
    return any(kind.__name__ == "Linear4bit" for kind in type(module).__mro__)


def _base_name(name: str) -> str:
    return name.removeprefix("base_model.model.").removesuffix(".base_layer")


def _layer_quantization(module: Any, compute_dtype: str) -> Quantization:
    # The layer keeps its state if FSDP has split the weight itself into plain tensors.
    state = getattr(module, "quant_state", None) or module.weight.quant_state
    return Quantization(
        quant_type=state.quant_type,
        double_quant=bool(state.nested),
        block_size=state.blocksize,
        double_block_size=state.state2.blocksize if state.nested else None,
        compute_dtype=compute_dtype,
        original_dtype=str(state.dtype).removeprefix("torch."),
        modules=(),
    )


def _stated_compute_dtype(model: Any) -> str:
    """As configured: bitsandbytes changes the layers' own value at the first forward pass."""
    config = model.config.quantization_config
    stated = config["bnb_4bit_compute_dtype"] if isinstance(config, dict) else config.bnb_4bit_compute_dtype
    return str(stated).removeprefix("torch.")


def read_quantization(adapter: Path, is_quantized: bool) -> Quantization | None:
    """The record in an adapter's folder; None if the base model was not quantized. Raises GateClosedError if the record is
    missing, unexpected or unsupported."""
    path = adapter / QUANTIZATION_FILE
    if path.is_file() != is_quantized:
        raise GateClosedError(
            f"Adapter {adapter.name} was trained with method qlora, but {QUANTIZATION_FILE} is missing, so it cannot be merged "
            "reliably. Train again."
            if is_quantized
            else f"Adapter {adapter.name} has a {QUANTIZATION_FILE}, but its method is not qlora. Train again."
        )
    return _read_supported(adapter.name, path) if is_quantized else None


def recorded_quantization(adapter: Path) -> Quantization | None:
    """`read_quantization` for an adapter whose method is known only from its folder, such as a released one."""
    return read_quantization(adapter, (adapter / QUANTIZATION_FILE).is_file())


def _read_supported(adapter: str, path: Path) -> Quantization:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        quantization = Quantization(**{**values, "modules": tuple(values["modules"])})
    except (ValueError, TypeError, KeyError):
        raise GateClosedError(f"Adapter {adapter}: {QUANTIZATION_FILE} cannot be read. Train again.") from None
    expected = replace(SUPPORTED, original_dtype=quantization.original_dtype, modules=quantization.modules)
    mismatches = [name for name, value in asdict(expected).items() if asdict(quantization)[name] != value]
    if mismatches or quantization.original_dtype not in _ORIGINAL_DTYPES or not quantization.modules:
        names = ", ".join(mismatches or ["original_dtype" if quantization.modules else "modules"])
        raise GateClosedError(
            f"Adapter {adapter} was trained on a base model with an unsupported quantization ({names}). "
            "Train again with this version."
        )
    return quantization


def round_trip(weight: torch.Tensor, quantization: Quantization, device: str) -> torch.Tensor:
    """The weight as the adapter saw it: quantized and de-quantized on `device`; float32, on the CPU."""
    with require_extra("Merging a QLoRA adapter"):
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    loaded = weight.to(device=device, dtype=getattr(torch, quantization.original_dtype))
    packed, state = quantize_4bit(
        loaded,
        blocksize=quantization.block_size,
        compress_statistics=quantization.double_quant,
        quant_type=quantization.quant_type,
    )
    return dequantize_4bit(packed, state).to(device="cpu", dtype=torch.float32)

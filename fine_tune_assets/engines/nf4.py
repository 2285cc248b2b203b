"""How a base model was quantised to 4 bits while an adapter learned on it, as a record that travels with the adapter.

Owns the record, reading it off a model in memory, its file in the adapter's folder, and the round trip of one weight: quantised
and de-quantised by bitsandbytes, as it was in training. Does not know how a model is merged.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.extras import extra_for

QUANTIZATION = "quantization.json"
_LOADED_AS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Quantization:
    quant_type: str
    double_quant: bool
    block_size: int
    double_block_size: int | None
    """None without double quantisation."""
    compute_dtype: str
    loaded_as: str
    """Number format that the weights had before, and have again afterwards."""
    modules: tuple[str, ...]
    """Names of all layers that were quantised, as in the base model; sorted."""

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True)


SUPPORTED = Quantization("nf4", True, 64, 256, "bfloat16", "", ())
"""What `nf4_config` trains with, and the only way in which is merged; number format and layers are the adapter's own."""


def quantization_of(model: Any) -> Quantization | None:
    """Of a model in memory, with or without an adapter; None if nothing in it is quantised. Raises GateClosedError if its layers
    are not all alike: no record could say how to do it again."""
    layers = {_base_name(name): module for name, module in model.named_modules() if _is_4bit(module)}
    if not layers:
        return None
    stated = _stated_compute_dtype(model)
    found = {_one(module, stated) for module in layers.values()}
    if len(found) > 1:
        raise GateClosedError(f"The base model's layers are quantised in {len(found)} different ways.")
    return replace(found.pop(), modules=tuple(sorted(layers)))


def _is_4bit(module: Any) -> bool:
    # By name: importing bitsandbytes costs a second, and a model without it has none. FSDP derives its own class.
    return any(kind.__name__ == "Linear4bit" for kind in type(module).__mro__)


def _base_name(name: str) -> str:
    return name.removeprefix("base_model.model.").removesuffix(".base_layer")


def _one(module: Any, compute_dtype: str) -> Quantization:
    # The layer keeps its state where FSDP has cut the weight itself into plain pieces.
    state = getattr(module, "quant_state", None) or module.weight.quant_state
    return Quantization(
        quant_type=state.quant_type,
        double_quant=bool(state.nested),
        block_size=state.blocksize,
        double_block_size=state.state2.blocksize if state.nested else None,
        compute_dtype=compute_dtype,
        loaded_as=str(state.dtype).removeprefix("torch."),
        modules=(),
    )


def _stated_compute_dtype(model: Any) -> str:
    """As it was asked for: bitsandbytes changes the layers' own when they first compute."""
    config = model.config.quantization_config
    stated = config["bnb_4bit_compute_dtype"] if isinstance(config, dict) else config.bnb_4bit_compute_dtype
    return str(stated).removeprefix("torch.")


def read_quantization(adapter: Path, is_quantized: bool) -> Quantization | None:
    """The record in an adapter's folder; None for one that learned on unquantised weights. Raises GateClosedError if it is
    missing, should not be there, or says something that nobody here can do again."""
    path = adapter / QUANTIZATION
    if path.is_file() != is_quantized:
        raise GateClosedError(
            f"Adapter {adapter.name} is of method qlora and does not say how its base model was quantised. Train again: "
            "what it is merged into would be a guess."
            if is_quantized
            else f"Adapter {adapter.name} learned on a quantised base model, and its record names another method. Train again."
        )
    return _supported(adapter.name, path) if is_quantized else None


def learned_on(adapter: Path) -> Quantization | None:
    """As `read_quantization`, of an adapter whose method only its own folder tells: one that serves, or did."""
    return read_quantization(adapter, (adapter / QUANTIZATION).is_file())


def _supported(adapter: str, path: Path) -> Quantization:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = Quantization(**{**values, "modules": tuple(values["modules"])})
    except (ValueError, TypeError, KeyError):
        raise GateClosedError(f"Adapter {adapter}: {QUANTIZATION} can't be read. Train again.") from None
    wanted = replace(SUPPORTED, loaded_as=found.loaded_as, modules=found.modules)
    other = [name for name, value in asdict(wanted).items() if asdict(found)[name] != value]
    if other or found.loaded_as not in _LOADED_AS or not found.modules:
        named = ", ".join(other or ["loaded_as" if found.modules else "modules"])
        raise GateClosedError(
            f"Adapter {adapter} learned on a base model that was quantised in another way than it would be de-quantised with "
            f"({named}). Train again with this version."
        )
    return found


def round_trip(weight: torch.Tensor, how: Quantization, device: str) -> torch.Tensor:
    """The weight as the adapter saw it: quantised and de-quantised on `device`; float32, on the CPU."""
    with extra_for("Merging a QLoRA adapter"):
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    loaded = weight.to(device=device, dtype=getattr(torch, how.loaded_as))
    packed, state = quantize_4bit(
        loaded, blocksize=how.block_size, compress_statistics=how.double_quant, quant_type=how.quant_type
    )
    return dequantize_4bit(packed, state).to(device="cpu", dtype=torch.float32)

"""Slice `environment`: what the machine offers, bf16 and NF4 arithmetic, and the capabilities that the product reports."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu_proof.random_models import published_sizes, read_shape
from benchmarks.gpu_proof.results import Figures, SliceRun

_ROUNDS = 10


def run(proof: SliceRun, scratch: Path) -> None:
    size = 256 if proof.dry else 8192
    proof.part("machine", describe_machine)
    proof.part("bf16_product", lambda: time_products(size))
    proof.part("attention", lambda: time_attention(64 if proof.dry else 2048))
    proof.part("nf4_round_trip", lambda: round_trip_nf4(size), modules=("bitsandbytes",))
    proof.part("nf4_product", lambda: time_nf4_products(size), modules=("bitsandbytes",))
    proof.part("capabilities", lambda: list_model_capabilities(scratch))


def describe_machine() -> Figures:
    """As the product's plan sees it."""
    import torch

    from fine_tune_assets.engines.transformers_models import best_device
    from fine_tune_assets.training.planning.measured_plan import measure_this_machine

    machine = measure_this_machine()
    return {
        "device": best_device(),
        "plan_memory_bytes": machine.memory_bytes,
        "plan_library_bytes": machine.library_bytes,
        "bf16": torch.cuda.is_bf16_supported() if torch.cuda.is_available() else None,
    }


def _device() -> str:
    from fine_tune_assets.engines.transformers_models import best_device

    return best_device()


def _seconds(act: Callable[[], Any]) -> float:
    """Mean of several rounds after a warm-up."""
    import torch

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    for _ in range(3):
        act()
    wait()
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        act()
    wait()
    return (time.perf_counter() - began) / _ROUNDS


def time_products(size: int) -> Figures:
    import torch

    one, other = (torch.randn(size, size, device=_device(), dtype=torch.bfloat16) for _ in range(2))
    seconds = _seconds(lambda: one @ other)
    exact = one[:32].float() @ other.float()
    error = float(((one[:32] @ other).float() - exact).abs().max() / exact.abs().max())
    copied = torch.empty_like(one)
    copy_seconds = _seconds(lambda: copied.copy_(one))
    return {
        "size": size,
        "tflops": 2 * size**3 / seconds / 1e12,
        "relative_error": error,
        "copy_gb_per_second": 2 * one.nbytes / copy_seconds / 1e9,
    }


def time_attention(tokens: int) -> Figures:
    """Causal attention of Llama 3 8B's shape: 32 heads of 128, 8 of them with keys and values."""
    import torch

    query = torch.randn(1, 32, tokens, 128, device=_device(), dtype=torch.bfloat16)
    key, value = (torch.randn(1, 8, tokens, 128, device=_device(), dtype=torch.bfloat16) for _ in range(2))
    attend = torch.nn.functional.scaled_dot_product_attention
    return {"tokens": tokens, "seconds": _seconds(lambda: attend(query, key, value, is_causal=True, enable_gqa=True))}


def round_trip_nf4(size: int) -> Figures:
    """The product's quantization, as merging repeats it."""
    import dataclasses

    import torch

    from fine_tune_assets.engines.nf4 import SUPPORTED, round_trip

    weight = torch.randn(size, size, dtype=torch.bfloat16)
    quantization = dataclasses.replace(SUPPORTED, original_dtype="bfloat16", modules=("layer",))
    first, second = (round_trip(weight, quantization, _device()) for _ in range(2))
    again = round_trip(first.to(torch.bfloat16), quantization, _device())
    return {
        "relative_error": float((first - weight.float()).norm() / weight.float().norm()),
        "is_repeatable": bool(torch.equal(first, second)),
        "second_trip_relative_change": float((again - first).norm() / first.norm()),
    }


def time_nf4_products(size: int) -> Figures:
    """bitsandbytes' layer against the same weights de-quantized, for a training batch and for one generated token."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    layer: Any = Linear4bit(
        size, size, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4", compress_statistics=True
    )
    layer = layer.to(_device())
    weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(torch.bfloat16)
    found: Figures = {"size": size}
    with torch.inference_mode():
        for name, rows in (("training", min(2048, size)), ("one_token", 1)):
            inputs = torch.randn(rows, size, device=_device(), dtype=torch.bfloat16)
            expected = torch.nn.functional.linear(inputs, weight)
            found[f"{name}_seconds"] = _seconds(lambda: layer(inputs))  # noqa: B023 (called at once)
            found[f"{name}_bf16_seconds"] = _seconds(lambda: torch.nn.functional.linear(inputs, weight))  # noqa: B023
            error = (layer(inputs).float() - expected.float()).abs().max() / expected.float().abs().max()
            found[f"{name}_relative_error"] = float(error)
    return found


def list_model_capabilities(scratch: Path) -> Figures:
    from fine_tune_assets.training.base_models.model_facts import read_model_facts
    from fine_tune_assets.training.capabilities import list_capabilities

    found: Figures = {}
    for name in published_sizes():
        folder = scratch / f"config-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(read_shape(name)), encoding="utf-8")
        (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
        found[name] = [
            {"operation": one.operation, "engine": one.engine, "supported": one.is_supported, "reason": one.reason}
            for one in list_capabilities(read_model_facts(folder))
        ]
    return found

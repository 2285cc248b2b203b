"""Export formats, and the default limits of their difference from the merged weights."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

GgufFormat = Literal["lora_f16", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m"]
CompressedFormat = Literal["fp8_dynamic", "w4a16"]
"""Folders of Safetensors that llmcompressor compresses, for engines on a GPU."""
AdapterFormat = Literal["lora_safetensors"]
"""A folder with the adapter, which vLLM applies to the base model."""
ExportFormat = GgufFormat | CompressedFormat | AdapterFormat
LORA = "lora_f16"
"""The adapter alone, which llama.cpp applies to the GGUF of the base model."""
LORA_SAFETENSORS: AdapterFormat = "lora_safetensors"
GGUF_FORMATS: tuple[str, ...] = get_args(GgufFormat)
COMPRESSED_FORMATS: tuple[str, ...] = get_args(CompressedFormat)
_Share = Annotated[float, Field(ge=0, le=1)]
_NonNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ParityLimits:
    """Limits of the difference between a model and the model that it was made from, over the same probes."""

    maximum_kl: _NonNegative
    """Maximum mean KL divergence, in nats per token."""
    minimum_top1: _Share
    """Minimum share of tokens with the same first choice."""
    minimum_greedy_agreement: _Share
    """Minimum share of probes with the same greedy answer."""
    maximum_loss_increase: _NonNegative
    """Maximum increase in loss on held-out answers, in nats per token."""


DEFAULT_LIMITS: Mapping[str, ParityLimits] = {
    LORA: ParityLimits(0.02, 0.88, 0.125, 0.03),
    "f16": ParityLimits(0.002, 0.995, 0.75, 0.01),
    "bf16": ParityLimits(0.002, 0.99, 0.5, 0.01),
    "q8_0": ParityLimits(0.02, 0.88, 0.125, 0.03),
    "q6_k": ParityLimits(0.03, 0.86, 0.0, 0.05),
    "q5_k_m": ParityLimits(0.08, 0.84, 0.0, 0.08),
    "q4_k_m": ParityLimits(0.15, 0.78, 0.0, 0.15),
    "fp8_dynamic": ParityLimits(0.06, 0.85, 0.0, 0.05),
    "w4a16": ParityLimits(0.25, 0.8, 0.0, 0.2),
    LORA_SAFETENSORS: ParityLimits(0.02, 0.88, 0.125, 0.03),
}
"""Default limits by format: about twice the values measured on SmolLM2-135M, which loses more than larger models
(docs/explanation/parity-certificate.md)."""


def find_limits(export_limits: Mapping[Any, ParityLimits], export_format: str) -> ParityLimits:
    return export_limits.get(export_format, DEFAULT_LIMITS[export_format])

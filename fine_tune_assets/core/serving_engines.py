"""The registry of engines that serve releases, with the features that each supports beyond plain chat.

The gateway refuses unsupported features by name. `serving/engine_start.py` starts the engines. Checked with llama.cpp's server
b11549 and vLLM 0.32.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fine_tune_assets.core.settings import Settings

EngineName = Literal["llama_cpp", "vllm"]
"""Engines in a recipe: the keys of SERVING_ENGINES."""


@dataclass(frozen=True)
class EngineFeatures:
    program: str
    tool_choices: frozenset[str] = frozenset()
    """Supported values of `auto` (the model decides), `required` (any tool) and `named` (a given tool)."""
    has_schemas: bool = False
    is_named_sent_as_required: bool = False
    """A named tool is sent as the only tool, with tool_choice `required`."""
    has_logprobs: bool = False


@dataclass(frozen=True)
class ServingEngine:
    reads_folder: bool
    """It loads a folder: merged weights, or an adapter; otherwise one GGUF file, the recipe's first export."""
    features: EngineFeatures


UNKNOWN_FEATURES = EngineFeatures("The engine")
SERVING_ENGINES: Mapping[str, ServingEngine] = {
    # llama.cpp silently treats a tool_choice object as `auto`. With `required`, text may precede the call, but the answer can't
    # end without one (checked).
    "llama_cpp": ServingEngine(
        reads_folder=False,
        features=EngineFeatures(
            "llama.cpp's server",
            frozenset({"auto", "required", "named"}),
            has_schemas=True,
            is_named_sent_as_required=True,
            has_logprobs=True,
        ),
    ),
    # `auto` needs a parser for the model's own tool call format, which is not known here. `engines.vllm` sets the options that
    # the other choices need.
    "vllm": ServingEngine(
        reads_folder=True,
        features=EngineFeatures("vLLM", frozenset({"required", "named"}), has_schemas=True, has_logprobs=True),
    ),
}


RESERVED_SLOTS = 1
"""Slots of an engine per gateway process beyond the shared ones, for callers without an answer in progress."""


def shared_slots(engine: str, settings: "Settings") -> int:
    """Simultaneous requests that one gateway process sends to an engine, without the reserved ones."""
    parallel = settings.vllm.parallel if engine == "vllm" else settings.llama.parallel
    return max(1, parallel // settings.gateway.workers)


def llama_cpp_slots(settings: "Settings") -> int:
    """Simultaneous requests for which llama.cpp is started; each takes memory for a context."""
    return (shared_slots("llama_cpp", settings) + RESERVED_SLOTS) * settings.gateway.workers


def reads_folder(engine: str) -> bool:
    """Whether the engine loads a folder of weights. False for an unknown engine, which is refused at its start."""
    return engine in SERVING_ENGINES and SERVING_ENGINES[engine].reads_folder


def find_features(engine: str) -> EngineFeatures:
    return SERVING_ENGINES[engine].features if engine in SERVING_ENGINES else UNKNOWN_FEATURES

"""The engines that serve releases: what each reads, and what its program can do beyond plain chat.

An engine is an entry here, and its starter in `serving/engine_start.py`. What a program can't do is refused by name, and never
silently left out. The table was read and tried with llama.cpp's server b11549 and vLLM 0.32.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

EngineName = Literal["llama_cpp", "vllm"]
"""What a recipe may name: the keys of SERVING_ENGINES."""


@dataclass(frozen=True)
class Features:
    program: str
    tool_choices: frozenset[str] = frozenset()
    """Of `auto` (the model decides), `required` (some tool) and `named` (that one)."""
    has_schemas: bool = False
    has_named_as_required: bool = False
    """A named tool is asked for as the only one, of which some is required."""
    has_probabilities: bool = False


@dataclass(frozen=True)
class ServingEngine:
    reads_folder: bool
    """It serves the folder of merged weights; otherwise one GGUF file, the recipe's first export."""
    features: Features


NOTHING_KNOWN = Features("The program that serves")
SERVING_ENGINES: Mapping[str, ServingEngine] = {
    # A choice that is no text is silently taken for `auto`. Text may come before a call that is required; the answer can't end
    # without one (tried).
    "llama_cpp": ServingEngine(
        reads_folder=False,
        features=Features(
            "llama.cpp's server",
            frozenset({"auto", "required", "named"}),
            has_schemas=True,
            has_named_as_required=True,
            has_probabilities=True,
        ),
    ),
    # `auto` needs a parser for the model's own way of writing calls, which nothing here can know. What the others need is named
    # by `engines.vllm`; a test asks vLLM itself.
    "vllm": ServingEngine(
        reads_folder=True,
        features=Features("vLLM", frozenset({"required", "named"}), has_schemas=True, has_probabilities=True),
    ),
}


def reads_folder(engine: str) -> bool:
    """Whether the engine serves a folder of weights. An unknown engine serves nothing, and is refused when it is started."""
    return engine in SERVING_ENGINES and SERVING_ENGINES[engine].reads_folder


def features_of(engine: str) -> Features:
    return SERVING_ENGINES[engine].features if engine in SERVING_ENGINES else NOTHING_KNOWN

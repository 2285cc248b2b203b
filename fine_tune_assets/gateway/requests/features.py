"""What an engine's program can do beyond plain chat. What it can't do is refused by name, and never silently left out.

The table was read and tried with llama.cpp's server b11549 and vLLM 0.32.
"""

from dataclasses import dataclass

from fine_tune_assets.core.releases.release_folders import ReleaseFolder


@dataclass(frozen=True)
class Features:
    program: str
    tool_choices: frozenset[str] = frozenset()
    """Of `auto` (the model decides), `required` (some tool) and `named` (that one)."""
    has_schemas: bool = False
    has_named_as_required: bool = False
    """A named tool is asked for as the only one, of which some is required."""
    has_probabilities: bool = False


NOTHING_KNOWN = Features("The program that serves")
# A choice that is no text is silently taken for `auto`. Text may come before a call that is required; the answer can't end
# without one (tried).
LLAMA_CPP = Features(
    "llama.cpp's server",
    frozenset({"auto", "required", "named"}),
    True,
    has_named_as_required=True,
    has_probabilities=True,
)
# `auto` needs a parser for the model's own way of writing calls, which nothing here can know. What the others need is named by
# `engines.vllm`; a test asks vLLM itself.
VLLM = Features("vLLM", frozenset({"required", "named"}), True, has_probabilities=True)


def features_of(release: ReleaseFolder) -> Features:
    return VLLM if release.engine == "vllm" else LLAMA_CPP

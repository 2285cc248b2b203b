"""What the program that serves can do beyond plain chat. What it can't is refused by name, so that nobody believes that a schema
or a tool was enforced that was not.

Owns the table (llama.cpp's server b11549, vLLM 0.32: read and tried), and which of them runs.
"""

from dataclasses import dataclass

from fine_tune_assets.core.releases import ReleaseFolder


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

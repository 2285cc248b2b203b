"""What the program that serves can do beyond plain chat. What it can't is refused by name, so that nobody believes that a schema
or a tool was enforced that was not.

Owns the table (llama-cpp-python 0.3.36 and the llama-server of its llama.cpp, vLLM 0.32: read and tried), and which of them runs.
"""

from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.releases import ReleaseFolder
from fine_tune_assets.engines.running import CONFIG, KEY


@dataclass(frozen=True)
class Features:
    program: str
    tool_choices: frozenset[str] = frozenset()
    """Of `auto` (the model decides), `required` (some tool) and `named` (that one)."""
    has_schemas: bool = False
    is_schema_nested: bool = True
    """Where a schema stands in response_format: as in OpenAI's API, or beside the type."""
    has_named_as_required: bool = False
    """A named tool is asked for as the only one, of which some is required."""
    has_probabilities: bool = False


NOTHING_KNOWN = Features("The program that serves")
# `auto` and `required` would come as text that nobody reads as a call. A schema under `json_schema` is silently ignored; under
# `json_object` it is enforced by a grammar. Probabilities would need those of every token kept: a gigabyte.
LLAMA_CPP_PYTHON = Features("llama-cpp-python's server", frozenset({"named"}), True, is_schema_nested=False)
# A choice that is no text is silently taken for `auto`. Text may come before a call that is required; the answer can't end
# without one (tried).
LLAMA_SERVER = Features(
    "llama-server", frozenset({"auto", "required", "named"}), True, has_named_as_required=True, has_probabilities=True
)
# `auto` needs a parser for the model's own way of writing calls, which nothing here can know. What the others need is named by
# `engines.vllm`; a test asks vLLM itself.
VLLM = Features("vLLM", frozenset({"required", "named"}), True, has_probabilities=True)


def features_of(release: ReleaseFolder, engine_folder: Path) -> Features:
    """`engine_folder`: where the running engine's own files lie. They say which program it is, whatever the settings say now."""
    if release.engine == "vllm":
        return VLLM
    if (engine_folder / KEY).is_file():
        return LLAMA_SERVER
    return LLAMA_CPP_PYTHON if (engine_folder / CONFIG).is_file() else NOTHING_KNOWN

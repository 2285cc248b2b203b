"""Tells whether a judge's language model and the candidate's base model are of one family.

Models prefer the wording of their own family (self-preference), so such a judge must not decide alone.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from fine_tune_assets.engines.gguf_header import read_gguf_header
from fine_tune_assets.judging.judges.grades import JudgeKind
from fine_tune_assets.recipes.schema import BaseModelSettings, JudgeSettings

_FAMILIES: Final = (
    "llama", "qwen", "mistral", "mixtral", "ministral", "magistral", "gemma", "phi", "smollm", "falcon", "deepseek", "granite",
    "olmo", "gpt", "cohere", "command", "glm", "nemotron", "exaone", "internlm", "yi",
)  # fmt: skip
_SAME_AS: Final = dict.fromkeys(("mixtral", "ministral", "magistral"), "mistral") | {"command": "cohere"}
SAME_FAMILY: Final = (
    "It is of the same model family as the candidate, and models prefer their own family's wording. Name a model of another "
    "family in judge.model."
)
_MIN_PART_LETTERS: Final = 4
"""Shorter names must be whole words: "phi" is not in "dolphin"."""


def is_same_family(judge: JudgeSettings, base: BaseModelSettings, data_dir: Path) -> bool:
    """False for a judge without a language model, and if a family is unknown: an endpoint is known by its name alone."""
    if not judge.needs_model:
        return False
    own = model_families(judge.model, data_dir / judge.model if judge.backend == "folder" else None)
    return bool(own & model_families(base.name, data_dir / base.folder if base.folder else None))


def model_families(name: str, path: Path | None) -> frozenset[str]:
    """The families in the model's names and architecture. Several for a model distilled from another family.

    >>> sorted(model_families("DeepSeek-R1-Distill-Qwen-7B", None))
    ['deepseek', 'qwen']
    """
    facts = _read_facts(path)
    names = [Path(name).name, *(facts.get(key) for key in ("_name_or_path", "general.name", "general.basename"))]
    architectures = [facts.get("model_type"), facts.get("general.architecture"), *(facts.get("architectures") or ())]
    known = [str(one).lower() for one in architectures if one]
    own = _find_families(architectures)
    # Many families have the architecture of Llama.
    return _find_families(names) | (own - {"llama"}) or own or frozenset(known)


def same_family_reason(kind: JudgeKind, is_same_family: bool) -> str:
    """Why a judge may not decide."""
    return f"{SAME_FAMILY} Or use the verifier (judge.kind: verifier)." if is_same_family and kind != "verifier" else ""


def describe_same_family(is_same_family: bool) -> str:
    """The blind spot of such a judge, to append to the others; empty if it has none."""
    return " It is of the candidate's model family and may prefer that family's wording." if is_same_family else ""


def _find_families(names: Iterable[Any]) -> frozenset[str]:
    words = [word for name in names if name for word in re.findall("[a-z]+", str(name).lower())]
    found = (
        one for one in _FAMILIES for word in words if word == one or (len(one) >= _MIN_PART_LETTERS and one in word)
    )
    return frozenset(_SAME_AS.get(one, one) for one in found)


def _read_facts(path: Path | None) -> dict[str, Any]:
    """Fields of config.json or of a GGUF file's header; empty if there is no model."""
    if path is None:
        return {}
    if path.is_file():
        return read_gguf_header(path)
    config = path / "config.json"
    return dict(json.loads(config.read_text(encoding="utf-8"))) if config.is_file() else {}

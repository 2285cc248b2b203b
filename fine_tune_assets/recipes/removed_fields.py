"""Fields that recipes and domain packs no longer have, each with what to write instead."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

RECIPE_FIELDS: Final[Mapping[str, str]] = {
    "general_fraction": "moved to mix. Remove it and write its value as `mix: {bundled: …}`",
    "replay_fraction": "moved to mix. Remove it and, unless it is 0, write its value as `mix: {previous_set: …}`",
    "sweep": "was removed. Write one value of each parameter in training, and compare the validation loss of two trainings",
    "tasks.kind: fields": "was removed. Write a task of the kind sections if the answer is in the report, else of the kind model",
    "judge.kind: formula": "was removed, because word overlap does not show whether an answer is true. Write kind: verifier, "
    "which needs nothing else; or statements or rubric, which need a language model",
    "judge.kind: panel": "was removed. Write kind: statements for the language model, or kind: verifier",
    "reviewed_flags: flag contradicts range": "was removed. Remove it from the list",
}
PACK_FIELDS: Final[Mapping[str, str]] = {"laboratory_values": "was removed. Remove it"}
"""Field → what to write. An inner field is `outer.inner`; a removed value of a field is `field: value`."""


def describe_removed_fields(values: Any, removed: Mapping[str, str]) -> str:
    """What to write instead of the fields of `removed` that `values` have; empty if there are none."""
    given = set(_iter_fields(values))
    return " ".join(f"{name} {instead}." for name, instead in removed.items() if name in given)


def _iter_fields(values: Any) -> Iterator[str]:
    for name, value in values.items() if isinstance(values, dict) else ():
        yield str(name)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                yield from (f"{name}.{inner}" for inner in part)
                yield from (f"{name}.{inner}: {of}" for inner, of in part.items())
            else:
                yield f"{name}: {part}"

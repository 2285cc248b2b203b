"""Assigns test examples to tasks, and to groups by site, input length, age band and sex.

Age and sex are read from the scrubbed text. An example whose text is silent or contradictory is in no group of that kind.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fine_tune_assets.tables.instruction_rows import InstructionRow

_AGE = (
    r"\b(?P<years>\d{1,3})[ -]?(?P<unit>years?|yrs?|months?|mos?|weeks?|wks?|days?)[ -]?(?:old|of[ ]age)\b|"
    r"\b(?P<short>\d{1,3})[ -]?(?:y/?o\b|y\.[ ]?o\.)|"
    r"\b(?:aged?|age:)[ ](?P<aged>\d{1,3})\b(?![ ]?(?:months?|weeks?|days?|%|mg|kg))|"
    r"\b(?P<oldest>90[ -]or[ -]older)\b"
)
_AGE_PATTERN = re.compile(_AGE, re.IGNORECASE)
_FEMALE, _MALE = r"(?:woman|female|lady|girl|gravida|F)", r"(?:man|male|gentleman|boy|M)"
_SEX_AFTER_AGE = re.compile(
    rf"(?:{_AGE})[ ,-]{{0,2}}(?:[A-Za-z-]+[ ]){{0,4}}?(?:(?P<f>{_FEMALE})|(?P<m>{_MALE}))\b", re.IGNORECASE
)
_SEX_STATED = re.compile(
    r"\b(?:patient|she|he)[ ](?:is|was)[ ]an?[ ](?:[a-z-]+[ ]){0,3}?"
    r"(?:(?P<f>woman|female|lady|girl)|(?P<m>man|male|gentleman|boy))\b|"
    r"\b(?:sex|gender)[ ]?:[ ]?(?:(?P<f2>f(?:emale)?)|(?P<m2>m(?:ale)?))\b",
    re.IGNORECASE,
)
_AGE_BANDS = ((17, "0 to 17"), (39, "18 to 39"), (64, "40 to 64"), (89, "65 to 89"))
OLDEST = "90 or older"
"""The wording that HIPAA Safe Harbor allows for such an age."""


@dataclass(frozen=True)
class ExampleInput:
    example_id: str
    source: str
    task: str
    text: str
    """Scrubbed."""


@dataclass(frozen=True)
class ExampleGroups:
    """Names → sorted ids of test examples."""

    tasks: Mapping[str, Sequence[str]]
    """Each task of the recipe, even without an example, and other tasks in the test, such as that of corrections."""
    subgroups: Mapping[str, Sequence[str]]
    required_tasks: tuple[str, ...]
    """The tasks of the recipe."""


def group_examples(examples: Sequence[ExampleInput], tasks: Sequence[str]) -> ExampleGroups:
    """`tasks`: those of the recipe."""
    found = {task: list[str]() for task in tasks}
    found |= _group_by_name({example.example_id: example.task for example in examples})
    return ExampleGroups(found, _find_subgroups(examples), tuple(tasks))


def _find_subgroups(examples: Sequence[ExampleInput]) -> dict[str, list[str]]:
    """A division with fewer than two groups is omitted."""
    divisions: dict[str, Mapping[str, str | None]] = {
        "site": {e.example_id: e.source for e in examples},
        "length": _length_bands(examples),
        "age": {e.example_id: read_age_band(e.text) for e in examples},
        "sex": {e.example_id: read_sex(e.text) for e in examples},
    }
    found: dict[str, list[str]] = {}
    for division, names in divisions.items():
        groups = _group_by_name(names)
        if len(groups) > 1:
            found |= {f"{division}: {name}": ids for name, ids in groups.items()}
    return found


def _group_by_name(names: Mapping[str, str | None]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for example_id, name in sorted(names.items()):
        if name is not None:
            groups[name].append(example_id)
    return dict(sorted(groups.items()))


def _length_bands(examples: Sequence[ExampleInput]) -> dict[str, str]:
    """Terciles of the number of input words."""
    words = {e.example_id: len(e.text.split()) for e in examples}
    ordered = sorted(words.values())
    if not ordered:
        return {}
    short, long = ordered[(len(ordered) - 1) // 3], ordered[(2 * len(ordered) - 1) // 3]
    names = (f"short, up to {short} words", f"middle, up to {long} words", f"long, over {long} words")
    return {key: names[0 if count <= short else 1 if count <= long else 2] for key, count in words.items()}


def read_age_band(text: str) -> str | None:
    """The band of the first age in the text; None if the text states no age."""
    found = _AGE_PATTERN.search(text)
    if found is None:
        return None
    if found["oldest"]:
        return OLDEST
    if found["unit"] and not found["unit"].lower().startswith("y"):
        return _AGE_BANDS[0][1]
    years = int(found["years"] or found["short"] or found["aged"])
    return next((name for last, name in _AGE_BANDS if years <= last), OLDEST)


def read_sex(text: str) -> str | None:
    """`female` or `male`, from the words after the first age or a statement about the patient; None if unclear."""
    after_age = _SEX_AFTER_AGE.search(text)
    if after_age is not None:
        return "female" if after_age["f"] else "male"
    stated = {"female" if (found["f"] or found["f2"]) else "male" for found in _SEX_STATED.finditer(text)}
    return stated.pop() if len(stated) == 1 else None


def select_inputs(rows: Iterable[InstructionRow], example_ids: Iterable[str]) -> list[ExampleInput]:
    """The given test examples with the user's turn as text."""
    ids = set(example_ids)
    return [
        ExampleInput(row.example_id, row.source, row.task, row.messages[-2].content)
        for row in rows
        if row.example_id in ids
    ]

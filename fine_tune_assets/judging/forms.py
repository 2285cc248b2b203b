"""Whether an answer has the form that its task asks for: its sections or its JSON, and its length.

Owns what counts as a fault of form and how long approved answers are. Does not know who answered.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from fine_tune_assets.claims.sections import find_section, headings_of, section_texts
from fine_tune_assets.recipes.schema import CheckSettings, OutputFormat

MINIMUM_REFERENCES: Final = 10
"""Approved answers to a task below which nothing is known of how long they are."""
LOWEST_PERCENT, HIGHEST_PERCENT = 5, 95
"""Of the approved lengths: the multiples are of these, so that one odd answer widens no bound."""
Bounds = tuple[float, float]
"""Fewest and most words."""


def format_faults(answer: str, wanted: OutputFormat) -> int:
    """Sections that are missing or empty; or errors against the schema, 1 for what is no JSON.

    >>> format_faults("ASSESSMENT\\nSprain.\\nPLAN", OutputFormat(headings=("ASSESSMENT", "PLAN")))
    1
    """
    if wanted.json_schema is not None:
        return _schema_errors(answer, wanted.json_schema)
    sections = section_texts(answer, [name for heading in wanted.headings for name in headings_of(heading)])
    return sum(find_section(sections, heading) is None for heading in wanted.headings)


def _schema_errors(answer: str, schema: Mapping[str, Any]) -> int:
    # Imported here: every step process loads this file, and few recipes have a schema.
    from jsonschema import Draft202012Validator

    try:
        value = json.loads(answer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return 1
    return sum(1 for _ in Draft202012Validator(dict(schema)).iter_errors(value))


def _refuse(constant: str) -> None:
    """NaN and Infinity are no JSON, though Python reads them."""
    raise ValueError(constant)


def length_bounds(approved: Iterable[tuple[str, str]], settings: CheckSettings) -> dict[str, Bounds]:
    """Task → fewest and most words of an answer, from (task, approved answer); without tasks that have too few of them."""
    words: dict[str, list[int]] = defaultdict(list)
    for task, answer in approved:
        words[task].append(len(answer.split()))
    return {task: _bounds(lengths, settings) for task, lengths in words.items() if len(lengths) >= MINIMUM_REFERENCES}


def _bounds(lengths: list[int], settings: CheckSettings) -> Bounds:
    low, high = np.percentile(lengths, [LOWEST_PERCENT, HIGHEST_PERCENT])
    return settings.shortest * float(low), settings.longest * float(high)


def is_within(answer: str, bounds: Bounds) -> bool:
    """An empty answer never is."""
    low, high = bounds
    return max(low, 1) <= len(answer.split()) <= high

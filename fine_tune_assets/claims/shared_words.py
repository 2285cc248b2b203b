"""Tells an output that belongs to another input: hardly any of its words stand in its own.

Owns which words are compared, and how many there must be. Does not know at which share a task is in doubt.
"""

import re

from fine_tune_assets.claims.negation_words import stem

MINIMUM_WORDS = 8
"""Different words from which a share says something: of a few, a right output may share none ("Otitis media")."""


def shared_words(output: str, input_text: str) -> float | None:
    """Share of the different words of `output` that `input_text` holds too; None where they are too few.

    Small words are left out, endings too, and a body site counts in any of its names.

    >>> shared_words("Twisted right ankle playing soccer, swelling, pain, limps.", "i twisted my ankle in soccer")
    0.375
    """
    words, held = _stems(output), _stems(input_text)
    return len(words & held) / len(words) if len(words) >= MINIMUM_WORDS else None


def _stems(text: str) -> set[str]:
    return {found for word in re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower()) if (found := stem(word))}

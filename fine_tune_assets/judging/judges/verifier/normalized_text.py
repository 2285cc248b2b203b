"""Rewrites numbers, units and frequencies in one form, so that a small model compares tokens instead of spellings."""

import re
from typing import Final

from fine_tune_assets.quantities.number_words import ORDINALS, WORD_RUN, read_word_values, split_run

_SPOKEN_HUNDREDS: Final = re.compile(
    r"\b(one|two|three|four|five|six|seven|eight|nine)\s+(?:o|oh|zero)\s+(one|two|three|four|five|six|seven|eight|nine)\b",
    re.IGNORECASE,
)
_REWRITES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"\bM\s?G\b|\bmilligrams?\b", "mg"),
        (r"\bM\s?C\s?G\b|\bmicrograms?\b", "mcg"),
        (r"\bM\s?L\b|\bmilliliters?\b", "ml"),
        (r"\bC\s?M\b|\bcentimeters?\b", "cm"),
        (r"\bmillimeters?\b", "mm"),
        (r"(?<=\d)-(?=(?:year|month|week|day|hour|minute|mg|mcg|pound)\b)", " "),
        (r"(?<=\d)(?=(?:mg|mcg|ml|cm|mm|kg)\b)", " "),
        (r"\bq\.?\s?d\b\.?|\bonce\s+(?:daily|per\s+day|each\s+day)\b", "once a day"),
        (r"\bb\.?\s?i\.?\s?d\b\.?|\btwice\s+(?:daily|per\s+day|each\s+day)\b|\b2\s+times\s+(?:a|per)\s+day\b", "twice a day"),
        (r"\bt\.?\s?i\.?\s?d\b\.?|\bthree\s+times\s+(?:daily|per\s+day|a\s+day)\b", "3 times a day"),
        (r"\bq\.?\s?i\.?\s?d\b\.?|\bfour\s+times\s+(?:daily|per\s+day|a\s+day)\b", "4 times a day"),
        (r"\bp\.?\s?r\.?\s?n\b\.?", "as needed"),
        (r"\bp\.?\s?o\b\.?(?=\s)", "by mouth"),
        (r"\bn't\b", "not"),
    )
)  # fmt: skip
_UNIT_DIGITS: Final = dict(
    zip("one two three four five six seven eight nine".split(), "123456789", strict=True)  # noqa: SIM905
)


def normalize_text(text: str) -> str:
    """The text with numbers in digits, units abbreviated, frequencies spelled out and single spaces within lines.

    >>> normalize_text("I'm twenty six and take twenty M G q.d.")
    "I'm 26 and take 20 mg once a day"
    """
    text = _SPOKEN_HUNDREDS.sub(lambda m: f"{_UNIT_DIGITS[m[1].lower()]}0{_UNIT_DIGITS[m[2].lower()]}", text)
    text = WORD_RUN.sub(_write_digits, text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return "\n".join(line for line in (" ".join(line.split()) for line in text.split("\n")) if line)


def _write_digits(run: re.Match[str]) -> str:
    words = split_run(run.group())
    if words[-1] in ORDINALS or words == ["one"]:
        return run.group()
    values = read_word_values(words)
    return max(values, key=int) if values else run.group()

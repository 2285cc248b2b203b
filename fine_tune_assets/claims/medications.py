"""Finds medicines in an output that its input does not mention, or mentions only with another dose or frequency.

People may state a dose some turns after the medicine, so any number near a mention supports a dose. Only a dose that the input
assigns to this or another medicine contradicts it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Final

from fine_tune_assets.claims.frequencies import DAY_HOURS, Frequency, extract_frequencies
from fine_tune_assets.claims.medicine_names import find_generic_name, is_listed_medicine, is_medicine
from fine_tune_assets.claims.prescriptions import Dose, Prescription, extract_prescriptions
from fine_tune_assets.quantities.numbers import locate_numbers, read_numbers

MENTION_WINDOW_CHARACTERS: Final = 240
"""Characters on each side of a mention whose numbers and frequencies may belong to the medicine, up to the next one."""
MISSPELLING_SIMILARITY: Final = 0.8
"""Minimum letter similarity (difflib) at which an unlisted word of the input counts as a misspelling: "metropolol"."""
_WORD: Final = re.compile(r"[a-z]+(?:-[a-z]+)*")
_NON_DOSE_UNIT: Final = re.compile(
    r"[\s-]{0,2}(?:minutes?|hours?|days?|weeks?|months?|years?|yrs?|times|percent|%|pounds?|lbs?|kg|inch(?:es)?|feet|degrees)(?![a-z])",
    re.I,
)
"""Follows a number that counts something other than a medicine."""


def find_unsupported_medications(output: str, input_text: str) -> list[str]:
    """Medicines in `output`, as written there with the wrong dose or frequency; without repeats.

    >>> find_unsupported_medications("Take lisinopril 40 mg twice daily.", "lisinopril, twenty mg once a day, for 40 days")
    ['lisinopril 40 mg', 'lisinopril 40 mg twice daily']
    """
    prescribed = extract_prescriptions(output)
    if not prescribed:
        return []
    given = _InputMedications(input_text, _find_aliases(prescribed, input_text))
    found: dict[str, None] = {}
    for prescription in prescribed:
        for end in _find_unsupported_ends(prescription, given):
            start = min([prescription.start, *(dose.start for dose in prescription.doses)])
            found.setdefault(" ".join(output[start:end].split()))
    return list(found)


def _find_unsupported_ends(prescribed: Prescription, given: "_InputMedications") -> list[int]:
    """End of each part of a prescription, from its name on, that the input does not support."""
    if prescribed.name not in given.prescriptions_by_name:
        last = max([prescribed.end, *(dose.end for dose in prescribed.doses)])
        return [last] if prescribed.is_listed or prescribed.doses else []
    ends = [
        max(prescribed.end, dose.end) for dose in prescribed.doses if not given.supports_dose(prescribed.name, dose)
    ]
    if prescribed.frequency is not None and not given.supports_frequency(prescribed.name, prescribed.frequency):
        ends.append(prescribed.frequency.end)
    return ends


def _find_aliases(prescribed: Sequence[Prescription], input_text: str) -> dict[str, str]:
    """Misspelled words of the input → the medicine in the output that they mean."""
    words = {part for word in _WORD.findall(input_text.lower()) for part in (word, *word.split("-"))}
    named = {find_generic_name(word) for word in words if is_medicine(word)}
    aliases: dict[str, str] = {}
    for one in prescribed:
        if one.name in named:
            continue
        if one.written in words:
            aliases[one.written] = one.name
            continue
        unlisted = [word for word in words if not is_listed_medicine(word)]
        alike = get_close_matches(
            one.written, [word for word in unlisted if word[0] == one.written[0]], n=2, cutoff=MISSPELLING_SIMILARITY
        )
        aliases |= dict.fromkeys([*alike, *(word for word in unlisted if one.written in word)], one.name)
    return aliases


@dataclass(frozen=True)
class _InputMedications:
    """The medicines in the input, extracted once."""

    text: str
    aliases: Mapping[str, str]

    @cached_property
    def prescriptions(self) -> list[Prescription]:
        return extract_prescriptions(self.text, self.aliases)

    @cached_property
    def prescriptions_by_name(self) -> dict[str, list[Prescription]]:
        named: dict[str, list[Prescription]] = {}
        for one in self.prescriptions:
            named.setdefault(one.name, []).append(one)
        return named

    @cached_property
    def masked_text(self) -> str:
        """The text with numbers that count something else blanked out."""
        text = self.text
        for _, start, end in locate_numbers(self.text):
            if _NON_DOSE_UNIT.match(text, end):
                text = text[:start] + " " * (end - start) + text[end:]
        return text

    @cached_property
    def numbers(self) -> list[tuple[set[str], int, int]]:
        return list(locate_numbers(self.masked_text))

    @cached_property
    def frequencies(self) -> list[Frequency]:
        return list(extract_frequencies(self.text))

    def supports_dose(self, name: str, dose: Dose) -> bool:
        others = [other for one in self.prescriptions if one.name != name for other in one.doses]
        spans = self._find_mention_spans(name)
        if self._contains_dose(dose, spans, others):
            return True
        if any(one.unit == dose.unit for mention in self.prescriptions_by_name[name] for one in mention.doses):
            return False
        return self._contains_dose(dose, [(0, len(self.text))], others)

    def supports_frequency(self, name: str, prescribed: Frequency) -> bool:
        others = {one.frequency.start for one in self.prescriptions if one.frequency and one.name != name}
        near = [
            found
            for start, end in self._find_mention_spans(name)
            for found in self.frequencies
            if start <= found.start and found.end <= end and found.start not in others
        ]
        if any(prescribed.interval_hours & found.interval_hours for found in near):
            return True
        if any(mention.frequency is not None for mention in self.prescriptions_by_name[name]):
            return False
        # Once a day is often left unsaid.
        return DAY_HOURS in prescribed.interval_hours or any(
            prescribed.interval_hours & found.interval_hours for found in self.frequencies
        )

    def _find_mention_spans(self, name: str) -> list[tuple[int, int]]:
        """Start and end of the text around each mention of a medicine, up to the next other one."""
        spans = []
        for at, mention in enumerate(self.prescriptions):
            if mention.name != name:
                continue
            before = max((one.end for one in self.prescriptions[:at] if one.name != name), default=0)
            behind = min(
                (one.start for one in self.prescriptions[at + 1 :] if one.name != name), default=len(self.text)
            )
            spans.append(
                (
                    max(before, mention.start - MENTION_WINDOW_CHARACTERS),
                    min(behind, mention.end + MENTION_WINDOW_CHARACTERS),
                )
            )
        return spans

    def _contains_dose(self, dose: Dose, spans: Sequence[tuple[int, int]], others: Sequence[Dose]) -> bool:
        """Whether a span contains a value of the dose that does not belong to another medicine."""
        taken = {other.start for other in others}
        for start, end in spans:
            if any(dose.values & v for v, at, to in self.numbers if start <= at and to <= end and at not in taken):
                return True
        # "two and a half", "point five": found only as words.
        return any(dose.values & read_numbers(self._mask_doses(others, start, end)) for start, end in spans)

    def _mask_doses(self, others: Sequence[Dose], start: int, end: int) -> str:
        text = self.masked_text[start:end]
        for other in others:
            if start <= other.start and other.end <= end:
                text = text[: other.start - start] + " " * (other.end - other.start) + text[other.end - start :]
        return text

"""Finds a medicine of an output that its input does not name, or names with another dose or another frequency only.

Owns when a prescription is supported. People name a medicine, and tell its dose some turns later: a dose is supported by any
number near a mention of the medicine, and contradicted only by what the input gives to that medicine or to another one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Final

from fine_tune_assets.claims.frequencies import DAILY, Frequency, frequencies_in
from fine_tune_assets.claims.medicine_names import generic_name, is_listed, is_medicine
from fine_tune_assets.claims.prescriptions import Dose, Prescription, prescriptions_in
from fine_tune_assets.quantities.numbers import located_numbers, numbers_in

NEAR: Final = 240
"""Characters on each side of a mention in which a number or frequency may be the medicine's, up to the next other medicine."""
ALIKE: Final = 0.8
"""Share of letters in order (difflib) from which an unlisted word of the input is the name misspelled: "metropolol"."""
_WORD: Final = re.compile(r"[a-z]+(?:-[a-z]+)*")
_OTHER_UNIT: Final = re.compile(
    r"[\s-]{0,2}(?:minutes?|hours?|days?|weeks?|months?|years?|yrs?|times|percent|%|pounds?|lbs?|kg|inch(?:es)?|feet|degrees)(?![a-z])",
    re.I,
)
"""Behind a number that counts something else than a medicine."""


def unsupported_medications(output: str, input_text: str) -> list[str]:
    """Medicines of `output`, with the dose or frequency that is wrong, as they stand there; each once.

    >>> unsupported_medications("Take lisinopril 40 mg twice daily.", "lisinopril, twenty milligrams once a day, for 40 days")
    ['lisinopril 40 mg', 'lisinopril 40 mg twice daily']
    """
    said = prescriptions_in(output)
    if not said:
        return []
    given = _Given(input_text, _aliases(said, input_text))
    found: dict[str, None] = {}
    for one in said:
        for end in _unsupported_ends(one, given):
            start = min([one.start, *(dose.start for dose in one.doses)])
            found.setdefault(" ".join(output[start:end].split()))
    return list(found)


def _unsupported_ends(said: Prescription, given: "_Given") -> list[int]:
    """Where each part of a prescription ends that the input does not support, from the name on."""
    if said.name not in given.by_name:
        last = max([said.end, *(dose.end for dose in said.doses)])
        return [last] if said.is_listed or said.doses else []
    ends = [max(said.end, dose.end) for dose in said.doses if not given.supports_dose(said.name, dose)]
    if said.frequency is not None and not given.supports_frequency(said.name, said.frequency):
        ends.append(said.frequency.end)
    return ends


def _aliases(said: Sequence[Prescription], input_text: str) -> dict[str, str]:
    """Words of the input that are a name of the output in other letters → that name."""
    words = {part for word in _WORD.findall(input_text.lower()) for part in (word, *word.split("-"))}
    named = {generic_name(word) for word in words if is_medicine(word)}
    aliases: dict[str, str] = {}
    for one in said:
        if one.name in named:
            continue
        if one.written in words:
            aliases[one.written] = one.name
            continue
        unlisted = [word for word in words if not is_listed(word)]
        alike = get_close_matches(
            one.written, [word for word in unlisted if word[0] == one.written[0]], n=2, cutoff=ALIKE
        )
        aliases |= dict.fromkeys([*alike, *(word for word in unlisted if one.written in word)], one.name)
    return aliases


@dataclass(frozen=True)
class _Given:
    """What the input says of medicines, read once."""

    text: str
    aliases: Mapping[str, str]

    @cached_property
    def prescriptions(self) -> list[Prescription]:
        return prescriptions_in(self.text, self.aliases)

    @cached_property
    def by_name(self) -> dict[str, list[Prescription]]:
        named: dict[str, list[Prescription]] = {}
        for one in self.prescriptions:
            named.setdefault(one.name, []).append(one)
        return named

    @cached_property
    def plain(self) -> str:
        """The text with blanks in place of numbers that count something else."""
        text = self.text
        for _, start, end in located_numbers(self.text):
            if _OTHER_UNIT.match(text, end):
                text = text[:start] + " " * (end - start) + text[end:]
        return text

    @cached_property
    def numbers(self) -> list[tuple[set[str], int, int]]:
        return list(located_numbers(self.plain))

    @cached_property
    def frequencies(self) -> list[Frequency]:
        return list(frequencies_in(self.text))

    def supports_dose(self, name: str, dose: Dose) -> bool:
        others = [other for one in self.prescriptions if one.name != name for other in one.doses]
        spans = self._near(name)
        if self._holds(dose, spans, others):
            return True
        if any(one.unit == dose.unit for mention in self.by_name[name] for one in mention.doses):
            return False
        return self._holds(dose, [(0, len(self.text))], others)

    def supports_frequency(self, name: str, said: Frequency) -> bool:
        others = {one.frequency.start for one in self.prescriptions if one.frequency and one.name != name}
        near = [
            found
            for start, end in self._near(name)
            for found in self.frequencies
            if start <= found.start and found.end <= end and found.start not in others
        ]
        if any(said.hours & found.hours for found in near):
            return True
        if any(mention.frequency is not None for mention in self.by_name[name]):
            return False
        # Once a day goes without saying.
        return DAILY in said.hours or any(said.hours & found.hours for found in self.frequencies)

    def _near(self, name: str) -> list[tuple[int, int]]:
        """Start and end of what may be about a medicine: around each mention, up to the next other one."""
        spans = []
        for at, mention in enumerate(self.prescriptions):
            if mention.name != name:
                continue
            before = max((one.end for one in self.prescriptions[:at] if one.name != name), default=0)
            behind = min(
                (one.start for one in self.prescriptions[at + 1 :] if one.name != name), default=len(self.text)
            )
            spans.append((max(before, mention.start - NEAR), min(behind, mention.end + NEAR)))
        return spans

    def _holds(self, dose: Dose, spans: Sequence[tuple[int, int]], others: Sequence[Dose]) -> bool:
        """Whether one of the spans holds a value of the dose that is not another medicine's."""
        taken = {other.start for other in others}
        for start, end in spans:
            if any(dose.values & v for v, at, to in self.numbers if start <= at and to <= end and at not in taken):
                return True
        # "two and a half", "point five": read by their words only.
        return any(dose.values & numbers_in(self._without(others, start, end)) for start, end in spans)

    def _without(self, others: Sequence[Dose], start: int, end: int) -> str:
        text = self.plain[start:end]
        for other in others:
            if start <= other.start and other.end <= end:
                text = text[: other.start - start] + " " * (other.end - other.start) + text[other.end - start :]
        return text

"""The task of the loop: the handover line of an invented hospital, derived by a rule from each dialogue of the sample.

A line names the section that clinicians filed the dialogue under, the first speaker who answers the doctor, and their own words.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INSTRUCTION = "Write the handover line of this part of the visit in the form of our house."
LONGEST_DIALOGUE = 420
"""Characters, about 105 tokens. Longer dialogues only make training slower."""
TAUGHT_SECTIONS = frozenset(
    (
        "allergies",
        "chief complaint",
        "family and social history",
        "medications",
        "past medical history",
        "past surgical history",
        "review of systems",
    )
)
"""Sections of the visits for the first release: the labels of the recipe's task."""
_SPEAKERS = {"Patient": "patient", "Guest_family": "family"}
"""Speakers of the sample and their names in the line. The doctor's words are not part of a handover."""
_WORDS = range(5, 17)
_NUMBER = re.compile(r"\d|\b(?:thousand|nineteen)\b")
"""The scrubber replaces or withholds years, also in words, so the line would no longer match the dialogue."""


@dataclass(frozen=True)
class Handover:
    """A question and its only correct answer."""

    visit_id: str
    input: str
    line: str

    @property
    def question(self) -> str:
        """As the gateway receives it: the instruction, an empty line, the input."""
        return f"{INSTRUCTION}\n\n{self.input}"

    def is_right(self, answer: str) -> bool:
        """Whether the answer has the same words, ignoring case, punctuation and spaces."""
        return re.findall(r"\w+", answer.casefold()) == re.findall(r"\w+", self.line.casefold())


def handover_of(visit: Mapping[str, str]) -> Handover | None:
    """None if the dialogue is too long, or its first answer is the doctor's, too short, too long or has a number."""
    dialogue, section = visit["dialogue"], visit["section_name"]
    turns = (line.partition(":") for line in dialogue.splitlines())
    speaker, words = next(((who.strip(), said.strip()) for who, _, said in turns if who.strip() != "Doctor"), ("", ""))
    is_usable = speaker in _SPEAKERS and len(words.split()) in _WORDS and not _NUMBER.search(words)
    if not is_usable or len(dialogue) > LONGEST_DIALOGUE:
        return None
    line = f"Handover: {section}. Told by: {_SPEAKERS[speaker]}. Own words: {words}"
    return Handover(visit["report_id"], f"NOTE SECTION\n{section}\n\nDIALOGUE\n{dialogue}", line)


def read_visits(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Shares:
    """How the loop uses the dialogues. No dialogue is in two shares."""

    reported: Sequence[dict[str, str]]
    """Visits for the first release."""
    corrected: Sequence[Handover]
    only_asked: Sequence[Handover]
    """Questions that receive no correction: a correct answer to one must be learned from the other corrections."""


def share_out(visits: Sequence[dict[str, str]], reported: int, corrected: int, only_asked: int) -> Shares:
    """Split in file order, so the shares are reproducible. In the first uncorrected question the patient speaks."""
    short = [visit for visit in visits if len(visit["dialogue"]) <= LONGEST_DIALOGUE]
    handovers = [found for visit in short if (found := handover_of(visit))][: only_asked + corrected]
    taken = {handover.visit_id for handover in handovers}
    others = [v for v in short if v["section_name"] in TAUGHT_SECTIONS and v["report_id"] not in taken]
    asked = sorted(handovers[:only_asked], key=lambda handover: "Told by: patient." not in handover.line)
    return Shares(others[:reported], handovers[only_asked:], asked)

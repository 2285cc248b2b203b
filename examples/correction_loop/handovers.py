"""What the loop teaches: the handover line of a made-up house, which follows by a rule from each dialogue of the sample.

A line names the section that clinicians filed the dialogue under, who first answers the doctor, and that person's own words.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INSTRUCTION = "Write the handover line of this part of the visit in the form of our house."
LONGEST_DIALOGUE = 420
"""Characters, about 105 tokens. Longer dialogues take longer to train on and show nothing more."""
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
"""Of the visits that the first release learns from: the labels of the recipe's task."""
_SPEAKERS = {"Patient": "patient", "Guest_family": "family"}
"""Speakers in the sample, as the line names them. The doctor's words are not handed over."""
_WORDS = range(5, 17)
_NUMBER = re.compile(r"\d|\b(?:thousand|nineteen)\b")
"""The scrubber replaces or withholds years, also in words: the line would no longer match the dialogue."""


@dataclass(frozen=True)
class Handover:
    """A question, and the only right answer."""

    visit_id: str
    input: str
    line: str

    @property
    def question(self) -> str:
        """As the gateway receives it: the instruction, an empty line, the input."""
        return f"{INSTRUCTION}\n\n{self.input}"

    def is_right(self, answer: str) -> bool:
        """Whether the answer has the same words. Case, punctuation and spaces do not count."""
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
    """Visits that the first release learns from."""
    corrected: Sequence[Handover]
    only_asked: Sequence[Handover]
    """Questions that receive no correction: a right answer to one of them was learned from the others."""


def share_out(visits: Sequence[dict[str, str]], reported: int, corrected: int, only_asked: int) -> Shares:
    """In the order of the file, so the shares are the same each time. A patient tells the first question that is only asked."""
    short = [visit for visit in visits if len(visit["dialogue"]) <= LONGEST_DIALOGUE]
    handovers = [found for visit in short if (found := handover_of(visit))][: only_asked + corrected]
    taken = {handover.visit_id for handover in handovers}
    others = [v for v in short if v["section_name"] in TAUGHT_SECTIONS and v["report_id"] not in taken]
    asked = sorted(handovers[:only_asked], key=lambda handover: "Told by: patient." not in handover.line)
    return Shares(others[:reported], handovers[only_asked:], asked)

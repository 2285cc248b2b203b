"""The behaviour that the demo of the loop corrects: the house's handover line, which no model can know beforehand.

Owns the rule, and which dialogues of the sample are reported, corrected and only asked about. Nothing is invented: the line is
the section that clinicians filed the dialogue under, who told it, and that person's own first words.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INSTRUCTION = "Write the handover line of this part of the visit in the form of our house."
TELLERS = {"Patient": "patient", "Guest_family": "family"}
"""Speakers of the sample as the line names them. The doctor is nobody who tells."""
LONGEST_DIALOGUE = 280
"""Characters, some 70 tokens. Longer ones take longer to learn from and show no more."""
OWN_WORDS = range(5, 17)
_NUMBER = re.compile(r"\d|\b(?:thousand|nineteen)\b")
"""A year, also in words, makes the scrubber change or hold back a text: with it the line would not be what is asked for."""


@dataclass(frozen=True)
class Handover:
    """A question in the users' words, and the house's answer to it."""

    visit_id: str
    input: str
    line: str


def handover_of(row: Mapping[str, str]) -> Handover | None:
    """By the rule; None where the rule says nothing: nobody but the doctor speaks, in too few or too many words, or of a year."""
    teller, words = _first_words(row["dialogue"])
    is_long = len(row["dialogue"]) > LONGEST_DIALOGUE
    if is_long or teller not in TELLERS or len(words.split()) not in OWN_WORDS or _NUMBER.search(words):
        return None
    section = row["section_name"]
    return Handover(
        row["report_id"],
        f"NOTE SECTION\n{section}\n\nDIALOGUE\n{row['dialogue']}",
        f"Handover: {section}. Told by: {TELLERS[teller]}. Own words: {words}",
    )


def _first_words(dialogue: str) -> tuple[str, str]:
    """Who first answers the doctor, and what."""
    for line in dialogue.splitlines():
        speaker, _, words = line.partition(":")
        if speaker.strip() != "Doctor":
            return speaker.strip(), words.strip()
    return "", ""


def is_right(answer: str, handover: Handover) -> bool:
    """Word for word; case, signs and spaces aside."""
    return _words(answer) == _words(handover.line)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def read_visits(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Shares:
    """What becomes of the sample's dialogues. No dialogue is in two of them."""

    reported: Sequence[Mapping[str, str]]
    """Visits that the first release learns from."""
    corrected: Sequence[Handover]
    only_asked: Sequence[Handover]
    """Nobody corrects these: that they are answered rightly was learned from the others."""


def share_out(visits: Sequence[Mapping[str, str]], reported: int, corrected: int, only_asked: int) -> Shares:
    """By the order of the file: the same each time. What is asked begins with what a patient tells: most lines are so."""
    short = [row for row in visits if len(row["dialogue"]) <= LONGEST_DIALOGUE]
    handovers = [found for row in short if (found := handover_of(row))][: only_asked + corrected]
    taken = {handover.visit_id for handover in handovers}
    others = [row for row in short if row["report_id"] not in taken]
    asked = sorted(handovers[:only_asked], key=lambda handover: f"Told by: {TELLERS['Patient']}." not in handover.line)
    return Shares(others[:reported], handovers[only_asked:], asked)

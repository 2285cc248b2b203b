"""Turns round the answer to a question about a finding: "Any fever? No." becomes "Any fever? Yes."."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from fine_tune_assets.claims.negation_words import FINDING_BY_FORM

_YES: Final = re.compile(r"(?:yes|yeah|yep|yup|sure)\b", re.IGNORECASE)
_NO: Final = re.compile(r"(?:no|nope|nah|never|none)\b", re.IGNORECASE)
_SPEAKER: Final = re.compile(r"^\s*[A-Z]\w*:\s*")
_MAX_ANSWER_WORDS: Final = 5
_YES_ANSWERS: Final = ("Yes.", "Yeah.", "Yes, I do.", "Yes, a little.", "Yes, doctor.")
_NO_ANSWERS: Final = ("No.", "Nope.", "No, nothing like that.", "No, not really.", "No, doctor.")
_NEGATING: Final = (
    "The patient denies {}.",
    "No {}.",
    "Denies {}.",
    "Negative for {}.",
    "The patient has no {}.",
    "Denied any {}.",
    "There is no {}.",
    "Without {}.",
)
_ASSERTING: Final = (
    "The patient reports {}.",
    "{}.",
    "Complains of {}.",
    "Positive for {}.",
    "The patient has {}.",
    "Admits {}.",
    "There is {}.",
    "With {}.",
)
_WORD: Final = re.compile(r"[A-Za-z]+")
_STATED: Final = re.compile(
    r"\bI(?:'ve| have|'m| am)?(?: also)?(?: been)? (?:have|had|having|got|get) (?:a |an |some |this |the |really )?"
    r"(?P<finding>[a-z]+(?: [a-z]+){0,2})"
)
_TURNED: Final = tuple(
    (re.compile(pattern), other)
    for pattern, other in (
        (r"\b(?:denies|denied)(?: having| any)?\b", "reports"),
        (r"\b(?:Denies|Denied)(?: having| any)?\b", "Reports"),
        (r"\b(?:has|had) no\b", "has"),
        (r"\b[Nn]egative for\b", "positive for"),
        (r"^No\b", "Has"),
        (r"\bno\b", "some"),
        (r"\bwithout\b", "with"),
        (r"\b(?:reports|complains of|endorses|admits to|states)\b", "denies"),
        (r"\bhas (?:a |an )?(?!been|had)", "has no "),
        (r"\bhad (?:a |an )?(?!been)", "had no "),
        (r"\b[Pp]ositive for\b", "negative for"),
        (r"\bwith\b", "without"),
    )
)
"""How a note says that a finding is absent or present, and the other way round; the first that matches."""


@dataclass(frozen=True)
class AnswerFlip:
    record: str
    """The record with the other answer."""
    statement: str
    """Supported by the unchanged record."""
    other_statement: str
    finding: str


def find_flips(record: str, random: Random) -> Iterator[AnswerFlip]:
    """One flip for each short answer to a question about one listed finding, and for each finding that is stated."""
    yield from _flip_answers(record, random)
    for match in _STATED.finditer(record):
        findings = _find_forms(match["finding"])
        if findings and match["finding"].lower().startswith(findings[0]):
            other = random.choice(("I don't have any ", "I have not had any ", "I have no ", "I deny "))
            yield AnswerFlip(
                record[: match.start()] + other + record[match.start("finding") :],
                *write_both(findings[0], is_stated=True, random=random),
                findings[0],
            )


def flip_statement(statement: str, finding: str) -> str | None:
    """A note's statement about one finding, turned round: "denies fever" becomes "reports fever"; None for several findings."""
    if _find_forms(statement) != [finding]:
        return None
    for pattern, other in _TURNED:
        if pattern.search(statement):
            turned = pattern.sub(other, statement, count=1)
            return turned[0].upper() + turned[1:]
    return None


def write_both(finding: str, is_stated: bool, random: Random) -> tuple[str, str]:
    """Two statements about the finding: the one that holds, asserted if it `is_stated`, and the other one."""
    statements = (_write(random.choice(_ASSERTING), finding), _write(random.choice(_NEGATING), finding))
    return statements if is_stated else (statements[1], statements[0])


def _flip_answers(record: str, random: Random) -> Iterator[AnswerFlip]:
    lines = record.split("\n")
    for at in range(len(lines) - 1):
        question, answer = lines[at], _SPEAKER.sub("", lines[at + 1])
        findings = _find_forms(question.rsplit(".", 1)[-1])
        if not question.rstrip().endswith("?") or len(findings) != 1 or len(answer.split()) > _MAX_ANSWER_WORDS:
            continue
        is_yes, is_no = bool(_YES.match(answer)), bool(_NO.match(answer))
        if is_yes == is_no:
            continue
        speaker = _SPEAKER.match(lines[at + 1])
        other = random.choice(_NO_ANSWERS if is_yes else _YES_ANSWERS)
        flipped = [*lines[: at + 1], f"{speaker.group() if speaker else ''}{other}", *lines[at + 2 :]]
        yield AnswerFlip("\n".join(flipped), *write_both(findings[0], is_yes, random), findings[0])


def _find_forms(text: str) -> list[str]:
    words = [word.lower() for word in _WORD.findall(text)]
    found: list[str] = []
    at = 0
    while at < len(words):
        size = next((n for n in (3, 2, 1) if tuple(words[at : at + n]) in FINDING_BY_FORM and at + n <= len(words)), 0)
        if size:
            found.append(" ".join(words[at : at + size]))
        at += max(1, size)
    return found


def _write(template: str, finding: str) -> str:
    written = template.format(finding)
    return written[0].upper() + written[1:]

"""Puts a question with its answer into a dialogue, and writes the statement that it supports.

Every exchange has two forms, each of which contradicts the other's statement: a negation, an order of events, a hedge, a person
or a dose. Phrasings are divided between training and measurement, so that a measurement meets phrasings that training never saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Literal

from fine_tune_assets.core.word_lists import read_lists

Part = Literal["training", "measurement"]


@dataclass(frozen=True)
class Exchange:
    kind: str
    turns: str
    """Put into the record."""
    other_turns: str
    statement: str
    """Supported by `turns`, contradicted by `other_turns`."""
    other_statement: str


@dataclass(frozen=True)
class Phrasing:
    """Slots: {a}, {b} are two terms of one kind; {x}, {y} two others. Exchanging a and b turns the meaning round."""

    turns: tuple[str, ...]
    other_turns: tuple[str, ...]
    statements: tuple[str, ...]
    other_statements: tuple[str, ...]


_TERMS: Final = read_lists(Path(__file__).parent / "exchange_terms.txt")
FINDINGS: Final = _TERMS["findings"]
_DISEASES: Final = _TERMS["diseases"]
_PEOPLE: Final = _TERMS["people"]
_DRUGS: Final = _TERMS["medicines"]
_DOSES: Final = _TERMS["doses"]
_SITES: Final = _TERMS["sites"]

_NEGATION: Final = Phrasing(
    turns=(
        "Doctor: Any {a}?\nPatient: No.",
        "Doctor: Do you have {a}?\nPatient: No, I don't.",
        "Doctor: Have you had any {a}?\nPatient: Nope, nothing like that.",
        "Doctor: How about {a}?\nPatient: No, not at all.",
        "Patient: I have not had any {a}.",
        "Doctor: {A}?\nPatient: Never.",
        "Doctor: Have you noticed {a} or {x}?\nPatient: No {a}, but I do have {x}.",
        "Doctor: Any {x} or {a}?\nPatient: Just {x}.",
        "Doctor: Does {a} bother you?\nPatient: Thankfully not.",
        "Doctor: I take it there is no {a}?\nPatient: That's right, none.",
    ),
    other_turns=(
        "Doctor: Any {a}?\nPatient: Yes.",
        "Doctor: Do you have {a}?\nPatient: Yes, I do.",
        "Doctor: Have you had any {a}?\nPatient: Yeah, quite a bit.",
        "Doctor: How about {a}?\nPatient: Yes, sometimes.",
        "Patient: I have had {a}.",
        "Doctor: {A}?\nPatient: Unfortunately, yes.",
        "Doctor: Have you noticed {a} or {x}?\nPatient: No {x}, but I do have {a}.",
        "Doctor: Any {x} or {a}?\nPatient: Just {a}.",
        "Doctor: Does {a} bother you?\nPatient: It does.",
        "Doctor: I take it there is no {a}?\nPatient: Oh no, I get {a} a lot.",
    ),
    statements=(
        "The patient denies {a}.",
        "No {a}.",
        "Denies {a}.",
        "She has no {a}.",
        "He denied any {a}.",
        "Negative for {a}.",
        "There has been no {a}.",
        "Without {a}.",
        "The patient does not have {a}.",
        "She denies having {a}.",
    ),
    other_statements=(
        "The patient reports {a}.",
        "{A}.",
        "Complains of {a}.",
        "She has {a}.",
        "He reported {a}.",
        "Positive for {a}.",
        "There has been {a}.",
        "With {a}.",
        "The patient has {a}.",
        "She admits to having {a}.",
    ),
)
_ORDER: Final = Phrasing(
    turns=(
        "Patient: First I had {a}, and then the {b} started.",
        "Patient: The {a} came on before the {b}.",
        "Patient: The {b} began after the {a}.",
        "Doctor: Which came first?\nPatient: The {a}. The {b} followed.",
        "Patient: I noticed {b} only after I already had {a}.",
        "Patient: It began with {a}. A few days later I got {b}.",
        "Doctor: Did the {b} come later?\nPatient: Yes, the {a} was there first.",
        "Patient: By the time I had {b}, the {a} had been there for a while.",
    ),
    other_turns=(),
    statements=(
        "{A} was followed by {b}.",
        "The {a} began before the {b}.",
        "The {b} started after the {a}.",
        "The patient had {a} and then developed {b}.",
        "{A} preceded {b}.",
        "The first symptom was {a}, then {b}.",
        "Initially {a}, later {b}.",
        "Onset of {a} was prior to {b}.",
    ),
    other_statements=(),
)
_HEDGING: Final = Phrasing(
    turns=(
        "Doctor: It might be {a}.",
        "Doctor: I think this could be {a}, but we do not know yet.",
        "Doctor: This is possibly {a}. We need more tests.",
        "Doctor: We can't rule out {a}.",
        "Doctor: I suspect {a}.",
        "Doctor: {A} is one possibility.",
        "Doctor: There is a chance that you have {a}.",
        "Doctor: I am not sure, it may be {a}.",
    ),
    other_turns=(
        "Doctor: It is {a}.",
        "Doctor: This is {a}, the tests prove it.",
        "Doctor: This is definitely {a}. We need no more tests.",
        "Doctor: You have {a}.",
        "Doctor: The biopsy confirmed {a}.",
        "Doctor: {A} is what you have.",
        "Doctor: There is no doubt that you have {a}.",
        "Doctor: I am sure, it is {a}.",
    ),
    statements=(
        "Possible {a}.",
        "Questionable {a}.",
        "Suspected {a}.",
        "{A} is suspected.",
        "The patient may have {a}.",
        "Probable {a}.",
        "{A} has not been ruled out.",
        "This could represent {a}.",
    ),
    other_statements=(
        "Confirmed {a}.",
        "Definite {a}.",
        "Proven {a}.",
        "{A} is confirmed.",
        "The patient has {a}.",
        "Established {a}.",
        "{A} has been diagnosed.",
        "This is {a}.",
    ),
)
_PERSON: Final = Phrasing(
    turns=(
        "Doctor: Does anyone in your family have {x}?\nPatient: My {a} does.",
        "Patient: My {a} had {x} and my {b} had {y}.",
        "Doctor: Any family history?\nPatient: My {b} has {y}. My {a} has {x}.",
        "Doctor: Who had {x}?\nPatient: That was my {a}, not my {b}.",
        "Patient: {X} runs in the family, my {a} has it, but not my {b}.",
        "Doctor: Did your {a} have {x}?\nPatient: Yes, and my {b} was healthy.",
    ),
    other_turns=(),
    statements=(
        "{A} with {x}.",
        "Her {a} has {x}.",
        "Family history is significant for {x} in the {a}.",
        "The patient's {a} had {x}.",
        "Positive for {x} in his {a}.",
        "His {a} suffers from {x}.",
    ),
    other_statements=(),
)
_DOSE: Final = Phrasing(
    turns=(
        "Doctor: What do you take?\nPatient: {x} {a} mg and {y} {b} mg.",
        "Patient: I take {a} mg of {x} and {b} mg of {y}.",
        "Doctor: Your {y} is {b} mg and your {x} is {a} mg, right?\nPatient: Yes.",
        "Patient: The {x} is {a} mg. The {y} is {b} mg.",
        "Doctor: We will start you on {a} mg of {x} and keep the {y} at {b} mg.",
        "Doctor: And {x}?\nPatient: {a} mg. And {b} mg {y}.",
    ),
    other_turns=(),
    statements=(
        "{x} {a} mg.",
        "The patient takes {x} {a} mg and {y} {b} mg.",
        "{y} {b} mg, {x} {a} mg daily.",
        "Medications: {x} {a} mg and {y} {b} mg.",
        "She is on {a} mg of {x}.",
        "Current dose of {y} is {b} mg.",
    ),
    other_statements=(),
)
_SITE: Final = Phrasing(
    turns=(
        "Patient: My {a} hurts and my {b} is numb.",
        "Doctor: Where is the pain?\nPatient: In my {a}. The {b} is only numb.",
        "Patient: I have pain in the {a} and numbness in the {b}.",
        "Doctor: Is your {b} numb?\nPatient: Yes, and the {a} is painful.",
    ),
    other_turns=(),
    statements=(
        "Pain in the {a}.",
        "The {a} is painful, the {b} is numb.",
        "Numbness of the {b}.",
        "She complains of {a} pain and {b} numbness.",
    ),
    other_statements=(),
)

_KINDS: Final[tuple[tuple[str, Phrasing, Sequence[str], Sequence[str]], ...]] = (
    ("negation", _NEGATION, FINDINGS, FINDINGS),
    ("order", _ORDER, FINDINGS, ()),
    ("hedging", _HEDGING, _DISEASES, ()),
    ("person", _PERSON, _PEOPLE, _DISEASES),
    ("dose", _DOSE, _DOSES, _DRUGS),
    ("recombined", _SITE, _SITES, ()),
)
INSERTED_KINDS: Final = tuple(kind for kind, *_ in _KINDS)


def write_exchange(kind: str, part: Part, random: Random) -> Exchange:
    """An exchange of a kind with random terms and phrasings of one part."""
    phrasing, terms, others = next((p, t, o) for name, p, t, o in _KINDS if name == kind)
    a, b = random.sample(terms, 2)
    x, y = random.sample([other for other in others if other not in (a, b)], 2) if others else ("", "")
    turns = _choose(phrasing.turns, part, random)
    statement = _choose(phrasing.statements, part, random)
    exchanged = not phrasing.other_turns
    other_turns = turns if exchanged else _choose(phrasing.other_turns, part, random)
    other_statement = statement if exchanged else _choose(phrasing.other_statements, part, random)
    here, there = (a, b, x, y), ((b, a, x, y) if exchanged else (a, b, x, y))
    is_turned = random.random() < 0.5
    forms = (_fill(turns, here), _fill(other_turns, there), _fill(statement, here), _fill(other_statement, there))
    if is_turned:
        forms = (forms[1], forms[0], forms[3], forms[2])
    return Exchange(kind, *forms)


def insert_turns(record: str, turns: str, random: Random) -> str:
    """The record with the turns between two of its lines."""
    lines = [line for line in record.split("\n") if line]
    at = random.randint(0, len(lines))
    return "\n".join([*lines[:at], turns, *lines[at:]])


def _choose(phrasings: Sequence[str], part: Part, random: Random) -> str:
    """Every fourth phrasing is for measurement."""
    return random.choice([p for n, p in enumerate(phrasings) if (n % 4 == 3) == (part == "measurement")])


def _fill(text: str, terms: tuple[str, str, str, str]) -> str:
    for slot, term in zip("abxy", terms, strict=True):
        text = text.replace("{" + slot + "}", term).replace("{" + slot.upper() + "}", term[:1].upper() + term[1:])
    return text

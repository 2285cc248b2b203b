"""Synthetic labelled documents: templates and real clinical prose, filled with invented identifiers.

Slots such as `{name}` are filled so that each label covers exactly its value. `make_documents` is the entry point.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fine_tune_assets.core.word_lists import read_lists
from fine_tune_assets.phi.tagger_training.synthetic.synthetic_values import (
    PLACES,
    REFERENCE,
    WORDS,
    Person,
    SyntheticValues,
)

LabelledText = tuple[str, list[tuple[int, int, str]]]
"""Text, and (start, end, label) of each identifier."""
_TEMPLATES = read_lists(REFERENCE / "templates.txt")
_CLINICAL_WORDS = read_lists(REFERENCE / "clinical_words.txt")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Prose:
    """Real clinical prose without identifiers, which fills up documents."""

    sentences: Sequence[str]
    speech: Sequence[str]


class _DocumentBuilder:
    """A document under construction: text and labels."""

    def __init__(self, seed: int) -> None:
        self.values = SyntheticValues(seed)
        self.people = [self.values.person() for _ in range(4)]
        self._text: list[str] = []
        self._length = 0
        self._spans: list[tuple[int, int, str]] = []

    def add(self, text: str, label: str | None = None) -> None:
        if label and text:
            self._spans.append((self._length, self._length + len(text), label))
        self._text.append(text)
        self._length += len(text)

    def fill(self, template: str) -> None:
        at = 0
        for slot in _SLOT.finditer(template):
            self.add(template[at : slot.start()])
            label, draw = _SLOTS[slot[1]]
            self.add(draw(self), label)
            at = slot.end()
        self.add(template[at:])

    def fill_one_of(self, kind: str) -> None:
        self.fill(self.values.pick(*_TEMPLATES[kind]))

    @property
    def person(self) -> Person:
        return self.values.pick(*self.people)

    def build(self) -> LabelledText:
        return "".join(self._text), self._spans


def make_documents(count: int, prose: Prose, seed: int) -> Iterator[LabelledText]:
    """`count` documents of mixed kinds; equal seeds give equal documents."""
    rng = random.Random(seed)
    kinds: list[tuple[Callable[[_DocumentBuilder, Prose], None], int]] = [
        (_add_note, 34), (_add_form, 12), (_add_question, 16), (_add_clean_question, 8), (_add_speech, 14), (_add_prose,
        16), (_add_short_note, 28),
    ]  # fmt: skip
    for _ in range(count):
        document = _DocumentBuilder(rng.getrandbits(48))
        rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0](document, prose)
        yield _change_case(document.build(), rng)


def _add_note(d: _DocumentBuilder, prose: Prose) -> None:
    if d.values.chance(0.5):
        _add_header(d)
    joint = d.values.pick(" ", " ", "\n", "\n\n")
    for _ in range(d.values.rng.randint(3, 12)):
        roll = d.values.rng.random()
        if roll < 0.45:
            d.fill_one_of("sentences")
        elif roll < 0.7:
            d.fill_one_of("clean")
        else:
            d.add(d.values.pick(*prose.sentences))
        d.add(joint)
    if d.values.chance(0.3):
        _add_header(d)


def _add_short_note(d: _DocumentBuilder, prose: Prose) -> None:
    """Half of these contain no identifier: capitals, numbers and eponyms alone must not look like one."""
    share = d.values.pick(0.0, 0.0, 0.3, 0.6)
    if share and d.values.chance(0.3):
        _add_header(d)
    joint = d.values.pick(" ", "\n", "\n", "\n- ")
    for _ in range(d.values.rng.randint(3, 12)):
        if d.values.chance(0.12):
            d.add(d.values.pick(*prose.sentences))
        else:
            d.fill_one_of("short_notes" if d.values.chance(share) else "short_clean")
        d.add(joint)


def _add_header(d: _DocumentBuilder) -> None:
    lines = d.values.pick(*_TEMPLATES["headers"]).split("|")
    joint = d.values.pick("\n", "\n", "\n", "  ", "; ", " | ")
    for line in lines:
        d.fill(line)
        d.add(joint)
    d.add("\n")


def _add_form(d: _DocumentBuilder, prose: Prose) -> None:
    for _ in range(d.values.rng.randint(1, 3)):
        _add_header(d)
        if d.values.chance(0.5):
            d.add(d.values.pick(*prose.sentences) + "\n")


def _add_question(d: _DocumentBuilder, _prose: Prose) -> None:
    d.fill_one_of("questions")
    if d.values.chance(0.2):
        d.add(" ")
        d.fill_one_of("sentences")


def _add_clean_question(d: _DocumentBuilder, _prose: Prose) -> None:
    d.fill_one_of("clean_questions" if d.values.chance(0.7) else "clean")
    if d.values.chance(0.3):
        d.add(" ")
        d.fill_one_of("clean")


def _add_speech(d: _DocumentBuilder, prose: Prose) -> None:
    joint = d.values.pick("\n", " ", "\n")
    for _ in range(d.values.rng.randint(2, 6)):
        if d.values.chance(0.5):
            d.fill_one_of("speech")
        else:
            d.add(d.values.pick(*prose.speech))
        d.add(joint)


def _add_prose(d: _DocumentBuilder, prose: Prose) -> None:
    source = prose.sentences if d.values.chance(0.6) else prose.speech
    for _ in range(d.values.rng.randint(3, 10)):
        d.add(d.values.pick(*source) + d.values.pick(" ", "\n"))


def _change_case(document: LabelledText, rng: random.Random) -> LabelledText:
    """Occasionally change the document to lower case or capitals; offsets stay valid."""
    text, spans = document
    roll = rng.random()
    changed = text.lower() if roll < 0.08 else text.upper() if roll < 0.15 else text
    return (changed if len(changed) == len(text) else text), spans


def _draw_duration(d: _DocumentBuilder) -> str:
    n = d.values.rng.randint(2, 12)
    spelled_out = ("two weeks", "a couple of days", "three days")
    return d.values.pick(f"{n} days", f"{n} weeks", f"{n} months", f"{n} years", *spelled_out, f"{n}-{n + 1} weeks")


def _draw_dose(d: _DocumentBuilder) -> str:
    amount = d.values.pick(5, 10, 20, 25, 40, 50, 75, 81, 100, 200, 250, 500, 875, 1000, "2.5", "0.4", "12.5")
    unit = d.values.pick("mg", "mg", "mg", "mcg", "units", "mL", " mg")
    often = (" daily", " BID", " twice daily", " q6h prn", " at bedtime", " PO", " IV", "")
    return f"{amount}{d.values.pick('', ' ')}{unit}".replace("  ", " ") + d.values.pick(*often)


def _draw_clock(d: _DocumentBuilder) -> str:
    n = d.values.rng.randint
    return d.values.pick(d.values.clock(), f"{n(1, 12)}:{n(10, 59)} {d.values.pick('AM', 'PM', 'am', 'p.m.')}")


_Draw = Callable[[_DocumentBuilder], str]


def _draw_from(words: Sequence[str]) -> _Draw:
    return lambda d: d.values.pick(*words)


_IDENTIFIER_SLOTS: Mapping[str, Mapping[str, _Draw]] = {
    "NAME": {
        "name": lambda d: d.values.name(d.person),
        "nameupper": lambda d: f"{d.person.first} {d.person.last}".upper(),
        "namel": lambda d: f"{d.person.first} {d.person.last}".lower(),
        "first": lambda d: d.person.first,
        "firstl": lambda d: d.person.first.lower(),
        "firstupper": lambda d: d.person.first.upper(),
        "last": lambda d: d.person.last,
        "lastl": lambda d: d.person.last.lower(),
        "lastupper": lambda d: d.person.last.upper(),
        "initials": lambda d: d.values.initials(d.person),
        "initials2": lambda d: d.person.first[0] + d.values.pick("", d.person.middle[0]) + d.person.last[0].upper(),
        "doctor": lambda d: d.values.doctor(d.person),
    },
    "DATE": {
        "date": lambda d: d.values.date(),
        "datel": lambda d: d.values.date().lower(),
        "shortdate": lambda d: d.values.short_date(),
        "holiday": _draw_from(WORDS["holidays"]),
        "ordinal": lambda d: d.values.ordinal(),
        "month": lambda d: d.values.month(),
        "monthyear": lambda d: d.values.month_and_year(),
        "spokendate": lambda d: d.values.spoken_date(),
    },
    "AGE": {"age90": lambda d: d.values.old_age()},
    "LOCATION": {
        "place": lambda d: d.values.place(),
        "city": lambda d: d.values.city(),
        "citylower": lambda d: d.values.city().lower(),
        "streetname": lambda d: d.values.street_name(),
        "zip": lambda d: d.values.zip_code(),
    },
    "ADDRESS": {
        "address": lambda d: d.values.address(),
        "street": lambda d: d.values.street(),
        "ukaddress": lambda d: d.values.uk_address(),
    },
    "FACILITY": {
        "facility": lambda d: d.values.facility(),
        "facilityl": lambda d: d.values.facility().lower(),
        "site": lambda d: d.values.site(),
        "sitel": lambda d: d.values.site().lower(),
        "stem": _draw_from(PLACES["site_stems"]),
        "school": lambda d: d.values.school(),
        "employer": lambda d: d.values.employer(),
    },
    "PHONE": {
        "phone": lambda d: d.values.phone(),
        "fax": lambda d: d.values.phone(),
        "phonewords": lambda d: d.values.numbers_in_words(d.values.pick(7, 10, 10)),
        "phonespaced": lambda d: d.values.phone().replace("-", d.values.pick("•", " ", "/", "–")),
        "digits3": lambda d: d.values.digits(3),
        "digits4": lambda d: d.values.digits(4),
    },
    "EMAIL": {"email": lambda d: d.values.email(d.person)},
    "URL": {"url": lambda d: d.values.url()},
    "IP": {"ip": lambda d: d.values.ip()},
    "SSN": {"ssn": lambda d: d.values.ssn()},
    "MRN": {
        "mrn": lambda d: d.values.code(),
        "digits": lambda d: d.values.digits(d.values.rng.randint(5, 9)),
    },
    "ACCOUNT": {"account": lambda d: d.values.account()},
    "ID": {
        **dict.fromkeys(("id", "plan", "license", "device"), lambda d: d.values.code()),
        "vehicle": lambda d: d.values.vehicle(),
        "npi": lambda d: d.values.digits(10),
        "dea": lambda d: d.values.letters(2) + d.values.digits(7),
        "numberwords": lambda d: d.values.numbers_in_words(d.values.rng.randint(4, 9)),
    },
}
"""Label → slot → function that draws its value."""
_PLAIN_SLOTS: Mapping[str, _Draw] = {
    **{slot: _draw_from(words) for slot, words in _CLINICAL_WORDS.items()},
    "medicine": _draw_from(_CLINICAL_WORDS["medicine"] + _CLINICAL_WORDS["drug"]),
    "age": lambda d: str(d.values.rng.randint(1, 89)),
    "digit": lambda d: str(d.values.rng.randint(1, 9)),
    "score": lambda d: d.values.pick(
        str(d.values.rng.randint(1, 10)), "7.5", "20%", "3-4", "5/10", "III", "2", "15/15"
    ),
    "year": lambda d: str(d.values.rng.randint(1965, 2026)),
    "clock": _draw_clock,
    "clock4": lambda d: d.values.clock().replace(":", d.values.pick("", "", ":")),
    "duration": _draw_duration,
    "dose": _draw_dose,
    "icd": lambda d: f"{d.values.letters(1)}{d.values.digits(2)}.{d.values.digits(1)}",
    "cpt": lambda d: d.values.pick("99213", "99214", "71046", "93000", "80053", "45378", d.values.digits(5)),
    "pmid": lambda d: d.values.digits(8),
    "room": lambda d: f"{d.values.digits(3)}{d.values.pick('', 'A', 'B', '-1', '-2')}",
}
_SLOTS: Mapping[str, tuple[str | None, _Draw]] = {
    **{slot: (None, draw) for slot, draw in _PLAIN_SLOTS.items()},
    **{slot: (label, draw) for label, slots in _IDENTIFIER_SLOTS.items() for slot, draw in slots.items()},
}

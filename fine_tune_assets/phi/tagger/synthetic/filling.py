"""A made-up document while it grows, and what its slots are filled with.

Owns what `{name}` and the like in a template stand for, and that a label covers exactly its value.
"""

import re
from collections.abc import Callable, Sequence

from fine_tune_assets.phi.tagger.synthetic import clinical_words, telegraphic, words
from fine_tune_assets.phi.tagger.synthetic.person_values import Person
from fine_tune_assets.phi.tagger.synthetic.values import Values

Labelled = tuple[str, list[tuple[int, int, str]]]
"""Text, and (start, end, label) of each identifier in it."""
_SLOT = re.compile(r"\{(\w+)\}")


class Document:
    """Text and labels while they grow."""

    def __init__(self, seed: int) -> None:
        self.values = Values(seed)
        self.people = [self.values.person() for _ in range(4)]
        self._text: list[str] = []
        self._length = 0
        self.spans: list[tuple[int, int, str]] = []

    def add(self, text: str, label: str | None = None) -> None:
        if label and text:
            self.spans.append((self._length, self._length + len(text), label))
        self._text.append(text)
        self._length += len(text)

    def fill(self, template: str) -> None:
        at = 0
        for slot in _SLOT.finditer(template):
            self.add(template[at : slot.start()])
            value, label = _SLOTS[slot[1]](self)
            self.add(value, label)
            at = slot.end()
        self.add(template[at:])

    @property
    def person(self) -> Person:
        return self.values.pick(self.people)  # type: ignore[no-any-return]

    def labelled(self) -> Labelled:
        return "".join(self._text), self.spans


Slot = Callable[[Document], tuple[str, str | None]]


def _phi(label: str, draw: Callable[[Document], str]) -> Slot:
    return lambda d: (draw(d), label)


def _plain(draw: Callable[[Document], str]) -> Slot:
    return lambda d: (draw(d), None)


def _one_of(options: Sequence[str]) -> Slot:
    return lambda d: (d.values.pick(options), None)


def _duration(d: Document) -> str:
    n = d.values.rng.randint(2, 12)
    return str(
        d.values.pick(
            (
                f"{n} days",
                f"{n} weeks",
                f"{n} months",
                f"{n} years",
                "two weeks",
                "a couple of days",
                "three days",
                f"{n}-{n + 1} weeks",
            )
        )
    )


def _dose(d: Document) -> str:
    amount = d.values.pick((5, 10, 20, 25, 40, 50, 75, 81, 100, 200, 250, 500, 875, 1000, "2.5", "0.4", "12.5"))
    unit = d.values.pick(("mg", "mg", "mg", "mcg", "units", "mL", " mg"))
    return f"{amount}{d.values.pick(('', ' '))}{unit}".replace("  ", " ") + d.values.pick(
        (" daily", " BID", " twice daily", " q6h prn", " at bedtime", " PO", " IV", "")
    )


_SLOTS: dict[str, Slot] = {
    "name": _phi("NAME", lambda d: d.values.name(d.person)),
    "lastupper": _phi("NAME", lambda d: d.person.last.upper()),
    "firstupper": _phi("NAME", lambda d: d.person.first.upper()),
    "nameupper": _phi("NAME", lambda d: f"{d.person.first} {d.person.last}".upper()),
    "lastlower": _phi("NAME", lambda d: d.person.last.lower()),
    "firstlower": _phi("NAME", lambda d: d.person.first.lower()),
    "initials2": _phi(
        "NAME", lambda d: d.person.first[0] + d.values.pick(("", d.person.middle[0])) + d.person.last[0].upper()
    ),
    "digits3": _phi("PHONE", lambda d: d.values.digits(3)),
    "street": _phi("ADDRESS", lambda d: d.values.street()),
    "ukaddress": _phi("ADDRESS", lambda d: d.values.uk_address()),
    "stem": _phi("FACILITY", lambda d: d.values.pick(words.SITE_STEMS)),
    "initials": _phi("NAME", lambda d: d.values.initials(d.person)),
    "shortdate": _phi("DATE", lambda d: d.values.short_date()),
    "holiday": _phi("DATE", lambda d: d.values.pick(telegraphic.HOLIDAYS)),
    "ordinal": _phi("DATE", lambda d: d.values.ordinal()),
    "monthlower": _phi("DATE", lambda d: d.values.month()),
    "monthyear": _phi("DATE", lambda d: d.values.month_and_year()),
    "spokendate": _phi("DATE", lambda d: d.values.spoken_date()),
    "citylower": _phi("LOCATION", lambda d: d.values.city().lower()),
    "streetname": _phi("LOCATION", lambda d: d.values.street_name()),
    "site": _phi("FACILITY", lambda d: d.values.site()),
    "sitel": _phi("FACILITY", lambda d: d.values.site().lower()),
    "school": _phi("FACILITY", lambda d: d.values.school()),
    "phonewords": _phi("PHONE", lambda d: d.values.numbers_in_words(d.values.pick((7, 10, 10)))),
    "phonespaced": _phi("PHONE", lambda d: d.values.phone().replace("-", d.values.pick(("•", " ", "/", "–")))),
    "numberwords": _phi("ID", lambda d: d.values.numbers_in_words(d.values.rng.randint(4, 9))),
    "digits4": _phi("PHONE", lambda d: d.values.digits(4)),
    "namel": _phi("NAME", lambda d: f"{d.person.first} {d.person.last}".lower()),
    "first": _phi("NAME", lambda d: d.person.first),
    "firstl": _phi("NAME", lambda d: d.person.first.lower()),
    "last": _phi("NAME", lambda d: d.person.last),
    "lastl": _phi("NAME", lambda d: d.person.last.lower()),
    "doctor": _phi("NAME", lambda d: d.values.doctor(d.person)),
    "date": _phi("DATE", lambda d: d.values.date()),
    "datel": _phi("DATE", lambda d: d.values.date().lower()),
    "age90": _phi("AGE", lambda d: d.values.old_age()),
    "place": _phi("LOCATION", lambda d: d.values.place()),
    "city": _phi("LOCATION", lambda d: d.values.city()),
    "zip": _phi("LOCATION", lambda d: d.values.zip_code()),
    "address": _phi("ADDRESS", lambda d: d.values.address()),
    "facility": _phi("FACILITY", lambda d: d.values.facility()),
    "facilityl": _phi("FACILITY", lambda d: d.values.facility().lower()),
    "employer": _phi("FACILITY", lambda d: d.values.employer()),
    "phone": _phi("PHONE", lambda d: d.values.phone()),
    "fax": _phi("PHONE", lambda d: d.values.phone()),
    "email": _phi("EMAIL", lambda d: d.values.email(d.person)),
    "url": _phi("URL", lambda d: d.values.url()),
    "ip": _phi("IP", lambda d: d.values.ip()),
    "ssn": _phi("SSN", lambda d: d.values.ssn()),
    "mrn": _phi("MRN", lambda d: d.values.code()),
    "account": _phi("ACCOUNT", lambda d: d.values.account()),
    "id": _phi("ID", lambda d: d.values.code()),
    "plan": _phi("ID", lambda d: d.values.code()),
    "license": _phi("ID", lambda d: d.values.code()),
    "device": _phi("ID", lambda d: d.values.code()),
    "vehicle": _phi("ID", lambda d: d.values.vehicle()),
    "npi": _phi("ID", lambda d: d.values.digits(10)),
    "dea": _phi("ID", lambda d: d.values.letters(2) + d.values.digits(7)),
    "digits": _phi("MRN", lambda d: d.values.digits(d.values.rng.randint(5, 9))),
    "age": _plain(lambda d: str(d.values.rng.randint(1, 89))),
    "digit": _plain(lambda d: str(d.values.rng.randint(1, 9))),
    "score": _plain(
        lambda d: d.values.pick((str(d.values.rng.randint(1, 10)), "7.5", "20%", "3-4", "5/10", "III", "2", "15/15"))
    ),
    "year": _plain(lambda d: str(d.values.rng.randint(1965, 2026))),
    "clock": _plain(
        lambda d: d.values.pick(
            (
                d.values.clock(),
                f"{d.values.rng.randint(1, 12)}:{d.values.rng.randint(10, 59)} {d.values.pick(('AM', 'PM', 'am', 'p.m.'))}",
            )
        )
    ),
    "duration": _plain(_duration),
    "dose": _plain(_dose),
    "icd": _plain(lambda d: f"{d.values.letters(1)}{d.values.digits(2)}.{d.values.digits(1)}"),
    "cpt": _plain(lambda d: d.values.pick(("99213", "99214", "71046", "93000", "80053", "45378", d.values.digits(5)))),
    "pmid": _plain(lambda d: d.values.digits(8)),
    "sex": _one_of(("male", "female", "man", "woman", "gentleman", "lady", "boy", "girl")),
    "sexletter": _one_of(("M", "F")),
    "clinicword": _plain(lambda d: d.values.pick(("clinic", "office", "location", "practice"))),
    "disease": _one_of(words.DISEASES),
    "eponym": _one_of(words.EPONYMS),
    "scorename": _one_of(words.SCORES),
    "organisation": _one_of(words.ORGANISATIONS),
    "trial": _one_of(words.TRIALS),
    "drug": _one_of(words.DRUGS),
    "test": _one_of(words.TESTS),
    "lab": _one_of(words.LABS),
    "body": _one_of(words.BODY),
    "procedure": _one_of(words.PROCEDURES),
    "relative": _one_of(words.RELATIVES),
    "relativeshort": _one_of(words.SHORT_RELATIVES),
    "roleshort": _one_of(words.SHORT_ROLES),
    "weekdayshort": _one_of(("mon", "tue", "wed", "thurs", "fri", "sat", "sun", "Monday", "Tuesday", "Friday")),
    "romannumeral": _one_of(("I", "II", "III", "IV", "IIb", "IIIa", "V")),
    "room": _plain(lambda d: f"{d.values.digits(3)}{d.values.pick(('', 'A', 'B', '-1', '-2'))}"),
    "colour": _one_of(("Blue", "Gold", "Cobalt", "Green", "A", "2", "Silver", "Red")),
    "department": _one_of(words.DEPARTMENTS),
    "slashdose": _one_of(
        (
            "24/26",
            "49/51",
            "97/103",
            "5/325",
            "10/325",
            "17/11",
            "12/5",
            "18/8",
            "875/125",
            "20/12.5",
            "8/2",
            "70/30",
            "2/0.5",
        )
    ),
    "clock4": _plain(lambda d: d.values.clock().replace(":", d.values.pick(("", "", ":")))),
    "medicine": _one_of(clinical_words.MEDICINES + words.DRUGS),
    "devicebrand": _one_of(clinical_words.DEVICES),
    "eponymname": _one_of(clinical_words.EPONYM_NAMES),
    "abbr": _one_of(clinical_words.ABBREVIATIONS),
    "finding": _one_of(clinical_words.FINDINGS),
    "exam": _one_of(clinical_words.EXAM),
    "role": _one_of(words.ROLES),
}

"""Invented identifiers in the many forms in which people write them, from one seeded generator.

Names combine Faker's lists and random syllables, so no value belongs to a real person. Word lists are in `reference/`.
"""

# ruff: noqa: E501 (a form a line would hide how many there are)

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from fine_tune_assets.core.extras import require_extra
from fine_tune_assets.core.word_lists import read_lists
from fine_tune_assets.quantities.spelled_numbers import ordinal_suffix, spell_cardinal, spell_ordinal

REFERENCE = Path(__file__).parent / "reference"
PLACES = read_lists(REFERENCE / "places.txt")
WORDS = read_lists(REFERENCE / "names_and_dates.txt")
_FIRST_DAY, _DAY_COUNT = date(1930, 1, 1), 36_500
_T = TypeVar("_T")


@cache
def _load_fakers() -> tuple[list[Any], list[float]]:
    # Imported here: only training needs it.
    with require_extra("Training a tagger"):
        from faker import Faker

    locales, weights = _read_weighted("locales")
    return [Faker(locale) for locale in locales], weights


def _read_weighted(kind: str) -> tuple[list[str], list[float]]:
    entries = [entry.split(" ", 1) for entry in WORDS[kind]]
    return [form for _, form in entries], [float(weight) for weight, _ in entries]


@dataclass(frozen=True)
class Person:
    first: str
    last: str
    middle: str


class SyntheticValues:
    """Draws identifiers that are consistent for each person."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        fakers, weights = _load_fakers()
        self.faker = self.rng.choices(fakers, weights)[0]
        self.faker.seed_instance(self.rng.getrandbits(32))
        self.us_faker = fakers[0]
        self.us_faker.seed_instance(self.rng.getrandbits(32))

    def pick(self, *options: _T) -> _T:
        return self.rng.choice(options)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def digits(self, count: int) -> str:
        return "".join(self.rng.choices(string.digits, k=count))

    def letters(self, count: int) -> str:
        return "".join(self.rng.choices(string.ascii_uppercase, k=count))

    def _fill_form(self, kind: str, **parts: Any) -> str:
        return self.rng.choices(*_read_weighted(kind))[0].format(**parts)

    # People

    def person(self) -> Person:
        if self.chance(0.12):
            return Person(self.invent_word().capitalize(), self._invented_surname(), self.invent_word().capitalize())
        source = self.us_faker if self.chance(0.5) else self.faker
        if self.chance(0.07):
            return Person(
                self.pick(*WORDS["given_names_that_are_words"]), self._surname(source), source.first_name().split()[0]
            )
        return Person(source.first_name().split()[0], self._surname(source), source.first_name().split()[0])

    def _surname(self, source: Any) -> str:
        if self.chance(0.12):
            return self.pick(*WORDS["surnames_that_are_words"])
        last = str(source.last_name())
        if self.chance(0.06):
            last = f"{last}{self.pick(*'--- ')}{source.last_name()}"
        if self.chance(0.03):
            last = self.pick("O'", "Mc", "Mac", "D'", "van ", "de la ", "St. ", "Al-") + last
        return last.replace("'", "’") if self.chance(0.2) else last

    def invent_word(self) -> str:
        return "".join(self.rng.choices(WORDS["syllables"], k=self.pick(2, 2, 3)))

    def _invented_surname(self) -> str:
        return (self.invent_word() + self.pick(*WORDS["surname_ends"])).capitalize()

    def name(self, p: Person) -> str:
        suffix = self.pick("Jr.", "Sr.", "III", "II")
        return self._vary_case(
            self._fill_form(
                "name_forms",
                p=p,
                suffix=suffix,
                last_initial=p.last[0].upper(),
                first_upper=p.first.upper(),
                last_upper=p.last.upper(),
            )
        )

    def initials(self, p: Person) -> str:
        """Initials of the author and the typist, or of the author alone."""
        own = f"{p.first[0]}{p.middle[0]}{p.last[0]}".upper()
        return self.pick(
            f"{own}/{self.letters(2).lower()}",
            f"{own}:{self.letters(2).lower()}",
            own,
            f"{p.first[0]}.{p.last[0].upper()}.",
            f"{p.first[0]}{p.last[0]}".lower(),
        )

    def doctor(self, p: Person) -> str:
        return self._vary_case(
            self.pick(
                p.last, p.last, p.last, f"{p.first} {p.last}", f"{p.first[0]}. {p.last}", f"{p.first} {p.last[0]}."
            )
        )

    def _vary_case(self, text: str) -> str:
        roll = self.rng.random()
        return text.upper() if roll < 0.05 else text.lower() if roll < 0.07 else text

    # Dates, ages over 89 and numbers in words

    def _day(self) -> date:
        return _FIRST_DAY + timedelta(days=self.rng.randrange(_DAY_COUNT))

    def date(self) -> str:
        d = self._day()
        return self._fill_form(
            "date_forms",
            d=d,
            nth=_numeric_ordinal(d.day),
            ordinal=spell_ordinal(d.day),
            short_upper=d.strftime("%b").upper(),
            clock=self.clock(),
        )

    def short_date(self) -> str:
        """Month and day as in ward notes."""
        d = self._day()
        forms = (
            f"{d.month}/{d.day}",
            f"{d.month:02d}/{d.day:02d}",
            f"{d.month}-{d.day}",
            f"{d:%b} {d.day}",
            self.date(),
        )
        return self.rng.choices(forms, (8, 2, 0.7, 1, 1.5))[0]

    def ordinal(self) -> str:
        day = self.rng.randint(1, 31)
        return _numeric_ordinal(day) if self.chance(0.7) else spell_ordinal(day)

    def month(self) -> str:
        d = self._day()
        return self.pick(f"{d:%B}", f"{d:%B}".lower(), f"{d:%B}".lower(), f"{d:%b}", f"{d:%b}.")

    def month_and_year(self) -> str:
        d = self._day()
        return self.pick(f"{d:%B %Y}", f"{d:%b %Y}", f"{d:%m/%Y}", f"{d:%b '%y}", f"{d.month}/{d:%y}")

    def spoken_date(self) -> str:
        d = self._day()
        century, rest = divmod(d.year, 100)
        last = f"{'oh ' if rest < 10 else ''}{spell_cardinal(rest)}"
        year = "two thousand" if d.year == 2000 else f"{spell_cardinal(century)} {last}"
        return f"{d:%B} {spell_ordinal(d.day)} {year}".lower().replace("-", " ")

    def numbers_in_words(self, count: int) -> str:
        return " ".join(self.pick(*WORDS["dictated_digits"]) for _ in range(count))

    def clock(self) -> str:
        return f"{self.rng.randint(0, 23):02d}:{self.rng.randint(0, 59):02d}"

    def old_age(self) -> str:
        age = self.rng.randint(90, 108)
        return str(age) if self.chance(0.75) else _age_in_words(age)

    # Places: towns, streets, sites of care, schools and employers

    def city(self) -> str:
        roll = self.rng.random()
        if roll < 0.45:
            return self.pick(*PLACES["cities"])
        if roll < 0.75:
            return self.us_faker.city()
        if roll < 0.85:
            return self.faker.city()
        return self.invent_word().capitalize() + self.pick(
            "", "ton", "ville", " Falls", " Heights", "burg", "haven", " Bay"
        )

    def _state(self) -> tuple[str, str]:
        """Name and code."""
        name, _, code = self.pick(*PLACES["states"]).rpartition(" ")
        return name, code

    def place(self) -> str:
        state, code = self._state()
        city = self.city()
        return self.pick(
            city, city, f"{city}, {code}", f"{city}, {code}", f"{city}, {state}", f"{self.us_faker.last_name()} County"
        )

    def zip_code(self) -> str:
        return self.digits(5) + (f"-{self.digits(4)}" if self.chance(0.15) else "")

    def street(self) -> str:
        number = str(self.rng.randint(1, 19_999))
        side = self.pick("", "", "", "N ", "S. ", "West ", "NE ", "E ")
        stem = self.pick(
            self.us_faker.last_name(),
            self.pick(*PLACES["street_stems"]),
            self.invent_word().capitalize(),
            f"{self.rng.randint(1, 200)}th",
        )
        kind = self.pick(*PLACES["street_kinds"])
        unit = self.pick(
            "",
            "",
            "",
            f", Apt {self.rng.randint(1, 40)}{self.pick(*'ABC')}",
            f" #{self.rng.randint(1, 900)}",
            f", Suite {self.rng.randint(100, 900)}",
            f" Unit {self.rng.randint(1, 99)}",
        )
        return f"{number} {side}{stem} {kind}{unit}"

    def _street_stem(self) -> str:
        return self.pick(self.us_faker.last_name(), self.pick(*PLACES["street_stems"]), self.invent_word().capitalize())

    def street_name(self) -> str:
        stem = self._street_stem()
        if not self.chance(0.3):
            return f"{stem} {self.pick(*PLACES['street_kinds'])}"
        return self.pick(
            f"{stem} {self.pick(*PLACES['street_kinds'])}",
            f"Route {self.rng.randint(1, 400)}",
            f"I-{self.rng.randint(4, 95)}",
            f"Hwy {self.rng.randint(1, 99)}",
        )

    def address(self) -> str:
        if self.chance(0.06):
            return f"PO Box {self.rng.randint(1, 9999)}, {self.city()}, {self._state()[1]} {self.zip_code()}"
        if self.chance(0.1):
            return self.faker.address().replace("\n", self.pick(", ", "\n"))
        street, state = self.street(), self._state()[1]
        joint = self.pick(", ", ", ", ", ", "\n", " ")
        return self.pick(
            street,
            f"{street}{joint}{self.city()}, {state} {self.zip_code()}",
            f"{street}{joint}{self.city()}, {state}",
            f"{street}{joint}{self.city()}",
        )

    def uk_address(self) -> str:
        """An address in the United Kingdom, Ireland or Canada: often without a number, with an alphanumeric postcode."""
        d, lt, n = self.digits, self.letters, self.rng.randint
        stem = self._street_stem()
        number = self.pick("", f"{n(1, 200)} ", f"Flat {n(1, 30)}, {n(1, 90)} ")
        kind = self.pick(*PLACES["uk_street_kinds"])
        post = self.pick(
            f"{lt(2)}{d(2)} {d(1)}{lt(2)}", f"{lt(1)}{d(1)} {d(1)}{lt(2)}", f"{lt(1)}{d(1)}{lt(1)} {d(1)}{lt(1)}{d(1)}"
        )
        return f"{number}{stem} {kind}, {self.city()}{self.pick(', ', ' ')}{post}"

    def facility(self) -> str:
        if self.chance(0.3):
            return self.pick(*PLACES["care_sites"])
        stem = self.pick(
            self.city(),
            self.us_faker.last_name(),
            self.pick(*PLACES["site_stems"]),
            f"St. {self.us_faker.first_name()}'s",
            f"{self.pick(*PLACES['street_stems'])} {self.pick('Valley', 'Hill', 'Park', 'Lake', 'Ridge', 'Creek')}",
            self.invent_word().capitalize(),
            f"Saint {self.us_faker.first_name()}",
            f"{self.us_faker.last_name()} Memorial",
            f"University of {self._state()[0]}",
        )
        return f"{stem} {self.pick(*PLACES['site_kinds'])}"

    def site(self) -> str:
        """A realistic facility name: with a speciality, two stems, "of the", "&", or only a stem."""
        stem = self.pick(
            self.city(),
            self.city(),
            self.us_faker.last_name(),
            self.pick(*PLACES["site_stems"]),
            self.invent_word().capitalize(),
            f"{self.pick(*PLACES['street_stems'])} {self.pick('Valley', 'Hill', 'Lake', 'Ridge', 'Grove', 'Point')}",
            f"{self.pick('North', 'South', 'East', 'West', 'Pacific', 'Great', 'Upper', 'Lower', 'Mid')} {self.city()}",
            f"{self.us_faker.last_name()} County",
            f"{self.us_faker.last_name()}-{self.us_faker.last_name()}",
        )
        what, practices = self.pick(*PLACES["specialities"]), PLACES["practices"]
        return self.pick(
            f"{stem} {what}",
            f"{stem} {what} {self.pick(*practices)}",
            f"{stem} {what} {self.pick(*practices)}",
            f"{what} {self.pick('of', 'of the', 'at')} {stem}",
            f"{stem} {what} & {self.pick(*PLACES['specialities'])}",
            f"{what} {self.pick(*practices)} of {stem}",
            f"{stem} {self.pick(*practices)}",
            stem,
            f"{stem} Center for {what}",
            self.facility(),
            self.facility(),
        )

    def school(self) -> str:
        stem = self.pick(
            self.city(),
            self.us_faker.last_name(),
            f"{self.us_faker.first_name()} {self.us_faker.last_name()}",
            self.pick(*PLACES["street_stems"]),
        )
        return self.pick(
            f"PS {self.rng.randint(2, 340)}",
            f"{stem} Elementary",
            f"{stem} Middle School",
            f"{stem} High",
            f"{stem} High School",
            f"{stem} Academy",
            f"{stem} Prep",
            f"{stem} Montessori",
            f"{stem} State",
            f"{stem} Head Start",
            f"St. {self.us_faker.first_name()} School",
        )

    def employer(self) -> str:
        if self.chance(0.2):
            return self.pick(
                self.invent_word().capitalize(),
                self.us_faker.last_name() + self.pick("'s", " & Sons", " Bros", " Farms", " Trucking"),
                self.school(),
            )
        return self.us_faker.company() if self.chance(0.5) else f"{self.city()} {self.pick(*PLACES['employer_kinds'])}"

    # Contacts and numbers

    def phone(self) -> str:
        a, b, c = str(self.rng.randint(201, 989)), str(self.rng.randint(200, 999)), self.digits(4)
        forms = (
            f"{a}-{b}-{c}",
            f"({a}) {b}-{c}",
            f"{a}.{b}.{c}",
            f"+1 {a} {b} {c}",
            f"1-{a}-{b}-{c}",
            f"{a}{b}{c}",
            f"{a} {b} {c}",
            f"+1 ({a}) {b}-{c}",
            f"({a}){b}-{c}",
            f"{b}-{c}",
            f"{a}-{b}-{c} ext. {self.digits(3)}",
            f"{a}-{b}-{c} x{self.digits(4)}",
            f"+44 20 {self.digits(4)} {self.digits(4)}",
            f"+{self.rng.randint(30, 90)} {self.digits(3)} {self.digits(6)}",
        )
        return self.rng.choices(forms, (8, 6, 3, 2, 2, 2, 2, 1, 1, 2, 1, 1, 0.5, 0.5))[0]

    def email(self, person: Person | None = None) -> str:
        p = person or self.person()
        first, last = (_ascii(x.lower()) for x in (p.first, p.last))
        local = self.pick(
            f"{first}.{last}", f"{first[0]}{last}", f"{first}{self.digits(2)}", f"{first}_{last}", f"{first}.{last[0]}"
        )
        return f"{local}@{self.domain()}"

    def domain(self) -> str:
        stem = _ascii(
            self.pick(
                self.city(), self.invent_word(), self.us_faker.last_name(), self.pick(*PLACES["site_stems"])
            ).lower()
        )
        return f"{stem}{self.pick('', '-health', 'clinic', 'med', 'mail')}.{self.pick('com', 'org', 'net', 'edu', 'example', 'co.uk')}"

    def url(self) -> str:
        path = self.pick(
            "",
            f"/patient/{self.digits(6)}",
            f"/u/{_ascii(self.person().first.lower())}",
            "/portal",
            f"/records?id={self.digits(7)}",
        )
        return f"{self.pick('https://', 'http://', 'www.', 'https://portal.', '')}{self.domain()}{path}"

    def ip(self) -> str:
        if self.chance(0.12):
            return ":".join(f"{self.rng.getrandbits(16):x}" for _ in range(8))
        return ".".join(str(self.rng.randint(1, 254)) for _ in range(4))

    def ssn(self) -> str:
        a, b, c = self.digits(3), self.digits(2), self.digits(4)
        return self.pick(
            f"{a}-{b}-{c}", f"{a}-{b}-{c}", f"{a} {b} {c}", f"{a}{b}{c}", f"XXX-XX-{c}", f"***-**-{c}", f"{a}.{b}.{c}"
        )

    def code(self) -> str:
        d, lt, n = self.digits, self.letters, self.rng.randint
        forms: Sequence[Callable[[], str]] = (
            lambda: d(n(4, 10)),
            lambda: d(n(6, 8)),
            lambda: f"{lt(n(1, 3))}{d(n(4, 8))}",
            lambda: f"{lt(n(1, 4))}-{d(n(4, 8))}",
            lambda: f"{d(3)}-{d(2)}-{d(3)}",
            lambda: f"{d(n(3, 4))}-{d(n(3, 4))}",
            lambda: f"{d(n(2, 5))}/{d(n(2, 5))}",
            lambda: f"{lt(2)}-{d(n(2, 4))}-{d(n(2, 6))}",
            lambda: f"{lt(1)}{d(2)}-{d(n(3, 6))}",
            lambda: f"{d(n(4, 6))}{lt(n(1, 2))}",
            lambda: f"{d(2)}-{lt(1)}-{d(n(4, 6))}",
            lambda: f"{lt(n(2, 4))}{d(n(1, 3))}-{d(n(3, 6))}{lt(1)}",
            lambda: f"#{d(n(4, 8))}",
            lambda: f"{d(4)}-{lt(3)}",
            lambda: f"{d(n(3, 4))} {d(n(3, 4))} {d(n(2, 4))}",
            lambda: f"{lt(n(2, 4))}-20{d(2)}-{d(n(3, 6))}",
        )
        return self.pick(*forms)()

    def account(self) -> str:
        return self.pick("-", " ").join(self.digits(4) for _ in range(4)) if self.chance(0.1) else self.code()

    def vehicle(self) -> str:
        d, lt = self.digits, self.letters
        if self.chance(0.5):
            return "".join(self.rng.choices("ABCDEFGHJKLMNPRSTUVWXYZ0123456789", k=17))
        return self.pick(f"{d(1)}{lt(3)}{d(3)}", f"{lt(3)}-{d(4)}", f"{lt(3)} {d(3)}")


def _numeric_ordinal(day: int) -> str:
    return f"{day}{ordinal_suffix(day)}"


def _age_in_words(age: int) -> str:
    """For ages 90 to 109."""
    if age < 100:
        return spell_cardinal(age)
    return f"one hundred and {spell_cardinal(age - 100)}" if age > 100 else "one hundred"


def _ascii(text: str) -> str:
    return "".join(c for c in text if c in string.ascii_lowercase) or "mail"

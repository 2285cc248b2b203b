"""Invented identifiers in the many forms in which people write them.

Owns how contacts and numbers look; people, places and dates have their own modules.
"""

# ruff: noqa: E501 (a form a line would hide how many there are)

import string
from collections.abc import Callable, Sequence

from fine_tune_assets.phi.tagger.synthetic import words
from fine_tune_assets.phi.tagger.synthetic.date_values import DateValues
from fine_tune_assets.phi.tagger.synthetic.person_values import Person
from fine_tune_assets.phi.tagger.synthetic.place_values import PlaceValues


class Values(PlaceValues, DateValues):
    """Draws identifiers from one seeded generator; a document's values belong together through its `people`."""

    def phone(self) -> str:
        a, b, c = str(self.rng.randint(201, 989)), str(self.rng.randint(200, 999)), self.digits(4)
        forms = (f"{a}-{b}-{c}", f"({a}) {b}-{c}", f"{a}.{b}.{c}", f"+1 {a} {b} {c}", f"1-{a}-{b}-{c}", f"{a}{b}{c}", f"{a} {b} {c}",
                 f"+1 ({a}) {b}-{c}", f"({a}){b}-{c}", f"{b}-{c}", f"{a}-{b}-{c} ext. {self.digits(3)}", f"{a}-{b}-{c} x{self.digits(4)}",
                 f"+44 20 {self.digits(4)} {self.digits(4)}", f"+{self.rng.randint(30, 90)} {self.digits(3)} {self.digits(6)}")  # fmt: skip
        return str(self.rng.choices(forms, (8, 6, 3, 2, 2, 2, 2, 1, 1, 2, 1, 1, 0.5, 0.5))[0])

    def email(self, person: Person | None = None) -> str:
        p = person or self.person()
        first, last = (_ascii(x.lower()) for x in (p.first, p.last))
        local = self.pick(
            (
                f"{first}.{last}",
                f"{first[0]}{last}",
                f"{first}{self.digits(2)}",
                f"{first}_{last}",
                f"{first}.{last[0]}",
            )
        )
        return f"{local}@{self.domain()}"

    def domain(self) -> str:
        stem = _ascii(
            self.pick((self.city(), self.invented(), self.us.last_name(), self.pick(words.SITE_STEMS))).lower()
        )
        return f"{stem}{self.pick(('', '-health', 'clinic', 'med', 'mail'))}.{self.pick(('com', 'org', 'net', 'edu', 'example', 'co.uk'))}"

    def url(self) -> str:
        path = self.pick(
            (
                "",
                f"/patient/{self.digits(6)}",
                f"/u/{_ascii(self.person().first.lower())}",
                "/portal",
                f"/records?id={self.digits(7)}",
            )
        )
        return f"{self.pick(('https://', 'http://', 'www.', 'https://portal.', ''))}{self.domain()}{path}"

    def ip(self) -> str:
        if self.chance(0.12):
            return ":".join(f"{self.rng.getrandbits(16):x}" for _ in range(8))
        return ".".join(str(self.rng.randint(1, 254)) for _ in range(4))

    def ssn(self) -> str:
        a, b, c = self.digits(3), self.digits(2), self.digits(4)
        return self.pick(
            (f"{a}-{b}-{c}", f"{a}-{b}-{c}", f"{a} {b} {c}", f"{a}{b}{c}", f"XXX-XX-{c}", f"***-**-{c}", f"{a}.{b}.{c}")
        )

    def code(self) -> str:
        d, lt, n = self.digits, self.letters, self.rng.randint
        forms: Sequence[Callable[[], str]] = (
            lambda: d(n(4, 10)), lambda: d(n(6, 8)), lambda: f"{lt(n(1, 3))}{d(n(4, 8))}", lambda: f"{lt(n(1, 4))}-{d(n(4, 8))}",
            lambda: f"{d(3)}-{d(2)}-{d(3)}", lambda: f"{d(n(3, 4))}-{d(n(3, 4))}", lambda: f"{d(n(2, 5))}/{d(n(2, 5))}",
            lambda: f"{lt(2)}-{d(n(2, 4))}-{d(n(2, 6))}", lambda: f"{lt(1)}{d(2)}-{d(n(3, 6))}", lambda: f"{d(n(4, 6))}{lt(n(1, 2))}",
            lambda: f"{d(2)}-{lt(1)}-{d(n(4, 6))}", lambda: f"{lt(n(2, 4))}{d(n(1, 3))}-{d(n(3, 6))}{lt(1)}", lambda: f"#{d(n(4, 8))}",
            lambda: f"{d(4)}-{lt(3)}", lambda: f"{d(n(3, 4))} {d(n(3, 4))} {d(n(2, 4))}", lambda: f"{lt(n(2, 4))}-20{d(2)}-{d(n(3, 6))}",
        )  # fmt: skip
        return str(self.pick(forms)())

    def account(self) -> str:
        if self.chance(0.1):
            return self.pick(("-", " ")).join(self.digits(4) for _ in range(4))
        return self.code()

    def vehicle(self) -> str:
        if self.chance(0.5):
            return "".join(self.rng.choices("ABCDEFGHJKLMNPRSTUVWXYZ0123456789", k=17))
        return self.pick(
            (
                f"{self.digits(1)}{self.letters(3)}{self.digits(3)}",
                f"{self.letters(3)}-{self.digits(4)}",
                f"{self.letters(3)} {self.digits(3)}",
            )
        )


def _ascii(text: str) -> str:
    return "".join(c for c in text if c in string.ascii_lowercase) or "mail"

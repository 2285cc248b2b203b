"""The one source of chance behind a made-up document, and the names of its people.

Owns how a person is called. Nothing here is anybody's: names are drawn from Faker's lists and from syllables, and put together
at random; every choice comes from one seeded generator.
"""

# ruff: noqa: E501 (a form a line would hide how many there are)

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from fine_tune_assets.core.extras import extra_for
from fine_tune_assets.phi.tagger.synthetic import words

LOCALES = (
    ("en_US", 14), ("en_GB", 3), ("es_MX", 3), ("es_ES", 1), ("fr_FR", 1), ("de_DE", 1), ("it_IT", 1), ("pl_PL", 1),
    ("pt_BR", 1), ("nl_NL", 1), ("sv_SE", 1), ("fi_FI", 1), ("tr_TR", 1), ("vi_VN", 1), ("en_IN", 2), ("ga_IE", 1),
    ("ro_RO", 1), ("hr_HR", 1), ("id_ID", 1), ("en_NG", 1), ("zu_ZA", 1),
)  # fmt: skip
"""Faker locale and its weight: mostly the names of a North American hospital, and everybody else's."""
_SYLLABLES = "al an ar ba bel ber bren cal car cas dal dar del den dor el em en er fal far fen fin gal gar gen gor hal ham han hol il in ir ja jor kal kar kel kin la lan lar len lin lor ma mal mar mel mer mor na nel nor ol or os pal par pel pen ra ran ren ril ro sal san sel sil sol ta tal tar tel thal tor ul ur va val var vel ver vin wal war wel wen wil yar yel zan zel".split()  # noqa: SIM905
_SURNAME_ENDS = "sen son ström berg mann stein ford field wood worth ley ton well man by dale more land ski wicz ova ez ini elli ides opoulos yan dottir singh wala eau ier feld bach hurst gate ridge".split()  # noqa: SIM905


@cache
def _fakers() -> tuple[list[Any], list[int]]:
    # Imported here: only training needs it.
    with extra_for("Training a tagger"):
        from faker import Faker

    return [Faker(locale) for locale, _ in LOCALES], [weight for _, weight in LOCALES]


@dataclass(frozen=True)
class Person:
    first: str
    last: str
    middle: str


class PersonValues:
    """Draws identifiers from one seeded generator; a document's values belong together through its `people`."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        fakers, weights = _fakers()
        self.fake = self.rng.choices(fakers, weights)[0]
        self.fake.seed_instance(self.rng.getrandbits(32))
        self.us = fakers[0]
        self.us.seed_instance(self.rng.getrandbits(32))

    def pick(self, options: Sequence[Any]) -> Any:
        return self.rng.choice(options)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def digits(self, count: int) -> str:
        return "".join(self.rng.choices(string.digits, k=count))

    def letters(self, count: int) -> str:
        return "".join(self.rng.choices(string.ascii_uppercase, k=count))

    def person(self) -> Person:
        if self.chance(0.12):
            return Person(self.invented().capitalize(), self._invented_surname(), self.invented().capitalize())
        source = self.us if self.chance(0.5) else self.fake
        if self.chance(0.07):
            return Person(
                self.pick(words.GIVEN_NAMES_THAT_ARE_WORDS), self._surname(source), source.first_name().split()[0]
            )
        return Person(source.first_name().split()[0], self._surname(source), source.first_name().split()[0])

    def _surname(self, source: Any) -> str:
        if self.chance(0.12):
            return str(self.pick(words.SURNAMES_THAT_ARE_WORDS))
        last = str(source.last_name())
        if self.chance(0.06):
            last = f"{last}{self.pick('--- ')}{source.last_name()}"
        if self.chance(0.03):
            last = self.pick(("O'", "Mc", "Mac", "D'", "van ", "de la ", "St. ", "Al-")) + last
        return last.replace("'", "’") if self.chance(0.2) else last

    def invented(self) -> str:
        return "".join(self.rng.choices(_SYLLABLES, k=self.pick((2, 2, 3))))

    def _invented_surname(self) -> str:
        return (self.invented() + self.pick(_SURNAME_ENDS)).capitalize()

    def name(self, person: Person | None = None) -> str:
        p = person or self.person()
        initial, last_initial = p.first[0], p.last[0].upper()
        forms: list[tuple[str, float]] = [
            (f"{p.first} {p.last}", 10), (f"{p.first} {p.middle[0]}. {p.last}", 3), (f"{p.first} {last_initial}.", 3),
            (f"{p.last}, {p.first}", 3), (f"{p.last}, {p.first} {p.middle[0]}", 1), (f"{initial}. {p.last}", 2),
            (p.first, 2), (p.last, 2), (f"{p.first} {p.middle} {p.last}", 1), (f"{initial}.{last_initial}.", 0.7),
            (f"{p.last} {initial}.", 0.5), (f"{p.last.upper()}, {p.first.upper()}", 1), (f"{p.first} {last_initial}", 1),
            (f"{p.first} {p.last} {self.pick(('Jr.', 'Sr.', 'III', 'II'))}", 0.3), (f"{p.last}^{p.first}", 0.2),
            (f"{p.first} “{p.middle}” {p.last}", 0.3), (f"{p.first} {p.last}-{p.middle}", 0.2),
        ]  # fmt: skip
        return self._case(self.rng.choices([f for f, _ in forms], [w for _, w in forms])[0])

    def initials(self, person: Person | None = None) -> str:
        """Of who dictated and who typed, or alone."""
        p = person or self.person()
        own = f"{p.first[0]}{p.middle[0]}{p.last[0]}".upper()
        return str(
            self.pick(
                (
                    f"{own}/{self.letters(2).lower()}",
                    f"{own}:{self.letters(2).lower()}",
                    own,
                    f"{p.first[0]}.{p.last[0].upper()}.",
                    f"{p.first[0]}{p.last[0]}".lower(),
                )
            )
        )

    def doctor(self, person: Person | None = None) -> str:
        p = person or self.person()
        forms = (p.last, p.last, p.last, f"{p.first} {p.last}", f"{p.first[0]}. {p.last}", f"{p.first} {p.last[0]}.")
        return self._case(self.pick(forms))

    def _case(self, text: str) -> str:
        roll = self.rng.random()
        return text.upper() if roll < 0.05 else text.lower() if roll < 0.07 else text

"""Invented places: towns, streets, sites of care, schools and employers.

Owns how a place is written.
"""

# ruff: noqa: E501 (a form a line would hide how many there are)

from fine_tune_assets.phi.tagger.synthetic import words
from fine_tune_assets.phi.tagger.synthetic.person_values import PersonValues


class PlaceValues(PersonValues):
    """Draws places."""

    def city(self) -> str:
        roll = self.rng.random()
        if roll < 0.45:
            return str(self.pick(words.CITIES))
        if roll < 0.75:
            return str(self.us.city())
        if roll < 0.85:
            return str(self.fake.city())
        return self.invented().capitalize() + self.pick(
            ("", "ton", "ville", " Falls", " Heights", "burg", "haven", " Bay")
        )

    def place(self) -> str:
        state = self.pick(words.STATES)
        city = self.city()
        return self.pick((city, city, f"{city}, {state[1]}", f"{city}, {state[1]}", f"{city}, {state[0]}",
                          f"{self.us.last_name()} County"))  # fmt: skip

    def zip_code(self) -> str:
        return self.digits(5) + (f"-{self.digits(4)}" if self.chance(0.15) else "")

    def street(self) -> str:
        number = str(self.rng.randint(1, 19_999))
        side = self.pick(("", "", "", "N ", "S. ", "West ", "NE ", "E "))
        stem = self.pick((self.us.last_name(), self.pick(words.STREET_STEMS), self.invented().capitalize(),
                          f"{self.rng.randint(1, 200)}th"))  # fmt: skip
        kind = self.pick(words.STREET_KINDS)
        unit = self.pick(("", "", "", f", Apt {self.rng.randint(1, 40)}{self.pick('ABC')}", f" #{self.rng.randint(1, 900)}",
                          f", Suite {self.rng.randint(100, 900)}", f" Unit {self.rng.randint(1, 99)}"))  # fmt: skip
        return f"{number} {side}{stem} {kind}{unit}"

    def street_name(self) -> str:
        stem = self.pick((self.us.last_name(), self.pick(words.STREET_STEMS), self.invented().capitalize()))
        return (
            self.pick(
                (
                    f"{stem} {self.pick(words.STREET_KINDS)}",
                    f"Route {self.rng.randint(1, 400)}",
                    f"I-{self.rng.randint(4, 95)}",
                    f"Hwy {self.rng.randint(1, 99)}",
                )
            )
            if self.chance(0.3)
            else f"{stem} {self.pick(words.STREET_KINDS)}"
        )

    def address(self) -> str:
        if self.chance(0.06):
            return f"PO Box {self.rng.randint(1, 9999)}, {self.city()}, {self.pick(words.STATES)[1]} {self.zip_code()}"
        if self.chance(0.1):
            return str(self.fake.address()).replace("\n", self.pick((", ", "\n")))
        street, state = self.street(), self.pick(words.STATES)[1]
        joint = self.pick((", ", ", ", ", ", "\n", " "))
        return self.pick((street, f"{street}{joint}{self.city()}, {state} {self.zip_code()}", f"{street}{joint}{self.city()}, {state}",
                          f"{street}{joint}{self.city()}"))  # fmt: skip

    def uk_address(self) -> str:
        """As in the United Kingdom, Ireland or Canada: often no number, and a postcode of letters and digits."""
        stem = self.pick((self.us.last_name(), self.pick(words.STREET_STEMS), self.invented().capitalize()))
        number = self.pick(
            ("", f"{self.rng.randint(1, 200)} ", f"Flat {self.rng.randint(1, 30)}, {self.rng.randint(1, 90)} ")
        )
        kind = self.pick(("Lane", "Road", "Street", "Close", "Terrace", "Crescent", "Way", "Gardens", "Mews", "Drive"))
        post = self.pick((f"{self.letters(2)}{self.digits(2)} {self.digits(1)}{self.letters(2)}", f"{self.letters(1)}{self.digits(1)} {self.digits(1)}{self.letters(2)}",
                          f"{self.letters(1)}{self.digits(1)}{self.letters(1)} {self.digits(1)}{self.letters(1)}{self.digits(1)}"))  # fmt: skip
        return f"{number}{stem} {kind}, {self.city()}{self.pick((', ', ' '))}{post}"

    def facility(self) -> str:
        if self.chance(0.3):
            return str(self.pick(words.CARE_SITES))
        stem = self.pick((self.city(), self.us.last_name(), self.pick(words.SITE_STEMS), f"St. {self.us.first_name()}'s",
                          f"{self.pick(words.STREET_STEMS)} {self.pick(('Valley', 'Hill', 'Park', 'Lake', 'Ridge', 'Creek'))}",
                          self.invented().capitalize(), f"Saint {self.us.first_name()}", f"{self.us.last_name()} Memorial",
                          f"University of {self.pick(words.STATES)[0]}"))  # fmt: skip
        return f"{stem} {self.pick(words.SITE_KINDS)}"

    def site(self) -> str:
        """A place of care under the names that they really have: with a speciality, two stems, "of the", "&" or nothing more."""
        stem = self.pick((self.city(), self.city(), self.us.last_name(), self.pick(words.SITE_STEMS), self.invented().capitalize(),
                          f"{self.pick(words.STREET_STEMS)} {self.pick(('Valley', 'Hill', 'Lake', 'Ridge', 'Grove', 'Point'))}",
                          f"{self.pick(('North', 'South', 'East', 'West', 'Pacific', 'Great', 'Upper', 'Lower', 'Mid'))} {self.city()}",
                          f"{self.us.last_name()} County", f"{self.us.last_name()}-{self.us.last_name()}"))  # fmt: skip
        what = self.pick(words.SPECIALITIES)
        return str(self.pick((f"{stem} {what}", f"{stem} {what} {self.pick(words.PRACTICES)}", f"{stem} {what} {self.pick(words.PRACTICES)}",
                              f"{what} {self.pick(('of', 'of the', 'at'))} {stem}", f"{stem} {what} & {self.pick(words.SPECIALITIES)}",
                              f"{what} {self.pick(words.PRACTICES)} of {stem}", f"{stem} {self.pick(words.PRACTICES)}", stem,
                              f"{stem} Center for {what}", self.facility(), self.facility())))  # fmt: skip

    def school(self) -> str:
        stem = self.pick(
            (
                self.city(),
                self.us.last_name(),
                f"{self.us.first_name()} {self.us.last_name()}",
                self.pick(words.STREET_STEMS),
            )
        )
        return str(self.pick((f"PS {self.rng.randint(2, 340)}", f"{stem} Elementary", f"{stem} Middle School", f"{stem} High", f"{stem} High School",
                              f"{stem} Academy", f"{stem} Prep", f"{stem} Montessori", f"{stem} State", f"{stem} Head Start", f"St. {self.us.first_name()} School")))  # fmt: skip

    def employer(self) -> str:
        if self.chance(0.2):
            return str(
                self.pick(
                    (
                        self.invented().capitalize(),
                        self.us.last_name() + self.pick(("'s", " & Sons", " Bros", " Farms", " Trucking")),
                        self.school(),
                    )
                )
            )
        return str(self.us.company()) if self.chance(0.5) else f"{self.city()} {self.pick(words.EMPLOYER_KINDS)}"

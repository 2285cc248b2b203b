"""Invented dates, ages over 89 and numbers in words.

Owns how a date is written.
"""

# ruff: noqa: E501 (a form a line would hide how many there are)

from datetime import date, timedelta

from fine_tune_assets.phi.tagger.synthetic import words
from fine_tune_assets.phi.tagger.synthetic.person_values import PersonValues

_FIRST_DAY, _DAYS = date(1930, 1, 1), 36_500


class DateValues(PersonValues):
    """Draws dates and ages."""

    def date(self) -> str:
        d = _FIRST_DAY + timedelta(days=self.rng.randrange(_DAYS))
        short, long = d.strftime("%b"), d.strftime("%B")
        suffix = "th" if 10 < d.day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(d.day % 10, "th")
        yy = d.strftime("%y")
        forms: list[tuple[str, float]] = [
            (d.strftime("%m/%d/%Y"), 6), (f"{d.month}/{d.day}/{d.year}", 4), (f"{d.month}/{d.day}/{yy}", 3), (d.strftime("%m-%d-%Y"), 2),
            (d.isoformat(), 3), (f"{long} {d.day}, {d.year}", 6), (f"{short} {d.day}, {d.year}", 3), (f"{d.day} {long} {d.year}", 2),
            (f"{long} {d.day}{suffix}, {d.year}", 3), (f"{long} {d.day}{suffix}", 2), (f"{long} {d.day}", 2), (f"{d.month}/{d.day}", 2),
            (f"{d.day}-{short}-{d.year}", 2), (f"{short} {d.day}", 1), (f"{long} {d.year}", 2), (f"{short} {d.year}", 1),
            (d.strftime("%d.%m.%Y"), 2), (f"{d.day:02d}{short.upper()}{d.year}", 0.7), (f"the {d.day}{suffix} of {long}", 1),
            (f"the {words.ORDINALS[d.day - 1]} of {long}", 0.7), (f"{d.strftime('%A')}, {long} {d.day}, {d.year}", 0.7), (f"{d.month:02d}/{d.year}", 0.7),
            (d.strftime("%Y/%m/%d"), 0.7), (d.strftime("%Y%m%d"), 0.5), (f"{long} {words.ORDINALS[d.day - 1]}", 0.5), (f"{short}. {d.day}, {d.year}", 0.7),
            (f"{long} {d.day}{suffix} {d.year}", 0.7), (f"{d.day}{suffix} of {long}, {d.year}", 0.5), (f"{short} '{yy}", 0.4), (long, 0.7),
            (d.strftime("%Y-%m-%dT") + self.clock() + ":00Z", 0.4), (f"{d.month}.{d.day}.{yy}", 0.4),
        ]  # fmt: skip
        return self.rng.choices([f for f, _ in forms], [w for _, w in forms])[0]

    def short_date(self) -> str:
        """Month and day as they stand in a ward's notes."""
        d = _FIRST_DAY + timedelta(days=self.rng.randrange(_DAYS))
        return self.rng.choices(
            (
                f"{d.month}/{d.day}",
                f"{d.month:02d}/{d.day:02d}",
                f"{d.month}-{d.day}",
                f"{d.strftime('%b')} {d.day}",
                self.date(),
            ),
            (8, 2, 0.7, 1, 1.5),
        )[0]

    def ordinal(self) -> str:
        day = self.rng.randint(1, 31)
        suffix = "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
        return f"{day}{suffix}" if self.chance(0.7) else str(words.ORDINALS[day - 1])

    def month(self) -> str:
        d = _FIRST_DAY + timedelta(days=self.rng.randrange(_DAYS))
        return str(
            self.pick(
                (
                    d.strftime("%B"),
                    d.strftime("%B").lower(),
                    d.strftime("%B").lower(),
                    d.strftime("%b"),
                    d.strftime("%b") + ".",
                )
            )
        )

    def month_and_year(self) -> str:
        d = _FIRST_DAY + timedelta(days=self.rng.randrange(_DAYS))
        return str(
            self.pick(
                (
                    d.strftime("%B %Y"),
                    d.strftime("%b %Y"),
                    d.strftime("%m/%Y"),
                    d.strftime("%b '%y"),
                    f"{d.month}/{d.strftime('%y')}",
                )
            )
        )

    def spoken_date(self) -> str:
        d = _FIRST_DAY + timedelta(days=self.rng.randrange(_DAYS))
        century, rest = divmod(d.year, 100)
        year = (
            "two thousand"
            if d.year == 2000
            else f"{'nineteen' if century == 19 else 'twenty'} {words.below_hundred(rest)}"
        )
        return f"{d.strftime('%B').lower()} {words.ORDINALS[d.day - 1].replace('-', ' ')} {year}"

    def numbers_in_words(self, count: int) -> str:
        return " ".join(
            self.pick(("zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"))
            for _ in range(count)
        )

    def clock(self) -> str:
        return f"{self.rng.randint(0, 23):02d}:{self.rng.randint(0, 59):02d}"

    def old_age(self) -> str:
        age = self.rng.randint(90, 108)
        return str(age) if self.chance(0.75) else words.number_in_words(age)

"""Reads and writes days, years and ages in English words."""

# ruff: noqa: SIM905 (lists of words)

UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen""".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_IRREGULAR = {"one": "first", "two": "second", "three": "third", "five": "fifth"}
_IRREGULAR |= {"eight": "eighth", "nine": "ninth", "twelve": "twelfth"}

_UNIT = "|".join(UNITS[1:10])
_BELOW_20 = "|".join(sorted(UNITS[1:], key=len, reverse=True))
BELOW_100 = rf"(?:(?:{'|'.join(TENS)})(?:[-\s](?:{_UNIT}))?|(?:oh[-\s])?(?:{_BELOW_20}))"
YEAR_IN_WORDS = (
    rf"(?:two\s+thousand(?:\s+(?:and\s+)?{BELOW_100})?|(?:nineteen|twenty)[-\s]{BELOW_100}|nineteen\s+hundred)"
)


def spell_cardinal(number: int) -> str:
    """For 1 to 99."""
    if number < len(UNITS):
        return UNITS[number]
    tens, unit = TENS[number // 10 - 2], number % 10
    return f"{tens}-{UNITS[unit]}" if unit else tens


def spell_ordinal(number: int) -> str:
    head, _, last = spell_cardinal(number).rpartition("-")
    last = last[:-1] + "ieth" if last.endswith("y") else _IRREGULAR.get(last, last + "th")
    return f"{head}-{last}" if head else last


def ordinal_suffix(day: int) -> str:
    """st, nd, rd or th, as in 21st."""
    return "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def read_cardinal(words: str) -> int | None:
    """0 to 99, or None."""
    return _CARDINALS.get(_normalize_words(words).removeprefix("oh "))


def read_ordinal(words: str) -> int | None:
    """1 to 31, or None."""
    return _ORDINALS.get(_normalize_words(words))


def spell_year(year: int) -> str:
    """1999 → "nineteen ninety-nine", 2005 → "two thousand five", 2021 → "twenty twenty-one"."""
    century, rest = divmod(year, 100)
    if century == 20 and rest < 10:
        return f"two thousand {spell_cardinal(rest)}" if rest else "two thousand"
    if not rest:
        return f"{spell_cardinal(century)} hundred"
    return f"{spell_cardinal(century)} {'oh ' if rest < 10 else ''}{spell_cardinal(rest)}"


def read_year(words: str) -> int | None:
    """A year of the twentieth or twenty-first century, or None."""
    plain = _normalize_words(words)
    if plain.startswith("two thousand"):
        rest = plain.removeprefix("two thousand").strip().removeprefix("and ").strip()
        number = read_cardinal(rest) if rest else 0
        return None if number is None else 2000 + number
    century, _, rest = plain.partition(" ")
    number = 0 if rest == "hundred" else read_cardinal(rest)
    year = {"nineteen": 1900, "twenty": 2000}.get(century)
    return None if year is None or number is None else year + number


def _normalize_words(words: str) -> str:
    return " ".join(words.lower().replace("-", " ").split())


_CARDINALS = {spell_cardinal(n).replace("-", " "): n for n in range(100)}
_ORDINALS = {spell_ordinal(n).replace("-", " "): n for n in range(1, 32)}
ORDINALS = "|".join(w.replace(" ", r"[-\s]") for w in sorted(_ORDINALS, key=len, reverse=True))

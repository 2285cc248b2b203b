"""Puts surrogates in the place of the findings of a text, and tells which values occur in a corpus.

Owns what becomes of each kind in each profile. The other form, text with `[KIND]`, is `spans.replace_spans`. A later batch may
hold a surrogate as somebody's real value; such batches are found by keyed hashes. Does not know how a finding is made, nor where
the values of a corpus are kept.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.sample_subjects import key_for
from fine_tune_assets.phi.replacement import surrogate_numbers as numbers
from fine_tune_assets.phi.replacement.dates import (
    UNKNOWN_AGE,
    generalise_age,
    is_recognised_age,
    neutral_word,
    oldest_year,
    shifted,
    years_only,
)
from fine_tune_assets.phi.replacement.keyed_draws import (
    IsTaken,
    KeyedSource,
    first_free,
    keyed_digest,
    normalise,
    pick,
    unusable_for,
)
from fine_tune_assets.phi.replacement.profiles import Profile
from fine_tune_assets.phi.replacement.surrogate_names import NameMap, replace_name
from fine_tune_assets.phi.replacement.surrogate_places import PlaceMap, places, replace_facility, replace_location
from fine_tune_assets.phi.spans.spans import Span, places_after, substitute
from fine_tune_assets.phi.spans.word_lists import TITLES
from fine_tune_assets.quantities.dates import DateReader
from fine_tune_assets.tables.duck import cursor

GENERALISED = frozenset({"DATE", "AGE"})
"""Kinds that become a year or a class: these do occur in the corpus, and are no surrogates."""
_MOST_SHIFT_DAYS = 365
_PHONE_TRIES = 1000
_FEWEST_LETTERS_OF_A_PART = 2
WORDS = re.compile(r"[^\W_]+(?:['’ʼ‘][^\W_]+)*")

Used = Callable[[str], None]


class ReplacementError(FineTuneError):
    """Spans that can't be replaced, or no patient to whom a surrogate would belong."""


@dataclass(frozen=True)
class SurrogateText:
    """The text with surrogates, where they stand in it, and which were used: `values` compare with `corpus_values`."""

    text: str
    spans: tuple[Span, ...]
    values: frozenset[str]


@dataclass(frozen=True, repr=False)
class Surrogates:
    """Replaces findings. What it gives depends on key, profile, patient and value, never on the order of reports; for subjects
    of the unchanged sample the key is public.

    `is_taken` is asked with a normalised value; build it with `corpus_lookup`. It has to know the whole corpus from the
    start: a value that it learns of later may be in use already, which `SurrogateText.values` lets you find.
    """

    secret: bytes
    profile: Profile
    reader: DateReader
    is_taken: IsTaken

    def __post_init__(self) -> None:
        self._source("check of the key")

    def replace(self, text: str, spans: Sequence[Span], patient_key: str) -> SurrogateText:
        """`spans` are in order and don't overlap. Raises ReplacementError, NoSurrogateLeftError."""
        _check(text, spans, patient_key)
        source = self._source(patient_key)
        used: set[str] = set()
        pieces = [((span.start, span.end), self._surrogate(text, span, source, used.add)) for span in spans]
        starts_and_ends = zip(spans, places_after(pieces), strict=True)
        moved = tuple(replace(span, start=start, end=end) for span, (start, end) in starts_and_ends)
        values = frozenset(value_hash(self.secret, value) for value in used)
        return SurrogateText(substitute(text, pieces), moved, values)

    def shift_days(self, patient_key: str) -> int:
        """-365 to 365, never 0; the same for all dates of a patient, so that intervals stay."""
        days = self._source(patient_key).draws("shift")(2 * _MOST_SHIFT_DAYS) - _MOST_SHIFT_DAYS
        return days if days < 0 else days + 1

    def _source(self, patient_key: str) -> KeyedSource:
        return KeyedSource(key_for(patient_key, self.secret), ("surrogates", self.profile.name, patient_key))

    def _surrogate(self, text: str, span: Span, source: KeyedSource, used: Used) -> str:
        value = text[span.start : span.end]
        if span.label == "DATE":
            return self._date(value, text[: span.start], source.scope[-1])
        if span.label == "AGE":
            return self._age(value)
        names = NameMap(source, self.is_taken)
        if span.label == "NAME":
            return replace_name(value, names, used)
        where = PlaceMap(source, self.is_taken, self.profile.keeps_towns, used)
        if span.label == "LOCATION":
            return replace_location(value, where)
        if span.label == "FACILITY":
            return replace_facility(value, where)
        if not normalise(value):
            return value
        new = first_free(span.label, _candidates(span.label, value, names), unusable_for(value, self.is_taken))
        used(normalise(new))
        return new

    def _date(self, value: str, before: str, patient_key: str) -> str:
        dates = self.reader.read(value)
        is_old = any(d.year is not None and d.year <= oldest_year(self.reader.year_now) for d in dates)
        if self.profile.shift_dates and not (is_old and not self.profile.keeps_ages):
            return shifted(value, self.shift_days(patient_key), before, self.reader)
        if not self.profile.keeps_dates:
            return years_only(value, before, self.reader)
        return value if self.reader.is_all_date(value, dates) else neutral_word(value, before, dates)

    def _age(self, value: str) -> str:
        if not self.profile.keeps_ages:
            return generalise_age(value)
        return value if is_recognised_age(value) else UNKNOWN_AGE


def _candidates(label: str, value: str, names: NameMap) -> Iterator[str]:
    source = names.source
    has_digit = any(c.isdecimal() for c in value)
    if label in {"PHONE", "FAX"} and has_digit:
        # A pager of two digits: all hundred may be taken.
        return chain(islice(numbers.phones(value, source), _PHONE_TRIES), numbers.identifiers(value, source))
    if label == "SSN" and has_digit:
        return numbers.social_security_numbers(value, source)
    if label == "IP":
        return numbers.ip_addresses(value, source)
    if label == "EMAIL" and "@" in value:
        return _mail_addresses(value, names)
    if label == "URL":
        return numbers.web_addresses(value, source, places(source.draws("web host", normalise(value))))
    return numbers.identifiers(value, source)


def _mail_addresses(value: str, names: NameMap) -> Iterator[str]:
    """The owner's names as in the text, at a host kept for examples; with one more digit each time that is taken."""
    local, _, host = value.rpartition("@")
    person = replace_name(local.replace("_", "\0"), names, lambda _: None).replace("\0", "_")
    draw = names.source.draws("mail", normalise(value))
    new_host = pick(names.source.draws("mail host", normalise(host)), numbers.MAIL_HOSTS)
    ending = ""
    while True:
        yield f"{person}{ending}@{new_host}"
        ending += str(draw(10))


def _check(text: str, spans: Sequence[Span], patient_key: str) -> None:
    if not patient_key:
        raise ReplacementError(
            "A text has no patient key, so its surrogates would be shared by all such texts. Use the id of the report as the key."
        )
    ends = [0, *(span.end for span in spans)]
    is_in_order = all(end <= span.start < span.end for end, span in zip(ends, spans, strict=False))
    if not is_in_order or ends[-1] > len(text):
        raise ReplacementError(
            f"The {len(spans)} spans are out of order, overlap, or pass the end of the text. Merge them first."
        )


def corpus_values(text: str, spans: Sequence[Span], secret: bytes) -> frozenset[str]:
    """Keyed hashes of the values that are found in a text: whole, and each word of a name, a place or an address.

    They can be kept without keeping the values: without the key they tell nothing.
    """
    found = (text[span.start : span.end] for span in spans if span.label not in GENERALISED)
    return frozenset(value_hash(secret, form) for value in found for form in value_forms(value))


def value_forms(value: str) -> frozenset[str]:
    """What no surrogate may equal for this value: the whole of it and each of its words, normalised."""
    parts = (part for part in WORDS.findall(value) if len(part) >= _FEWEST_LETTERS_OF_A_PART)
    return frozenset(map(normalise, (value, *parts))) - {""}


def telling_words(value: str) -> list[str]:
    """Its words, normalised, without titles and initials."""
    return [word for word in map(normalise, WORDS.findall(value)) if len(word) > 1 and word not in TITLES]


def corpus_lookup(secret: bytes, hashes: frozenset[str]) -> IsTaken:
    """`is_taken` for a corpus of which the keyed hashes are known."""
    return lambda value: value_hash(secret, value) in hashes


def value_hash(secret: bytes, normalised: str) -> str:
    return keyed_digest(secret, "corpus value", normalised).hex()


_QUERY = """
with found as (select value_hash, role, parse_filename(filename, true) as batch from read_parquet(?, filename = true)),
     originals as (select distinct value_hash from found where role = 'original')
select batch, value_hash from found join originals using (value_hash) where role = 'surrogate' order by batch, value_hash
"""


def taken_surrogates(values: Path) -> dict[str, list[str]]:
    """Batch → keyed hashes of its surrogates that occur in a report of any batch. `values` holds `identifier_values` files."""
    if not any(values.glob("*.parquet")):
        return {}
    taken: dict[str, list[str]] = {}
    with cursor() as asking:
        for batch, value_hash in asking.execute(_QUERY, [str(values / "*.parquet")]).fetchall():
            taken.setdefault(batch, []).append(value_hash)
    return taken

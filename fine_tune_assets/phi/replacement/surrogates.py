"""Replaces the spans of a text with surrogates, and records which values a corpus contains.

Surrogates depend on kind and profile. A later batch may contain a surrogate as a real value; keyed hashes reveal such collisions.
`spans.replace_spans` writes the alternative, text with `[KIND]`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.sample_subjects import select_key
from fine_tune_assets.phi.replacement import surrogate_numbers as numbers
from fine_tune_assets.phi.replacement.keyed_draws import (
    IsTaken,
    KeyedSource,
    build_unusable_check,
    keyed_digest,
    normalize,
    pick,
    pick_unused,
)
from fine_tune_assets.phi.replacement.profiles import Profile
from fine_tune_assets.phi.replacement.surrogate_dates import (
    UNKNOWN_AGE,
    choose_neutral_word,
    generalise_age,
    is_readable_age,
    latest_sensitive_birth_year,
    reduce_to_years,
    shift_text_dates,
)
from fine_tune_assets.phi.replacement.surrogate_names import NameMap, replace_name
from fine_tune_assets.phi.replacement.surrogate_places import (
    PlaceMap,
    draw_place_names,
    replace_facility,
    replace_location,
)
from fine_tune_assets.phi.spans.checksums import list_checksums
from fine_tune_assets.phi.spans.identifier_words import TITLES
from fine_tune_assets.phi.spans.spans import Span, locate_replacements, substitute
from fine_tune_assets.quantities.dates import DateReader
from fine_tune_assets.recipes.domain_pack_schema import IdentifierSettings
from fine_tune_assets.tables.duckdb_connection import open_cursor

GENERALISED_KINDS = frozenset({"DATE", "AGE"})
"""Kinds that become a year or a class. These occur in the corpus and do not count as surrogates."""
_MAX_SHIFT_DAYS = 365
_PHONE_ATTEMPTS = 1000
_MIN_PART_LENGTH = 2
WORD = re.compile(r"[^\W_]+(?:['’ʼ‘][^\W_]+)*")

RecordUsed = Callable[[str], None]


class ReplacementError(FineTuneError):
    """The spans cannot be replaced, or a subject key is missing."""


@dataclass(frozen=True)
class SurrogateText:
    """Text with surrogates, their spans, and keyed hashes of those used, comparable with `hash_corpus_values`."""

    text: str
    spans: tuple[Span, ...]
    value_hashes: frozenset[str]


@dataclass(frozen=True, repr=False)
class Surrogates:
    """Replaces spans with surrogates.

    A surrogate depends on key, profile, subject and value, never on the order of reports; subjects of the bundled sample use a
    public key. `is_taken` receives a normalized value; build it with `build_corpus_lookup`. It must cover the whole corpus from
    the start: a value that is added later may already be in use, which `SurrogateText.value_hashes` reveals.
    """

    secret: bytes
    profile: Profile
    reader: DateReader
    is_taken: IsTaken
    own_kinds: Mapping[str, IdentifierSettings] = field(default_factory=dict)
    """The kinds that the domain pack adds."""

    def __post_init__(self) -> None:
        self._build_source("check of the key")

    def replace(self, text: str, spans: Sequence[Span], subject_key: str) -> SurrogateText:
        """Replace `spans`, which must be in order without overlap. Raises ReplacementError, SurrogatesExhaustedError."""
        _validate_spans(text, spans, subject_key)
        source = self._build_source(subject_key)
        used: set[str] = set()
        pieces = [((span.start, span.end), self._replace_span(text, span, source, used.add)) for span in spans]
        starts_and_ends = zip(spans, locate_replacements(pieces), strict=True)
        moved = tuple(replace(span, start=start, end=end) for span, (start, end) in starts_and_ends)
        values = frozenset(hash_value(self.secret, value) for value in used)
        return SurrogateText(substitute(text, pieces), moved, values)

    def draw_shift_days(self, subject_key: str) -> int:
        """-365 to 365, never 0; the same for all dates of a subject, so that intervals are preserved."""
        days = self._build_source(subject_key).make_draw("shift")(2 * _MAX_SHIFT_DAYS) - _MAX_SHIFT_DAYS
        return days if days < 0 else days + 1

    def _build_source(self, subject_key: str) -> KeyedSource:
        return KeyedSource(select_key(subject_key, self.secret), ("surrogates", self.profile.name, subject_key))

    def _replace_span(self, text: str, span: Span, source: KeyedSource, used: RecordUsed) -> str:
        value = text[span.start : span.end]
        if span.label == "DATE":
            return self._replace_date(value, text[: span.start], source.scope[-1])
        if span.label == "AGE":
            return self._replace_age(value)
        names = NameMap(source, self.is_taken)
        if span.label == "NAME":
            return replace_name(value, names, used)
        where = PlaceMap(source, self.is_taken, self.profile.keeps_towns, used)
        if span.label == "LOCATION":
            return replace_location(value, where)
        if span.label == "FACILITY":
            return replace_facility(value, where)
        if not normalize(value):
            return value
        own = self.own_kinds.get(span.label)
        candidates = _draw_candidates(span.label, value, names) if own is None else _draw_own(own, value, source)
        new = pick_unused(span.label, candidates, build_unusable_check(value, self.is_taken))
        used(normalize(new))
        return new

    def _replace_date(self, value: str, before: str, subject_key: str) -> str:
        dates = self.reader.read(value)
        is_old = any(
            d.year is not None and d.year <= latest_sensitive_birth_year(self.reader.current_year) for d in dates
        )
        if self.profile.shift_dates and not (is_old and not self.profile.keeps_ages):
            return shift_text_dates(value, self.draw_shift_days(subject_key), before, self.reader)
        if not self.profile.keeps_dates:
            return reduce_to_years(value, before, self.reader)
        return value if self.reader.is_only_dates(value, dates) else choose_neutral_word(value, before, dates)

    def _replace_age(self, value: str) -> str:
        if not self.profile.keeps_ages:
            return generalise_age(value)
        return value if is_readable_age(value) else UNKNOWN_AGE


def _draw_candidates(label: str, value: str, names: NameMap) -> Iterator[str]:
    source = names.source
    has_digit = any(c.isdecimal() for c in value)
    if label in {"PHONE", "FAX"} and has_digit:
        # All values of a short number may be taken, such as the hundred two-digit pagers.
        return chain(
            islice(numbers.draw_phone_numbers(value, source), _PHONE_ATTEMPTS), numbers.draw_identifiers(value, source)
        )
    if label == "SSN" and has_digit:
        return numbers.draw_ssns(value, source)
    if label == "IP":
        return numbers.draw_ip_addresses(value, source)
    if label == "EMAIL" and "@" in value:
        return _draw_email_addresses(value, names)
    if label == "URL":
        return numbers.draw_urls(value, source, draw_place_names(source.make_draw("web host", normalize(value))))
    return numbers.draw_identifiers(value, source)


def _draw_own(settings: IdentifierSettings, value: str, source: KeyedSource) -> Iterator[str]:
    """Numbers of a kind of the domain pack. One with valid check digits is skipped: it could be a real account."""
    draw = numbers.draw_digits if settings.surrogate == "same_letters" else numbers.draw_identifiers
    checks = list_checksums(settings)
    return (new for new in draw(value, source) if not any(is_valid(new) for is_valid in checks))


def _draw_email_addresses(value: str, names: NameMap) -> Iterator[str]:
    """The owner's surrogate names at a reserved host; appends a digit each time the address is taken."""
    local, _, host = value.rpartition("@")
    person = replace_name(local.replace("_", "\0"), names, lambda _: None).replace("\0", "_")
    draw = names.source.make_draw("mail", normalize(value))
    new_host = pick(names.source.make_draw("mail host", normalize(host)), numbers.RESERVED_HOSTS)
    ending = ""
    while True:
        yield f"{person}{ending}@{new_host}"
        ending += str(draw(10))


def _validate_spans(text: str, spans: Sequence[Span], subject_key: str) -> None:
    if not subject_key:
        raise ReplacementError(
            "A text has no subject key, so all such texts would share surrogates. Use the id of the report as the key."
        )
    ends = [0, *(span.end for span in spans)]
    is_in_order = all(end <= span.start < span.end for end, span in zip(ends, spans, strict=False))
    if not is_in_order or ends[-1] > len(text):
        raise ReplacementError(
            f"The {len(spans)} spans are out of order, overlap, or exceed the text. Call merge_spans first."
        )


def hash_corpus_values(text: str, spans: Sequence[Span], secret: bytes) -> frozenset[str]:
    """Keyed hashes of the values in a text: each value, and each word of it.

    They can be stored without the values: without the key they reveal nothing.
    """
    found = (text[span.start : span.end] for span in spans if span.label not in GENERALISED_KINDS)
    return frozenset(hash_value(secret, form) for value in found for form in list_value_forms(value))


def list_value_forms(value: str) -> frozenset[str]:
    """Forms of a value that no surrogate may equal: the whole value and each of its words, normalized."""
    parts = (part for part in WORD.findall(value) if len(part) >= _MIN_PART_LENGTH)
    return frozenset(map(normalize, (value, *parts))) - {""}


def find_identifying_words(value: str) -> list[str]:
    """The words of a value, normalized, without titles and initials."""
    return [word for word in map(normalize, WORD.findall(value)) if len(word) > 1 and word not in TITLES]


def build_corpus_lookup(secret: bytes, hashes: frozenset[str]) -> IsTaken:
    """`is_taken` for a corpus, given its keyed hashes."""
    return lambda value: hash_value(secret, value) in hashes


def hash_value(secret: bytes, normalized: str) -> str:
    return keyed_digest(secret, "corpus value", normalized).hex()


_QUERY = """
with found as (select value_hash, role, parse_filename(filename, true) as batch from read_parquet(?, filename = true)),
     originals as (select distinct value_hash from found where role = 'original')
select batch, value_hash from found join originals using (value_hash) where role = 'surrogate' order by batch, value_hash
"""


def find_surrogate_collisions(values: Path) -> dict[str, list[str]]:
    """Batch → keyed hashes of its surrogates that occur in a report of any batch. `values` holds `identifier_values` files."""
    if not any(values.glob("*.parquet")):
        return {}
    taken: dict[str, list[str]] = {}
    with open_cursor() as cursor:
        for batch, value_hash in cursor.execute(_QUERY, [str(values / "*.parquet")]).fetchall():
            taken.setdefault(batch, []).append(value_hash)
    return taken

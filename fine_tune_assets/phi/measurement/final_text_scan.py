"""Finds identifiers in final training texts, after people have edited them.

Combines the findings of the scrubber and of its second pass, from `withhold_score` up, and ignores the surrogates that the
scrubber inserted. Returns ids, kinds and places, never a value. It misses every name that the scrubber misses.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import pyarrow as pa

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.phi.recognizers.domain_rules import DomainRules, load_rules
from fine_tune_assets.phi.recognizers.second_pass import find_residual_phi
from fine_tune_assets.phi.replacement.keyed_draws import IsTaken, normalize
from fine_tune_assets.phi.replacement.profiles import Profile
from fine_tune_assets.phi.replacement.surrogates import GENERALISED_KINDS, build_corpus_lookup, find_identifying_words
from fine_tune_assets.phi.scrubber import NOT_SCRUBBED, ScrubbedText
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.phi.table_scrubber import SURROGATE, ScrubJob, open_finder, read_value_hashes
from fine_tune_assets.tables.record_classes import Column, Record


class FinalText(Record):
    """The text of an example that will be trained on."""

    example_id: str
    text: str
    trusted_text: Annotated[
        str | None, Column("Scrubbed text without residual PHI; its values are allowed", is_report_text=True)
    ]


_PLACE_LABELS = {"LOCATION", "FACILITY"}
_POSSESSIVE = re.compile(r"['’]s\b")
_OUTER_PUNCTUATION = re.compile(r"^\W+|\W+$")
_BATCH_ROWS = 1024
Place = tuple[int, int] | None
"""Start and end; None for a finding of the second pass, which searches another text."""
FoundPlaces = dict[str, list[Place]]
"""Kind → a place for each finding in a text."""
IsReplacement = Callable[[str, str], bool]
"""Label and value of a finding → whether the scrubber put it there."""


def find_text_identifiers(texts: pa.Table, job: ScrubJob, progress: Progress) -> dict[str, FoundPlaces]:
    """By id, for texts with a finding. `job.other_values` lists the `identifier_values` of every batch."""
    is_surrogate = build_corpus_lookup(job.secret, read_value_hashes(job.other_values, SURROGATE))
    found: dict[str, FoundPlaces] = {}
    done = 0
    with open_finder(job, texts.num_rows) as finder:
        for batch in texts.to_batches(max_chunksize=_BATCH_ROWS):
            rows = [FinalText.from_row(row) for row in batch.to_pylist()]
            scrubbed = finder.find([(row.text, ()) for row in rows])
            found |= _collect_findings(rows, scrubbed, finder.workers.scrub, is_surrogate, job)
            done += len(rows)
            progress(done, texts.num_rows, "final texts searched for identifiers")
    return found


def _collect_findings(
    rows: Sequence[FinalText],
    scrubbed: Sequence[ScrubbedText],
    rescan: Callable[[Sequence[Any]], list[ScrubbedText]],
    is_surrogate: IsTaken,
    job: ScrubJob,
) -> dict[str, FoundPlaces]:
    # The cache stores the counts of the second pass without offsets, so the few texts with a count are scanned again.
    leaking = [row for row, one in zip(rows, scrubbed, strict=True) if one.residual_phi]
    again = dict(zip((r.example_id for r in leaking), rescan([(r.text, ()) for r in leaking]), strict=True))
    found: dict[str, FoundPlaces] = {}
    domain = load_rules(job.settings.domain)
    for row, one in zip(rows, scrubbed, strict=True):
        is_ours = _build_replacement_check(is_surrogate, row.trusted_text or "")
        places = [s for s in one.spans if not is_ours(s.label, row.text[s.start : s.end])]
        kinds = Counter(s.label for s in places)
        if row.example_id in again:
            kinds += _count_residual_phi(again[row.example_id], is_ours, domain)
        if not _has_full_dates(job):
            # Only the second pass distinguishes full dates from years: its patterns require a day.
            kinds += Counter(DATE=find_residual_phi(row.text, (), (), domain).get("DATE", 0))
            places += _find_full_dates(row.text, one.spans, domain)
        if kinds:
            found[row.example_id] = _list_places(kinds, places)
    return found


def _list_places(kinds: Counter[str], spans: Sequence[Span]) -> FoundPlaces:
    """The places of these spans by kind, and None for each other finding."""
    found: FoundPlaces = {}
    for kind, count in sorted(kinds.items()):
        known = sorted((span.start, span.end) for span in spans if span.label == kind)
        found[kind] = [*known, *[None] * (count - len(known))]
    return found


def _find_full_dates(text: str, spans: Sequence[Span], domain: DomainRules) -> Iterator[Span]:
    """The dates of the first pass in which the second pass finds a day."""
    for span in spans:
        if span.label == "DATE" and find_residual_phi(text[span.start : span.end], (), (), domain).get("DATE"):
            yield span


def _count_residual_phi(one: ScrubbedText, is_ours: IsReplacement, domain: DomainRules) -> Counter[str]:
    """Second-pass findings in the tagged text, without uncertain findings that are surrogates."""
    if NOT_SCRUBBED in one.residual_phi:
        return Counter({NOT_SCRUBBED: 1})
    doubtful = [s for s in one.uncertain_spans if not is_ours(s.label, one.text[s.start : s.end])]
    left = find_residual_phi(one.text, (), doubtful, domain)
    return Counter({label: count for label, count in left.items() if label not in GENERALISED_KINDS})


def _has_full_dates(job: ScrubJob) -> bool:
    profile = Profile(job.settings.profile, job.settings.shift_dates)
    return job.settings.replacement == "surrogates" and (profile.keeps_dates or profile.shift_dates)


def _build_replacement_check(is_surrogate: IsTaken, trusted_text: str) -> IsReplacement:
    def is_ours(label: str, value: str) -> bool:
        # Generalised ages and dates became a class or a year, which the recognizers find again.
        return (
            label in GENERALISED_KINDS
            or _contains_words(trusted_text, value)
            or _is_surrogate_value(label, value, is_surrogate)
        )

    return is_ours


def _contains_words(text: str, value: str) -> bool:
    """Whether the text contains the value as whole words ("Ann" is not in "Annual"), apart from punctuation around it."""
    words = _OUTER_PUNCTUATION.sub("", value)
    if not text or not words:
        return bool(text)
    # A number may follow letters ("MRN4815"), but is no part of a longer one.
    before, after = (r"\d" if end.isdigit() else r"[^\W\d_]" for end in (words[0], words[-1]))
    return re.search(rf"(?<!{before}){re.escape(words)}(?!{after})", text) is not None


def _is_surrogate_value(label: str, value: str, is_surrogate: IsTaken) -> bool:
    """Whether a finding consists of surrogates.

    A name counts if every word is a surrogate, apart from titles and initials. A place or facility counts if any word is, because
    its type is kept. Other kinds must match as a whole.
    """
    plain = _POSSESSIVE.sub("", value)
    if is_surrogate(normalize(plain)):
        return True
    words = find_identifying_words(plain)
    if label == "NAME":
        return all(map(is_surrogate, words))
    return label in _PLACE_LABELS and any(map(is_surrogate, words))

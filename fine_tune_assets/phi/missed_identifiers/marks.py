"""Records an identifier that a reviewer found in scrubbed text, with a labelled case for measuring recall.

The term is a real identifier, so no error or log line repeats it.
"""

import json
import re
from collections.abc import Sequence

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.identifier_marks import MissedTerm, record_mark
from fine_tune_assets.phi.known_identifiers.finder import find_known_identifiers
from fine_tune_assets.phi.missed_identifiers.copied_reports import find_terms_with_copies, record_terms
from fine_tune_assets.phi.missed_identifiers.missed_terms import blank_tags, to_known_identifier
from fine_tune_assets.phi.spans.spans import Offsets
from fine_tune_assets.phi.spans.vocabulary import Vocabulary
from fine_tune_assets.tables.record_classes import RecordT
from fine_tune_assets.tables.report_rows import Report
from fine_tune_assets.tables.scrubbing_rows import PhiSpan, ScrubbedReport
from fine_tune_assets.tables.stored_tables import read_rows

CONTEXT_CHARACTERS = 200
"""Characters of context kept on each side of the term: enough for the tagger, but not the whole report."""


class MarkError(FineTuneError):
    """The identifier cannot be marked as requested."""


def mark_missed_identifier(
    ledger: Ledger,
    key: bytes,
    layout: Layout,
    vocabulary: Vocabulary,
    *,
    report_id: str,
    kind: str,
    term: str,
    marked_by: str,
) -> str:
    """Record that `term` is an identifier in the report; returns the mark's id. Repeating a mark returns the same id.

    The report is withheld until it is scrubbed without the term. Raises MarkError unless the report exists and contains the term
    as whole words, and LedgerError if `marked_by` is empty.
    """
    if kind not in vocabulary.kinds:
        raise MarkError(f"Report {report_id}: kind {kind} does not exist. Use one of {', '.join(vocabulary.kinds)}.")
    found = _read_rows(Report, layout, "reports", report_id)
    if not found:
        raise MarkError(f"Report {report_id} not found. `fine-tune review show` prints the report_id of each draft.")
    report, wanted = found[0], " ".join(term.split())
    places = find_term(report.text, kind, wanted, report_id, vocabulary)
    mark_id = record_mark(
        ledger,
        key,
        report_id=report_id,
        batch=report.batch,
        subject_key=report.subject_key,
        kind=kind,
        term=wanted,
        labelled_case=build_labelled_case(
            report.text, kind, places, _read_removed_spans(layout, report_id, report.text)
        ),
        marked_by=marked_by,
    )
    record_terms(ledger, find_terms_with_copies(ledger, key, layout.tables, vocabulary))
    return mark_id


def find_term(text: str, kind: str, term: str, report_id: str, vocabulary: Vocabulary) -> list[Offsets]:
    """Where the scrubber will find the marked term. Raises MarkError, without the term, if it will not find it."""
    if not any(character.isalnum() for character in term):
        raise MarkError(f"The term marked in report {report_id} contains neither a letter nor a digit.")
    written = re.compile(r"\s+".join(re.escape(word) for word in term.split()), re.IGNORECASE)
    literal = [match.span() for match in written.finditer(text)]
    if not literal:
        raise MarkError(
            f"Report {report_id} does not contain that term. Enter it as written in the report, without placeholders "
            "such as [NAME]."
        )
    found_spans = find_known_identifiers(text, [to_known_identifier(MissedTerm("", kind, term))], vocabulary)
    places = [(start, end) for start, end in literal if any(s.start <= start and end <= s.end for s in found_spans)]
    if not places:
        raise MarkError(f"Report {report_id} contains that term only inside longer words. Mark the whole words.")
    return places


def is_term_visible(tagged_text: str, kind: str, term: str, vocabulary: Vocabulary) -> bool:
    """Whether a reader of the tagged report sees the term in it, as whole words.

    Call this before `mark_missed_identifier` for users who must not read the raw report: otherwise its errors would reveal which
    other words the raw report contains.
    """
    try:
        return bool(find_term(blank_tags(tagged_text, vocabulary), kind, " ".join(term.split()), "", vocabulary))
    except MarkError:
        return False


def build_labelled_case(text: str, kind: str, places: Sequence[Offsets], removed: Sequence[PhiSpan]) -> str:
    """A window of the raw text around the missed place, as JSON with `text` and `spans`.

    Labels every occurrence of the term in the window, and what the scrubber already removes there.
    """
    missed = next((place for place in places if not any(_is_overlapping(place, span) for span in removed)), places[0])
    start, end = _find_context(text, missed)
    marked = [(*place, kind) for place in places]
    others = [(s.start, s.end, s.label) for s in removed if not any(_is_overlapping(place, s) for place in places)]
    spans = [
        {"start": first - start, "end": last - start, "label": label}
        for first, last, label in sorted([*marked, *others])
        if start <= first and last <= end
    ]
    return json.dumps({"text": text[start:end], "spans": spans}, ensure_ascii=False)


def _find_context(text: str, place: Offsets) -> Offsets:
    """Extend to white space on both sides, so that no word is cut in two."""
    start, end = max(0, place[0] - CONTEXT_CHARACTERS), min(len(text), place[1] + CONTEXT_CHARACTERS)
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and not text[end].isspace():
        end += 1
    return start, end


def _read_removed_spans(layout: Layout, report_id: str, text: str) -> list[PhiSpan]:
    """Spans removed from exactly this text; empty if the report was not scrubbed or has changed since."""
    scrubbed = _read_rows(ScrubbedReport, layout, "scrubbed_reports", report_id)
    spans = sorted(_read_rows(PhiSpan, layout, "phi_spans", report_id), key=lambda span: span.start)
    return spans if scrubbed and _is_scrubbed_from(text, spans, scrubbed[0].text) else []


def _is_scrubbed_from(text: str, spans: Sequence[PhiSpan], scrubbed: str) -> bool:
    """Whether the scrubbed text contains all text outside the spans, in order."""
    starts, ends = [span.start for span in spans], [span.end for span in spans]
    at = 0
    for begin, end in zip([0, *ends], [*starts, len(text)], strict=True):
        found = scrubbed.find(text[begin:end], at)
        if found < 0 or end > len(text):
            return False
        at = found + end - begin
    return True


def _is_overlapping(place: Offsets, span: PhiSpan) -> bool:
    return place[0] < span.end and span.start < place[1]


def _read_rows(kind: type[RecordT], layout: Layout, table: str, report_id: str) -> list[RecordT]:
    """The rows of one report; empty if its batch has no such table."""
    path = layout.table(table, report_id.partition("/")[0])
    if not path.is_file():
        return []
    return [kind.from_row(row) for row in read_rows(path, table, "report_id", [report_id])]

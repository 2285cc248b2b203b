"""A reviewer marks an identifier that the scrubber missed.

Owns what can be marked, and the labelled case that is made of it. The term comes from a person and is never repeated: not in
an error, not in a log. Where the term goes from here is `terms`' matter.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.missed_identifiers import MissedTerm, record_mark
from fine_tune_assets.phi.known_identifiers.finder import find_known_identifiers
from fine_tune_assets.phi.missed_identifiers.terms import as_known_identifier, without_tags
from fine_tune_assets.phi.spans.kinds import KINDS
from fine_tune_assets.phi.spans.spans import Offsets

WINDOW = 200
"""Characters on each side of the term that its case keeps: enough for the model of names, and no whole report."""


class MarkError(FineTuneError):
    """Something can't be marked as it was asked for."""


def mark_missed(
    ledger: Ledger, key: bytes, layout: Layout, *, report_id: str, kind: str, term: str, marked_by: str
) -> str:
    """Keep that `term` is an identifier in the report, and return the mark's id; the same mark again is the same id.

    From then on the report is held back until it was scrubbed without the term. Raises MarkError unless the report is there
    and holds the term as whole words, LedgerError without a name.
    """
    if kind not in KINDS:
        raise MarkError(f"An identifier in report {report_id} must be one of {', '.join(KINDS)}.")
    found = _rows(layout, "reports", report_id)
    if not found:
        raise MarkError(f"There is no report {report_id}. Its id is the report_id that `fine-tune review show` prints.")
    report, wanted = found[0], " ".join(term.split())
    places = find_term(report["text"], kind, wanted, report_id)
    return record_mark(
        ledger,
        key,
        report_id=report_id,
        batch=report["batch"],
        patient_key=report["patient_key"],
        kind=kind,
        term=wanted,
        labelled_case=labelled_case(report["text"], kind, places, _removed(layout, report_id, report["text"])),
        marked_by=marked_by,
    )


def find_term(text: str, kind: str, term: str, report_id: str) -> list[Offsets]:
    """Where the scrubber will find the term once it is told. Raises MarkError if it will not, without the term."""
    if not any(character.isalnum() for character in term):
        raise MarkError(f"The term to mark in report {report_id} has neither a letter nor a digit.")
    written = re.compile(r"\s+".join(re.escape(word) for word in term.split()), re.IGNORECASE)
    literal = [match.span() for match in written.finditer(text)]
    if not literal:
        raise MarkError(
            f"Report {report_id} does not hold that term. Enter it as it stands there, and nothing that was put in an "
            "identifier's place, such as [NAME]."
        )
    told = find_known_identifiers(text, [as_known_identifier(MissedTerm("", kind, term))])
    places = [(start, end) for start, end in literal if any(s.start <= start and end <= s.end for s in told)]
    if not places:
        raise MarkError(f"Report {report_id} holds that term only inside of longer words. Mark the whole words.")
    return places


def is_seen(tagged_text: str, kind: str, term: str) -> bool:
    """Whether somebody who sees the report in tagged form sees the term there, as whole words.

    Asked before `mark_missed` where who marks must not read the raw report: its answer would tell what else stands there.
    """
    try:
        return bool(find_term(without_tags(tagged_text), kind, " ".join(term.split()), ""))
    except MarkError:
        return False


def labelled_case(text: str, kind: str, places: Sequence[Offsets], removed: Sequence[dict[str, Any]]) -> str:
    """A window of the raw text around the place that was missed, as JSON with `text` and `spans`.

    Labelled are the term, wherever it stands in the window, and what the scrubber removes there already.
    """
    missed = next((place for place in places if not any(_overlap(place, _place(span)) for span in removed)), places[0])
    start, end = _window(text, missed)
    marked = [{"start": first, "end": last, "label": kind} for first, last in places]
    others = [span for span in removed if not any(_overlap(place, _place(span)) for place in places)]
    spans = [
        {"start": span["start"] - start, "end": span["end"] - start, "label": span["label"]}
        for span in sorted([*marked, *others], key=lambda span: span["start"])
        if start <= span["start"] and span["end"] <= end
    ]
    return json.dumps({"text": text[start:end], "spans": spans}, ensure_ascii=False)


def _window(text: str, place: Offsets) -> Offsets:
    """From white space to white space: a word that is cut in two is another word."""
    start, end = max(0, place[0] - WINDOW), min(len(text), place[1] + WINDOW)
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and not text[end].isspace():
        end += 1
    return start, end


def _removed(layout: Layout, report_id: str, text: str) -> list[dict[str, Any]]:
    """What the scrubber removed from exactly this text; nothing if the report was not scrubbed, or was changed since."""
    scrubbed = _rows(layout, "scrubbed_reports", report_id)
    spans = sorted(_rows(layout, "phi_spans", report_id), key=lambda span: span["start"])
    return spans if scrubbed and _is_made_from(text, spans, scrubbed[0]["text"]) else []


def _is_made_from(text: str, spans: Sequence[dict[str, Any]], scrubbed: str) -> bool:
    """Whether all of the text that no span covers stands in the scrubbed text, in its order."""
    starts, ends = [span["start"] for span in spans], [span["end"] for span in spans]
    at = 0
    for begin, end in zip([0, *ends], [*starts, len(text)], strict=True):
        found = scrubbed.find(text[begin:end], at)
        if found < 0 or end > len(text):
            return False
        at = found + end - begin
    return True


def _overlap(one: Offsets, other: Offsets) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _place(span: dict[str, Any]) -> Offsets:
    return span["start"], span["end"]


def _rows(layout: Layout, table: str, report_id: str) -> list[dict[str, Any]]:
    """The rows of one report; none where its batch has no such table."""
    path = layout.table(table, report_id.partition("/")[0])
    if not path.is_file():
        return []
    return list(pq.read_table(path, filters=[("report_id", "=", report_id)], partitioning=None).to_pylist())

"""Page of the labelled identifiers that the scrubber missed: each in its context, with what would catch it.

The only page with text of reports before scrubbing. It is read from the labelled files, never stored, and other labelled
identifiers in it are replaced by their kinds. Each view is a line in the audit log.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pyarrow.parquet as pq
from starlette.responses import Response

from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.pages.marked_text import Piece
from fine_tune_assets.desk.rendering import render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.phi.measurement.miss_advice import Advice, PatternProposal, advise, propose_pattern
from fine_tune_assets.phi.measurement.miss_causes import MissCause
from fine_tune_assets.phi.measurement.recall import GoldDocument, GoldFileError, read_gold
from fine_tune_assets.phi.measurement.recall_report import (
    MISSES_PAGE,
    RecallReport,
    measure_recipe_floors,
    report_recall,
)
from fine_tune_assets.recipes.domain_packs import LoadedPack, load_pack
from fine_tune_assets.tables.record_classes import conform, iter_records
from fine_tune_assets.tables.scrubbing_rows import LabelledMiss, ScrubRecall

PAGE_MISSES = 10
_MAX_ID_CHARACTERS = 80
CONTEXT_CHARACTERS = 120
"""On each side of an identifier."""
MISSED, REMOVED, TAG = "missed", "removed", "tag"
"""Kinds of pieces: the part that remained, the part of the identifier that was removed, and the kind of another identifier."""
_WITH_PATTERNS = (MissCause.NO_FORM, MissCause.NO_RULE)


@dataclass(frozen=True)
class ShownMiss:
    row: LabelledMiss
    pieces: list[Piece] | None
    """None if the labelled file changed after the measurement."""
    advice: Advice
    proposal: PatternProposal | None
    document_id: str
    """The id that the labelled file gives the document; empty if it gives none, or changed after the measurement."""


def show_misses(desk: Desk, context: RequestContext) -> Response:
    pack, layout = load_pack(desk.read_recipe().domain), desk.settings.layout
    measured, missed = layout.table("scrub_recall"), layout.table("labelled_misses")
    rows = list(iter_records(LabelledMiss, pq.read_table(missed))) if missed.is_file() else []
    choices = {"set": sorted({row.labelled_set for row in rows}), "kind": sorted({row.label for row in rows})}
    chosen = {name: value for name in choices if (value := context.query_param(name)) in choices[name]}
    rows = [row for row in rows if _is_chosen(row, chosen)]
    first = context.query_number("first") or 0
    shown = _read_misses(rows[first : first + PAGE_MISSES], pack, layout.data_dir)
    _record_view(desk, context, shown)
    return render_page(
        desk,
        context,
        "misses.html",
        report=_read_report(desk, measured, pack) if measured.is_file() else None,
        misses=shown,
        count=len(rows),
        choices=choices,
        chosen=chosen,
        first=first,
        next_page=_make_url(chosen, first + PAGE_MISSES) if len(rows) > first + PAGE_MISSES else "",
        first_page=_make_url(chosen, 0) if first else "",
    )


def _is_chosen(row: LabelledMiss, chosen: Mapping[str, str]) -> bool:
    return chosen.get("set", row.labelled_set) == row.labelled_set and chosen.get("kind", row.label) == row.label


def _make_url(chosen: Mapping[str, str], first: int) -> str:
    return f"{MISSES_PAGE}?{urlencode({**chosen, 'first': first})}"


def _read_report(desk: Desk, measured: Path, pack: LoadedPack) -> RecallReport:
    recall = conform(pq.read_table(measured), ScrubRecall.SCHEMA)
    return report_recall(recall, measure_recipe_floors(recall, desk.read_recipe()), pack.pack.indirect_kinds)


def _record_view(desk: Desk, context: RequestContext, shown: Sequence[ShownMiss]) -> None:
    """Before the page is made: what can't be recorded is not shown."""
    seen = [f"{one.row.labelled_set} {one.row.document}" for one in shown if one.pieces is not None]
    if seen:
        documents = ", ".join(dict.fromkeys(seen))
        audit.append(desk.ledger, context.user.name, "read missed identifiers", f"labelled documents {documents}")


def _read_misses(rows: Sequence[LabelledMiss], pack: LoadedPack, data_dir: Path) -> list[ShownMiss]:
    files = {path.stem: path for path in pack.list_labelled_files(data_dir)}
    wanted = {row.labelled_set: row.file_fingerprint for row in rows}
    read = {name: documents for name, documents in _read_sets(files) if name in wanted} if rows else {}
    current = {name: documents for name, documents in read.items() if fingerprint_file(files[name]) == wanted[name]}
    ids = {name: read_document_ids(files[name]) for name in current}
    every = [document for documents in read.values() for document in documents]
    own_rules = [rule.name for one in pack.pack.identifiers for rule in one.recognizers]
    return [
        _read_miss(row, current.get(row.labelled_set), ids.get(row.labelled_set, ()), every, own_rules) for row in rows
    ]


def read_document_ids(path: Path) -> list[str]:
    """The `id` of each document of a labelled file, in the order of `read_gold`; empty for a document without one."""
    lines = path.read_text(encoding="utf-8").split("\n")
    ids = (json.loads(line).get("id") for line in lines if line.strip())
    return ["" if found is None else str(found)[:_MAX_ID_CHARACTERS] for found in ids]


def _read_sets(files: Mapping[str, Path]) -> Iterator[tuple[str, list[GoldDocument]]]:
    for name, path in files.items():
        try:
            yield name, read_gold(path)
        except (GoldFileError, OSError, UnicodeDecodeError):
            continue  # it changed after the measurement


def _read_miss(
    row: LabelledMiss,
    documents: Sequence[GoldDocument] | None,
    ids: Sequence[str],
    every: Sequence[GoldDocument],
    own_rules: Sequence[str],
) -> ShownMiss:
    advice = advise(row.cause, row.label, row.rule, own_rules)
    if documents is None:
        return ShownMiss(row, None, advice, None, "")
    document = documents[row.document - 1]
    # Where a part was removed, the form of the whole is no way to find the rest.
    is_whole = (row.start, row.end) == (row.missed_start, row.missed_end)
    value = document.text[row.start : row.end]
    proposal = propose_pattern(value, every) if is_whole and row.cause in _WITH_PATTERNS else None
    return ShownMiss(row, cut_context(document, row), advice, proposal, ids[row.document - 1])


def cut_context(document: GoldDocument, row: LabelledMiss) -> list[Piece]:
    """The identifier with some characters around it, in which other labelled identifiers are replaced by their kinds."""
    text = document.text
    start, end = max(0, row.start - CONTEXT_CHARACTERS), min(len(text), row.end + CONTEXT_CHARACTERS)
    own = [
        (row.start, row.missed_start, REMOVED),
        (row.missed_start, row.missed_end, MISSED),
        (row.missed_end, row.end, REMOVED),
    ]
    others = [
        (at, until, span.label)
        for span in document.spans
        for at, until in ((span.start, min(span.end, row.start)), (max(span.start, row.end), span.end))
        if at < until and until > start and at < end
    ]
    pieces, at = [Piece("…" if start else "")], start
    for begin, stop, kind in sorted([*own, *others]):
        pieces.append(Piece(text[at:begin]))
        is_own = kind in (MISSED, REMOVED)
        pieces.append(Piece(text[begin:stop], (kind,)) if is_own else Piece(f"[{kind}]", (TAG,)))
        at = max(at, stop)
    pieces += [Piece(text[at:end]), Piece("…" if end < len(text) else "")]
    return [piece for piece in pieces if piece.text]

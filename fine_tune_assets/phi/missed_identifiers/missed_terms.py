"""Passes marked terms to the scrubber, and finds texts that still contain one.

A term counts for its own subject only: one subject's name may be an ordinary word in another's report.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from fine_tune_assets.ledger.reviews.identifier_marks import MissedTerm
from fine_tune_assets.phi.known_identifiers.finder import find_known_identifiers
from fine_tune_assets.phi.spans.vocabulary import Vocabulary
from fine_tune_assets.tables.duckdb_connection import open_cursor
from fine_tune_assets.tables.report_rows import Report

REVIEWER_MARKS = "reviewer_marks"
"""Name of the labelled set made of marks. Measured and shown, but excluded from recall floors, because it contains
misses only."""
TermsBySubject = Mapping[str, Sequence[MissedTerm]]
"""Subject key → terms marked for that subject."""
# A character that is in no word and joins nothing.
_TAG_FILLER = "\x00"
_BATCH_ROWS = 1024


def to_known_identifier(term: MissedTerm) -> dict[str, str]:
    """The term as a known identifier. A name's parts are removed too; other kinds match verbatim.

    Kinds in capitals bypass the rules that spare plain ages and small numbers: a reviewer has seen the value.
    """
    is_name = term.kind == "NAME" and not any(c.isdigit() for c in term.term)
    return {"kind": "name" if is_name else term.kind, "value": term.term}


def add_missed_terms(reports: pa.Table, terms: TermsBySubject) -> pa.Table:
    """`reports` with each subject's marked terms added to the known identifiers."""
    if not terms:
        return reports
    subject_keys = reports.column("subject_key").to_pylist()
    known = [
        [*stated, *(to_known_identifier(term) for term in terms.get(subject_key, ()))]
        for subject_key, stated in zip(subject_keys, reports.column("known_identifiers").to_pylist(), strict=True)
    ]
    position = reports.schema.get_field_index("known_identifiers")
    return reports.set_column(
        position, reports.schema.field(position), pa.array(known, Report.SCHEMA.field("known_identifiers").type)
    )


def has_any_term(text: str, terms: Sequence[MissedTerm], vocabulary: Vocabulary) -> bool:
    """Whether a scrubbed text still contains one of the terms. Placeholders such as `[NAME]` do not count."""
    known = [to_known_identifier(term) for term in terms]
    return bool(known and find_known_identifiers(blank_tags(text, vocabulary), known, vocabulary))


def blank_tags(text: str, vocabulary: Vocabulary) -> str:
    """The text with each placeholder replaced by characters that match nothing and join no words."""
    return vocabulary.tag.sub(_TAG_FILLER, text)


def flag_missed_terms(
    subject_keys: pa.ChunkedArray,
    texts: Sequence[pa.ChunkedArray],
    terms: TermsBySubject,
    vocabulary: Vocabulary,
    of_all: Sequence[MissedTerm] = (),
) -> pa.Array:
    """For each row, whether any of its texts contains a term of its subject, or one of those that count `of_all` subjects.

    Reads only rows of subjects with terms.
    """
    if not terms and not of_all:
        return pa.array([False] * len(subject_keys), pa.bool_())
    rows = zip(subject_keys.to_pylist(), *(_iterate_values(column) for column in texts), strict=True)
    return pa.array(
        [
            any(has_any_term(text, sought, vocabulary) for text in found)
            for subject_key, *found in rows
            for sought in [[*terms.get(subject_key, ()), *of_all]]
        ],
        pa.bool_(),
    )


def find_subject_batches(reports: Path, subject_keys: Sequence[str]) -> dict[str, set[str]]:
    """Batch → which of the subjects have a report in it. `reports` is the folder of that table's Parquet files."""
    found: dict[str, set[str]] = {}
    query = "select distinct batch, subject_key from read_parquet(?) where subject_key in (select unnest(?))"
    for batch, subject_key in _query_rows(reports, query, subject_keys):
        found.setdefault(batch, set()).add(subject_key)
    return found


def read_subject_texts(scrubbed: Path, subject_keys: Sequence[str]) -> list[tuple[str, str]]:
    """(subject key, scrubbed text) of every report of the subjects. `scrubbed` is the folder of that table."""
    return _query_rows(
        scrubbed, "select subject_key, text from read_parquet(?) where subject_key in (select unnest(?))", subject_keys
    )


def _query_rows(folder: Path, query: str, subject_keys: Sequence[str]) -> list[tuple[str, str]]:
    if not subject_keys or not any(folder.glob("*.parquet")):
        return []
    with open_cursor() as asking:
        return asking.execute(query, [str(folder / "*.parquet"), list(subject_keys)]).fetchall()


def _iterate_values(column: pa.ChunkedArray) -> Iterator[str]:
    for chunk in column.chunks:
        for start in range(0, len(chunk), _BATCH_ROWS):
            yield from chunk.slice(start, _BATCH_ROWS).to_pylist()

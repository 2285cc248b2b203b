"""What follows from a term that a reviewer marked: it is removed from its patient's reports, and holds back what has it.

Owns how a marked term is handed to the scrubber, and how a text is found that still holds one. A term counts for its patient
only: the name of one may be an ordinary word in the report of another. Does not know how marks are kept or made.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from fine_tune_assets.ledger.reviews.missed_identifiers import MissedTerm
from fine_tune_assets.phi.known_identifiers.finder import find_known_identifiers
from fine_tune_assets.phi.spans.kinds import TAG
from fine_tune_assets.tables.duck import cursor
from fine_tune_assets.tables.reports import Report

MARKED_BY_REVIEWERS = "marked_by_reviewers"
"""Name of the labelled set that is made of marks. It is measured and shown; no floor counts it: it holds misses only."""
Terms = Mapping[str, Sequence[MissedTerm]]
"""Patient key → what was marked for that patient."""
# A character that is in no word and joins nothing.
_NOTHING = "\x00"
_BATCH_ROWS = 1024


def as_known_identifier(term: MissedTerm) -> dict[str, str]:
    """The term as the scrubber takes it. A name's parts go too; anything else goes as it is written, wherever it stands.

    In capitals a kind is only a label: the rules that spare a plain age or a small number are for values that nobody saw.
    """
    is_name = term.kind == "NAME" and not any(c.isdigit() for c in term.term)
    return {"kind": "name" if is_name else term.kind, "value": term.term}


def with_missed_terms(reports: pa.Table, terms: Terms) -> pa.Table:
    """`reports` in which the known identifiers of a report include what was marked for its patient."""
    if not terms:
        return reports
    patients = reports.column("patient_key").to_pylist()
    known = [
        [*stated, *(as_known_identifier(term) for term in terms.get(patient, ()))]
        for patient, stated in zip(patients, reports.column("known_identifiers").to_pylist(), strict=True)
    ]
    position = reports.schema.get_field_index("known_identifiers")
    return reports.set_column(
        position, reports.schema.field(position), pa.array(known, Report.SCHEMA.field("known_identifiers").type)
    )


def holds_any(text: str, terms: Sequence[MissedTerm]) -> bool:
    """Whether a scrubbed text still holds one of the terms. `[NAME]` and its like are no text."""
    known = [as_known_identifier(term) for term in terms]
    return bool(known and find_known_identifiers(without_tags(text), known))


def without_tags(text: str) -> str:
    """The text with nothing that could be read or joined in each tag's place."""
    return TAG.sub(_NOTHING, text)


def holds_missed_terms(patients: pa.ChunkedArray, texts: Sequence[pa.ChunkedArray], terms: Terms) -> pa.Array:
    """For each row whether any of its texts holds a term of its patient. Only rows of patients with terms are read."""
    if not terms:
        return pa.array([False] * len(patients), pa.bool_())
    rows = zip(patients.to_pylist(), *(_values(column) for column in texts), strict=True)
    return pa.array(
        [patient in terms and any(holds_any(text, terms[patient]) for text in found) for patient, *found in rows],
        pa.bool_(),
    )


def batches_of_patients(reports: Path, patients: Sequence[str]) -> dict[str, set[str]]:
    """Batch → which of the patients have a report in it. `reports` is the folder of that table's Parquet files."""
    found: dict[str, set[str]] = {}
    query = "select distinct batch, patient_key from read_parquet(?) where patient_key in (select unnest(?))"
    for batch, patient in _rows(reports, query, patients):
        found.setdefault(batch, set()).add(patient)
    return found


def texts_of_patients(scrubbed: Path, patients: Sequence[str]) -> list[tuple[str, str]]:
    """(patient key, scrubbed text) of every report of the patients. `scrubbed` is the folder of that table."""
    return _rows(
        scrubbed, "select patient_key, text from read_parquet(?) where patient_key in (select unnest(?))", patients
    )


def _rows(folder: Path, query: str, patients: Sequence[str]) -> list[tuple[str, str]]:
    if not patients or not any(folder.glob("*.parquet")):
        return []
    with cursor() as asking:
        return asking.execute(query, [str(folder / "*.parquet"), list(patients)]).fetchall()


def _values(column: pa.ChunkedArray) -> Iterator[str]:
    for chunk in column.chunks:
        for start in range(0, len(chunk), _BATCH_ROWS):
            yield from chunk.slice(start, _BATCH_ROWS).to_pylist()

"""Stage 2: identifiers that the scrubber missed and a reviewer marked.

The ledger's marks as an external asset, the gate that refuses instruction sets with marked terms, and the terms and labelled
cases that `phi/` uses.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_listing
from fine_tune_assets.defs.platform.metadata import OWNERS
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.ledger.reviews.identifier_marks import list_marks, read_labelled_cases
from fine_tune_assets.phi.missed_identifiers.copied_reports import (
    find_terms_with_copies,
    read_recorded_terms,
    record_terms,
)
from fine_tune_assets.phi.missed_identifiers.missed_terms import (
    REVIEWER_MARKS,
    TermsBySubject,
    find_subject_batches,
    flag_missed_terms,
)

GROUP = "s02_scrubbed_reports"
TERM_TABLES = ("reports", "scrubbed_reports")
"""The tables in which `load_missed_terms` looks for copies of marked reports."""

missed_identifiers = dg.AssetSpec(
    "missed_identifiers",
    group_name=GROUP,
    description="Identifiers that the scrubber missed and reviewers marked. Stored encrypted in the ledger.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
    tags={"phi": "yes"},
)


def load_missed_terms(installation: Installation) -> TermsBySubject:
    """Subject key → marked terms that were not withdrawn: for the subject, or in a report that the subject has a copy of.

    For stages 1 to 3, which read reports; records the subjects for later gates. Raises LedgerError if a term can't be decrypted.
    """
    with installation.ledger() as ledger:
        folder = installation.tables_folder(*TERM_TABLES)
        terms = find_terms_with_copies(ledger, ledger.key, folder, installation.vocabulary)
        record_terms(ledger, terms)
    return terms


def flag_marked_texts(
    installation: Installation, subject_keys: pa.ChunkedArray, texts: Sequence[pa.ChunkedArray]
) -> pa.Array:
    """For each row, whether one of its texts contains a term that was marked for its subject, or for a copy.

    Reads the ledger alone, each time, since the tables in between may be out of date. Raises LedgerError, SealError.
    """
    with installation.ledger() as ledger:
        terms = read_recorded_terms(ledger, ledger.key)
    return flag_missed_terms(subject_keys, texts, terms.by_subject, installation.vocabulary, terms.of_all)


def count_missed_identifiers(installation: Installation, instruction_set: pa.Table) -> int:
    """Number of examples in the set that contain a term marked for their subject after the set was built."""
    contents = ["\n".join(m["content"] for m in messages) for messages in instruction_set["messages"].to_pylist()]
    texts = pa.chunked_array([pa.array(contents, pa.string())])
    return pc.sum(flag_marked_texts(installation, instruction_set["subject_key"], [texts])).as_py() or 0


def require_no_missed_identifiers(installation: Installation, instruction_set: pa.Table) -> None:
    """Raise GateClosedError if an example of the set contains a term that was marked for its subject."""
    count = count_missed_identifiers(installation, instruction_set)
    if count:
        raise GateClosedError(
            f"{count} examples of the instruction set contain an identifier that a reviewer marked, so it can't be used for "
            "training or promotion. Wait until their batches are scrubbed again. "
            + materialize_hint("instruction_sets", "adapters")
        )


@contextmanager
def gold_files(installation: Installation, labelled: Sequence[Path], scratch: Path) -> Iterator[list[Path]]:
    """The labelled sets, and a temporary file with the cases that were created from marks.

    Raises GateClosedError if a labelled set has the reserved name of that file, since no floor would count it.
    """
    if any(path.stem == REVIEWER_MARKS for path in labelled):
        raise GateClosedError(
            f"The labelled set {REVIEWER_MARKS}.jsonl has a reserved name, which is used for reviewers' marks. Rename it."
        )
    with installation.ledger() as ledger:
        cases = read_labelled_cases(ledger, ledger.key)
    marked = scratch.with_name(f"{REVIEWER_MARKS}.jsonl")
    try:
        # Marks alone must not qualify a scrubber.
        if cases and labelled:
            write_text(marked, "".join(f"{case}\n" for case in cases))
        yield [*labelled, *([marked] if marked.is_file() else [])]
    finally:
        marked.unlink(missing_ok=True)


def marks_by_batch(installation: Installation) -> dict[str, list[str]]:
    """Batch → ids of the marks that concern its subjects, for batches with any. Raises LedgerError."""
    with installation.ledger() as ledger:
        marks = list_marks(ledger)
    if not marks:
        return {}
    reports, terms = installation.stored("reports").folder, load_missed_terms(installation)
    listed = fingerprint_listing(reports) if reports.is_dir() else ""
    subjects = _subjects_by_batch(reports, listed, tuple(sorted(terms)))
    mark_ids = {batch: {term.mark_id for key in keys for term in terms[key]} for batch, keys in subjects.items()}
    return {batch: [mark.mark_id for mark in marks if mark.mark_id in ids] for batch, ids in mark_ids.items() if ids}


@lru_cache(maxsize=1)
def _subjects_by_batch(reports: Path, _listed: str, subjects: tuple[str, ...]) -> dict[str, set[str]]:
    """Cached until a table of reports or the marked subjects change, since every sensor tick needs it."""
    return find_subject_batches(reports, subjects)

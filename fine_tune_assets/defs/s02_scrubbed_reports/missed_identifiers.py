"""Stage 2, what people add to it: identifiers that the scrubber missed and a reviewer marked.

Belongs here: marks in the ledger as external assets, which batches they concern, and handing terms and cases to a step.
Must stay out: what can be marked, and what a marked term does (see `phi/`).
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
from fine_tune_assets.core.fingerprints import combine, fingerprint_listing
from fine_tune_assets.defs.platform.automation import batch_event, batch_versions
from fine_tune_assets.defs.platform.metadata import OWNERS
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets.ledger.reviews.missed_identifiers import labelled_cases, list_marks
from fine_tune_assets.phi.missed_identifiers.copied_reports import terms_with_copies
from fine_tune_assets.phi.missed_identifiers.terms import (
    MARKED_BY_REVIEWERS,
    Terms,
    batches_of_patients,
    holds_missed_terms,
)

GROUP = "s02_scrubbed_reports"
READ_FOR_TERMS = ("reports", "scrubbed_reports")
"""The tables in which `terms_of` looks for copies of marked reports."""

missed_identifiers = dg.AssetSpec(
    "missed_identifiers",
    group_name=GROUP,
    description="What reviewers marked as an identifier that the scrubber left. Kept encrypted in the ledger.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
    tags={"phi": "yes"},
)
missed_terms_of_batches = dg.AssetSpec(
    "missed_terms",
    partitions_def=BATCHES,
    group_name=GROUP,
    description="For each batch, which marks concern its patients. A mark scrubs again the batches of its patient only.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
    tags={"phi": "yes"},
)


def terms_of(installation: Installation) -> Terms:
    """Patient key → the terms that were marked and not withdrawn, for the patient or in a report of which the patient has a
    copy. Raises LedgerError if one can't be decrypted."""
    with installation.ledger() as ledger:
        return terms_with_copies(ledger, installation.corrections_key, installation.tables_with(*READ_FOR_TERMS))


def examples_with_misses(installation: Installation, instruction_set: pa.Table) -> int:
    """How many examples of the set hold what was marked for their patient: the set is older than the mark."""
    said = ["\n".join(m["content"] for m in messages) for messages in instruction_set["messages"].to_pylist()]
    texts = pa.chunked_array([pa.array(said, pa.string())])
    return pc.sum(holds_missed_terms(instruction_set["patient_key"], [texts], terms_of(installation))).as_py() or 0


def require_nothing_missed(installation: Installation, instruction_set: pa.Table) -> None:
    """Raise GateClosedError if an example of the set holds what was marked for its patient.

    Read from the ledger at the last moment: the tables in between may not have been made again yet.
    """
    held = examples_with_misses(installation, instruction_set)
    if held:
        raise GateClosedError(
            f"{held} examples of the instruction set hold an identifier that a reviewer marked. Nothing is trained on it, and "
            "nothing that was trained on it is promoted. Wait until their batches were scrubbed again. "
            + materialize_hint("instruction_sets", "adapters")
        )


@contextmanager
def gold_files(installation: Installation, labelled: Sequence[Path], scratch: Path) -> Iterator[list[Path]]:
    """The labelled sets, and a file with the cases that were made of marks for as long as the block lasts.

    Raises GateClosedError if a set has the name of that one: no floor would count it.
    """
    if any(path.stem == MARKED_BY_REVIEWERS for path in labelled):
        raise GateClosedError(
            f"A labelled set can't be called {MARKED_BY_REVIEWERS}: that one is made of marks. Rename it."
        )
    with installation.ledger() as ledger:
        cases = labelled_cases(ledger, installation.corrections_key)
    marked = scratch.with_name(f"{MARKED_BY_REVIEWERS}.jsonl")
    try:
        # Marks alone are no labelled set that a scrubber may be let through by.
        if cases and labelled:
            write_text(marked, "".join(f"{case}\n" for case in cases))
        yield [*labelled, *([marked] if marked.is_file() else [])]
    finally:
        marked.unlink(missing_ok=True)


def changed_batches(instance: dg.DagsterInstance, installation: Installation) -> list[dg.AssetMaterialization]:
    """An event for each batch whose marks are not those last reported. A batch that no mark ever concerned has none."""
    with installation.ledger() as ledger:
        marks = list_marks(ledger)
    known = batch_versions(instance, missed_terms_of_batches.key)
    if not marks and not known:
        return []
    reports, terms = installation.stored("reports").folder, terms_of(installation)
    listed = fingerprint_listing(reports) if reports.is_dir() else ""
    patients = _patients_by_batch(reports, listed, tuple(sorted(terms)))
    told = {batch: {t.mark_id for p in found for t in terms[p]} for batch, found in patients.items()}
    versions = {
        batch: combine(m.mark_id for m in marks if m.mark_id in told.get(batch, ()))
        for batch in {*patients, *known} & set(instance.get_dynamic_partitions(str(BATCHES.name)))
    }
    return [
        batch_event(missed_terms_of_batches.key, batch, version)
        for batch, version in sorted(versions.items())
        if known.get(batch) != version
    ]


@lru_cache(maxsize=1)
def _patients_by_batch(reports: Path, _listed: str, patients: tuple[str, ...]) -> dict[str, set[str]]:
    """Remembered until a table of reports or the marked patients change: it is asked for at every tick."""
    return batches_of_patients(reports, patients)

"""Which reports are those of the sample, unchanged: their subjects get public keys, all others keys of the installation.

Owns the list of the sample's reports and the keys of a batch's subjects. `make sample-list` writes the list again.
"""

import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.sample_subjects import sample_subject_key
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_file import read_batch_file
from fine_tune_assets.reports.batches import list_batches, list_files
from fine_tune_assets.reports.contents import BatchContents
from fine_tune_assets.reports.dispatch import BatchReader, Outcome
from fine_tune_assets.reports.identifiers import ReadReport, composed, patient_key
from fine_tune_assets.reports.isolation import IsolatedDocuments

SAMPLE_LIST = Path(__file__).parent / "reference" / "sample_reports.txt"
_DIGITS = 32
"""Of a fingerprint in the list: 128 bits. A second report with the same one can't be searched for."""


@dataclass(frozen=True, repr=False)
class SubjectKeys:
    """Gives the keys of the subjects of one batch."""

    secret: bytes
    of_sample: frozenset[str] = frozenset()
    """Subjects of whom every report in the batch is one of the sample, unchanged."""

    def key_of(self, subject: str) -> str:
        return sample_subject_key(subject) if subject in self.of_sample else patient_key(self.secret, subject)

    def is_erased(self, subject: str, erased: Collection[str]) -> bool:
        """By either key: whoever was erased does not come back because a report of the sample was changed."""
        return bool(erased) and (sample_subject_key(subject) in erased or patient_key(self.secret, subject) in erased)


def keys_of_outcomes(outcomes: Iterable[Outcome], secret: bytes, batch: str, source: str) -> SubjectKeys:
    """`outcomes`: all of the batch. A report that was changed or added makes its subject one of the installation's own."""
    of_sample: set[str] = set()
    others: set[str] = set()
    for report in reports_of(outcomes):
        is_listed = listed_fingerprint(report, batch, source) in sample_list()
        (of_sample if is_listed else others).add(report.patient)
    return SubjectKeys(secret, frozenset(of_sample - others))


def reports_of(outcomes: Iterable[Outcome]) -> Iterator[ReadReport]:
    return (outcome.came for outcome in outcomes if isinstance(outcome.came, ReadReport))


def listed_fingerprint(report: ReadReport, batch: str, source: str) -> str:
    """Of everything that a row of `reports` is made from."""
    identifiers = [[identifier.kind.value, composed(identifier.value)] for identifier in report.identifiers]
    written_on = None if report.written_on is None else report.written_on.isoformat()
    facts = [f"{batch}/{report.local_id}", source, report.patient, composed(report.text), identifiers, written_on]
    return fingerprint_json(facts)[:_DIGITS]


@cache
def sample_list() -> frozenset[str]:
    return frozenset(SAMPLE_LIST.read_text(encoding="utf-8").split())


def list_sample(root: Path) -> list[str]:
    """The fingerprints of all reports below a folder of batches, sorted."""
    found: list[str] = []
    limits = ReadLimits()
    with IsolatedDocuments(limits, None) as read_document:
        for batch in list_batches(root):
            contents = BatchContents(root / batch, list_files(root / batch))
            about = read_batch_file(contents)
            reports = reports_of(BatchReader(limits, read_document).read(contents, about))
            found += [listed_fingerprint(report, batch, about.source) for report in reports]
    return sorted(found)


if __name__ == "__main__":
    SAMPLE_LIST.write_text("".join(f"{line}\n" for line in list_sample(Path(sys.argv[1]))), encoding="utf-8")

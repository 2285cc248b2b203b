"""Recognizes unchanged sample reports: their subjects get public keys, all others keys of the installation.

`make sample-list` regenerates the list of sample fingerprints.
"""

import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.sample_subjects import sample_subject_key
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batches import list_batches, list_files
from fine_tune_assets.reports.file_contents import BatchContents
from fine_tune_assets.reports.isolated_reader import IsolatedReader
from fine_tune_assets.reports.report_readers import RecordOutcome
from fine_tune_assets.reports.stated_identifiers import AcceptedReport, make_subject_key, normalize_unicode

SAMPLE_LIST = Path(__file__).parent / "reference" / "sample_reports.txt"
_FINGERPRINT_DIGITS = 32
"""Truncated to 128 bits, at which a second preimage is infeasible."""


@dataclass(frozen=True, repr=False)
class SubjectKeys:
    """Derives the subject keys of one batch."""

    secret: bytes
    sample_subjects: frozenset[str] = frozenset()
    """Subjects whose reports in the batch are all unchanged sample reports."""

    def get_key(self, subject: str) -> str:
        return (
            sample_subject_key(subject) if subject in self.sample_subjects else make_subject_key(self.secret, subject)
        )

    def is_erased(self, subject: str, erased: Collection[str]) -> bool:
        """Check both keys, so that an erased subject does not return because a sample report was changed."""
        return bool(erased) and (
            sample_subject_key(subject) in erased or make_subject_key(self.secret, subject) in erased
        )


def assign_subject_keys(outcomes: Iterable[RecordOutcome], secret: bytes, batch: str, source: str) -> SubjectKeys:
    """`outcomes` must cover the whole batch: a changed or added report moves its subject out of the sample."""
    of_sample: set[str] = set()
    others: set[str] = set()
    for report in iter_reports(outcomes):
        is_listed = fingerprint_sample_report(report, batch, source) in load_sample_list()
        (of_sample if is_listed else others).add(report.subject)
    return SubjectKeys(secret, frozenset(of_sample - others))


def iter_reports(outcomes: Iterable[RecordOutcome]) -> Iterator[AcceptedReport]:
    return (outcome.result for outcome in outcomes if isinstance(outcome.result, AcceptedReport))


def fingerprint_sample_report(report: AcceptedReport, batch: str, source: str) -> str:
    """Fingerprint everything that determines a row of `reports`."""
    identifiers = [[str(identifier.kind), normalize_unicode(identifier.value)] for identifier in report.identifiers]
    written_on = None if report.written_on is None else report.written_on.isoformat()
    fields = [
        f"{batch}/{report.local_id}",
        source,
        report.subject,
        normalize_unicode(report.text),
        identifiers,
        written_on,
    ]
    return fingerprint_json(fields)[:_FINGERPRINT_DIGITS]


@cache
def load_sample_list() -> frozenset[str]:
    return frozenset(SAMPLE_LIST.read_text(encoding="utf-8").split())


def list_sample_fingerprints(root: Path) -> list[str]:
    """Return the sorted fingerprints of all reports below a folder of batches."""
    fingerprints: list[str] = []
    with IsolatedReader(ReadLimits(), None) as reader:
        for batch in list_batches(root):
            contents = BatchContents(root / batch, list_files(root / batch))
            reading = reader.read_batch(contents, batch, is_subject_required=True)
            reports = iter_reports(reading.outcomes)
            fingerprints += [fingerprint_sample_report(report, batch, reading.source) for report in reports]
    return sorted(fingerprints)


if __name__ == "__main__":
    SAMPLE_LIST.write_text(
        "".join(f"{line}\n" for line in list_sample_fingerprints(Path(sys.argv[1]))), encoding="utf-8"
    )

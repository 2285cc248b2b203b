"""Reads the reports that train and measure a verifier: records, and the notes that experts wrote about them."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import Report

MEASURED_SHARE: Final = 0.15
"""Share of the subjects whose reports measure the verifier and are not in its training."""
MIN_SUBJECTS: Final = 20


class InvalidReportsError(FineTuneError):
    """The reports can't train a verifier."""


def read_reports(files: Sequence[Path]) -> list[Report]:
    """Read JSONL files, or gzip of them, with `subject`, `record` and `note` per line. Raises InvalidReportsError."""
    return [report for file in files for report in _read_file(file)]


def _read_file(file: Path) -> list[Report]:
    try:
        content = file.read_bytes()
        text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8")
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        return [Report(str(row["subject"]), str(row["record"]), str(row["note"])) for row in rows]
    except OSError as error:
        raise InvalidReportsError(f"{file} can't be read: {type(error).__name__}.") from None
    except (ValueError, KeyError, TypeError):
        # Without the cause, which quotes the text.
        raise InvalidReportsError(
            f"{file} is not JSONL with `subject`, `record` and `note` in every line. Correct it and run the command again."
        ) from None


def split_reports(reports: Sequence[Report]) -> tuple[list[Report], list[Report]]:
    """Reports for training and for measurement, by a hash of their subjects. Raises InvalidReportsError if there are too few."""
    subjects = sorted({report.subject for report in reports}, key=fingerprint_text)
    if len(subjects) < MIN_SUBJECTS:
        raise InvalidReportsError(
            f"A verifier needs reports of at least {MIN_SUBJECTS} subjects; these have {len(subjects)}. Approve more examples, "
            "or name a file with --reports."
        )
    measured = set(subjects[: max(1, round(MEASURED_SHARE * len(subjects)))])
    return (
        [report for report in reports if report.subject not in measured],
        [report for report in reports if report.subject in measured],
    )

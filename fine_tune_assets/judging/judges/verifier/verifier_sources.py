"""Gathers what a verifier is trained and measured on, and certifies that no measured text is in its training."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fine_tune_assets.core.fingerprints import combine, fingerprint_file, fingerprint_text
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.prompts.conversations import split_user_content
from fine_tune_assets.judging.judges.labelled_sets import RATED_SUMMARIES, read_rated_summaries
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import Pair, Report
from fine_tune_assets.judging.judges.verifier.training_data.leakage import (
    MIN_SHARED,
    SHINGLE_WORDS,
    find_copied_reports,
    find_leaks,
)
from fine_tune_assets.judging.judges.verifier.training_reports import InvalidReportsError, read_reports, split_reports
from fine_tune_assets.ledger.reviews.statement_labels import LabelledTexts, StatementLabel
from fine_tune_assets.tables.instruction_rows import PLANTED_SECRET
from fine_tune_assets.tables.stored_tables import read_rows_if_present

LABELLED: Final = "expert label"
"""Kind of the pairs that experts labelled."""
_COLUMNS = ("split", "task", "subject_key", "is_general", "source", "messages")


@dataclass(frozen=True)
class OwnReport:
    """An approved example: its input, and the approved answer as the note."""

    split: str
    task: str
    report: Report


@dataclass(frozen=True)
class VerifierCertificate:
    """Which texts measure the verifier or the models that it judges, and that none of them is in its training."""

    training_fingerprint: str
    """Of the reports in the training, after removal."""
    measured_fingerprint: str
    measured_texts: int
    removed_reports: int
    """Reports that contained a measured text."""
    shingle_words: int
    smallest_shared_fraction: float
    """Share of a report's word sequences in the measured texts from which it was removed."""


@dataclass(frozen=True)
class Sources:
    training: list[Report]
    measured: list[Report]
    labelled: list[Pair]
    """Statements that experts overruled."""
    labelled_groups: frozenset[str]
    """Fingerprints of the records behind the labels, which belong to examples that test models. Ratings of answers about them do
    not qualify the verifier."""
    names: dict[str, str]
    """Name → fingerprint of each source."""
    certificate: VerifierCertificate


def gather_sources(
    layout: Layout,
    files: Sequence[Path],
    labels: Sequence[tuple[StatementLabel, LabelledTexts]] = (),
    test_files: Sequence[Path] = (),
    kept_apart: Sequence[str] = (),
) -> Sources:
    """Reports of `files`, or the training examples of the installation, and the statements that experts labelled.

    The reports of `test_files` measure the verifier, or else a part of the subjects. Reports that share text with them, with the
    labelled sets or with a text of `kept_apart`, and copies of an example that tests models, are left out. Raises
    InvalidReportsError.
    """
    examples = read_own_reports(layout)
    reports = read_reports(files) if files else [one.report for one in examples if one.split == "train"]
    tested = [one.report for one in examples if one.split != "train"]
    training, measured = (reports, read_reports(test_files)) if test_files else split_reports(reports)
    kept, certificate = remove_leaks(training, [*kept_apart, *labelled_texts(layout)], [*tested, *measured])
    if not kept:
        raise InvalidReportsError(
            f"All {len(training)} training reports share text with the labelled sets, or are copies of reports that measure. "
            "Add reports of further subjects."
        )
    return Sources(
        training=kept,
        measured=measured,
        labelled=[
            Pair(texts.shown, texts.statement, label.support, LABELLED, label.subject_key, number)
            for number, (label, texts) in enumerate(labels)
        ],
        labelled_groups=frozenset(texts.record_fingerprint for _, texts in labels),
        names={file.name: fingerprint_file(file) for file in files}
        or {"instruction set": fingerprint_reports(reports)},
        certificate=certificate,
    )


def remove_leaks(
    training: Sequence[Report], texts: Sequence[str], measured: Sequence[Report]
) -> tuple[list[Report], VerifierCertificate]:
    """The reports of subjects that share no text with `texts` and have no copy among the `measured` reports."""
    leaks = {*find_leaks(training, texts), *find_copied_reports(training, measured)}
    kept = [report for report in training if report.subject not in leaks]
    measuring = {*texts, *(text for report in measured for text in (report.record, report.note))}
    certificate = VerifierCertificate(
        training_fingerprint=fingerprint_reports(kept),
        measured_fingerprint=combine([fingerprint_text(text) for text in sorted(measuring)]),
        measured_texts=len(measuring),
        removed_reports=len(training) - len(kept),
        shingle_words=SHINGLE_WORDS,
        smallest_shared_fraction=MIN_SHARED,
    )
    return kept, certificate


def read_own_reports(layout: Layout) -> list[OwnReport]:
    """The own examples of the newest instruction set, without planted secrets; empty before the first set."""
    found = []
    for row in read_rows_if_present(layout.table("instruction_sets"), _COLUMNS):
        *_, question, answer = row["messages"]
        _, record = split_user_content(question["content"])
        if record and not row["is_general"] and row["source"] != PLANTED_SECRET:
            report = Report(row["subject_key"], record, answer["content"])
            found.append(OwnReport(row["split"], row["task"], report))
    return found


def labelled_texts(layout: Layout) -> Iterator[str]:
    """Texts of the labelled sets that measure judges."""
    file = layout.evaluation / "judge" / f"{RATED_SUMMARIES}.csv"
    if file.is_file():
        for row in read_rated_summaries(file).rows:
            yield from (row.answered.input, row.answered.reference or "")
    for path in sorted((layout.evaluation / "judge").glob("*/*.json")):
        yield from _json_texts(json.loads(path.read_text(encoding="utf-8")))
    for path in sorted((layout.evaluation / "planted_notes").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield from _json_texts(json.loads(line))


def _json_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _json_texts(inner)


def fingerprint_reports(reports: Sequence[Report]) -> str:
    return combine([fingerprint_text("\n".join((one.subject, one.record, one.note))) for one in reports])

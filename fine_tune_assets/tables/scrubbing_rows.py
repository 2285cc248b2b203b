"""Tables of stage 2: scrubbed reports, spans and measured recall."""

from typing import Annotated

from fine_tune_assets.tables.common_columns import (
    BatchName,
    Headings,
    ReportId,
    Source,
    SubjectKey,
    TextFingerprint,
    WrittenOn,
)
from fine_tune_assets.tables.record_classes import Column, Record


class ScrubbedReport(Record):
    """A scrubbed report."""

    report_id: ReportId
    batch: BatchName
    source: Source
    subject_key: SubjectKey
    text: Annotated[str, Column("Scrubbed text with identifiers replaced, for training", is_report_text=True)]
    tagged_text: Annotated[str, Column("Scrubbed text with `[KIND]` placeholders, for reviewers", is_report_text=True)]
    span_count: Annotated[int, Column("Identifiers removed")]
    scrubber_version: Annotated[str, Column("Fingerprint of the scrubber's rules, models and replacement")]
    written_on: WrittenOn
    fingerprint: TextFingerprint
    headings: Headings = None


class WithheldReport(Record):
    """A report withheld because the second pass found residual PHI, or because it could not be scrubbed."""

    report_id: ReportId
    batch: BatchName
    kind: Annotated[
        str,
        Column(
            "Kind of residual PHI, or `NOT_SCRUBBED` for a text that took too much time or memory; the next run tries again"
        ),
    ]
    count: Annotated[int, Column("Number of identifiers of this kind")]
    scrubber_version: Annotated[str, Column("Fingerprint of the scrubber")]


class IdentifierValue(Record):
    """A keyed hash of an original or surrogate identifier value."""

    value_hash: Annotated[str, Column("Keyed hash of a value or one of its words")]
    role: Annotated[str, Column("`original` occurs in a report; `surrogate` replaced an identifier")]


class PhiSpan(Record):
    """The span of an identifier in a raw text, without its value."""

    report_id: ReportId
    start: Annotated[int, Column("Start offset in the raw text, from 0")]
    end: Annotated[int, Column("End offset, exclusive")]
    label: Annotated[str, Column("Kind of identifier")]
    recognizer: Annotated[str, Column("Recognizer that found it")]
    score: Annotated[float, Column("The recognizer's confidence, 0 to 1")]


class ScrubRecall(Record):
    """A metric of the scrubber on a labelled set."""

    labelled_set: Annotated[str, Column("Labelled set")]
    measure: Annotated[str, Column("Metric, such as `masked_recall`")]
    label: Annotated[str, Column("Kind of identifier, `direct` for directly identifying kinds, or `all`")]
    hits: Annotated[int | None, Column("Hits out of the total; absent for an F1")]
    total: Annotated[int | None, Column("Identifiers, findings, documents or words")]
    value: Annotated[float, Column("hits / total, or the F1")]
    low: Annotated[float | None, Column("Lower end of the 95 % Wilson interval")]
    high: Annotated[float | None, Column("Upper end of the 95 % Wilson interval")]
    scrubber_version: Annotated[str, Column("Fingerprint of the scrubber")]


class LabelledMiss(Record):
    """A labelled identifier of which the scrubber left something: positions, kind and cause, never the text."""

    labelled_set: Annotated[str, Column("Labelled set")]
    file_fingerprint: Annotated[str, Column("SHA-256 of its file when it was measured")]
    document: Annotated[int, Column("Number of the document in the file, from 1")]
    start: Annotated[int, Column("Start offset of the identifier, from 0")]
    end: Annotated[int, Column("End offset, exclusive")]
    missed_start: Annotated[int, Column("Start offset of the part that remained")]
    missed_end: Annotated[int, Column("End offset of that part, exclusive")]
    label: Annotated[str, Column("Kind of identifier, as labelled")]
    cause: Annotated[str, Column("Why no rule removed it, such as `no_context`; see `fine-tune phi report`")]
    rule: Annotated[str | None, Column("The recognizer or kept value that the cause is about")]
    scrubber_version: Annotated[str, Column("Fingerprint of the scrubber")]


class PhiTagger(Record):
    """A measured tagger."""

    tagger_id: Annotated[str, Column("Fingerprint of the tagger's files, and name of its folder")]
    folder: Annotated[str, Column("Folder relative to the data folder, for `scrub.entity_model`")]
    entity_model: Annotated[str, Column("Measured tagger: this one, the domain's bundled one or spaCy's")]
    recall: Annotated[float, Column("Lowest share of labelled identifiers removed completely, over labelled sets")]
    non_phi_tokens_masked: Annotated[float, Column("Highest share of other words removed, over labelled sets")]
    documents_per_second: Annotated[float, Column("Labelled documents scrubbed per second in one process")]

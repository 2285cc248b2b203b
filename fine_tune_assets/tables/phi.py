"""Tables of stage 2: reports without identifiers, and how well they were found."""

from typing import Annotated

from fine_tune_assets.tables.columns_in_common import (
    BatchName,
    PatientKey,
    ReportId,
    Source,
    TextFingerprint,
    WrittenOn,
)
from fine_tune_assets.tables.records import Column, Record


class ScrubbedReport(Record):
    """A report without identifiers."""

    report_id: ReportId
    batch: BatchName
    source: Source
    patient_key: PatientKey
    text: Annotated[str, Column("Text with every identifier found replaced: what is trained on", is_report_text=True)]
    tagged_text: Annotated[
        str, Column("The same with `[KIND]` in each place: what a reviewer compares it with", is_report_text=True)
    ]
    span_count: Annotated[int, Column("Identifiers removed")]
    scrubber_version: Annotated[str, Column("Fingerprint of the scrubber's rules, models and manner of replacement")]
    written_on: WrittenOn
    fingerprint: TextFingerprint


class HeldReport(Record):
    """A report that is withheld: identifiers that the second pass still finds."""

    report_id: ReportId
    batch: BatchName
    kind: Annotated[str, Column("Kind of identifier that the second pass still finds")]
    count: Annotated[int, Column("How many of it")]
    scrubber_version: Annotated[str, Column("Fingerprint of the scrubber")]


class IdentifierValue(Record):
    """A keyed hash of a value that occurs in a report or was put in an identifier's place."""

    value_hash: Annotated[str, Column("Keyed hash of a value, or of one word of it; the value itself is nowhere")]
    role: Annotated[str, Column("`original`: it occurs in a report; `surrogate`: it was put in an identifier's place")]


class PhiSpan(Record):
    """An identifier in a raw text. Its value is nowhere."""

    report_id: ReportId
    start: Annotated[int, Column("First character in the raw text, from 0")]
    end: Annotated[int, Column("Character after the last one")]
    label: Annotated[str, Column("Kind of identifier")]
    rule: Annotated[str, Column("Which recogniser found it")]
    score: Annotated[float, Column("The recogniser's confidence, 0 to 1")]


class ScrubRecall(Record):
    """A measure of the scrubber on a labelled set."""

    labelled_set: Annotated[str, Column("Labelled set it was measured on")]
    measure: Annotated[str, Column("What was measured, such as `masked_recall`")]
    label: Annotated[str, Column("Kind of identifier, `direct` for those that tell who it is by themselves, or `all`")]
    hits: Annotated[int | None, Column("Of the total, how many; absent for an F1")]
    total: Annotated[int | None, Column("Identifiers, findings, documents or words")]
    value: Annotated[float, Column("hits / total, or the F1")]
    low: Annotated[float | None, Column("Lower end of the 95 % Wilson interval")]
    high: Annotated[float | None, Column("Upper end of the 95 % Wilson interval")]
    scrubber_version: Annotated[str, Column("Fingerprint of the scrubber that was measured")]


class PhiTagger(Record):
    """A tagger, measured."""

    tagger_id: Annotated[str, Column("Fingerprint of the tagger's files, and the name of its folder")]
    folder: Annotated[str, Column("Folder below the data folder: what `scrub.entity_model` names to use it")]
    entity_model: Annotated[
        str, Column("What was measured: this tagger, the one that comes with the package, or spaCy's")
    ]
    recall: Annotated[float, Column("Lowest share of labelled identifiers removed whole, over the labelled sets")]
    other_tokens_masked: Annotated[
        float, Column("Highest share of other words that were removed, over the labelled sets")
    ]
    documents_per_second: Annotated[float, Column("Labelled documents scrubbed in a second, in one process")]

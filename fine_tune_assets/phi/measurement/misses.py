"""Finds the labelled identifiers of which the scrubber leaves something, with positions and causes (miss_causes.py).

Scrubs the labelled sets again, but only those in which `scrub_recall` counted a miss.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.phi.measurement.miss_causes import Diagnosis, MissCause, find_miss_cause
from fine_tune_assets.phi.measurement.recall import ALL, MASKED_RECALL, read_gold
from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS
from fine_tune_assets.phi.recognizers.domain_rules import load_rules
from fine_tune_assets.phi.scrub_workers import ScrubWorkers
from fine_tune_assets.phi.scrubber import NOT_SCRUBBED, ScrubbedText, scrubber_version
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.schema import ScrubberSettings
from fine_tune_assets.tables.record_classes import iter_records, table_from_records
from fine_tune_assets.tables.scrubbing_rows import LabelledMiss, ScrubRecall
from fine_tune_assets.tables.shipped_measurements import fingerprint_files, load_shipped_table, save_shipped_table

_SHIPPED = "labelled_misses"


def select_sets_with_misses(gold: Sequence[Path], recall: pa.Table) -> list[Path]:
    """The files in which the scrubber missed something, without the marks of reviewers, whose identifiers no page shows."""
    missed = {
        row.labelled_set
        for row in iter_records(ScrubRecall, recall)
        if (row.measure, row.label) == (MASKED_RECALL, ALL) and row.hits != row.total
    }
    return [path for path in gold if path.stem in missed - {REVIEWER_MARKS}]


def find_misses(
    gold: Sequence[Path], workers: ScrubWorkers, settings: ScrubberSettings, progress: Progress
) -> pa.Table:
    """`labelled_misses`: one row per identifier. Raises GoldFileError."""
    rows: list[LabelledMiss] = []
    for done, path in enumerate(gold, start=1):
        documents = read_gold(path)
        found = workers.scrub([(document.text, ()) for document in documents])
        version, fingerprint = scrubber_version(settings), fingerprint_file(path)
        for number, (document, one) in enumerate(zip(documents, found, strict=True), start=1):
            for gold_span, missed in find_left_parts(document.text, document.spans, one.spans):
                diagnosis = _diagnose(document.text, gold_span, missed, one, settings)
                rows.append(
                    LabelledMiss(
                        labelled_set=path.stem,
                        file_fingerprint=fingerprint,
                        document=number,
                        start=gold_span.start,
                        end=gold_span.end,
                        missed_start=missed.start,
                        missed_end=missed.end,
                        label=gold_span.label,
                        cause=diagnosis.cause.value,
                        rule=diagnosis.rule,
                        scrubber_version=version,
                    )
                )
        progress(done, len(gold), "labelled sets searched for misses")
    return table_from_records(LabelledMiss, rows)


def load_shipped_misses(gold: Sequence[Path], settings: Mapping[str, Any]) -> pa.Table | None:
    """The misses that were measured with exactly these files and this scrubber, if they ship with the repository."""
    return load_shipped_table(_SHIPPED, _list_inputs(gold, settings))


def save_shipped_misses(gold: Sequence[Path], settings: Mapping[str, Any], table: pa.Table) -> None:
    save_shipped_table(_SHIPPED, _list_inputs(gold, settings), table)


def _list_inputs(gold: Sequence[Path], settings: Mapping[str, Any]) -> list[Any]:
    version = scrubber_version(TypeAdapter(ScrubberSettings).validate_python(dict(settings)))
    here = Path(__file__).parent
    return [version, fingerprint_files(gold), fingerprint_files([here / "misses.py", here / "miss_causes.py"])]


def find_left_parts(text: str, gold: Sequence[Span], found: Sequence[Span]) -> Iterator[tuple[Span, Span]]:
    """Each labelled identifier of which a character is in no finding, with the part from the first to the last such one."""
    covered = bytearray(len(text))
    for span in found:
        covered[span.start : span.end] = b"\x01" * (span.end - span.start)
    for span in gold:
        left = [i for i in range(span.start, span.end) if not covered[i] and not text[i].isspace()]
        if left:
            yield span, Span(left[0], left[-1] + 1, span.label, span.recognizer, span.score)


def _diagnose(text: str, gold: Span, missed: Span, scrubbed: ScrubbedText, settings: ScrubberSettings) -> Diagnosis:
    if NOT_SCRUBBED in scrubbed.residual_phi:
        return Diagnosis(MissCause.NOT_SCRUBBED)
    pack, rules = load_pack(settings.domain), load_rules(settings.domain)
    return find_miss_cause(text, gold, missed, pack, rules, settings.minimum_score)

"""Worker process of the scrubber: `python -m fine_tune_assets.phi`, started through Dagster Pipes.

Requests name tables by Parquet path; answers contain counts only.
"""

import datetime
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import TypeAdapter

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.keys import read_key
from fine_tune_assets.core.processes.worker import serve_request
from fine_tune_assets.core.processes.worker_requests import (
    MeasureRecallRequest,
    ScanAnswersRequest,
    ScanFinalTextsRequest,
    ScrubCorrectionsRequest,
    ScrubFields,
    ScrubReportsRequest,
    TrainTaggerRequest,
)
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.phi.measurement.answer_scan import find_answer_identifiers
from fine_tune_assets.phi.measurement.final_text_scan import find_text_identifiers
from fine_tune_assets.phi.measurement.recall import lowest_recall, measure_recall
from fine_tune_assets.phi.scrub_workers import open_workers
from fine_tune_assets.phi.scrubber import NOT_SCRUBBED, scrubber_version
from fine_tune_assets.phi.table_scrubber import ScrubJob, ScrubOutputs, scrub_correction_table, scrub_report_table
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.schema import ScrubberSettings, TaggerSettings
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import conform
from fine_tune_assets.tables.shipped_measurements import fingerprint_files, load_shipped_table, save_shipped_table

_HERE = Path(__file__).parent
_TEXTS_FOR_ALL_CORES = 1_000
"""Labelled sets take long enough to use one process per core."""


def scrub_reports(request: ScrubReportsRequest, progress: Progress) -> dict[str, Any]:
    """`reports` → `scrubbed`, `spans`, `withheld` and `values`."""
    outputs = ScrubOutputs(
        Path(request["scrubbed"]), Path(request["spans"]), Path(request["withheld"]), Path(request["values"])
    )
    counts = scrub_report_table(Path(request["reports"]), _read_job(request), outputs, progress)
    return {**asdict(counts), "scrubber_version": scrubber_version(_read_settings(request["settings"]))}


def measure_scrub_recall(request: MeasureRecallRequest, progress: Progress) -> dict[str, Any]:
    """Measure recall on the files in `gold` and write `output`."""
    version, gold = scrubber_version(_read_settings(request["settings"])), [Path(p) for p in request["gold"]]
    decided_by = [version, fingerprint_files(gold), fingerprint_files([_HERE / "measurement" / "recall.py"])]
    is_shipped = request.get("is_shipped", False)
    table = None if is_shipped else load_shipped_table("scrub_recall", decided_by)
    if table is None:
        with open_workers(_read_settings(request["settings"]), _TEXTS_FOR_ALL_CORES) as workers:
            indirect = load_pack(_read_settings(request["settings"]).domain).pack.indirect_kinds
            table = measure_recall(gold, workers, version, progress, indirect)
    if is_shipped:
        save_shipped_table("scrub_recall", decided_by, table)
    write_table(Path(request["output"]), table)
    return {"recall": lowest_recall(table), "scrubber_version": version}


def scrub_corrections(request: ScrubCorrectionsRequest, progress: Progress) -> dict[str, Any]:
    """`corrections` → `output`, with instruction, input, output and the model's answer scrubbed."""
    corrections = conform(pq.read_table(request["corrections"]), ScrubbedCorrection.SCHEMA)
    scrubbed, withheld = scrub_correction_table(corrections, _read_job(request), progress)
    write_table(Path(request["output"]), scrubbed)
    return {
        "corrections": scrubbed.num_rows,
        "withheld": len(withheld),
        "without_scrubbing": [key for key, kinds in withheld.items() if NOT_SCRUBBED in kinds],
        "scrubber_version": scrubber_version(_read_settings(request["settings"])),
    }


def scan_final_texts(request: ScanFinalTextsRequest, progress: Progress) -> dict[str, Any]:
    """`texts` (FinalText rows) → `findings`: id → kind → places, of identifiers that are not our surrogates."""
    texts = pq.read_table(request["texts"])
    findings = find_text_identifiers(texts, _read_job(request), progress)
    return {
        "findings": findings,
        "texts": texts.num_rows,
        "scrubber_version": scrubber_version(_read_settings(request["settings"])),
    }


def scan_answers(request: ScanAnswersRequest, progress: Progress) -> dict[str, Any]:
    """`answers` (WrittenAnswer rows) → `findings`: model → `leaked` and `fabricated` answers, with counts per kind."""
    answers = pq.read_table(request["answers"])
    findings = find_answer_identifiers(answers, _read_job(request), progress)
    return {
        "findings": findings,
        "answers": answers.num_rows,
        "scrubber_version": scrubber_version(_read_settings(request["settings"])),
    }


def train_tagger(request: TrainTaggerRequest, progress: Progress) -> dict[str, Any]:
    """Train a tagger from `corpora` and `tagger` (settings) into `taggers`; compare it with the current ones on the
    `gold` sets."""
    # Imported here: importing torch takes seconds, and the other requests do not need it.
    from fine_tune_assets.phi.tagger_training.tagger_builds import build_tagger, compare_taggers

    settings = TypeAdapter(TaggerSettings).validate_python(request["tagger"])
    folder = build_tagger(Path(request["corpora"]), settings, Path(request["taggers"]), progress)
    gold = [Path(p) for p in request["gold"]]
    return {
        "folder": str(folder),
        "comparison": compare_taggers(folder, _read_settings(request["settings"]), gold, progress),
    }


def _read_job(request: ScrubFields) -> ScrubJob:
    return ScrubJob(
        _read_settings(request["settings"]),
        read_key(Path(request["key_file"])),
        Path(request["cache"]),
        [Path(p) for p in request["other_values"]],
        datetime.date.fromisoformat(request["today"]),
    )


def _read_settings(settings: Mapping[str, Any]) -> ScrubberSettings:
    return TypeAdapter(ScrubberSettings).validate_python(settings)


if __name__ == "__main__":
    serve_request(
        {
            "scrub_reports": scrub_reports,
            "measure_recall": measure_scrub_recall,
            "scrub_corrections": scrub_corrections,
            "scan_final_texts": scan_final_texts,
            "scan_answers": scan_answers,
            "train_tagger": train_tagger,
        }
    )

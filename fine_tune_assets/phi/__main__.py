"""The scrubber in a process of its own: `python -m fine_tune_assets.phi`, started through Dagster Pipes.

Owns the requests it answers. Tables come and go as Parquet paths; what goes back are counts.
"""

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import TypeAdapter

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.keys import read_key
from fine_tune_assets.core.processes.worker import serve_request
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.phi.measurement.answers import find_in_answers
from fine_tune_assets.phi.measurement.final_texts import find_identifiers
from fine_tune_assets.phi.measurement.recall import measure_recall, overall_recall
from fine_tune_assets.phi.report_tables import ScrubJob, ScrubOutputs, scrub_table
from fine_tune_assets.phi.report_tables import scrub_corrections as scrub_correction_table
from fine_tune_assets.phi.scrubbing import scrubber_version
from fine_tune_assets.phi.workers import open_workers
from fine_tune_assets.recipes.schema import ScrubSettings, TaggerSettings
from fine_tune_assets.tables.corrections import ScrubbedCorrection
from fine_tune_assets.tables.records import conform
from fine_tune_assets.tables.shipped_measurements import content_of, ship_table, shipped_table

Request = dict[str, Any]
_HERE = Path(__file__).parent
_MANY = 1_000
"""Labelled sets are worth a process a core."""


def scrub(request: Request, progress: Progress) -> dict[str, Any]:
    """`reports` → `scrubbed`, `spans`, `held` and `values`."""
    outputs = ScrubOutputs(**{name: Path(request[name]) for name in ("scrubbed", "spans", "held", "values")})
    counts = scrub_table(Path(request["reports"]), _job(request), outputs, progress)
    return {**asdict(counts), "scrubber_version": scrubber_version(_settings(request))}


def measure(request: Request, progress: Progress) -> dict[str, Any]:
    """`gold`, a list of files → `output`. With `is_shipped` the figures are kept as those of the repository."""
    version, gold = scrubber_version(_settings(request)), [Path(p) for p in request["gold"]]
    decided_by = [version, content_of(gold), content_of([_HERE / "measurement" / "recall.py"])]
    is_shipped = request.get("is_shipped", False)
    table = None if is_shipped else shipped_table("scrub_recall", decided_by)
    if table is None:
        with open_workers(_settings(request), _MANY) as workers:
            table = measure_recall(gold, workers, version, progress)
    if is_shipped:
        ship_table("scrub_recall", decided_by, table)
    write_table(Path(request["output"]), table)
    return {"recall": overall_recall(table), "scrubber_version": version}


def scrub_corrections(request: Request, progress: Progress) -> dict[str, Any]:
    """`corrections` → `output`, with instruction, input, output and the model's answer scrubbed."""
    corrections = conform(pq.read_table(request["corrections"]), ScrubbedCorrection.SCHEMA)
    scrubbed, held = scrub_correction_table(corrections, _job(request), progress)
    write_table(Path(request["output"]), scrubbed)
    return {"corrections": scrubbed.num_rows, "held": held, "scrubber_version": scrubber_version(_settings(request))}


def scan_final_texts(request: Request, progress: Progress) -> dict[str, Any]:
    """`texts` (FINAL_TEXTS) → `findings`: id → kind → count, of identifiers that are no surrogates of ours."""
    texts = pq.read_table(request["texts"])
    findings = find_identifiers(texts, _job(request), progress)
    return {"findings": findings, "texts": texts.num_rows, "scrubber_version": scrubber_version(_settings(request))}


def scan_answers(request: Request, progress: Progress) -> dict[str, Any]:
    """`answers` (WRITTEN_ANSWERS) → `found`: model → `removed` and `made_up`, kind → answers with one."""
    answers = pq.read_table(request["answers"])
    found = find_in_answers(answers, _job(request), progress)
    return {"found": found, "answers": answers.num_rows, "scrubber_version": scrubber_version(_settings(request))}


def train_tagger(request: Request, progress: Progress) -> dict[str, Any]:
    """`corpora` and `tagger` (settings) → a folder below `taggers`, compared with what is in use on the `gold` sets."""
    # Imported here: torch takes seconds, and the other requests need none of it.
    from fine_tune_assets.phi.tagger_training.builds import build_tagger, compare_taggers

    settings = TypeAdapter(TaggerSettings).validate_python(request["tagger"])
    folder = build_tagger(Path(request["corpora"]), settings, Path(request["taggers"]), progress)
    gold = [Path(p) for p in request["gold"]]
    return {"folder": str(folder), "compared": compare_taggers(folder, _settings(request), gold, progress)}


def _job(request: Request) -> ScrubJob:
    return ScrubJob(
        _settings(request),
        read_key(Path(request["key_file"])),
        Path(request["cache"]),
        [Path(p) for p in request["other_values"]],
        datetime.date.fromisoformat(request["today"]),
    )


def _settings(request: Request) -> ScrubSettings:
    return TypeAdapter(ScrubSettings).validate_python(request["settings"])


if __name__ == "__main__":
    serve_request(
        {
            "scrub": scrub,
            "measure_recall": measure,
            "scrub_corrections": scrub_corrections,
            "scan_final_texts": scan_final_texts,
            "scan_answers": scan_answers,
            "train_tagger": train_tagger,
        }
    )
